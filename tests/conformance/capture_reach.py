"""Which rules of a dump some packet may reach, as far as working through the tables decides it.

What is known of packets that come to a table are bits: a *cube* of values and of which bits they
are known in, every column of a packet in one long number. A table is worked through for each cube
that is sent there. So rules are left out that surely no packet hits: nothing leads to their table
but what contradicts them, or what all hits rules of higher priority. Of the rest some may still be
out of reach.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

from flowvm.actions.base import Action, Subfield, Unsupported
from flowvm.actions.conjunction import Conjunction
from flowvm.actions.ct import Ct, CtClear
from flowvm.actions.placing import placed
from flowvm.actions.resubmit import GotoTable, Resubmit
from flowvm.actions.set_field import Load, Move, SetField
from flowvm.columns import VLAN_CFI, VLAN_PCP_MASK, VLAN_VID_MASK, Column
from flowvm.fields import OUTER_TCI, Field, field
from flowvm.flow import Flow
from flowvm.names import Names
from flowvm.pipeline.compile import all_actions, match_words

_WORD = 64
_ALL = (1 << _WORD) - 1
_MOST_CUBES = 150  # of a table; beyond, what all have in common stands for them

_FEW_TABLES = 3  # of a resubmit, to be worked through for what comes after it


def _bits(words: Iterable[tuple[int, int]]) -> int:
    return reduce(lambda bits, word: bits | word[1] << _WORD * word[0], words, 0)


_TRACKED = _bits((c, _ALL) for c in Column if c.name.startswith("CT"))
_CARRIED_ON = _bits((c, _ALL) for c in Column if c.name.startswith(("CT_MARK", "CT_LABEL")))
_ZERO = _TRACKED | _bits((c, _ALL) for c in Column if c.name.startswith(("METADATA", "XREG")))
_TRANSLATED = _bits((c, _ALL) for c in Column if c.name.startswith(("IPV4", "IPV6", "TP")))

_ZONE, _MARK, _STATE = field("ct_zone"), field("ct_mark"), field("ct_state")
_NEW, _EST, _REL, _RPL, _INV, _TRK = (1 << bit for bit in range(6))
_TAG = _bits(OUTER_TCI.words(VLAN_VID_MASK | VLAN_PCP_MASK))
_TAGGED = _bits(OUTER_TCI.words(VLAN_CFI))
_TOLD = _NEW | _EST | _REL | _RPL | _INV | _TRK
_STATES = tuple(_TRK | state for state in (_NEW, _EST, _EST | _RPL, _REL, _REL | _RPL, _INV))
"""What a packet that has been tracked may be, without helpers of protocols (ALGs)."""


@dataclass(frozen=True)
class _Cube:
    """Packets whose bits in ``known`` are as in ``value``, whose other bits are 0."""

    value: int
    known: int

    def meets(self, other: _Cube) -> bool:
        return not (self.value ^ other.value) & self.known & other.known

    def within(self, other: _Cube) -> bool:
        """Whether all these are among ``other``."""
        return not other.known & ~self.known and self.meets(other)

    def also(self, other: _Cube) -> _Cube:
        return _Cube(self.value | other.value, self.known | other.known)

    def common(self, other: _Cube) -> _Cube:
        """What is known of both."""
        known = self.known & other.known & ~(self.value ^ other.value)
        return _Cube(self.value & known, known)

    def forgetting(self, bits: int) -> _Cube:
        return _Cube(self.value & ~bits, self.known & ~bits)

    def with_bits(self, value: int, known: int, among: int) -> _Cube:
        """These, with the bits ``among`` written: with ``value`` where ``known``."""
        return _Cube(self.value & ~among | value & known, self.known & ~among | known & among)


def reachable_rules(flows: Sequence[Flow], names: Names) -> frozenset[int]:
    """The numbers of those of ``flows`` that packets may hit which flowvm executes to their end.

    A clause of a conjunction is none of them: what is hit is the flow with its ``conj_id``. Nor is
    a flow with an action that is not supported, or one that only packets come to that hit such.
    """
    return frozenset(_Reach(flows, names).found)


@dataclass(frozen=True)
class _Rule:
    number: int
    flow: Flow
    match: _Cube


class _Reach:
    def __init__(self, flows: Sequence[Flow], names: Names) -> None:
        self._names = names
        flows = [flow.replace(actions=placed(flow.actions, names.tlv_map)) for flow in flows]
        self.found: set[int] = set()
        self._tables: dict[int, list[_Rule]] = {}
        for number, flow in enumerate(flows):
            if any(isinstance(action, Conjunction) for action in flow.actions):
                continue
            words = match_words(flow.match, names)[0]
            match = _Cube(
                _bits((column, value) for column, (value, _) in words.items()),
                _bits((column, mask) for column, (_, mask) in words.items()),
            )
            if match.value & _TAG:
                match = match.also(_Cube(_TAGGED, _TAGGED))
            table = names.table(flow.table or 0)
            self._tables.setdefault(table, []).append(_Rule(number, flow, match))
        for rules in self._tables.values():
            rules.sort(key=lambda rule: -rule.flow.priority)
        self._unsupported = {
            number
            for number, flow in enumerate(flows)
            for action in all_actions(flow.actions)
            if isinstance(action.lower(names).operation, Unsupported)
        }
        self._leads_to: dict[int, frozenset[int]] = {}
        self._written_by: dict[frozenset[int], int] = {}
        self._marks = self._marks_set(flows)
        self._seen: dict[int, list[_Cube]] = {}
        self._waiting = [(0, _Cube(0, _ZERO))]
        while self._waiting:
            self._visit(*self._waiting.pop())

    def _visit(self, table: int, cube: _Cube) -> None:
        seen = self._seen.setdefault(table, [])
        if any(cube.within(other) for other in seen):
            return
        if len(seen) >= _MOST_CUBES:
            cube = reduce(_Cube.common, seen, cube)
            seen.clear()
        seen.append(cube)
        for rule, part in self._parts(table, cube):
            if rule.number in self._unsupported:
                continue
            self.found.add(rule.number)
            self._act(rule.flow.actions, table, part)

    def _parts(self, table: int, cube: _Cube) -> Iterator[tuple[_Rule, _Cube]]:
        """The rules of ``table`` that some packets of ``cube`` may hit, and which do."""
        above: list[_Rule] = []
        for rule in self._tables.get(table, ()):
            if not rule.match.meets(cube):
                continue
            part = cube.also(rule.match)
            higher = (other for other in above if other.flow.priority > rule.flow.priority)
            if not any(part.within(other.match) for other in higher):
                yield rule, part
            above.append(rule)

    def _act(self, actions: Iterable[Action], table: int, cube: _Cube) -> list[_Cube]:
        """Send packets on to tables as ``actions`` do; returns those that are left at the end."""
        cubes = [cube]
        for action in actions:
            cubes = [left for cube in cubes for left in self._act_once(action, table, cube)]
            if len(cubes) > _MOST_CUBES:
                cubes = [reduce(_Cube.common, cubes)]
        return cubes

    def _act_once(self, action: Action, table: int, cube: _Cube) -> list[_Cube]:
        if isinstance(action, Load):
            at = action.destination
            return [self._written(cube, at, action.value, (1 << at.width) - 1)]
        if isinstance(action, SetField) and isinstance(action.value, int):
            mask = action.field.full_mask if action.mask is None else action.mask
            among, value = _spread(action.field, mask), _spread(action.field, action.value)
            return [cube.with_bits(value, among, among)]
        if isinstance(action, Move):
            return [self._written(cube, action.destination, *_read(cube, action.source))]
        if isinstance(action, GotoTable):
            self._waiting.append((self._names.table(action.table), cube))
            return [cube]
        if isinstance(action, Resubmit):
            to = table if action.table is None else self._names.table(action.table)
            sent = cube
            if action.in_port is not None:
                sent = cube.forgetting(_ALL << _WORD * Column.IN_PORT)
            self._waiting.append((to, sent))
            return self._returning(to, cube, sent)
        if isinstance(action, Ct):
            if action.table is not None:
                to = self._names.table(action.table)
                self._waiting += [(to, sent) for sent in self._tracked(cube, action)]
            return [cube.forgetting(_TRACKED)]
        if isinstance(action, CtClear):
            return [cube.with_bits(0, _TRACKED, _TRACKED)]
        if inner := getattr(action, "actions", ()):
            self._act(inner, table, cube)
            return [cube.forgetting(self._writes_of(inner))]
        return [cube.forgetting(self._writes_of([action]))]

    def _returning(self, table: int, cube: _Cube, sent: _Cube) -> list[_Cube]:
        """What may come back from ``table``, where ``sent`` has gone instead of ``cube``."""
        tables = self._led_to(table)
        if len(tables) > _FEW_TABLES or cube != sent:
            return [cube.forgetting(self._written_in(tables))]
        found = [] if any(sent.within(r.match) for r in self._tables.get(table, ())) else [sent]
        for rule, part in self._parts(table, sent):
            if rule.number in self._unsupported:
                continue
            found += self._act(rule.flow.actions, table, part)
        return found

    def _tracked(self, cube: _Cube, ct: Ct) -> Iterator[_Cube]:
        """What ``ct`` may make of packets: one cube for each state and mark of a connection."""
        sent = cube.forgetting(_TRACKED | (_TRANSLATED if ct.nat is not None else 0))
        sent = sent.with_bits(0, _CARRIED_ON & ~self._marks, _CARRIED_ON)
        zone = (ct.zone, 0xFFFF) if isinstance(ct.zone, int) else _read(cube, ct.zone)
        among = _spread(_ZONE, 0xFFFF)
        sent = sent.with_bits(_spread(_ZONE, zone[0]), _spread(_ZONE, zone[1]), among)
        among = _spread(_STATE, _TOLD)
        marks = self._marks & _spread(_MARK, _MARK.full_mask)
        few = marks.bit_count() <= 1
        for state in _STATES:
            known = sent.with_bits(_spread(_STATE, state), among, among)
            if few:
                for mark in {0, marks}:
                    yield known.with_bits(mark, marks, marks)
            else:
                yield known

    @staticmethod
    def _written(cube: _Cube, at: Subfield, value: int, known: int) -> _Cube:
        row = at.field
        among = _spread(row, (1 << at.width) - 1 << at.start)
        return cube.with_bits(
            _spread(row, value << at.start), _spread(row, known << at.start), among
        )

    def _writes_of(self, actions: Iterable[Action]) -> int:
        written = 0
        for action in all_actions(actions):
            operation = action.lower(self._names).operation
            written |= _bits(operation.writes.items())
            if isinstance(action, Ct | CtClear):
                written |= _TRACKED
        return written

    def _led_to(self, table: int) -> frozenset[int]:
        """``table`` and the tables that it leads to."""
        if table not in self._leads_to:
            todo, done = {table}, set[int]()
            while todo:
                done.add(now := todo.pop())
                for rule in self._tables.get(now, ()):
                    for action in all_actions(rule.flow.actions):
                        if isinstance(action, Resubmit | GotoTable) and action.table is not None:
                            todo |= {self._names.table(action.table)} - done
            self._leads_to[table] = frozenset(done)
        return self._leads_to[table]

    def _written_in(self, tables: frozenset[int]) -> int:
        """The bits that some rule of ``tables`` may write."""
        if tables not in self._written_by:
            rules = (rule for table in tables for rule in self._tables.get(table, ()))
            written = (self._writes_of(rule.flow.actions) for rule in rules)
            self._written_by[tables] = reduce(int.__or__, written, 0)
        return self._written_by[tables]

    def _marks_set(self, flows: Iterable[Flow]) -> int:
        """The bits of marks and labels that some connection may have."""
        marks = 0
        for flow in flows:
            for action in all_actions(flow.actions):
                if isinstance(action, Load):
                    marks |= _spread(
                        action.destination.field, action.value << action.destination.start
                    )
                elif isinstance(action, SetField) and isinstance(action.value, int):
                    marks |= _spread(action.field, action.value)
                elif not isinstance(action, Ct | CtClear) and not hasattr(action, "actions"):
                    marks |= self._writes_of([action])
        return marks & _CARRIED_ON


def _spread(row: Field, value: int) -> int:
    """The bits of a field's value where they are in a cube; 0 for a field without columns."""
    if row.bits is None:
        return 0
    value &= row.full_mask
    if row.presence is not None:
        return _bits(row.bits.words(value))
    return _bits((column, word) for column, word, _ in row.match_words(value, value))


def _read(cube: _Cube, source: Subfield) -> tuple[int, int]:
    """The value of ``source``, and which of its bits are known."""
    value = known = 0
    for bit in range(source.width):
        place = _spread(source.field, 1 << source.start + bit)
        value |= (cube.value & place != 0) << bit
        known |= (cube.known & place != 0) << bit
    return value, known
