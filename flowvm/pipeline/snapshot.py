"""The tables as they are now, as flows: what ``dump-flows`` would print."""

from __future__ import annotations

from decimal import Decimal

import numpy as np

from flowvm.clock import SECOND
from flowvm.flow import Flow
from flowvm.pipeline.state import State

_MILLISECOND = SECOND // 1000
_OLDEST = 65534


def flows_now(state: State) -> list[Flow]:
    """The flows of ``state``, learned ones included, with counters and ages of this moment.

    Ordered by table; within one, as in the program and then as they were learned or added. Flows
    that the program's dump printed without ages (OpenFlow 1.3) come without them.
    """
    rules = state.rules
    with_ages = state.program.statistics.with_ages
    flows: dict[int, Flow] = {}
    for rule, flow in enumerate(state.program.flows):
        if rules.alive[rule]:
            flows[rule] = flow
    for subtable in state.learned.values():
        keys = subtable.index.keys
        for number, rule in enumerate(subtable.heads.tolist()):
            if rules.alive[rule] and rules.made_by[rule] >= 0:
                maker = state.templates[int(rules.made_by[rule])]
                flows[rule] = maker.flow((), keys[:, number].tolist(), ())
    for rule, edit in state.edits.items():
        if rules.alive[rule] and edit.flow is not None:
            flows[rule] = edit.flow
    order = sorted(flows, key=lambda rule: (int(rules.table[rule]), rule))
    return [
        flows[rule].replace(**_acting_now(state, rule), **_statistics(state, rule, with_ages))
        for rule in order
    ]


def flow_of(state: State, rule: int) -> Flow:
    """The flow that the rule of that number is now: its match, priority, cookie and actions."""
    edit = state.edits.get(rule)
    if edit is not None and edit.flow is not None:
        flow = edit.flow
    elif rule < len(state.program.flows):
        flow = state.program.flows[rule]
    else:
        maker = state.templates[int(state.rules.made_by[rule])]
        subtable = state.learned[maker.target]
        key = subtable.index.keys[:, int(np.flatnonzero(subtable.heads == rule)[0])].tolist()
        flow = maker.flow((), key, ())
    acting, cookie = _acting_now(state, rule), int(state.rules.cookie[rule])
    return flow.replace(**acting, cookie=cookie) if acting or flow.cookie != cookie else flow


def _acting_now(state: State, rule: int) -> dict[str, object]:
    """The actions that the rule has now, if they are not those its flow came with."""
    template = int(state.rules.template[rule])
    if template >= 0:
        shape = state.learned_shape(int(state.rules.shape[rule]))
        operands = shape.rows[:, int(state.rules.row[rule])].tolist()
        return {"actions": state.templates[template].render(shape.operations, operands)}
    edit = state.edits.get(rule)
    return {} if edit is None else {"actions": edit.actions}


def _statistics(state: State, rule: int, with_ages: bool) -> dict[str, object]:
    rules, now = state.rules, state.now
    duration = now - int(rules.created[rule])
    idle_age = _age(now - int(rules.used[rule]))
    hard_age = _age(now - int(rules.modified[rule]))
    # ovs-ofctl leaves the hard age out where it says no more than the duration.
    shows_hard_age = with_ages and hard_age != duration // SECOND
    return {
        "cookie": int(rules.cookie[rule]),
        "duration": _seconds(duration),
        "n_packets": int(rules.n_packets[rule]),
        "n_bytes": int(rules.n_bytes[rule]),
        "idle_timeout": int(rules.idle_timeout[rule]),
        "hard_timeout": int(rules.hard_timeout[rule]),
        "idle_age": idle_age if with_ages else None,
        "hard_age": hard_age if shows_hard_age else None,
    }


def _seconds(nanoseconds: int) -> Decimal:
    """With as many digits as ovs-ofctl prints: three to the millisecond, none for whole seconds."""
    seconds = Decimal(nanoseconds // _MILLISECOND) / 1000
    whole = not nanoseconds // _MILLISECOND % 1000
    return seconds.quantize(Decimal(1) if whole else Decimal("0.001"))


def _age(nanoseconds: int) -> int:
    """Whole seconds, as far as Nicira's flow statistics count them."""
    return min(nanoseconds // SECOND, _OLDEST)
