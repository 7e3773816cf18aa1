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
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flowvm.columns import Column
from flowvm.flow import Flow
from flowvm.pipeline.subtable import KeyIndex, Mask
from flowvm.text.canonical import canonical_match

if TYPE_CHECKING:
    from flowvm.actions.base import Action, Operands, Operation
    from flowvm.pipeline.state import State

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
    can have; ``render`` turns the operands of one into actions.
    """

    number: int
    target: Target
    cookie: int
    idle_timeout: int
    hard_timeout: int
    flags: tuple[str, ...]
    limit: int
    render: Callable[[tuple[Operation, ...], Sequence[int]], tuple[Action, ...]]

    def flow(
        self, operations: tuple[Operation, ...], key: Sequence[int], operands: Sequence[int]
    ) -> Flow:
        """The learned flow with this key (its words in the order of the target's columns)."""
        mask = self.target.mask
        words = {
            Column(column): (value, bits)
            for column, value, bits in zip(mask.columns, key, mask.masks, strict=True)
        }
        return Flow(
            canonical_match(words),
            self.render(operations, operands),
            self.target.priority,
            self.target.table,
            self.cookie,
            idle_timeout=self.idle_timeout,
            hard_timeout=self.hard_timeout,
            flags=self.flags,
        )


@dataclass(frozen=True)
class LearnEvents:
    """One execution of a learn operation: an event for each of ``packets``.

    ``keys`` has shape (words, events), ``operands`` (operands of all actions, events).
    """

    template: LearnTemplate
    shape: int
    packets: NDArray[np.int64]
    keys: NDArray[np.uint64]
    operands: Operands

    def before(self, packet: int) -> LearnEvents:
        """Those of packets before ``packet``."""
        some = self.packets < packet
        if some.all():
            return self
        return LearnEvents(
            self.template,
            self.shape,
            self.packets[some],
            self.keys[:, some],
            self.operands[:, some],
        )


@dataclass(frozen=True)
class _History:
    """The events for one target, sorted by key and, within a key, by the order they happened.

    ``starts`` are the positions of each key's first event; ``existing`` the rule that is there for
    each key already, or -1; ``changed`` marks events after which the rule's actions are not what
    they were before.
    """

    target: Target
    packets: NDArray[np.int64]
    keys: NDArray[np.uint64]
    templates: NDArray[np.int64]
    contents: NDArray[np.uint64]
    starts: NDArray[np.int64]
    existing: NDArray[np.int64]
    changed: NDArray[np.bool_]

    @property
    def ends(self) -> NDArray[np.int64]:
        """The positions of each key's last event."""
        return np.append(self.starts[1:], len(self.packets)) - 1


@dataclass(frozen=True)
class Alterations:
    """Rules of one target that are new or act otherwise: their keys, and since which packet."""

    target: Target
    keys: NDArray[np.uint64]
    since: NDArray[np.int64]

    def index(self) -> KeyIndex:
        index = KeyIndex(len(self.target.mask.columns), max(8, len(self.since)))
        index.add(self.keys)
        return index


def alterations(state: State, events: Sequence[LearnEvents]) -> list[Alterations]:
    """What in the tables a later packet would find different because of ``events``."""
    found = []
    for history in _histories(state, events):
        altering = np.flatnonzero(history.changed)
        if not len(altering):
            continue
        group = np.searchsorted(history.starts, altering, side="right") - 1
        first = np.ones(len(altering), bool)
        first[1:] = group[1:] != group[:-1]
        where = altering[first]
        found.append(Alterations(history.target, history.keys[:, where], history.packets[where]))
    return found


def apply(state: State, events: Sequence[LearnEvents], times: NDArray[np.int64]) -> list[int]:
    """Do to the tables what ``events`` ask for; ``times`` (ns) has one entry a packet.

    Returns the rules that were made or whose actions changed, for a report to name.
    """
    altered: list[int] = []
    for history in _histories(state, events):
        last = history.ends
        rules = history.existing.copy()
        new = np.flatnonzero(rules < 0)
        if len(new):
            starts = history.starts[new]
            rules[new] = state.add_rules(
                history.target, history.keys[:, starts], times[history.packets[starts]]
            )
            _set_attributes(state, rules[new], history.templates[starts])
        state.rules.modified[rules] = times[history.packets[last]]
        group = np.repeat(
            np.arange(len(last)), np.diff(np.append(history.starts, len(history.packets)))
        )
        differs = np.zeros(len(last), bool)
        differs[group[history.changed]] = True
        unowned = state.rules.template[rules] < 0
        rewrite = np.flatnonzero(differs | unowned)
        _set_actions(state, rules[rewrite], history, last[rewrite])
        _set_cookies(state, rules, history.templates[last])
        state.note_deadlines(rules)
        altered += rules[differs].tolist()
    return altered


def _set_attributes(state: State, rules: NDArray[np.int64], templates: NDArray[np.int64]) -> None:
    for number in np.unique(templates).tolist():
        template = state.templates[number]
        mine = rules[templates == number]
        state.rules.idle_timeout[mine] = template.idle_timeout
        state.rules.hard_timeout[mine] = template.hard_timeout
        state.rules.cookie[mine] = template.cookie
        state.rules.made_by[mine] = number


def _set_cookies(state: State, rules: NDArray[np.int64], templates: NDArray[np.int64]) -> None:
    for number in np.unique(templates).tolist():
        cookie = state.templates[number].cookie
        if cookie != KEEP_COOKIE:
            state.rules.cookie[rules[templates == number]] = cookie


def _set_actions(
    state: State, rules: NDArray[np.int64], history: _History, events: NDArray[np.int64]
) -> None:
    shapes = history.contents[0, events].astype(np.int64)
    for number in np.unique(shapes).tolist():
        mine = shapes == number
        shape = state.learned_shape(number)
        rows = history.contents[1 : 1 + shape.n_operands, events[mine]]
        state.rules.shape[rules[mine]] = number
        state.rules.row[rules[mine]] = shape.append(rows)
        state.rules.template[rules[mine]] = history.templates[events[mine]]


def _histories(state: State, events: Sequence[LearnEvents]) -> list[_History]:
    by_target: dict[Target, list[LearnEvents]] = {}
    for some in events:
        if len(some.packets):
            by_target.setdefault(some.template.target, []).append(some)
    return [_history(state, target, group) for target, group in by_target.items()]


def _history(state: State, target: Target, events: Sequence[LearnEvents]) -> _History:
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

    # The sort is stable: of one packet, what it learned first stays first.
    order = np.lexsort((packets, *keys[::-1]))
    packets, keys, templates = packets[order], keys[:, order], templates[order]
    contents = contents[:, order]
    begins = np.ones(len(packets), bool)
    begins[1:] = (keys[:, 1:] != keys[:, :-1]).any(axis=0)
    starts = np.flatnonzero(begins)
    existing = state.find_exactly(target, keys[:, starts])

    changed = np.zeros(len(packets), bool)
    changed[1:] = (contents[:, 1:] != contents[:, :-1]).any(axis=0)
    changed[starts] = True
    there = np.flatnonzero(existing >= 0)
    changed[starts[there]] = ~state.acts_as(existing[there], contents[:, starts[there]])
    return _History(target, packets, keys, templates, contents, starts, existing, changed)
