"""What ``learn`` does to the tables: new rules, changed rules, refreshed timers.

Packets of a batch run against the tables as they were when the batch began, and what they learn is
collected here as events. In packet order the events of one key (one would-be rule) make a rule,
change its actions, or only refresh its hard timeout. Two questions are answered for all events at
once: at which packet does a rule first differ from what the batch saw, and what is left of it all
in the end. The facts are those of ``ofproto_flow_mod_learn``: a strict modify-or-add that keeps
counters, timeouts and creation time of a rule that is there (ovs-actions(7), "learn").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flowvm.arrays import distinct, nonzero
from flowvm.columns import Column
from flowvm.flow import Flow, Match
from flowvm.pipeline.subtable import KeyIndex, Mask, bring_together
from flowvm.text.canonical import canonical_matches

if TYPE_CHECKING:
    from flowvm.actions.base import Action, Operands, Operation
    from flowvm.pipeline.refreshes import Refreshed
    from flowvm.pipeline.state import State

_COLUMNS = tuple(Column)

Renderer = Callable[[Sequence[int]], "tuple[Action, ...]"]
"""Turns the operands of all operations of a list, in order, into actions."""

KEEP_COOKIE = (1 << 64) - 1
"""A learned cookie that leaves the cookie of an existing flow alone (OVS_BE64_MAX)."""


@dataclass(frozen=True, slots=True)
class Target:
    """Which rules a learn template makes: one for each key under this."""

    table: int
    priority: int
    mask: Mask


@dataclass(frozen=True)
class LearnTemplate:
    """What all flows learned by one operation have in common.

    ``shapes`` numbers, in the state that made the template, the action lists that a learned flow
    can have; ``renderer`` gives for one of them what turns its operands into actions.
    """

    number: int
    target: Target
    cookie: int
    idle_timeout: int
    hard_timeout: int
    flags: tuple[str, ...]
    limit: int
    renderer: Callable[[tuple[Operation, ...]], Renderer]

    def makes_like(self, other: LearnTemplate) -> bool:
        """Whether flows that this makes have the cookie, timeouts and flags of those of ``other``.

        So ``ofproto_flow_mod_init_for_learn`` tells a refresh from a change.
        """
        return (self.cookie, self.idle_timeout, self.hard_timeout, self.flags) == (
            *(other.cookie, other.idle_timeout, other.hard_timeout, other.flags),
        )

    def flow(
        self, operations: tuple[Operation, ...], key: Sequence[int], operands: Sequence[int]
    ) -> Flow:
        """The learned flow with this key (its words in the order of the target's columns)."""
        return Flow(
            self.matches((key,))[0],
            self.renderer(operations)(operands),
            self.target.priority,
            self.target.table,
            self.cookie,
            idle_timeout=self.idle_timeout,
            hard_timeout=self.hard_timeout,
            flags=self.flags,
        )

    def matches(self, keys: Sequence[Sequence[int]]) -> list[Match]:
        """What the flows with these keys match."""
        mask = self.target.mask
        return canonical_matches([_COLUMNS[column] for column in mask.columns], mask.masks, keys)


@dataclass(frozen=True)
class LearnEvents:
    """One execution of a learn operation: an event for each of ``packets``.

    ``keys`` has shape (words, events), ``operands`` (operands of all actions, events). Of two
    events of one packet that of lower ``order`` was first.
    """

    template: LearnTemplate
    shape: int
    packets: NDArray[np.int64]
    order: NDArray[np.int64]
    keys: NDArray[np.uint64]
    operands: Operands

    def shifted(self, first: int) -> LearnEvents:
        """The same, with packets counted from ``first``."""
        return replace(self, packets=self.packets + first)

    def of(self, events: NDArray[np.int64], packets: NDArray[np.int64]) -> LearnEvents:
        """Events that are those numbered ``events`` here, but of ``packets``."""
        return replace(
            self,
            packets=packets,
            order=self.order[events],
            keys=self.keys[:, events],
            operands=self.operands[:, events],
        )

    def flow_of(self, event: int) -> tuple[Target, bytes]:
        """Which flow an event makes: what no two flows have in common."""
        return self.template.target, self.keys[:, event].tobytes()

    def content_of(self, event: int) -> list[int]:
        """The shape and the operands of the flow that an event makes."""
        return [self.shape, *self.operands[:, event].tolist()]

    @staticmethod
    def joined(parts: Sequence[LearnEvents]) -> LearnEvents:
        """The events of all ``parts``, which have template and shape in common."""
        if len(parts) == 1:
            return parts[0]
        return LearnEvents(
            parts[0].template,
            parts[0].shape,
            np.concatenate([part.packets for part in parts]),
            np.concatenate([part.order for part in parts]),
            np.concatenate([part.keys for part in parts], axis=1),
            np.concatenate([part.operands for part in parts], axis=1),
        )


@dataclass(frozen=True)
class _InOrder:
    """The events for one target, sorted by key and, within a key, by the order they happened.

    ``contents`` says what each would have the flow do: the number of a shape, then operands.
    ``order`` is that of events of one packet; ``starts`` are the positions of each key's first
    event; ``differs`` marks those, and events with other contents than the one before.
    """

    target: Target
    packets: NDArray[np.int64]
    order: NDArray[np.int64]
    keys: NDArray[np.uint64]
    templates: NDArray[np.int64]
    contents: NDArray[np.uint64]
    starts: NDArray[np.int64]
    differs: NDArray[np.bool_]

    @property
    def ends(self) -> NDArray[np.int64]:
        """The positions of each key's last event."""
        return np.append(self.starts[1:], len(self.packets)) - 1


@dataclass(frozen=True)
class History:
    """Events in order, and what they come upon.

    ``existing`` is the rule that is there for each key already, or -1; ``changed`` marks events
    after which the rule's actions are not what they were before.
    """

    events: _InOrder
    existing: NDArray[np.int64]
    changed: NDArray[np.bool_]


@dataclass(frozen=True)
class Alterations:
    """Rules of one target that are new or act otherwise: their keys, and since which packet."""

    target: Target
    keys: NDArray[np.uint64]
    since: NDArray[np.int64]

    @cached_property
    def index(self) -> KeyIndex:
        """The keys, to be found by value."""
        index = KeyIndex(len(self.target.mask.columns), max(8, len(self.since)))
        index.add(self.keys)
        return index


def contested(histories: Sequence[History]) -> bool:
    """Whether some flow is taught different things by different events."""
    return any(int(h.events.differs.sum()) > len(h.events.starts) for h in histories)


def alterations(histories: Sequence[History]) -> list[Alterations]:
    """What in the tables a later packet would find different because of these events."""
    found = []
    for history in histories:
        altering = nonzero(history.changed)
        if not len(altering):
            continue
        of = history.events
        group = np.searchsorted(of.starts, altering, side="right") - 1
        first = np.ones(len(altering), bool)
        first[1:] = group[1:] != group[:-1]
        where = altering[first]
        found.append(Alterations(of.target, of.keys[:, where], of.packets[where]))
    return found


def apply(state: State, histories: Sequence[History], times: NDArray[np.int64]) -> None:
    """Do to the tables what events ask for; ``times`` (ns) has one entry a packet."""
    state.rules.own("modified")
    for history, learned in zip(histories, _new_rules(state, histories), strict=True):
        of = history.events
        last = of.ends
        rules = history.existing.copy()
        new = nonzero(rules < 0)
        if len(new):
            rules[new] = learned
            starts = of.starts[new]
            state.add_rules(of.target, learned, of.keys[:, starts], times[of.packets[starts]])
            _set_attributes(state, learned, of.templates[starts])
        state.rules.modified[rules] = times[of.packets[last]]
        key_of_event = np.repeat(np.arange(len(last)), last + 1 - of.starts)
        acts_otherwise = state.rules.template[rules] < 0
        acts_otherwise[key_of_event[history.changed]] = True
        rewrite = nonzero(acts_otherwise)
        _set_actions(state, rules[rewrite], of, last[rewrite])
        _set_cookies(state, rules, of.templates[last])
        state.note_deadlines(rules)


def refresh(state: State, refreshed: Sequence[Refreshed], times: NDArray[np.int64]) -> None:
    """Restart the hard timeouts of rules; ``times`` (ns) are those of each path's last packet."""
    state.rules.own("modified")
    for some in refreshed:
        np.maximum.at(state.rules.modified, some.rules, times[some.paths])


def _new_rules(state: State, histories: Sequence[History]) -> list[NDArray[np.int64]]:
    """Numbers for the rules that each history begins, in the order in which they begin.

    That order is the order of rules in a dump, and must not depend on what makes up a batch.
    """
    starts = [history.events.starts[history.existing < 0] for history in histories]
    packets = [h.events.packets[some] for h, some in zip(histories, starts, strict=True)]
    order = [h.events.order[some] for h, some in zip(histories, starts, strict=True)]
    sizes = np.cumsum([len(some) for some in starts])
    if not sizes.size or not sizes[-1]:
        return packets
    ranked = np.lexsort((np.concatenate(order), np.concatenate(packets)))
    numbers = np.empty(len(ranked), np.int64)
    numbers[ranked] = state.rules.append(len(ranked))
    return np.split(numbers, sizes[:-1])


def _set_attributes(state: State, rules: NDArray[np.int64], templates: NDArray[np.int64]) -> None:
    for number in distinct(templates):
        template = state.templates[number]
        mine = rules[templates == number]
        state.rules.idle_timeout[mine] = template.idle_timeout
        state.rules.hard_timeout[mine] = template.hard_timeout
        state.rules.cookie[mine] = template.cookie
        state.rules.made_by[mine] = number


def _set_cookies(state: State, rules: NDArray[np.int64], templates: NDArray[np.int64]) -> None:
    for number in distinct(templates):
        cookie = state.templates[number].cookie
        if cookie != KEEP_COOKIE:
            state.rules.own("cookie")
            state.rules.cookie[rules[templates == number]] = cookie


def _set_actions(
    state: State, rules: NDArray[np.int64], of: _InOrder, events: NDArray[np.int64]
) -> None:
    shapes = of.contents[0, events].astype(np.int64)
    for number in distinct(shapes):
        mine = shapes == number
        shape = state.learned_shape(number)
        rows = of.contents[1 : 1 + shape.n_operands, events[mine]]
        state.rules.own("shape", "row", "template")
        state.rules.shape[rules[mine]] = number
        state.rules.row[rules[mine]] = shape.append(rows)
        state.rules.template[rules[mine]] = of.templates[events[mine]]


def histories_of(state: State, events: Sequence[LearnEvents]) -> list[History]:
    """``events`` by target and key, in the order they happened, and what they come upon."""
    by_target: dict[Target, list[LearnEvents]] = {}
    for some in events:
        if len(some.packets):
            by_target.setdefault(some.template.target, []).append(some)
    return [_history(state, target, group) for target, group in by_target.items()]


def _history(state: State, target: Target, events: Sequence[LearnEvents]) -> History:
    """The events for ``target`` in order, and how they stand to the rules that are there."""
    in_order = _sorted(target, events)
    starts, contents = in_order.starts, in_order.contents
    existing = state.find_exactly(target, in_order.keys[:, starts])
    changed = in_order.differs.copy()
    there = nonzero(existing >= 0)
    changed[starts[there]] = ~state.acts_as(existing[there], contents[:, starts[there]])
    return History(in_order, existing, changed)


def _sorted(target: Target, events: Sequence[LearnEvents]) -> _InOrder:
    packets = np.concatenate([e.packets for e in events])
    keys = np.concatenate([e.keys for e in events], axis=1)
    templates = np.repeat([e.template.number for e in events], [len(e.packets) for e in events])
    n_rows = 1 + max(len(e.operands) for e in events)
    contents = np.zeros((n_rows, len(packets)), np.uint64)
    at = 0
    for e in events:
        contents[0, at : at + len(e.packets)] = e.shape
        contents[1 : 1 + len(e.operands), at : at + len(e.packets)] = e.operands
        at += len(e.packets)
    in_packet = np.concatenate([e.order for e in events])
    order, begins = bring_together(keys, packets * (in_packet.max() + 1) + in_packet)
    packets, keys, templates = packets[order], keys[:, order], templates[order]
    contents = contents[:, order]
    starts = nonzero(begins)
    differs = begins.copy()
    differs[1:] |= (contents[:, 1:] != contents[:, :-1]).any(axis=0)
    return _InOrder(target, packets, in_packet[order], keys, templates, contents, starts, differs)
