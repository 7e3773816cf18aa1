"""A packet's headers as ``ofproto/trace`` shows them: a match on all that the packet has.

Which fields a packet of some kind has, and which of them are left out when they are zero, are facts
of ``flow_wildcards_init_for_packet`` and ``flow_format`` in Open vSwitch 3.1's lib/flow.c.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from flowvm.columns import FRAG_LATER, Column
from flowvm.fields import (
    ETH_TYPE_ARP,
    ETH_TYPE_IP,
    ETH_TYPE_IPV6,
    ETH_TYPE_MPLS,
    ETH_TYPE_MPLS_MCAST,
    ETH_TYPE_NSH,
    ETH_TYPE_RARP,
    INNER_TCI,
    N_REGS,
    OUTER_TCI,
    Bits,
    packet_field,
)
from flowvm.protocols import ICMP, ICMPV6, IGMP, SCTP, TCP, UDP
from flowvm.text.canonical import format_words
from flowvm.text.values import CT_STATE_FLAGS, TUN_FLAGS, format_ipv4, format_ipv6
from flowvm.tlv_map import NO_TLV_MAP, TlvMap

_WITH_PORTS = (ICMP, IGMP, TCP, UDP, ICMPV6, SCTP)
_ND_TYPES = (135, 136)
_MPLS_ENTRIES = (Bits(Column.MPLS, 32, 32), Bits(Column.MPLS, 0, 32), Bits(Column.MPLS_2, 32, 32))
_MPLS_BOTTOM = 0x100
_CT_VALID = sum(CT_STATE_FLAGS[name] for name in ("new", "est", "rpl"))

_TUNNEL = (
    *("tun_src", "tun_dst", "tun_ipv6_src", "tun_ipv6_dst", "tun_flags", "tun_tos", "tun_ttl"),
    *("tun_gbp_id", "tun_gbp_flags", "tun_erspan_ver", "tun_erspan_idx", "tun_erspan_dir"),
    *("tun_erspan_hwid", "tun_gtpu_flags", "tun_gtpu_msgtype"),
)
_UNLESS_ZERO = (
    *("skb_priority", "pkt_mark", "ct_state", "ct_zone", "ct_mark", "ct_label"),
    *("recirc_id", "dp_hash", "in_port", "metadata", *(f"reg{i}" for i in range(N_REGS))),
)


def format_packet(key: Sequence[int], tlv_map: TlvMap = NO_TLV_MAP) -> str:
    """The headers in ``key``, one 64-bit word a :class:`~flowvm.columns.Column`.

    ``tlv_map`` says where tunnel options are.
    """
    return _Headers(key, tlv_map).text()


def format_addresses(key: Sequence[int], version: int | None) -> str:
    """Addresses and ports, as ``ofproto/trace`` tells of NAT; nothing without a version of IP."""
    if version is None:
        return ""
    headers = _Headers(key, NO_TLV_MAP)
    name, form = ("nw_", format_ipv4) if version == 4 else ("ipv6_", _in_brackets)
    parts = []
    for end in ("src", "dst"):
        parts.append(f"{name}{end}={form(headers.number(f'{name}{end}'))}")
        parts.append(f"tp_{end}={headers.number(f'tp_{end}')}")
    return ",".join(parts)


def _in_brackets(address: int) -> str:
    return f"[{format_ipv6(address)}]"


class _Headers:
    def __init__(self, key: Sequence[int], tlv_map: TlvMap) -> None:
        self._key = key
        self._tlv_map = tlv_map
        self._shown: dict[Column, int] = {}

    def text(self) -> str:
        self._metadata()
        packet_type = self.number("packet_type")
        self._show("packet_type")
        if packet_type == 0:
            self._show("eth_src", "eth_dst", "eth_type")
            self._show_bits(OUTER_TCI)
            if OUTER_TCI.value(self._key):
                self._show_bits(INNER_TCI)
        self._network(packet_type & 0xFFFF if packet_type else self.number("eth_type"))
        return format_words(
            {column: (self._key[column] & mask, mask) for column, mask in self._shown.items()},
            self._tlv_map,
        )

    def number(self, name: str) -> int:
        """The value of a field."""
        return _bits_of(name).value(self._key)

    def _metadata(self) -> None:
        for name, column, mask in _unless_zero():
            if self._key[column] & mask:
                self._show(name)
        if self.number("tun_dst") or self.number("tun_ipv6_dst"):
            self._show(*_TUNNEL)
            if self.number("tun_flags") & TUN_FLAGS["key"]:
                self._show("tun_id")
            for option, _ in self._tlv_map.present(self._key):
                row = self._tlv_map.rows[option.name]
                assert row.bits is not None
                assert row.presence is not None
                self._show_bits(row.bits)
                self._show_bits(row.presence)
        elif self.number("tun_id"):
            self._show("tun_id")

    def _network(self, eth_type: int) -> None:
        if eth_type in (ETH_TYPE_ARP, ETH_TYPE_RARP):
            self._show("arp_spa", "arp_tpa", "arp_op", "arp_sha", "arp_tha")
        elif eth_type in (ETH_TYPE_MPLS, ETH_TYPE_MPLS_MCAST):
            self._labels()
        elif eth_type == ETH_TYPE_IP:
            self._show("nw_src", "nw_dst")
            self._connection(eth_type, "ct_nw_src", "ct_nw_dst")
            self._transport()
        elif eth_type == ETH_TYPE_IPV6:
            self._show("ipv6_src", "ipv6_dst", "ipv6_label")
            if self._is_neighbour_discovery():
                self._show("nd_sll", "nd_tll", "nd_target")
            self._connection(eth_type, "ct_ipv6_src", "ct_ipv6_dst")
            self._transport()
        elif eth_type == ETH_TYPE_NSH:
            self._show("nsh_flags", "nsh_ttl", "nsh_mdtype", "nsh_np", "nsh_spi", "nsh_si")
            self._show(*(f"nsh_c{i}" for i in range(1, 5)))
            self._transport()

    def _transport(self) -> None:
        self._show("nw_tos", "nw_ecn", "nw_ttl", "nw_proto", "nw_frag")
        proto = self.number("nw_proto")
        if not self.number("nw_frag") & FRAG_LATER and proto in _WITH_PORTS:
            self._show("tp_src", "tp_dst")
            if proto == TCP:
                self._show("tcp_flags")

    def _connection(self, eth_type: int, *addresses: str) -> None:
        """The original direction of a tracked connection.

        Addresses also of a packet that is to become one of ``eth_type``, its header taken off.
        """
        if self.number("ct_state") & _CT_VALID and self.number("ct_nw_proto"):
            self._show("ct_nw_proto", "ct_tp_src", "ct_tp_dst", *addresses)
        elif self.number("eth_type") != eth_type:
            self._show(*addresses)

    def _is_neighbour_discovery(self) -> bool:
        icmp6 = self.number("nw_proto") == ICMPV6 and not self.number("nw_frag") & FRAG_LATER
        return icmp6 and self.number("tp_dst") == 0 and self.number("tp_src") in _ND_TYPES

    def _labels(self) -> None:
        for entry in _MPLS_ENTRIES:
            self._show_bits(entry)
            if entry.value(self._key) & _MPLS_BOTTOM:
                return

    def _show_bits(self, bits: Bits) -> None:
        for column, mask in bits.words((1 << bits.width) - 1):
            self._shown[column] = self._shown.get(column, 0) | mask

    def _show(self, *names: str) -> None:
        for column, mask in _masks(names):
            self._shown[column] = self._shown.get(column, 0) | mask


@cache
def _bits_of(name: str) -> Bits:
    bits = packet_field(name).bits
    assert bits is not None
    return bits


@cache
def _masks(names: tuple[str, ...]) -> tuple[tuple[Column, int], ...]:
    """The bits of some fields, by column."""
    bits = map(_bits_of, names)
    return tuple(word for some in bits for word in some.words((1 << some.width) - 1))


@cache
def _unless_zero() -> tuple[tuple[str, Column, int], ...]:
    return tuple((name, *word) for name in _UNLESS_ZERO for word in _masks((name,)))
