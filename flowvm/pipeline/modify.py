"""Flow mods: changing the tables of a running switch without compiling them anew.

A new flow becomes a rule beside those of the program, as learned ones do; a changed flow keeps its
rule and gets other actions. The facts are those of Open vSwitch 3.1 (``add_flow_start``,
``collect_rules_loose``, ``replace_rule_start`` in ofproto/ofproto.c), and of how the protocols say
these things (``ofputil_decode_flow_mod`` in lib/ofp-flow.c).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from flowvm.actions.base import Action, Operation, TableCall
from flowvm.actions.conjunction import Clause
from flowvm.actions.controller import Controller
from flowvm.actions.group import Group, ToGroup
from flowvm.actions.mod import WriteQuietly
from flowvm.actions.output import Emit, Enqueue, Output
from flowvm.actions.placing import bits_used
from flowvm.actions.set_field import MoveBits
from flowvm.actions.vlan import PopTag, PushTag, SetTag
from flowvm.actions.write import WriteBits, WriteMasked
from flowvm.columns import VLAN_CFI
from flowvm.fields import INNER_TCI, OUTER_TCI, PACKET_TYPE_BITS
from flowvm.flow import Flow, ReservedPort
from flowvm.flow_mod import Command, FlowMod
from flowvm.names import Names
from flowvm.on_the_wire import modern_actions, sent_match
from flowvm.pipeline.assemble import widened
from flowvm.pipeline.compile import all_actions, lower, mask_of_words, match_words
from flowvm.pipeline.edit import Edit
from flowvm.pipeline.learning import Target
from flowvm.pipeline.snapshot import flow_of
from flowvm.pipeline.state import State
from flowvm.pipeline.subtable import Mask
from flowvm.text.parse import FLAGS

Rules = NDArray[np.int64]

KEEP_COOKIE = (1 << 64) - 1
"""A new cookie that leaves the cookie of an existing flow alone (OVS_BE64_MAX)."""

_FLAT = (
    *(Emit, ToGroup, TableCall, WriteBits, WriteMasked, WriteQuietly),
    *(MoveBits, PopTag, PushTag, SetTag),
)
"""What most rules consist of: operations that hold no others, and if they output are an Emit."""


class FlowModError(ValueError):
    """A flow mod that the switch refuses, or that cannot be carried out here."""


@dataclass(frozen=True)
class Protocol:
    """What flow mods of one kind of OpenFlow mean, where they differ.

    ``modern`` is OpenFlow 1.2 and later: adding a flow that is there keeps its counters; modifying
    leaves cookies alone and adds nothing; without a table it concerns table 0 only. ``importance``
    tells whether flows are given one (OpenFlow 1.4).
    """

    modern: bool
    importance: bool


_PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        "OpenFlow10": Protocol(modern=False, importance=False),
        "OpenFlow12": Protocol(modern=True, importance=False),
        "OpenFlow13": Protocol(modern=True, importance=False),
        "OpenFlow14": Protocol(modern=True, importance=True),
        "OpenFlow15": Protocol(modern=True, importance=True),
    }
)


def protocol_of(openflow: str, bundle: bool = False) -> Protocol:
    """The protocol of that name; of a bundle at least OpenFlow 1.3. Raises ValueError."""
    if openflow not in _PROTOCOLS:
        raise ValueError(f"unknown protocol {openflow!r}: one of {', '.join(_PROTOCOLS)}")
    protocol = _PROTOCOLS[openflow]
    return _PROTOCOLS["OpenFlow14"] if bundle and not protocol.modern else protocol


@dataclass(frozen=True)
class _Wanted:
    """The match of a flow mod, as words."""

    mask: Mask
    key: tuple[int, ...]

    @property
    def column(self) -> NDArray[np.uint64]:
        """The key, shape (words, 1)."""
        return np.array(self.key, np.uint64)[:, None]


def apply_flow_mods(state: State, mods: Iterable[FlowMod], protocol: Protocol) -> None:
    """Carry out ``mods`` in order, at the state's own time.

    Raises FlowModError at the first that cannot be: those before it stand.
    """
    state.rules.own()
    clauses_change = False
    try:
        for mod in mods:
            modifier = _Modifier(state, mod, protocol)
            modifier.apply()
            clauses_change |= modifier.changes_clauses
    finally:
        if clauses_change:
            state.gather_conjunctions()


class _Modifier:
    """One flow mod on its way into a state.

    ``changes_clauses`` tells that a clause of a conjunctive match came or went.
    """

    def __init__(self, state: State, mod: FlowMod, protocol: Protocol) -> None:
        self._state = state
        self._protocol = protocol
        names = state.program.names
        tlv_map = names.tlv_map.extended(bits_used(mod.match, mod.actions))
        if tlv_map != names.tlv_map:
            names = replace(names, tlv_map=tlv_map)
            state.program = replace(state.program, names=names)
        try:
            mod = _as_sent(mod, names, modern=protocol.modern)
            words, missing = match_words(mod.match, names)
            self._lowered = lower(mod.actions, (), names)
            self._table = None if mod.table is None else names.table(mod.table)
            self._out_port = None if mod.out_port is None else names.port(mod.out_port)
        except KeyError as error:
            raise FlowModError(f"nothing is known of {error.args[0]!r}") from None
        if missing:
            raise FlowModError(f"matching {', '.join(missing)} is not supported")
        self._mod = mod
        mask = mask_of_words(words)
        if not words.get(PACKET_TYPE_BITS.column, (0, 0))[0]:
            mask = mask.with_ethernet_implied
        values = {int(column): value for column, (value, _) in words.items()}
        self._wanted = _Wanted(mask, tuple(values[column] for column in mask.columns))
        self.changes_clauses = False

    def apply(self) -> None:
        match self._mod.command:
            case Command.ADD:
                self._add(self._table or 0, self._mod.cookie or 0)
            case Command.MODIFY | Command.MODIFY_STRICT:
                self._modify()
            case Command.DELETE | Command.DELETE_STRICT:
                for rule in self._concerned(self._tables()).tolist():
                    if self._state.rules.alive[rule]:
                        self._state.remove(rule)

    # -- which flows ----------------------------------------------------------------------------

    def _tables(self) -> Sequence[int]:
        if self._table is not None:
            return (self._table,)
        learned = {target.table for target in self._state.learned}
        return sorted({*self._state.program.tables, *learned})

    def _concerned(self, tables: Sequence[int]) -> Rules:
        """The rules that the flow mod is about."""
        if self._mod.command.is_strict:
            rules = _joined(map(self._find_strictly, tables))
        elif not self._wanted.mask.columns:
            rules = self._find_all(tables)
        else:
            rules = _joined(map(self._find_loosely, tables))
        if self._mod.with_cookie is not None:
            value, mask = map(np.uint64, self._mod.with_cookie)
            rules = rules[(self._state.rules.cookie[rules] ^ value) & mask == 0]
        if self._out_port is not None and self._out_port != ReservedPort.NONE:
            rules = self._that_output(rules, self._out_port)
        if self._mod.out_group is not None:
            rules = self._of_group(rules, self._mod.out_group)
        return rules

    def _find_all(self, tables: Sequence[int]) -> Rules:
        """The rules of ``tables``, which are all tables or one, with the right cookie."""
        rules = self._state.rules
        fits = rules.alive.copy()
        if len(tables) == 1:
            fits &= rules.table == tables[0]
        if self._mod.with_cookie is not None:
            value, mask = map(np.uint64, self._mod.with_cookie)
            fits &= (rules.cookie ^ value) & mask == 0
        return np.flatnonzero(fits)

    def _find_strictly(self, table: int) -> Rules:
        target = Target(table, self._mod.priority, self._wanted.mask)
        found = self._state.find_exactly(target, self._wanted.column)
        return found[found >= 0]

    def _find_loosely(self, table: int) -> Rules:
        """The rules that match nothing that the flow mod does not match."""
        found = []
        wanted = dict(zip(self._wanted.mask.columns, self._wanted.mask.masks, strict=True))
        values = dict(zip(self._wanted.mask.columns, self._wanted.key, strict=True))
        rules = self._state.rules
        for subtable in self._state.subtables(table):
            places = {column: row for row, column in enumerate(subtable.mask.columns)}
            masks = dict(zip(subtable.mask.columns, subtable.mask.masks, strict=True))
            if any(bits & ~masks.get(column, 0) for column, bits in wanted.items()):
                continue
            fits = np.ones(len(subtable.index), np.bool_)
            for column, bits in wanted.items():
                word = subtable.index.keys[places[column]]
                fits &= word & np.uint64(bits) == np.uint64(values[column])
            some = subtable.heads[fits]
            while len(some):
                found.append(some[rules.alive[some]])
                some = rules.next_with_key[some]
                some = some[some >= 0]
        return np.sort(_joined(found))

    def _that_output(self, rules: Rules, port: int) -> Rules:
        """Those of ``rules`` that have an output action to ``port``."""
        names = self._state.program.names

        def outputs(action: Action) -> bool:
            if isinstance(action, Controller):
                return port == ReservedPort.CONTROLLER
            return isinstance(action, Output | Enqueue) and names.port(action.port) == port

        return self._with_action(rules, outputs, Emit, port)

    def _of_group(self, rules: Rules, group: int) -> Rules:
        """Those of ``rules`` that have an action for ``group``."""

        def uses(action: Action) -> bool:
            return isinstance(action, Group) and action.group_id == group

        return self._with_action(rules, uses, ToGroup, group)

    def _with_action(
        self,
        rules: Rules,
        test: Callable[[Action], bool],
        operation: type[Operation],
        operand: int,
    ) -> Rules:
        """Those of ``rules`` an action of which, at any depth, passes ``test``.

        An action that becomes an ``operation`` of that type passes if ``operand`` is its first.
        """
        state = self._state
        numbers = state.rules.shape[rules]
        kept = np.zeros(len(rules), np.bool_)
        for number in np.unique(numbers).tolist():
            mine = np.flatnonzero(numbers == number)
            shape = state.shapes[number]
            if all(type(one) in _FLAT for one in shape.operations):
                rows = state.rules.row[rules[mine]]
                for one, operands in zip(shape.operations, shape.operands, strict=True):
                    if type(one) is operation:
                        kept[mine] |= operands[0][rows] == np.uint64(operand)
                continue
            for place in mine.tolist():
                flow = flow_of(state, int(rules[place]))
                kept[place] = any(map(test, all_actions(flow.actions)))
        return rules[kept]

    # -- what happens to them -------------------------------------------------------------------

    def _add(self, table: int, cookie: int) -> None:
        state, mod, wanted = self._state, self._mod, self._wanted
        target = Target(table, mod.priority, wanted.mask)
        rule = int(state.find_exactly(target, wanted.column)[0])
        flow = Flow(
            mod.match,
            mod.actions,
            mod.priority,
            table,
            idle_timeout=mod.idle_timeout,
            hard_timeout=mod.hard_timeout,
            importance=mod.importance if self._protocol.importance else 0,
            flags=self._flags(),
        )
        times = np.array([state.now])
        if rule < 0:
            if "check_overlap" in mod.flags and self._overlaps(target):
                raise FlowModError(f"the flow overlaps with another: {flow}")
            (rule,) = state.rules.append(1).tolist()
            state.add_rules(target, np.array([rule]), wanted.column, times)
            state.rules.cookie[rule] = cookie
        else:
            state.rules.created[rule] = state.now
            if cookie != KEEP_COOKIE:
                state.rules.cookie[rule] = cookie
        state.rules.idle_timeout[rule] = mod.idle_timeout
        state.rules.hard_timeout[rule] = mod.hard_timeout
        self._rewrite(np.array([rule]), Edit(mod.actions, flow))

    def _flags(self) -> tuple[str, ...]:
        """The flags that a new flow gets: those of the message, and what the protocol implies."""
        kept = set(self._mod.flags)
        if self._resets and self._mod.command is Command.ADD:
            kept.add("reset_counts")
        return tuple(flag for flag in FLAGS if flag in kept)

    @property
    def _resets(self) -> bool:
        """Whether counters of a flow that is there begin anew."""
        adds_anew = self._mod.command is Command.ADD and not self._protocol.modern
        return adds_anew or "reset_counts" in self._mod.flags

    def _overlaps(self, target: Target) -> bool:
        """Whether some flow of this priority can match a packet that ``target``'s does."""
        state = self._state
        wanted = dict(zip(target.mask.columns, target.mask.masks, strict=True))
        values = dict(zip(target.mask.columns, self._wanted.key, strict=True))
        for subtable in state.subtables(target.table):
            fits = np.ones(len(subtable.index), np.bool_)
            both = zip(subtable.mask.columns, subtable.mask.masks, strict=True)
            for row, (column, bits) in enumerate(both):
                common = np.uint64(bits & wanted.get(column, 0))
                word = subtable.index.keys[row]
                fits &= (word ^ np.uint64(values.get(column, 0))) & common == 0
            some = subtable.heads[fits]
            while len(some):
                there = state.rules.alive[some] & (state.rules.priority[some] == target.priority)
                if there.any():
                    return True
                some = state.rules.next_with_key[some]
                some = some[some >= 0]
        return False

    def _modify(self) -> None:
        mod, protocol = self._mod, self._protocol
        tables = (self._table or 0,) if protocol.modern else self._tables()
        rules = self._concerned(tables)
        by_cookie = mod.with_cookie is not None and mod.with_cookie[1] != 0
        cookie = KEEP_COOKIE if mod.cookie is None else mod.cookie
        if cookie == KEEP_COOKIE and not by_cookie:
            cookie = 0
        if not len(rules):
            # Only OpenFlow 1.0 and 1.1 say "add it if it is not there".
            if not protocol.modern and not by_cookie:
                self._add(self._table or 0, cookie)
            return
        if not protocol.modern and cookie != KEEP_COOKIE:
            self._state.rules.cookie[rules] = cookie
        self._rewrite(rules, Edit(mod.actions))

    def _rewrite(self, rules: Rules, edit: Edit) -> None:
        """Let ``rules`` do what the flow mod says, from now on."""
        state, lowered = self._state, self._lowered
        operations = tuple(step.operation for step in lowered)
        state.program = widened(state.program, self._wanted.mask, operations)
        before = np.unique(state.rules.shape[rules]).tolist()
        widths = tuple(len(step.operands) for step in lowered)
        number = state.shape_of(operations, widths)
        operands = [operand for step in lowered for operand in step.operands]
        row = state.learned_shape(number).append(np.array(operands, np.uint64)[:, None])
        state.rules.shape[rules] = number
        state.rules.row[rules] = row
        state.rules.template[rules] = -1
        state.rules.modified[rules] = state.now
        if self._resets:
            state.rules.n_packets[rules] = 0
            state.rules.n_bytes[rules] = 0
        for rule in rules.tolist():
            known = state.edits.get(rule)
            flow = edit.flow or (known.flow if known is not None else None)
            state.edits[rule] = edit if flow is None else Edit(edit.actions, flow)
        state.note_deadlines(rules)
        for shape in (*before, number):
            self.changes_clauses |= any(map(_is_clause, state.shapes[shape].operations))
        for shape in before:
            state.release(state.shapes[shape].operations)


def _as_sent(mod: FlowMod, names: Names, *, modern: bool) -> FlowMod:
    match = sent_match(mod.match, modern=modern)
    if not modern:
        return replace(mod, match=match)
    words = match_words(match, names)[0]
    tags = sum(
        bool(words.get(tci.column, (0, 0))[0] >> tci.shift & VLAN_CFI)
        for tci in (OUTER_TCI, INNER_TCI)
    )
    return replace(mod, match=match, actions=modern_actions(mod.actions, tags))


def _is_clause(operation: Operation) -> bool:
    return isinstance(operation, Clause)


def _joined(parts: Iterable[Rules]) -> Rules:
    return np.concatenate([np.zeros(0, np.int64), *parts])
