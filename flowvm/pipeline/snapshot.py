"""The tables as they are now, as flows: what ``dump-flows`` would print."""

from __future__ import annotations

from decimal import Decimal

from flowvm.flow import Flow
from flowvm.pipeline.rules import SECOND
from flowvm.pipeline.state import State

_MILLISECOND = SECOND // 1000
_OLDEST = 65534


def flows_now(state: State) -> list[Flow]:
    """The flows of ``state``, learned ones included, with counters and ages of this moment.

    Ordered by table; within one, as in the program and then as they were learned. Flows that the
    program's dump printed without ages (OpenFlow 1.3) come without them.
    """
    program, rules = state.program, state.rules
    with_ages = any(flow.idle_age is not None for flow in program.flows)
    with_ages = with_ages or not any(flow.duration is not None for flow in program.flows)
    flows: dict[int, Flow] = {}
    for rule, flow in enumerate(program.flows):
        if rules.alive[rule]:
            if rules.template[rule] >= 0:
                flow = flow.replace(actions=_learned_actions(state, rule))
            flows[rule] = flow
    for target, subtable in state.learned.items():
        keys = subtable.index.keys
        for number, rule in enumerate(subtable.heads.tolist()):
            if not rules.alive[rule]:
                continue
            maker = state.templates[int(rules.made_by[rule])]
            flow = maker.flow((), keys[:, number].tolist(), ())
            flows[rule] = flow.replace(actions=_learned_actions(state, rule), table=target.table)
    order = sorted(flows, key=lambda rule: (int(rules.table[rule]), rule))
    return [_with_statistics(state, rule, flows[rule], with_ages) for rule in order]


def _learned_actions(state: State, rule: int) -> tuple[object, ...]:
    template = state.templates[int(state.rules.template[rule])]
    shape = state.learned_shape(int(state.rules.shape[rule]))
    operands = shape.rows[:, int(state.rules.row[rule])].tolist()
    return template.render(shape.operations, operands)


def _with_statistics(state: State, rule: int, flow: Flow, with_ages: bool) -> Flow:
    rules, now = state.rules, state.now
    duration = now - int(rules.created[rule])
    idle_age = _age(now - int(rules.used[rule]))
    hard_age = _age(now - int(rules.modified[rule]))
    # ovs-ofctl leaves the hard age out where it says no more than the duration.
    shows_hard_age = with_ages and hard_age != duration // SECOND
    return flow.replace(
        cookie=int(rules.cookie[rule]),
        duration=_seconds(duration),
        n_packets=int(rules.n_packets[rule]),
        n_bytes=int(rules.n_bytes[rule]),
        idle_timeout=int(rules.idle_timeout[rule]),
        hard_timeout=int(rules.hard_timeout[rule]),
        idle_age=idle_age if with_ages else None,
        hard_age=hard_age if shows_hard_age else None,
    )


def _seconds(nanoseconds: int) -> Decimal:
    """With as many digits as ovs-ofctl prints: three to the millisecond, none for whole seconds."""
    seconds = Decimal(nanoseconds // _MILLISECOND) / 1000
    whole = not nanoseconds // _MILLISECOND % 1000
    return seconds.quantize(Decimal(1) if whole else Decimal("0.001"))


def _age(nanoseconds: int) -> int:
    """Whole seconds, as far as Nicira's flow statistics count them."""
    return min(nanoseconds // SECOND, _OLDEST)
