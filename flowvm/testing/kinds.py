"""What is known about the packets that a flow is for: decides which fields its actions may use.

Open vSwitch refuses a flow whose match does not make sure that the fields it names are there
(ovs-fields(7), "Prerequisites"). What it goes by is the values of the match, wildcarded bits being
0, and what the actions before have done to tags.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType

from flowvm.columns import FRAG_LATER, VLAN_CFI
from flowvm.fields import (
    ETH_TYPE_ARP,
    ETH_TYPE_BITS,
    ETH_TYPE_IP,
    ETH_TYPE_IPV6,
    ETH_TYPE_MPLS,
    ETH_TYPE_MPLS_MCAST,
    ETH_TYPE_NSH,
    ETH_TYPE_RARP,
    INNER_TCI,
    NW_FRAG_BITS,
    NW_PROTO_BITS,
    OUTER_TCI,
    TP_DST_BITS,
    TP_SRC_BITS,
    Bits,
    Field,
    Prerequisite,
)
from flowvm.flow import Match
from flowvm.testing.values import TLV_MAP

_IP = (ETH_TYPE_IP, ETH_TYPE_IPV6)
_TRANSPORTS = (6, 17, 132)
_ND = (135, 136)


@dataclass(frozen=True)
class Kind:
    """Protocols that a match makes sure of; 0 where it does not."""

    eth_type: int = 0
    nw_proto: int = 0
    tp_src: int = 0
    tp_dst: int = 0
    later_fragment: bool = False
    tags: int = 0

    @classmethod
    def of(cls, match: Match) -> Kind:
        """What ``match``, without port names, says of the packets that it matches."""
        words = match.words({}, TLV_MAP)

        def read(bits: Bits) -> int:
            value = words.get(bits.column, (0, 0))[0]
            return value >> bits.shift & ((1 << bits.width) - 1)

        present = [bool(read(tci) & VLAN_CFI) for tci in (OUTER_TCI, INNER_TCI)]
        return cls(
            read(ETH_TYPE_BITS),
            read(NW_PROTO_BITS),
            read(TP_SRC_BITS),
            read(TP_DST_BITS),
            bool(read(NW_FRAG_BITS) & FRAG_LATER),
            sum(present),
        )

    def with_tags(self, tags: int) -> Kind:
        """The same with another number of tags."""
        return replace(self, tags=tags)

    @property
    def is_ip(self) -> bool:
        return self.eth_type in _IP

    @property
    def has_ports(self) -> bool:
        """Whether there is a TCP, UDP or SCTP header."""
        return self.is_ip and self.nw_proto in _TRANSPORTS and not self.later_fragment

    def has(self, row: Field) -> bool:
        """Whether the packets are sure to have the field."""
        return _CHECKS[row.prerequisite](self)


def _transport(number: int) -> Callable[[Kind], bool]:
    return lambda kind: kind.has_ports and kind.nw_proto == number


def _neighbor(*types: int) -> Callable[[Kind], bool]:
    return lambda kind: (
        (kind.eth_type, kind.nw_proto, kind.tp_dst) == (ETH_TYPE_IPV6, 58, 0)
        and kind.tp_src in types
    )


_CHECKS: Mapping[Prerequisite, Callable[[Kind], bool]] = MappingProxyType(
    {
        Prerequisite.NONE: lambda _: True,
        Prerequisite.ETHERNET: lambda _: True,
        Prerequisite.VLAN_VID: lambda kind: kind.tags > 0,
        Prerequisite.ARP: lambda kind: kind.eth_type in (ETH_TYPE_ARP, ETH_TYPE_RARP),
        Prerequisite.IPV4: lambda kind: kind.eth_type == ETH_TYPE_IP,
        Prerequisite.IPV6: lambda kind: kind.eth_type == ETH_TYPE_IPV6,
        Prerequisite.IP: lambda kind: kind.is_ip,
        Prerequisite.MPLS: lambda kind: kind.eth_type in (ETH_TYPE_MPLS, ETH_TYPE_MPLS_MCAST),
        Prerequisite.TCP: _transport(6),
        Prerequisite.UDP: _transport(17),
        Prerequisite.SCTP: _transport(132),
        Prerequisite.ICMPV4: lambda kind: (kind.eth_type, kind.nw_proto) == (ETH_TYPE_IP, 1),
        Prerequisite.ICMPV6: lambda kind: (kind.eth_type, kind.nw_proto) == (ETH_TYPE_IPV6, 58),
        Prerequisite.ND: _neighbor(*_ND),
        Prerequisite.ND_SOLICIT: _neighbor(135),
        Prerequisite.ND_ADVERT: _neighbor(136),
        Prerequisite.NSH: lambda kind: kind.eth_type == ETH_TYPE_NSH,
        Prerequisite.CT: lambda _: False,
    }
)


@lru_cache(maxsize=4096)
def fields_of(kind: Kind, rows: tuple[Field, ...], least_width: int = 1) -> tuple[Field, ...]:
    """Those of ``rows`` that packets of ``kind`` have and that are at least so wide."""
    found = tuple(row for row in rows if row.width >= least_width and kind.has(row))
    # A VLAN ID can only be written into a tag, although reading it needs none.
    return tuple(row for row in found if kind.tags or row.name != "vlan_vid")
