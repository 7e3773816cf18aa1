"""Flows as they stand in a dump: frozen, hashable, and without any I/O.

A :class:`Flow` keeps what the text said, spelling included (``dl_vlan`` or ``vlan_tci``, ``tcp`` or
``dl_type=0x0800``), so that formatting a parsed line gives the line back. What a match *means* is
one thing however it is spelled: its words, see :meth:`Match.words`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

from flowvm.columns import Column
from flowvm.fields import SHORTHANDS, Field
from flowvm.fields import field as field_named
from flowvm.tlv_map import NO_TLV_MAP, TlvMap

if TYPE_CHECKING:
    from flowvm.actions.base import Action

DEFAULT_PRIORITY = 32768

Port = int | str
"""An OpenFlow port: its number, or the name a ``--names`` dump gives it."""

Table = int | str
"""A table: its number, or the name a ``--names`` dump gives it."""


class ReservedPort:
    """The reserved OpenFlow port numbers (ovs-ofctl(8), "Port Syntax")."""

    MAX = 0xFF00
    UNSET = 0xFFF7
    IN_PORT = 0xFFF8
    TABLE = 0xFFF9
    NORMAL = 0xFFFA
    FLOOD = 0xFFFB
    ALL = 0xFFFC
    CONTROLLER = 0xFFFD
    LOCAL = 0xFFFE
    NONE = 0xFFFF

    NAMES: Mapping[int, str] = MappingProxyType(
        {
            UNSET: "UNSET",
            IN_PORT: "IN_PORT",
            TABLE: "TABLE",
            NORMAL: "NORMAL",
            FLOOD: "FLOOD",
            ALL: "ALL",
            CONTROLLER: "CONTROLLER",
            LOCAL: "LOCAL",
            NONE: "ANY",
        }
    )
    NUMBERS: Mapping[str, int] = MappingProxyType(
        {name: number for number, name in NAMES.items()} | {"NONE": NONE}
    )


@dataclass(frozen=True, slots=True)
class FieldMatch:
    """One ``field=value/mask`` of a match; ``spelling`` is the name the text used.

    ``value`` is a ``str`` only for a port given by name.
    """

    field: Field
    value: int | str
    mask: int
    spelling: str

    @classmethod
    def exact(cls, name: str, value: int | str) -> FieldMatch:
        """A match on the whole field spelled ``name``."""
        row = field_named(name)
        return cls(row, value, row.full_mask, name)

    def constraints(self) -> Iterator[tuple[Field, int | str, int]]:
        yield self.field, self.value, self.mask


@dataclass(frozen=True, slots=True)
class ProtocolMatch:
    """A protocol word of a match, such as ``tcp6`` (ovs-ofctl(8), "Flow Syntax")."""

    spelling: str

    def constraints(self) -> Iterator[tuple[Field, int | str, int]]:
        for name, value in SHORTHANDS[self.spelling]:
            row = field_named(name)
            yield row, value, row.full_mask


MatchTerm = FieldMatch | ProtocolMatch


@dataclass(frozen=True, slots=True)
class Match:
    """A match: its terms in the order of the text."""

    terms: tuple[MatchTerm, ...] = ()

    def constraints(self) -> Iterator[tuple[Field, int | str, int]]:
        """Every (field, value, mask) the match demands, protocol words spelled out."""
        for term in self.terms:
            yield from term.constraints()

    def words(
        self, ports: Mapping[str, int], tlv_map: TlvMap = NO_TLV_MAP
    ) -> Mapping[Column, tuple[int, int]]:
        """What the match compares: column -> (value, mask); columns not compared are absent.

        ``ports`` resolves port names; KeyError for a name it lacks. ``tlv_map`` gives tunnel
        options their places; ValueError for one that has none.
        """
        words: dict[Column, tuple[int, int]] = {}
        for row, value, mask in self.constraints():
            number = ports[value] if isinstance(value, str) else value
            found = row.match_words if row.bits is not None else partial(tlv_map.words, row)
            for column, v, m in found(number, mask):
                old_value, old_mask = words.get(column, (0, 0))
                if m:
                    words[column] = (old_value & ~m | v, old_mask | m)
        return words

    def __str__(self) -> str:
        from flowvm.text.format import format_match

        return format_match(self)


@dataclass(frozen=True, slots=True)
class Flow:
    """One flow entry. What a dump did not print is ``None``.

    ``duration`` is in seconds and keeps the digits of the text; ``idle_age`` and ``hard_age`` are
    whole seconds; timeouts are seconds, 0 for none (ovs-ofctl(8), "dump-flows").
    """

    match: Match = field(default_factory=Match)
    actions: tuple[Action, ...] = ()
    priority: int = DEFAULT_PRIORITY
    table: Table | None = None
    cookie: int | None = None
    duration: Decimal | None = None
    n_packets: int | None = None
    n_bytes: int | None = None
    idle_timeout: int = 0
    hard_timeout: int = 0
    importance: int = 0
    flags: tuple[str, ...] = ()
    idle_age: int | None = None
    hard_age: int | None = None

    def replace(self, **changes: object) -> Flow:
        """A copy with some attributes changed."""
        return replace(self, **changes)  # type: ignore[arg-type]

    def __str__(self) -> str:
        from flowvm.text.format import format_flow

        return format_flow(self)
