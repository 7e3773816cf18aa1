"""What changes while a program runs: learned rules, timers, counters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flowvm.arrays import all_of, any_of, distinct, nonzero
from flowvm.clock import NEVER, SECOND
from flowvm.conntrack.fragments import FragmentStore
from flowvm.conntrack.table import ConnectionTable
from flowvm.pipeline.bits import Columns
from flowvm.pipeline.conjunction import Conjunctions, find_rules
from flowvm.pipeline.edit import Edit
from flowvm.pipeline.emission import PacketInOptions
from flowvm.pipeline.group_stats import GroupCounters
from flowvm.pipeline.learned import LearnedShape, LearnedSubtable
from flowvm.pipeline.learning import LearnTemplate, Target
from flowvm.pipeline.mac_table import Keys, MacTable
from flowvm.pipeline.metering import MeterTable
from flowvm.pipeline.prerequisites import is_ethernet
from flowvm.pipeline.program import Program, Shape, Subtable
from flowvm.pipeline.recirculation import DatapathStep, Frozen, Numbered
from flowvm.pipeline.rules import RuleColumns
from flowvm.pipeline.subtable import NO_ENTRY, Mask

if TYPE_CHECKING:
    from flowvm.actions.base import Operation
    from flowvm.actions.learning import LearnFlow


class State:
    """The mutable side of a switch. It can be copied; a copy goes its own way."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.now = 0
        self.rules = RuleColumns.of(program.rules, program.statistics)
        self.shapes: list[Shape | LearnedShape] = list(program.shapes)
        self.templates: list[LearnTemplate] = []
        self.learned: dict[Target, LearnedSubtable] = {}
        self._template_of: dict[LearnFlow, LearnTemplate] = {}
        self._learned_shapes: dict[tuple[Operation, ...], int] = {}
        self.n_removed = 0
        self._n_owning = 0, 0
        self.groups = GroupCounters.of(program.groups) if program.groups else None
        self.meters = None if program.meters is None else MeterTable.of(program.meters)
        self.macs = None if program.bridge is None else MacTable.of(program.bridge)
        self.edits: dict[int, Edit] = {}
        self.connections = ConnectionTable()
        self.fragments = FragmentStore()
        self.frozen: Numbered[Frozen] = Numbered()
        self.steps: Numbered[DatapathStep] = Numbered()
        self.packet_ins: Numbered[PacketInOptions] = Numbered()
        self.contexts: Numbered[bytes] = Numbered()
        self._subtables: dict[int, tuple[Subtable | LearnedSubtable, ...]] = {}
        self._conjunctions: Conjunctions | None = None
        self._any_dead = False
        self._deadline = int(self.rules.deadlines().min(initial=NEVER))

    def copy(self) -> State:
        """A state of its own, equal to this one now."""
        twin = State.__new__(State)
        twin.program = self.program
        twin.now = self.now
        twin.rules = self.rules.copy()
        n = len(self.program.shapes)
        twin.shapes = [*self.shapes[:n]]
        twin.shapes += [s.copy() for s in self.shapes[n:] if isinstance(s, LearnedShape)]
        twin.templates = list(self.templates)
        twin.learned = {target: subtable.copy() for target, subtable in self.learned.items()}
        twin._template_of = dict(self._template_of)
        twin._learned_shapes = dict(self._learned_shapes)
        twin.n_removed = self.n_removed
        twin._n_owning = self._n_owning
        twin.groups = self.groups.copy() if self.groups else None
        twin.meters = None if self.meters is None else self.meters.copy()
        twin.macs = None if self.macs is None else self.macs.copy()
        twin.edits = dict(self.edits)
        twin.connections = self.connections.copy()
        twin.fragments = self.fragments.copy()
        # What numbers stand for never changes.
        twin.frozen = self.frozen
        twin.steps = self.steps
        twin.packet_ins = self.packet_ins
        twin.contexts = self.contexts
        twin._subtables = {}
        twin._conjunctions = self._conjunctions
        twin._any_dead = self._any_dead
        twin._deadline = self._deadline
        return twin

    # -- conjunctive matches --------------------------------------------------------------------

    @property
    def conjunctions(self) -> Conjunctions:
        """The rules that are clauses: those of the program, unless others have been gathered."""
        return self.program.conjunctions if self._conjunctions is None else self._conjunctions

    def gather_conjunctions(self) -> None:
        """Find out which rules are clauses now."""
        self._conjunctions = Conjunctions.of(self.shapes, self.rules)

    # -- lookup ---------------------------------------------------------------------------------

    def subtables(self, table: int) -> tuple[Subtable | LearnedSubtable, ...]:
        """The subtables of ``table``, those with rules of high priority first."""
        found = self._subtables.get(table)
        if found is None:
            learned = [s for target, s in self.learned.items() if target.table == table]
            found = self.program.by_priority(table)
            if learned:
                found = tuple(sorted([*found, *learned], key=lambda s: -s.max_priority))
            self._subtables[table] = found
        return found

    def lookup(self, table: int, columns: Columns, packets: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rule of highest priority that each packet matches in ``table``, or -1."""
        if table in self.conjunctions.tables:
            return find_rules(self, table, columns, packets)
        best = np.full(len(packets), NO_ENTRY, np.int64)
        best_priority = np.full(len(packets), -1, np.int32)
        alone = len(self.subtables(table)) == 1
        for which, found in self.candidates(table, columns, packets, best_priority):
            if alone:
                return found
            priority = np.where(found >= 0, self.rules.priority[found], np.int32(-1))
            better = priority > best_priority[which]
            best[which] = np.where(better, found, best[which])
            best_priority[which] = np.where(better, priority, best_priority[which])
        return best

    def candidates(
        self,
        table: int,
        columns: Columns,
        packets: NDArray[np.int64],
        best_priority: NDArray[np.int32],
    ) -> Iterator[tuple[NDArray[np.int64] | slice, NDArray[np.int64]]]:
        """By subtable, those of highest priority first: the rule that packets match there, or -1.

        Yields which of ``packets`` can do better there than ``best_priority``, to be kept up to
        date by the caller, and the rule of each.
        """
        ethernet = is_ethernet(columns, packets)
        bare = None if all_of(ethernet) else ~ethernet
        undecided: NDArray[np.int64] | slice = slice(None)
        some = packets
        for subtable in self.subtables(table):
            if not len(subtable.heads):
                continue
            if any_of(best_priority >= 0):
                undecided = nonzero(best_priority < subtable.max_priority)
                some = packets[undecided]
                if not len(some):
                    break
            keys = masked_keys(columns, subtable.mask, some)
            numbers = subtable.index.find(keys)
            found = np.where(numbers >= 0, subtable.heads[numbers], NO_ENTRY)
            if bare is not None and subtable.mask.implies_ethernet:
                found[bare[undecided]] = NO_ENTRY
            yield undecided, self.skip_dead(found)

    def skip_dead(self, rules: NDArray[np.int64]) -> NDArray[np.int64]:
        """For each rule the first of its chain that is still there, or -1."""
        if not self._any_dead:
            return rules
        rules = rules.copy()
        while True:
            dead = nonzero(rules >= 0)
            dead = dead[~self.rules.alive[rules[dead]]]
            if not len(dead):
                return rules
            rules[dead] = self.rules.next_with_key[rules[dead]]

    def find_exactly(self, target: Target, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The rules with just this table, mask and priority, and these keys; -1 where none."""
        found = np.full(keys.shape[1], NO_ENTRY, np.int64)
        for subtable in self.subtables(target.table):
            if subtable.mask != target.mask or not len(subtable.heads):
                continue
            numbers = subtable.index.find(keys)
            rules = self.skip_dead(np.where(numbers >= 0, subtable.heads[numbers], NO_ENTRY))
            while True:
                lower = (rules >= 0) & (self.rules.priority[rules] != target.priority)
                if not any_of(lower):
                    break
                following = self.rules.next_with_key[rules[lower]]
                rules[lower] = self.skip_dead(following)
            found = np.where(rules >= 0, rules, found)
        return found

    # -- learned rules --------------------------------------------------------------------------

    def learned_subtable(self, target: Target) -> LearnedSubtable:
        """Where rules of ``target`` are kept, made if need be."""
        if target not in self.learned:
            self.learned[target] = LearnedSubtable(target)
            self._subtables.pop(target.table, None)
        return self.learned[target]

    def add_rules(
        self,
        target: Target,
        numbers: NDArray[np.int64],
        keys: NDArray[np.uint64],
        times: NDArray[np.int64],
    ) -> None:
        """Let the new rules ``numbers`` be those of distinct ``keys``, created at ``times``."""
        self.rules.own()
        self.rules.table[numbers] = target.table
        self.rules.priority[numbers] = target.priority
        self.rules.is_table_miss[numbers] = target.priority == 0 and not target.mask.columns
        for name in ("created", "modified", "used"):
            getattr(self.rules, name)[numbers] = times
        self.learned_subtable(target).put(keys, numbers)

    def template(self, operation: LearnFlow) -> LearnTemplate:
        """What flows learned by ``operation`` have in common, worked out once."""
        template = self._template_of.get(operation)
        if template is None:
            template = operation.template(len(self.templates))
            self.templates.append(template)
            self._template_of[operation] = template
        return template

    def shape_of(self, operations: tuple[Operation, ...], widths: tuple[int, ...]) -> int:
        """The number of the shape of learned rules with these operations."""
        number = self._learned_shapes.get(operations)
        if number is None:
            number = len(self.shapes)
            self.shapes.append(LearnedShape(operations, widths))
            self._learned_shapes[operations] = number
        return number

    def has_room(self, template: LearnTemplate, more: int) -> bool:
        """Whether ``limit`` lets one flow be learned where there are so many ``more`` than here."""
        rules = self.rules
        same = rules.alive & (rules.table == template.target.table)
        same &= rules.cookie == np.uint64(template.cookie)
        return int(same.sum()) + more < template.limit

    def is_as_taught(self, rule: int, template: LearnTemplate, content: NDArray[np.uint64]) -> bool:
        """Whether ``rule`` is what ``template`` would make of it; ``content`` as in ``acts_as``.

        So ``ofproto_flow_mod_init_for_learn`` tells a refresh from a change.
        """
        one = np.array([rule])
        return (
            int(self.rules.cookie[rule]) == template.cookie
            and bool(self.has_attributes(one, template)[0])
            and bool(self.acts_as(one, content)[0])
        )

    def has_attributes(
        self, rules: NDArray[np.int64], template: LearnTemplate
    ) -> NDArray[np.bool_]:
        """Whether each rule has timeouts, flags and importance as if ``template`` had made it."""
        same: NDArray[np.bool_] = self.rules.idle_timeout[rules] == template.idle_timeout
        same &= self.rules.hard_timeout[rules] == template.hard_timeout
        wanted = set(template.flags), 0
        for position in nonzero(same).tolist():
            rule = int(rules[position])
            maker = int(self.rules.made_by[rule])
            flow = self.program.flows[rule] if maker < 0 else None
            flags = self.templates[maker].flags if flow is None else flow.flags
            same[position] = (set(flags), flow.importance if flow else 0) == wanted
        return same

    def learned_shape(self, number: int) -> LearnedShape:
        """The shape of that number, which must be one of a learn template."""
        shape = self.shapes[number]
        assert isinstance(shape, LearnedShape)
        return shape

    def acts_as(self, rules: NDArray[np.int64], contents: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Whether the actions of each rule are those that ``contents`` describe.

        ``contents`` has shape (1 + operands, rules): the number of a learned shape, then its
        operands, zero where it has fewer.
        """
        same = np.zeros(len(rules), bool)
        numbers = self.rules.shape[rules]
        for number in distinct(numbers):
            mine = nonzero(numbers == number)
            have = self.shapes[number]
            rows = self.rules.row[rules[mine]]
            operands = np.concatenate([o[:, rows] for o in have.operands] or [contents[:0, mine]])
            wanted = contents[:, mine]
            for other in distinct(wanted[0]):
                if self.shapes[other].operations == have.operations:
                    equal = wanted[0] == other
                    equal &= (wanted[1 : 1 + len(operands)] == operands).all(axis=0)
                    same[mine[equal]] = True
        return same

    def note_deadlines(self, rules: NDArray[np.int64]) -> None:
        """Take into account that ``rules`` may expire now sooner than all others."""
        self._deadline = min(self._deadline, int(self.rules.deadlines(rules).min(initial=NEVER)))

    # -- time -----------------------------------------------------------------------------------

    @property
    def deadline(self) -> int:
        """No rule expires while the clock is not past this (it can be earlier than need be)."""
        return self._deadline

    def advance(self, now: int) -> NDArray[np.int64]:
        """Move the clock to ``now``; rules whose time is over go. Returns those that went.

        They go when it moves: what shortens timeouts does not take away flows of the same instant.
        """
        if now <= self.now or now <= self._deadline:
            self.now = max(self.now, now)
            return np.zeros(0, np.int64)
        self.now = now
        over = nonzero(self.rules.deadlines() < self.now)
        if self.owns_learned:
            gone: list[int] = []
            for rule in over.tolist():
                if self.rules.alive[rule]:
                    gone += self.remove(rule)
            over = np.array(gone, np.int64)
        elif len(over):
            self.rules.own("alive")
            self.rules.alive[over] = False
            self._any_dead = True
            self.n_removed += len(over)
        self._deadline = int(self.rules.deadlines().min(initial=NEVER))
        return over

    def expire_macs(self) -> Keys:
        """Let go the MAC addresses whose time is over; returns their keys."""
        return np.zeros(0, np.uint64) if self.macs is None else self.macs.expire(self.now // SECOND)

    def remove(self, rule: int) -> list[int]:
        """Take ``rule`` out of its table, and what it learned with ``delete_learned``.

        Returns all that went.
        """
        self.rules.own("alive")
        self.rules.alive[rule] = False
        self._any_dead = True
        self.n_removed += 1
        return [rule, *self.release(self.shapes[self.rules.shape[rule]].operations)]

    def release(self, operations: Iterable[Operation]) -> list[int]:
        """Take out what was learned with ``delete_learned`` by ``operations``, if none is left.

        Returns all that went.
        """
        gone: list[int] = []
        for operation in operations:
            for victim in self._only_learned_by(operation):
                gone += self.remove(victim)
        return gone

    @property
    def owns_learned(self) -> bool:
        """Whether the end of some flow takes learned ones along (``delete_learned``)."""
        if self._n_owning[0] != len(self.shapes):
            owning = sum(o.owns is not None for shape in self.shapes for o in shape.operations)
            self._n_owning = len(self.shapes), owning
        return self._n_owning[1] > 0

    def _only_learned_by(self, operation: Operation) -> Iterator[int]:
        """Flows that were learned with ``delete_learned`` by ``operation`` and by no other now."""
        owned = operation.owns
        if owned is None:
            return
        rules = self.rules
        owners = {
            number
            for number, shape in enumerate(self.shapes)
            if any(o.owns == owned for o in shape.operations)
        }
        if any_of(np.isin(rules.shape[rules.alive], list(owners))):
            return
        table, cookie = owned
        victims = rules.alive & (rules.table == table) & (rules.cookie == np.uint64(cookie))
        yield from nonzero(victims).tolist()


def masked_keys(columns: Columns, mask: Mask, packets: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The columns that ``mask`` selects, under it, of ``packets``: shape (columns, packets)."""
    keys = np.empty((len(mask.columns), len(packets)), np.uint64)
    for i, (column, bits) in enumerate(zip(mask.columns, mask.masks, strict=True)):
        np.bitwise_and(columns[column][packets], np.uint64(bits), out=keys[i])
    return keys
