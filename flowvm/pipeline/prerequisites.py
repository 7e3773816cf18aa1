"""Which packets have a field: the prerequisites of ovs-fields(7), for all packets at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from flowvm.arrays import all_of
from flowvm.columns import Column
from flowvm.fields import (
    ETH_TYPE_ARP,
    ETH_TYPE_BITS,
    ETH_TYPE_IP,
    ETH_TYPE_IPV6,
    ETH_TYPE_MPLS,
    ETH_TYPE_MPLS_MCAST,
    ETH_TYPE_NSH,
    ETH_TYPE_RARP,
    NW_FRAG_BITS,
    NW_PROTO_BITS,
    OUTER_TCI,
    PACKET_TYPE_BITS,
    TP_DST_BITS,
    TP_SRC_BITS,
    Bits,
    Prerequisite,
)
from flowvm.pipeline.bits import Columns
from flowvm.protocols import ICMP, ICMPV6, SCTP, TCP, UDP

Chosen = NDArray[np.int64]
Holds = NDArray[np.bool_]

FRAG_LATER_BITS = Bits(Column.NW, NW_FRAG_BITS.shift + 1, 1)
CT_PROTOCOL_BITS = Bits(Column.CT, 8, 8)
VLAN_PRESENT_BITS = Bits(Column.VLAN, OUTER_TCI.shift + 12, 1)

ND_SOLICIT, ND_ADVERT = 135, 136


def value(columns: Columns, packets: Chosen, bits: Bits) -> NDArray[np.uint64]:
    """The bits of one column, for each of ``packets``."""
    word: NDArray[np.uint64] = columns[bits.column][packets]
    return (word >> np.uint64(bits.shift)) & np.uint64((1 << bits.width) - 1)


def has_eth_type(columns: Columns, packets: Chosen, *eth_types: int) -> Holds:
    """Whether the Ethernet type is one of these."""
    found = value(columns, packets, ETH_TYPE_BITS)
    same = np.zeros(len(found), bool)
    for eth_type in eth_types:
        same |= found == eth_type
    return same


def is_ip(columns: Columns, packets: Chosen) -> Holds:
    """Whether it is IPv4 or IPv6."""
    return has_eth_type(columns, packets, ETH_TYPE_IP, ETH_TYPE_IPV6)


def is_later_fragment(columns: Columns, packets: Chosen) -> Holds:
    """Whether it is a fragment without a transport header."""
    return np.equal(value(columns, packets, FRAG_LATER_BITS), 1)


def _protocol(columns: Columns, packets: Chosen, number: int) -> Holds:
    return np.equal(value(columns, packets, NW_PROTO_BITS), number)


def _transport(number: int) -> Callable[[Columns, Chosen], Holds]:
    def holds(columns: Columns, packets: Chosen) -> Holds:
        return (
            is_ip(columns, packets)
            & _protocol(columns, packets, number)
            & ~is_later_fragment(columns, packets)
        )

    return holds


def _icmp(columns: Columns, packets: Chosen) -> Holds:
    return has_eth_type(columns, packets, ETH_TYPE_IP) & _protocol(columns, packets, ICMP)


def _icmpv6(columns: Columns, packets: Chosen) -> Holds:
    return has_eth_type(columns, packets, ETH_TYPE_IPV6) & _protocol(columns, packets, ICMPV6)


def _nd(*types: int) -> Callable[[Columns, Chosen], Holds]:
    def holds(columns: Columns, packets: Chosen) -> Holds:
        kind = value(columns, packets, TP_SRC_BITS)
        right_code = np.equal(value(columns, packets, TP_DST_BITS), 0)
        return _icmpv6(columns, packets) & np.isin(kind, np.array(types, np.uint64)) & right_code

    return holds


def is_ethernet(columns: Columns, packets: Chosen) -> Holds:
    """Whether it has an Ethernet header."""
    return np.equal(value(columns, packets, PACKET_TYPE_BITS), 0)


def _vlan(columns: Columns, packets: Chosen) -> Holds:
    tagged = np.equal(value(columns, packets, VLAN_PRESENT_BITS), 1)
    return np.asarray(tagged & is_ethernet(columns, packets), bool)


def _eth_types(*eth_types: int) -> Callable[[Columns, Chosen], Holds]:
    return lambda columns, packets: has_eth_type(columns, packets, *eth_types)


def _conntrack(columns: Columns, packets: Chosen) -> Holds:
    # ct_nw_proto is only set for a packet with a known original direction tuple.
    return np.not_equal(value(columns, packets, CT_PROTOCOL_BITS), 0)


_CHECKS: Mapping[Prerequisite, Callable[[Columns, Chosen], Holds]] = MappingProxyType(
    {
        Prerequisite.ETHERNET: is_ethernet,
        Prerequisite.VLAN_VID: _vlan,
        Prerequisite.ARP: _eth_types(ETH_TYPE_ARP, ETH_TYPE_RARP),
        Prerequisite.IPV4: _eth_types(ETH_TYPE_IP),
        Prerequisite.IPV6: _eth_types(ETH_TYPE_IPV6),
        Prerequisite.IP: is_ip,
        Prerequisite.MPLS: _eth_types(ETH_TYPE_MPLS, ETH_TYPE_MPLS_MCAST),
        Prerequisite.TCP: _transport(TCP),
        Prerequisite.UDP: _transport(UDP),
        Prerequisite.SCTP: _transport(SCTP),
        Prerequisite.ICMPV4: _icmp,
        Prerequisite.ICMPV6: _icmpv6,
        Prerequisite.ND: _nd(ND_SOLICIT, ND_ADVERT),
        Prerequisite.ND_SOLICIT: _nd(ND_SOLICIT),
        Prerequisite.ND_ADVERT: _nd(ND_ADVERT),
        Prerequisite.NSH: _eth_types(ETH_TYPE_NSH),
        Prerequisite.CT: _conntrack,
    }
)


_ETH_TYPE = (ETH_TYPE_BITS,)
_PROTOCOL = (ETH_TYPE_BITS, NW_PROTO_BITS)
_TRANSPORT = (*_PROTOCOL, FRAG_LATER_BITS)
_ND = (*_PROTOCOL, TP_SRC_BITS, TP_DST_BITS)
_NEEDS: Mapping[Prerequisite, tuple[Bits, ...]] = MappingProxyType(
    {
        Prerequisite.VLAN_VID: (VLAN_PRESENT_BITS,),
        Prerequisite.ARP: _ETH_TYPE,
        Prerequisite.IPV4: _ETH_TYPE,
        Prerequisite.IPV6: _ETH_TYPE,
        Prerequisite.IP: _ETH_TYPE,
        Prerequisite.MPLS: _ETH_TYPE,
        Prerequisite.NSH: _ETH_TYPE,
        Prerequisite.ICMPV4: _PROTOCOL,
        Prerequisite.ICMPV6: _PROTOCOL,
        Prerequisite.TCP: _TRANSPORT,
        Prerequisite.UDP: _TRANSPORT,
        Prerequisite.SCTP: _TRANSPORT,
        Prerequisite.ND: _ND,
        Prerequisite.ND_SOLICIT: _ND,
        Prerequisite.ND_ADVERT: _ND,
        Prerequisite.CT: (CT_PROTOCOL_BITS,),
    }
)


def needs(prerequisite: Prerequisite) -> Mapping[int, int]:
    """The bits of a packet's key that decide whether it meets ``prerequisite``: column -> mask.

    Not that it has an Ethernet header: packets arrive with one, and what takes it off says so.
    """
    return union(*(bits.mask for bits in _NEEDS.get(prerequisite, ())))


def union(*parts: Mapping[int, int]) -> Mapping[int, int]:
    """All bits of several sets of bits (column -> mask)."""
    all_bits: dict[int, int] = {}
    for part in parts:
        for column, mask in part.items():
            all_bits[column] = all_bits.get(column, 0) | mask
    return all_bits


def holds(prerequisite: Prerequisite, columns: Columns, packets: Chosen) -> Holds | None:
    """Which of ``packets`` meet ``prerequisite``; ``None`` for all of them."""
    check = _CHECKS.get(prerequisite)
    if check is None:
        return None
    met = check(columns, packets)
    return None if all_of(met) else met
