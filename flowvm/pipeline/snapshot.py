"""The tables as they are now, as flows: what ``dump-flows`` would print."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flowvm.clock import SECOND
from flowvm.flow import Flow, Match
from flowvm.pipeline.state import State

if TYPE_CHECKING:
    from flowvm.actions.base import Action

Rules = NDArray[np.int64]

_MILLISECOND = SECOND // 1000
_OLDEST = 65534
_ALIKE = 1 << 10


def flows_now(state: State) -> list[Flow]:
    """The flows of ``state``, learned ones included, with counters and ages of this moment.

    Ordered by table; within one, as in the program and then as they were learned or added. Flows
    that the program's dump printed without ages (OpenFlow 1.3) come without them.
    """
    origins = _origins(state)
    rules = np.fromiter(origins, np.int64, len(origins))
    rules = rules[np.lexsort((rules, state.rules.table[rules]))]
    acting = _actions_now(state, rules)
    found = []
    for rule, counted, ages in zip(
        rules.tolist(), _counted(state, rules), _ages(state, rules), strict=True
    ):
        flow, match = origins[rule]
        actions = acting.get(rule, flow.actions)
        same = flow.importance, flow.flags
        found.append(Flow(match, actions, flow.priority, flow.table, *counted, *same, *ages))
    return found


def _origins(state: State) -> dict[int, tuple[Flow, Match]]:
    """Of each rule that is there, the flow it came with or one of its like, and what it matches."""
    found: dict[int, tuple[Flow, Match]] = {}
    alive, made_by = state.rules.alive, state.rules.made_by
    there = alive[: len(state.program.flows)].tolist()
    for rule, (is_there, flow) in enumerate(zip(there, state.program.flows, strict=True)):
        if is_there:
            found[rule] = flow, flow.match
    for subtable in state.learned.values():
        learned = np.flatnonzero(alive[subtable.heads] & (made_by[subtable.heads] >= 0))
        makers = made_by[subtable.heads[learned]]
        for number in np.unique(makers).tolist():
            mine = learned[makers == number]
            keys = subtable.index.keys[:, mine].T.tolist()
            maker = state.templates[number]
            like = maker.flow((), keys[0], ())
            for rule, match in zip(subtable.heads[mine].tolist(), maker.matches(keys), strict=True):
                found[rule] = like, match
    for rule, edit in state.edits.items():
        if alive[rule] and edit.flow is not None:
            found[rule] = edit.flow, edit.flow.match
    return found


def _actions_now(state: State, rules: Rules) -> dict[int, tuple[Action, ...]]:
    """The actions of those of ``rules`` that have others now than their flow came with."""
    found = {rule: edit.actions for rule, edit in state.edits.items()}
    taught = rules[state.rules.template[rules] >= 0]
    kind = np.stack([state.rules.template[taught], state.rules.shape[taught]])
    for template, number in np.unique(kind, axis=1).T.tolist():
        mine = taught[(kind[0] == template) & (kind[1] == number)]
        shape = state.learned_shape(number)
        render = lru_cache(_ALIKE)(state.templates[template].renderer(shape.operations))
        rows = shape.rows[:, state.rules.row[mine]].T.tolist()
        for rule, operands in zip(mine.tolist(), map(tuple, rows), strict=True):
            found[rule] = render(operands)
    return found


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
        return {"actions": state.templates[template].renderer(shape.operations)(operands)}
    edit = state.edits.get(rule)
    return {} if edit is None else {"actions": edit.actions}


def _counted(state: State, rules: Rules) -> Iterator[tuple[int, Decimal, int, int, int, int]]:
    """Cookie, duration, packets, bytes, and the idle and hard timeout of each of ``rules``."""
    of = state.rules
    columns = (of.n_packets, of.n_bytes, of.idle_timeout, of.hard_timeout)
    return zip(
        of.cookie[rules].tolist(),
        (_seconds(state.now - created) for created in of.created[rules].tolist()),
        *(column[rules].tolist() for column in columns),
        strict=True,
    )


def _ages(state: State, rules: Rules) -> Iterator[tuple[int | None, int | None]]:
    """The idle and the hard age of each of ``rules``, as far as they are shown."""
    of, now = state.rules, state.now
    if not state.program.statistics.with_ages:
        yield from [(None, None)] * len(rules)
        return
    columns = (of.used, of.modified, of.created)
    for used, modified, created in zip(*(c[rules].tolist() for c in columns), strict=True):
        hard_age = _age(now - modified)
        # ovs-ofctl leaves the hard age out where it says no more than the duration.
        shown = hard_age != (now - created) // SECOND
        yield _age(now - used), hard_age if shown else None


def _seconds(nanoseconds: int) -> Decimal:
    """With as many digits as ovs-ofctl prints: three to the millisecond, none for whole seconds."""
    seconds, milliseconds = divmod(nanoseconds // _MILLISECOND, 1000)
    return Decimal(1000 * seconds + milliseconds).scaleb(-3) if milliseconds else Decimal(seconds)


def _age(nanoseconds: int) -> int:
    """Whole seconds, as far as Nicira's flow statistics count them."""
    return min(nanoseconds // SECOND, _OLDEST)
