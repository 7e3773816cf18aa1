"""Conjunctive matches: rules that are clauses, of which one of every kind has to match.

Semantics: ovs-fields(7), "Conjunctive Match Fields"; ``classifier_lookup__`` in lib/classifier.c. A
clause is a *soft* match: it counts only once its conjunction is complete, and then the packet is
looked up again, with the conjunction's number in ``conj_id``, among the other rules. Of the
clauses of one subtable a packet meets one at most, so a lookup costs what the clauses that this
packet meets cost, however many there are in the table.

Where two conjunctions of one priority are complete at once, Open vSwitch takes the one that its
order of subtables completes first; here, subtables of one priority are in the order of the dump.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flowvm.actions.conjunction import Clause
from flowvm.columns import Column
from flowvm.pipeline.ragged import ranges

if TYPE_CHECKING:
    from flowvm.pipeline.bits import Columns
    from flowvm.pipeline.learned import LearnedShape
    from flowvm.pipeline.program import Rules, Shape
    from flowvm.pipeline.rules import RuleColumns
    from flowvm.pipeline.state import State

_CONJ_ID = np.uint64(0xFFFF_FFFF)
_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, eq=False)
class Conjunctions:
    """The clauses of the rules of a program, or of a state that flow mods have changed.

    ``shapes`` says of each shape whether rules of it are clauses, ``tables`` is where they are.
    The entries of rule ``r`` are ``starts[r]`` to ``starts[r + 1]`` of the other arrays: the number
    of a conjunction, which of its clauses this is (from 0), and how many it has.
    """

    tables: frozenset[int]
    shapes: NDArray[np.bool_]
    starts: NDArray[np.int64]
    ids: NDArray[np.uint64]
    clauses: NDArray[np.int64]
    n_clauses: NDArray[np.int64]

    @classmethod
    def of(cls, shapes: Sequence[Shape | LearnedShape], rules: Rules | RuleColumns) -> Conjunctions:
        """Gather the clauses among ``rules`` of these ``shapes``."""
        positions = [
            [i for i, operation in enumerate(shape.operations) if isinstance(operation, Clause)]
            for shape in shapes
        ]
        per_rule = np.array([len(some) for some in positions], np.int64)[rules.shape]
        starts = np.zeros(len(per_rule) + 1, np.int64)
        np.cumsum(per_rule, out=starts[1:])
        total = int(starts[-1])
        found = cls(
            frozenset(np.unique(rules.table[per_rule > 0]).tolist()),
            np.array([bool(some) for some in positions], np.bool_),
            starts,
            np.zeros(total, np.uint64),
            np.zeros(total, np.int64),
            np.zeros(total, np.int64),
        )
        if total:
            found._fill(shapes, rules, positions)
        return found

    def _fill(
        self,
        shapes: Sequence[Shape | LearnedShape],
        rules: Rules | RuleColumns,
        positions: list[list[int]],
    ) -> None:
        by_shape = np.argsort(rules.shape, kind="stable")
        ends = np.cumsum(np.bincount(rules.shape, minlength=len(positions)))
        for number, (shape, some) in enumerate(zip(shapes, positions, strict=True)):
            if not some:
                continue
            mine = by_shape[ends[number - 1] if number else 0 : ends[number]]
            rows = rules.row[mine]
            for offset, position in enumerate(some):
                clause = shape.operations[position]
                assert isinstance(clause, Clause)
                entries = self.starts[mine] + offset
                self.ids[entries] = shape.operands[position][0, rows]
                self.clauses[entries] = clause.k - 1
                self.n_clauses[entries] = clause.n


@dataclass(frozen=True, eq=False)
class _Soft:
    """Clauses that packets meet: owner (which packet), rule, and place in the owner's list."""

    owner: NDArray[np.int64]
    rule: NDArray[np.int64]
    order: NDArray[np.int64]

    def where(self, chosen: NDArray[np.bool_]) -> _Soft:
        return _Soft(self.owner[chosen], self.rule[chosen], self.order[chosen])

    def keep(self, kept: NDArray[np.bool_], n: int) -> _Soft:
        """Those of ``kept``, with the last ones moved to where others are taken out.

        That is how OVS does it, and the order decides which of several conjunctions is complete
        first.
        """
        left = np.bincount(self.owner[kept], minlength=n)[self.owner]
        holes = np.flatnonzero(~kept & (self.order < left))
        movers = np.flatnonzero(kept & (self.order >= left))
        holes = holes[np.lexsort((self.order[holes], self.owner[holes]))]
        movers = movers[np.lexsort((-self.order[movers], self.owner[movers]))]
        order = self.order.copy()
        order[movers] = self.order[holes]
        return _Soft(self.owner[kept], self.rule[kept], order[kept])


def find_rules(
    state: State, table: int, columns: Columns, packets: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The rule that each packet matches in ``table``, which has clauses, or -1."""
    n, rules = len(packets), state.rules
    found, soft = _sweep(state, table, columns, packets)
    best = np.where(found >= 0, rules.priority[found], -1)
    while True:
        stands = (soft.rule >= 0) & (rules.priority[soft.rule] > best[soft.owner])
        soft = soft.keep(stands, n)
        if not len(soft.owner):
            return found
        highest = np.full(n, -1, np.int32)
        np.maximum.at(highest, soft.owner, rules.priority[soft.rule])
        at_top = rules.priority[soft.rule] == highest[soft.owner]
        matched = _complete(state, table, columns, packets, soft.where(at_top))
        through = matched >= 0
        found[through] = matched[through]
        going_on = ~through[soft.owner]
        soft, at_top = soft.where(going_on), at_top[going_on]
        # Behind a clause that came to nothing there may be a rule with the same match.
        behind = state.skip_dead(np.where(at_top, rules.next_with_key[soft.rule], soft.rule))
        hard = ~is_clause(state, behind)
        soft = _Soft(soft.owner, np.where(hard, -1, behind), soft.order)
        there = np.flatnonzero(hard & (behind >= 0))
        for i in there[np.argsort(soft.order[there], kind="stable")].tolist():
            owner = soft.owner[i]
            if rules.priority[behind[i]] > best[owner]:
                found[owner], best[owner] = behind[i], rules.priority[behind[i]]


def is_clause(state: State, rules: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of ``rules`` (-1 for none) are clauses; a rule learned over one is none any more."""
    known = state.conjunctions.shapes
    shapes = state.rules.shape[rules]
    clause = known[np.minimum(shapes, len(known) - 1)]
    return np.asarray(clause & (shapes < len(known)) & (rules >= 0), bool)


def _sweep(
    state: State, table: int, columns: Columns, packets: NDArray[np.int64]
) -> tuple[NDArray[np.int64], _Soft]:
    """The best rule that is no clause for each packet (-1: none), and the clauses it meets."""
    n = len(packets)
    best = np.full(n, -1, np.int64)
    best_priority = np.full(n, -1, np.int32)
    everyone = np.arange(n)
    owners, clauses, orders = [everyone[:0]], [everyone[:0]], [everyone[:0]]
    n_met = np.zeros(n, np.int64)
    for which, found in state.candidates(table, columns, packets, best_priority):
        owner = everyone[which]
        priority = np.where(found >= 0, state.rules.priority[found], np.int32(-1))
        higher = priority > best_priority[owner]
        clause = is_clause(state, found)
        soft, better = higher & clause, higher & ~clause
        best[owner[better]] = found[better]
        best_priority[owner[better]] = priority[better]
        if soft.any():
            owners.append(owner[soft])
            clauses.append(found[soft])
            orders.append(n_met[owners[-1]])
            n_met[owners[-1]] += 1
    return best, _Soft(np.concatenate(owners), np.concatenate(clauses), np.concatenate(orders))


def _complete(
    state: State, table: int, columns: Columns, packets: NDArray[np.int64], soft: _Soft
) -> NDArray[np.int64]:
    """What packets match by the clauses ``soft``, all of one priority a packet; -1 for nothing."""
    n = len(packets)
    found = np.full(n, -1, np.int64)
    events = _Events.of(state.conjunctions, soft, n)
    while len(events.owner):
        completing = events.completing(n)
        owners = np.flatnonzero(completing >= 0)
        if not len(owners):
            break
        matched = _look_up_again(
            state, table, columns, packets[owners], events.id[completing[owners]]
        )
        found[owners] = matched
        # What such a clause says besides is not looked at, and those before it are done with.
        events = events.after(completing, found < 0)
    return found


def _look_up_again(
    state: State,
    table: int,
    columns: Columns,
    packets: NDArray[np.int64],
    conj_ids: NDArray[np.uint64],
) -> NDArray[np.int64]:
    """The best rule that is no clause for packets with these conjunctions; -1 for a miss."""
    changed = list(columns)
    column = columns[Column.PACKET_TYPE].copy()
    column[packets] = (column[packets] & ~_CONJ_ID) | conj_ids
    changed[Column.PACKET_TYPE] = column
    return _sweep(state, table, changed, packets)[0]


@dataclass(frozen=True, eq=False)
class _Events:
    """Clauses of conjunctions in the order in which packets meet them, by owner.

    ``order`` counts the rules that a packet meets; a rule's entries follow one another. ``done`` is
    up to which order an owner's events are over: they count, but complete nothing.
    """

    owner: NDArray[np.int64]
    order: NDArray[np.int64]
    id: NDArray[np.uint64]
    clause: NDArray[np.int64]
    n_clauses: NDArray[np.int64]
    done: NDArray[np.int64]

    @classmethod
    def of(cls, conjunctions: Conjunctions, soft: _Soft, n: int) -> _Events:
        """The clauses of ``soft``, without those of conjunctions that cannot be complete."""
        in_order = np.lexsort((soft.order, soft.owner))
        rule, owner = soft.rule[in_order], soft.owner[in_order]
        counts = conjunctions.starts[rule + 1] - conjunctions.starts[rule]
        entries = ranges(conjunctions.starts[rule], counts)
        owner = np.repeat(owner, counts)
        order = np.repeat(soft.order[in_order], counts)
        met = np.bincount(soft.owner, minlength=n)
        possible = conjunctions.n_clauses[entries] <= met[owner]
        entries = entries[possible]
        return cls(
            owner[possible],
            order[possible],
            conjunctions.ids[entries],
            conjunctions.clauses[entries],
            conjunctions.n_clauses[entries],
            np.full(n, -1, np.int64),
        )

    def completing(self, n: int) -> NDArray[np.int64]:
        """For each owner the first event at which a conjunction is complete, or -1."""
        full_at = self._full_at()
        when = np.arange(len(self.owner))
        full = np.flatnonzero((when >= full_at) & (self.order > self.done[self.owner]))
        first = np.full(n, -1, np.int64)
        # Events are in order, so that the first of each owner is the last to be written backwards.
        first[self.owner[full[::-1]]] = full[::-1]
        return first

    def _full_at(self) -> NDArray[np.int64]:
        """For each event, when the conjunction it is of is complete for its owner."""
        when = np.arange(len(self.owner))
        by_clause = np.lexsort((when, self.clause, self.id, self.owner))
        owner, number = self.owner[by_clause], self.id[by_clause]
        clause = self.clause[by_clause]
        new_group = np.ones(len(when), np.bool_)
        new_group[1:] = (owner[1:] != owner[:-1]) | (number[1:] != number[:-1])
        new_clause = new_group.copy()
        new_clause[1:] |= clause[1:] != clause[:-1]
        group = np.cumsum(new_group) - 1
        # How many clauses there are is what the first event of a conjunction says.
        begins = np.flatnonzero(new_group)
        earliest = np.minimum.reduceat(by_clause, begins)
        size = self.n_clauses[earliest]
        counts = new_clause & (clause < size[group])
        n_met = np.add.reduceat(counts.astype(np.int64), begins)
        latest = np.maximum.reduceat(np.where(counts, by_clause, -1), begins)
        full = np.empty(len(when), np.int64)
        full[by_clause] = np.where(n_met == size, latest, _NEVER)[group]
        return full

    def after(self, completing: NDArray[np.int64], unmatched: NDArray[np.bool_]) -> _Events:
        """What is left for owners whose completed conjunction led to no rule."""
        again = unmatched & (completing >= 0)
        orders = np.full(len(completing), -1, np.int64)
        orders[again] = self.order[completing[again]]
        when = np.arange(len(self.owner))
        same_rule = self.order == orders[self.owner]
        left = again[self.owner] & ~(same_rule & (when > completing[self.owner]))
        return _Events(
            self.owner[left],
            self.order[left],
            self.id[left],
            self.clause[left],
            self.n_clauses[left],
            orders,
        )
