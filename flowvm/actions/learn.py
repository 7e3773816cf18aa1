"""``learn``: a flow that adds flows.

Semantics: ovs-actions(7), "learn".
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from flowvm.actions.base import Action, Lowered, Resolver, Subfield, Unsupported
from flowvm.actions.learning import LearnFlow, Source
from flowvm.columns import FRAG_ANY, FRAG_LATER
from flowvm.fields import Format
from flowvm.flow import DEFAULT_PRIORITY, Table
from flowvm.port_numbers import openflow11
from flowvm.text.errors import WordError, suggestion
from flowvm.text.tree import Item
from flowvm.text.values import (
    TABLE_NONE,
    TUN_FLAGS_PUBLIC,
    format_hex,
    format_table,
    format_value,
    parse_number,
    parse_subfield,
    parse_table,
    parse_value,
)

DEFAULT_TABLE = 1


@dataclass(frozen=True)
class MatchField:
    """``DESTINATION[=SOURCE]``: the learned flow matches what the packet holds in ``source``."""

    destination: Subfield
    source: Subfield

    def __str__(self) -> str:
        same = (self.source.field, self.source.start) == (
            self.destination.field,
            self.destination.start,
        )
        return str(self.destination) if same else f"{self.destination}={self.source}"


@dataclass(frozen=True)
class MatchValue:
    """``FIELD=VALUE`` or ``SUBFIELD=VALUE``: the learned flow matches that value.

    ``value`` is a ``str`` only for a port given by name.
    """

    destination: Subfield
    value: int | str

    def __str__(self) -> str:
        row, spelling = self.destination.field, self.destination.spelling
        if str(self.destination) != f"{spelling}[]":
            assert isinstance(self.value, int)
            return f"{self.destination}={format_hex(self.value)}"
        if spelling.upper() in (row.nxm, row.oxm):
            # ovs-ofctl keeps these names for subfields, and for fields taken from the packet.
            spelling = row.name
        return f"{spelling}={format_value(row, self.value, row.full_mask)}"


@dataclass(frozen=True)
class LoadField:
    """``load:SOURCE->DESTINATION``: the learned flow loads what the packet holds in ``source``."""

    source: Subfield
    destination: Subfield

    def __str__(self) -> str:
        return f"load:{self.source}->{self.destination}"


@dataclass(frozen=True)
class LoadValue:
    """``load:VALUE->DESTINATION``: the learned flow loads that value."""

    value: int
    destination: Subfield

    def __str__(self) -> str:
        return f"load:{format_hex(self.value)}->{self.destination}"


@dataclass(frozen=True)
class OutputField:
    """``output:SOURCE``: the learned flow outputs to the port that ``source`` holds."""

    source: Subfield

    def __str__(self) -> str:
        return f"output:{self.source}"


LearnSpec = MatchField | MatchValue | LoadField | LoadValue | OutputField


@dataclass(frozen=True)
class Learn(Action):
    """``learn(ARGUMENT,...)``; timeouts and ``limit`` of 0 mean none."""

    table: Table = DEFAULT_TABLE
    idle_timeout: int = 0
    hard_timeout: int = 0
    fin_idle_timeout: int = 0
    fin_hard_timeout: int = 0
    priority: int = DEFAULT_PRIORITY
    send_flow_rem: bool = False
    delete_learned: bool = False
    cookie: int = 0
    limit: int = 0
    result_dst: Subfield | None = None
    specs: tuple[LearnSpec, ...] = ()

    def __str__(self) -> str:
        return self._text

    @cached_property
    def _text(self) -> str:
        parts = [f"table={format_table(self.table)}"]
        for name in _TIMEOUTS:
            seconds = getattr(self, name)
            if seconds:
                parts.append(f"{name}={seconds}")
        if self.priority != DEFAULT_PRIORITY:
            parts.append(f"priority={self.priority}")
        if self.send_flow_rem:
            parts.append("send_flow_rem")
        if self.delete_learned:
            parts.append("delete_learned")
        if self.cookie:
            parts.append(f"cookie={format_hex(self.cookie)}")
        if self.limit:
            parts.append(f"limit={self.limit}")
        if self.result_dst is not None:
            parts.append(f"result_dst={self.result_dst}")
        return f"learn({','.join([*parts, *map(str, self.specs)])})"

    def lower(self, resolver: Resolver) -> Lowered:
        matches: list[tuple[Subfield, Source]] = []
        actions: list[tuple[Subfield | None, Source]] = []
        for spec in self.specs:
            match spec:
                case MatchField(destination, source):
                    matches.append((destination, Source(source)))
                case MatchValue(destination, value):
                    number = resolver.port(value) if isinstance(value, str) else value
                    if destination.field.is_wide_port:
                        number = openflow11(number)
                    matches.append((destination, Source(value=number)))
                case LoadField(source, destination):
                    actions.append((destination, Source(source)))
                case LoadValue(value, destination):
                    actions.append((destination, Source(value=value)))
                case OutputField(source):
                    actions.append((None, Source(source)))
        for destination, _ in matches:
            if destination.field.presence is not None:
                # Open vSwitch 3.1 puts what such a flow matches elsewhere than packets have it,
                # by how many bytes the value takes (tun_metadata_set_match without a map).
                return Lowered(Unsupported(f"learn of a match on {destination.field.name}"))
        used = [s for pair in (*matches, *actions) for s in (pair[0], pair[1].subfield)]
        if any(subfield is not None and subfield.field.bits is None for subfield in used):
            return super().lower(resolver)
        return Lowered(
            LearnFlow(
                resolver.table(self.table),
                self.priority,
                self.cookie,
                self.idle_timeout,
                self.hard_timeout,
                (self.fin_idle_timeout, self.fin_hard_timeout),
                ("send_flow_rem",) if self.send_flow_rem else (),
                self.delete_learned,
                self.limit,
                self.result_dst,
                tuple(matches),
                tuple(actions),
            )
        )


_TIMEOUTS = ("idle_timeout", "hard_timeout", "fin_idle_timeout", "fin_hard_timeout")
_NUMBERS = dict.fromkeys((*_TIMEOUTS, "priority"), 16) | {"cookie": 64, "limit": 32}
_FLAGS = ("send_flow_rem", "delete_learned")


def make_learn(item: Item) -> Learn:
    changes: dict[str, object] = {}
    specs: list[LearnSpec] = []
    for part in item.parts():
        name = part.key
        if name in _NUMBERS:
            changes[name] = parse_number(part.argument("a number"), _NUMBERS[name])
        elif name in _FLAGS:
            changes[name] = True
        elif name == "table":
            word = part.argument("a table")
            table = parse_table(word)
            if table == TABLE_NONE:
                raise WordError(word, "learn cannot add to table 255", "a table from 0 to 254")
            changes[name] = table
        elif name == "result_dst":
            changes[name] = _result_destination(part.argument("a bit of a field"))
        else:
            specs.append(make_spec(part))
    return Learn(specs=tuple(specs), **changes)  # type: ignore[arg-type]


def _result_destination(word: str) -> Subfield:
    subfield = parse_subfield(word)
    if not subfield.field.writable:
        raise WordError(word, f"{subfield.spelling} is read-only", "a field that can be written")
    if subfield.width != 1:
        raise WordError(word, "result_dst must be a single bit", "FIELD[bit]")
    return subfield


def make_spec(item: Item) -> LearnSpec:
    """One of learn's match, ``load`` and ``output`` arguments."""
    if item.key == "output":
        return OutputField(parse_subfield(item.argument("a field")))
    if item.key == "load":
        return _make_load(item)
    try:
        destination = parse_subfield(item.key)
    except WordError as error:
        known = (*_NUMBERS, *_FLAGS, "table", "result_dst", "load", "output")
        hint = suggestion(item.key, known)
        if hint and "[" not in item.key:
            problem = f'unknown keyword "{item.key}" in learn{hint}'
            raise WordError(item.key, problem, error.expected) from None
        raise
    if not item.value:
        return MatchField(destination, destination)
    try:
        source = parse_subfield(item.value)
    except WordError as not_a_field:
        return MatchValue(destination, _immediate(destination, item.value, not_a_field))
    _same_width(item.value, source, destination)
    return MatchField(destination, source)


def _immediate(destination: Subfield, word: str, not_a_field: WordError) -> int | str:
    row = destination.field
    if destination.width < row.width:
        if not word[:1].isdigit():
            raise not_a_field
        return parse_number(word, destination.width)
    value, mask = parse_value(row, word)
    # A kind of fragment is told by two bits (ovs-fields(7), "ip_frag").
    wholes = {Format.FRAG: FRAG_ANY | FRAG_LATER, Format.TUN_FLAGS: TUN_FLAGS_PUBLIC}
    whole = wholes.get(row.format, row.full_mask)
    if mask != whole:
        raise WordError(word, "a mask is not allowed here", f"a value for {row.name}")
    return value


def _make_load(item: Item) -> LoadField | LoadValue:
    word = item.argument("a number or a field")
    target = item.destination()
    destination = parse_subfield(target)
    if not destination.field.writable:
        raise WordError(
            target, f"{destination.spelling} is read-only", "a field that can be written"
        )
    if word[:1].isdigit():
        return LoadValue(parse_number(word, destination.width), destination)
    source = parse_subfield(word)
    _same_width(target, source, destination)
    return LoadField(source, destination)


def _same_width(word: str, source: Subfield, destination: Subfield) -> None:
    if source.width != destination.width:
        raise WordError(
            word, f"{source} has {source.width} bits, but {destination} has {destination.width}"
        )
