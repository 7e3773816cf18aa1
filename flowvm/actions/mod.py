"""OpenFlow 1.0's writes of single header fields: ``mod_dl_src`` to ``mod_tp_dst``.

Semantics: ovs-actions(7), "mod_dl_src" to "mod_tp_src".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from flowvm.actions.base import Action, ColumnBits, Kept, Lowered, Operands, Packets, Resolver
from flowvm.actions.write import WriteBits
from flowvm.fields import Field, Prerequisite, field
from flowvm.pipeline.prerequisites import (
    FRAG_LATER_BITS,
    is_ip,
    is_later_fragment,
    needs,
    union,
)
from flowvm.text.errors import WordError
from flowvm.text.tree import Item
from flowvm.text.values import format_value, number_limit, parse_value

if TYPE_CHECKING:
    from flowvm.pipeline.engine import Run

FIELDS: Mapping[str, Field] = MappingProxyType(
    {
        "mod_dl_src": field("eth_src"),
        "mod_dl_dst": field("eth_dst"),
        "mod_nw_src": field("ip_src"),
        "mod_nw_dst": field("ip_dst"),
        "mod_nw_tos": field("nw_tos"),
        "mod_nw_ecn": field("nw_ecn"),
        "mod_nw_ttl": field("nw_ttl"),
        "mod_tp_src": field("tcp_src"),
        "mod_tp_dst": field("tcp_dst"),
    }
)
"""The actions and the fields they write; ``mod_tp_*`` write UDP's and SCTP's ports as well."""

DSCP_MASK = 0xFC


@dataclass(frozen=True)
class ModField(Action):
    """``mod_NAME:VALUE``, such as ``mod_dl_src:00:11:22:33:44:55``.

    ``name`` is a key of ``FIELDS``. The value of ``mod_nw_tos`` is the whole ToS byte, its ECN
    bits 0: the action does not write those.
    """

    name: str
    value: int

    @property
    def field(self) -> Field:
        return FIELDS[self.name]

    def __str__(self) -> str:
        return f"{self.name}:{format_value(self.field, self.value, self.field.full_mask)}"

    def lower(self, resolver: Resolver) -> Lowered:  # noqa: ARG002
        if self.name in ("mod_tp_src", "mod_tp_dst"):
            return Lowered(WriteTransportPort(self.field, 0, 16), (self.value,))
        if self.name == "mod_nw_tos":
            # Only the DSCP: the ECN bits of the packet stay.
            return Lowered(WriteQuietly(field("ip_dscp"), 0, 6), (self.value >> 2,))
        return Lowered(WriteQuietly(self.field, 0, self.field.width), (self.value,))

    @property
    def operand_limit(self) -> int:
        return 0 if self.name == "mod_nw_tos" else number_limit(self.field)


@dataclass(frozen=True)
class WriteQuietly(WriteBits):
    """As ``set_field``; a packet without the field is passed over without a word."""

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:
        self.execute_quietly(run, packets, operands)
        return None


@dataclass(frozen=True)
class WriteTransportPort(WriteBits):
    """Write a port whatever the protocol, as OpenFlow 1.0 has it, if there is a header at all."""

    @property
    def reads(self) -> ColumnBits:
        return union(needs(Prerequisite.IP), FRAG_LATER_BITS.mask)

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:
        there = is_ip(run.columns, packets) & ~is_later_fragment(run.columns, packets)
        self.store(run, packets[there], operands[:, there])
        return None


def make_mod_field(item: Item) -> ModField:
    name = "mod_nw_ttl" if item.name == "set_nw_ttl" else item.name
    row = FIELDS[name]
    word = item.argument(f"a value for {row.name}")
    value, mask = parse_value(row, word)
    if not isinstance(value, int) or mask != row.full_mask:
        raise WordError(word, f"{name} takes no mask", "a value without a mask")
    if name == "mod_nw_tos" and value & ~DSCP_MASK:
        raise WordError(word, f"{value} is not a DSCP", "a multiple of 4 up to 252")
    return ModField(name, value)
