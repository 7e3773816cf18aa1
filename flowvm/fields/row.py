"""What is to know of a field: a row of the registry."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

from flowvm.columns import Column
from flowvm.fields.bits import OUTER_TCI, Bits


class Format(Enum):
    """How ovs-ofctl writes a field's values (ovs-fields(7), the "Format" rows)."""

    DECIMAL = "decimal"
    HEXADECIMAL = "hexadecimal"
    ETHERNET = "Ethernet"
    IPV4 = "IPv4"
    IPV6 = "IPv6"
    PORT = "OpenFlow port"
    FRAG = "frag"
    CT_STATE = "ct state"
    TCP_FLAGS = "TCP flags"
    TUN_FLAGS = "tunnel flags"
    PACKET_TYPE = "packet type"


class Prerequisite(Enum):
    """What a packet must be for a field to exist in it (ovs-fields(7), "Prerequisites")."""

    NONE = "none"
    ETHERNET = "Ethernet"
    VLAN_VID = "VLAN VID"
    ARP = "ARP"
    IPV4 = "IPv4"
    IPV6 = "IPv6"
    IP = "IPv4/IPv6"
    MPLS = "MPLS"
    TCP = "TCP"
    UDP = "UDP"
    SCTP = "SCTP"
    ICMPV4 = "ICMPv4"
    ICMPV6 = "ICMPv6"
    ND = "ND"
    ND_SOLICIT = "ND solicit"
    ND_ADVERT = "ND advert"
    NSH = "NSH"
    CT = "CT"


@dataclass(frozen=True, slots=True)
class Field:
    """One row of the registry.

    ``width`` is in bits, as subfields count them. ``bits`` is ``None`` for a field whose place
    depends on something outside the registry (``tun_metadata``: a TLV map, which makes of the row
    one with ``bits`` and ``presence``, see :class:`flowvm.tlv_map.TlvMap`).
    """

    name: str
    width: int
    bits: Bits | None
    format: Format
    prerequisite: Prerequisite = Prerequisite.NONE
    aliases: tuple[str, ...] = ()
    nxm: str | None = None
    oxm: str | None = None
    maskable: bool = True
    writable: bool = True
    implied: int = 0
    """Bits of the column (before the shift) that a match on the field demands besides its own."""
    presence: Bits | None = None
    """A bit that says whether a packet has the field: matches demand it, writing sets it."""

    @property
    def full_mask(self) -> int:
        """The mask of a match on the whole field: every bit that is stored for it.

        Not always ``width`` bits: ``vlan_vid`` (12, as subfields count) is matched and set as 13,
        CFI included; ``icmp_type`` (8) occupies a 16-bit member; ``arp_op`` (16) keeps 8.
        """
        return (1 << (self.bits.width if self.bits else self.width)) - 1

    @property
    def is_wide_port(self) -> bool:
        """Whether it shows a port as OpenFlow 1.1 counts, in 32 bits, which is kept in 16."""
        return self.format is Format.PORT and self.width == 32

    def placed(self, width: int, bits: Bits, presence: Bits) -> Field:
        """This field where it has ``width`` bits, which are there."""
        return replace(self, width=width, bits=bits, presence=presence)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<Field {self.name}>"

    def __hash__(self) -> int:
        # Operations are looked up by the fields that they have to do with.
        return hash(self.name)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        from flowvm.fields.registry import field  # which has the rows

        if self.presence is not None:
            return field(self.name).placed, (self.width, self.bits, self.presence)
        return field, (self.name,)

    def match_words(self, value: int, mask: int) -> Iterator[tuple[Column, int, int]]:
        """Yield (column, value, mask) words that a match of ``value`` under ``mask`` compares.

        Raises ValueError for a field without a place in the columns.
        """
        if self.bits is None:
            raise ValueError(f"{self.name} has no place in a packet's columns")
        if self.name in ("dl_vlan", "vlan_vid") and value == 0xFFFF:
            # "No tag at all" (ovs-fields(7), "dl_vlan").
            yield Column.VLAN, 0, 0xFFFF << OUTER_TCI.shift
            return
        mask &= -1 << self.bits.unused
        for (column, v), (_, m) in zip(
            self.bits.words(value & mask), self.bits.words(mask), strict=True
        ):
            yield column, v | self.implied, m | self.implied
        if self.presence is not None:
            for column, bit in self.presence.words(1):
                yield column, bit, bit
