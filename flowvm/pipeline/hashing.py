"""The hashes by which Open vSwitch spreads packets, for all packets at once.

They are those of a build for x86-64 without SSE 4.2 instructions, as distributions ship:
MurmurHash3 inside (lib/hash.h), Jenkins's lookup3 for what ``multipath`` and ``bundle`` promise
(lib/jhash.c). What is hashed are the members of OVS's flow key in the byte order of the network,
taken as little-endian words of 32 bits. Which headers go into a hash: ``flow_hash_fields`` in
lib/flow.c.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from flowvm.columns import FRAG_ANY, FRAG_LATER, VLAN_VID_MASK, Column
from flowvm.fields import (
    ETH_TYPE_ARP,
    ETH_TYPE_BITS,
    ETH_TYPE_IP,
    ETH_TYPE_IPV6,
    INNER_TCI,
    IPV4_DST_BITS,
    IPV4_SRC_BITS,
    IPV6_EXTENDED_BITS,
    IPV6_NEXT_BITS,
    NW_FRAG_BITS,
    NW_PROTO_BITS,
    OUTER_TCI,
    TP_DST_BITS,
    TP_SRC_BITS,
    Bits,
    field,
)
from flowvm.packet.ipv6 import FRAGMENT
from flowvm.pipeline.bits import Columns
from flowvm.pipeline.prerequisites import union, value
from flowvm.protocols import ICMP, ICMPV6, SCTP, TCP, UDP

Hash = NDArray[np.uint32]
"""A hash, or a word to be hashed, for each packet."""

Basis = int | Hash

_FINAL_5TUPLE = 42
_PACKET_TYPE_BITS = Bits(Column.PACKET_TYPE, 32, 32)
_ETH_SRC_BITS = Bits(Column.ETH_SRC, 0, 48)
_ETH_DST_BITS = Bits(Column.ETH_DST, 0, 48)
_IPV6 = (field("ipv6_src"), field("ipv6_dst"))


# -- words ----------------------------------------------------------------------------------------


def _word(number: int) -> np.uint32:
    return np.uint32(number & 0xFFFF_FFFF)


def _start(basis: Basis) -> Hash:
    """``basis`` as an array that can be computed with."""
    return np.atleast_1d(np.asarray(basis).astype(np.uint32))


def _rotate(words: Hash, by: int) -> Hash:
    return (words << np.uint32(by)) | (words >> np.uint32(32 - by))


def add(hashed: Hash, data: Hash) -> Hash:
    """Take one more word in (``hash_add``)."""
    mixed = _rotate(data * _word(0xCC9E2D51), 15) * _word(0x1B873593)
    return _rotate(hashed ^ mixed, 13) * _word(5) + _word(0xE6546B64)


def finish(hashed: Hash, final: Basis) -> Hash:
    """The hash of what was taken in (``hash_finish``)."""
    hashed = hashed ^ _start(final)
    hashed = (hashed ^ hashed >> np.uint32(16)) * _word(0x85EBCA6B)
    hashed = (hashed ^ hashed >> np.uint32(13)) * _word(0xC2B2AE35)
    return hashed ^ hashed >> np.uint32(16)


def two_words(first: Basis, second: Basis) -> Hash:
    """``hash_2words``, which is ``hash_int`` too."""
    return finish(add(add(_start(first), _start(0)), _start(second)), 8)


def of_64_bits(number: int) -> Hash:
    """``hash_uint64`` of a constant."""
    return finish(add(add(_start(0), _start(number & 0xFFFF_FFFF)), _start(number >> 32)), 8)


def murmur(data: NDArray[np.uint8], basis: Basis) -> Hash:
    """``hash_bytes`` of the bytes of each row of ``data``."""
    hashed = _start(basis)
    for word in _words(data):
        hashed = add(hashed, word)
    return finish(hashed, data.shape[1])


def jenkins(data: NDArray[np.uint8], basis: Basis) -> Hash:
    """``jhash_bytes`` of the bytes of each row of ``data``."""
    words = _words(data)
    a = b = c = np.broadcast_to(_start(basis) + _word(0xDEADBEEF + data.shape[1]), (len(data),))
    n_bytes = data.shape[1]
    while n_bytes >= 12:
        a, b, c = _mix(a + words[0], b + words[1], c + words[2])
        words, n_bytes = words[3:], n_bytes - 12
    if n_bytes:
        rest = [*words, *(np.uint32(0) for _ in range(3 - len(words)))]
        c = _finish_mix(a + rest[0], b + rest[1], c + rest[2])
    return c


def _mix(a: Hash, b: Hash, c: Hash) -> tuple[Hash, Hash, Hash]:
    for by_a, by_b, by_c in ((4, 6, 8), (16, 19, 4)):
        a, c = (a - c) ^ _rotate(c, by_a), c + b
        b, a = (b - a) ^ _rotate(a, by_b), a + c
        c, b = (c - b) ^ _rotate(b, by_c), b + a
    return a, b, c


def _finish_mix(a: Hash, b: Hash, c: Hash) -> Hash:
    c = (c ^ b) - _rotate(b, 14)
    a = (a ^ c) - _rotate(c, 11)
    b = (b ^ a) - _rotate(a, 25)
    c = (c ^ b) - _rotate(b, 16)
    a = (a ^ c) - _rotate(c, 4)
    b = (b ^ a) - _rotate(a, 14)
    return (c ^ b) - _rotate(b, 24)


def packed(*parts: tuple[NDArray[np.uint64], int]) -> NDArray[np.uint8]:
    """The bytes of numbers one after the other, each most significant byte first.

    Each part is a number for each packet and how many bytes it takes, up to 8; the result has shape
    (packets, bytes).
    """
    return np.concatenate(
        [
            np.ascontiguousarray(numbers).astype(">u8").view(np.uint8).reshape(-1, 8)[:, 8 - n :]
            for numbers, n in parts
        ],
        axis=1,
    )


def _words(data: NDArray[np.uint8]) -> Sequence[Hash]:
    """The bytes of each row as little-endian words, zeroes after the last byte."""
    n = data.shape[1]
    padded = np.zeros((len(data), n + -n % 4), np.uint8)
    padded[:, :n] = data
    return list(padded.view("<u4").astype(np.uint32).T)


# -- headers --------------------------------------------------------------------------------------


class _Headers:
    """What the hashes ask of some packets."""

    def __init__(self, columns: Columns, packets: NDArray[np.int64]) -> None:
        self._columns = columns
        self._packets = packets
        self.eth_type = self.get(ETH_TYPE_BITS)
        self.is_ipv4 = self.eth_type == ETH_TYPE_IP
        self.is_ipv6 = self.eth_type == ETH_TYPE_IPV6
        self.protocol = self.get(NW_PROTO_BITS)

    def get(self, bits: Bits) -> NDArray[np.uint64]:
        return value(self._columns, self._packets, bits)

    def column(self, column: int) -> NDArray[np.uint64]:
        return self._columns[column][self._packets]

    def ipv6(self, *columns: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """The halves of an address, or of several combined by exclusive or."""
        high, low = (
            np.bitwise_xor.reduce([self.column(column + half) for column in columns])
            for half in (0, 1)
        )
        return high, low

    def ethernet(self) -> NDArray[np.uint64]:
        return self.get(_ETH_SRC_BITS) ^ self.get(_ETH_DST_BITS)

    def vlan(self) -> NDArray[np.uint64]:
        return (self.get(OUTER_TCI) ^ self.get(INNER_TCI)) & np.uint64(VLAN_VID_MASK)

    def ports(self) -> NDArray[np.uint64]:
        return self.get(TP_SRC_BITS) ^ self.get(TP_DST_BITS)

    def ports_given(self) -> NDArray[np.bool_]:
        return np.asarray(self.get(TP_SRC_BITS) | self.get(TP_DST_BITS), bool)

    @property
    def has_transport(self) -> NDArray[np.bool_]:
        """Which have a header of TCP or UDP."""
        found = (self.is_ipv4 | self.is_ipv6) & np.isin(self.protocol, (TCP, UDP))
        found &= self.get(NW_FRAG_BITS) & np.uint64(FRAG_LATER) == 0
        return np.asarray(found & self.ports_given(), bool)

    def address(self, ipv4: NDArray[np.uint64], *ipv6: int) -> NDArray[np.uint8]:
        """16 bytes: an IPv6 address, or an IPv4 address and zeroes, or zeroes alone."""
        high, low = self.ipv6(*ipv6)
        high = np.where(self.is_ipv6, high, np.where(self.is_ipv4, ipv4 << np.uint64(32), 0))
        return packed((high, 8), (np.where(self.is_ipv6, low, 0), 8))


def eth_src(columns: Columns, packets: NDArray[np.int64], basis: int) -> Hash:
    return jenkins(packed((value(columns, packets, _ETH_SRC_BITS), 6)), basis)


def _network_address(ipv4: Bits, ipv6: int) -> Callable[[Columns, NDArray[np.int64], int], Hash]:
    def hashed(columns: Columns, packets: NDArray[np.int64], basis: int) -> Hash:
        headers = _Headers(columns, packets)
        by_ipv4 = jenkins(packed((headers.get(ipv4), 4)), basis)
        high, low = headers.ipv6(ipv6)
        by_ipv6 = jenkins(packed((high, 8), (low, 8)), basis)
        found = np.where(headers.is_ipv6, by_ipv6, _word(basis))
        return np.where(headers.is_ipv4, by_ipv4, found)

    return hashed


def symmetric_l4(columns: Columns, packets: NDArray[np.int64], basis: int) -> Hash:
    """``flow_hash_symmetric_l4``."""
    headers = _Headers(columns, packets)
    is_ip = headers.is_ipv4 | headers.is_ipv6
    protocol = np.where(is_ip, headers.protocol, 0)
    ports = np.where(np.isin(protocol, (TCP, SCTP)), headers.ports(), 0)
    addresses = headers.get(IPV4_SRC_BITS) ^ headers.get(IPV4_DST_BITS)
    rest = packed(
        (headers.eth_type, 2), (headers.vlan(), 2), (ports, 2), (headers.ethernet(), 6),
        (protocol, 1), (np.zeros_like(protocol), 3),
    )  # fmt: skip
    address = headers.address(addresses, Column.IPV6_SRC, Column.IPV6_DST)
    return jenkins(np.concatenate([address, rest], axis=1), basis)


def symmetric_l3(columns: Columns, packets: NDArray[np.int64], basis: int) -> Hash:
    """``flow_hash_symmetric_l3``."""
    headers = _Headers(columns, packets)
    addresses = headers.get(IPV4_SRC_BITS) ^ headers.get(IPV4_DST_BITS)
    address = headers.address(addresses, Column.IPV6_SRC, Column.IPV6_DST)
    rest = packed((headers.eth_type, 2), (np.zeros_like(headers.eth_type), 2))
    return jenkins(np.concatenate([address, rest], axis=1), basis)


def symmetric_l3l4(columns: Columns, packets: NDArray[np.int64], basis: int) -> Hash:
    """``flow_hash_symmetric_l3l4`` without UDP's ports."""
    return _symmetric_l3l4(columns, packets, basis, (TCP, SCTP))


def symmetric_l3l4_udp(columns: Columns, packets: NDArray[np.int64], basis: int) -> Hash:
    """``flow_hash_symmetric_l3l4`` with UDP's ports."""
    return _symmetric_l3l4(columns, packets, basis, (TCP, SCTP, UDP))


def _symmetric_l3l4(
    columns: Columns, packets: NDArray[np.int64], basis: int, with_ports: tuple[int, ...]
) -> Hash:
    headers = _Headers(columns, packets)
    (ipv4,) = _words(packed((headers.get(IPV4_SRC_BITS) ^ headers.get(IPV4_DST_BITS), 4)))
    ipv6 = packed(*((half, 8) for half in headers.ipv6(Column.IPV6_SRC, Column.IPV6_DST)))
    by_ipv6 = _start(basis)
    for word in _words(ipv6):
        by_ipv6 = add(by_ipv6, word)
    hashed = np.where(headers.is_ipv4, add(_start(basis), ipv4), by_ipv6)
    hashed = add(hashed, headers.protocol.astype(np.uint32))
    whole = (headers.get(NW_FRAG_BITS) & np.uint64(FRAG_ANY | FRAG_LATER)) == 0
    (ports,) = _words(packed((headers.ports(), 2)))
    hashed = np.where(whole & np.isin(headers.protocol, with_ports), add(hashed, ports), hashed)
    return np.where(
        headers.is_ipv4 | headers.is_ipv6, finish(hashed, basis), _symmetric_l2(headers, basis)
    )


def _symmetric_l2(headers: _Headers, basis: int) -> Hash:
    zero = np.zeros_like(headers.eth_type)
    data = packed((headers.eth_type, 2), (headers.vlan(), 2), (headers.ethernet(), 6), (zero, 2))
    hashed = _start(basis)
    for word in _words(data):
        hashed = add(hashed, word)
    is_ethernet = headers.get(_PACKET_TYPE_BITS) == 0
    return np.where(is_ethernet, finish(hashed, basis), np.uint32(0))


def have_transport(columns: Columns, packets: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which packets have a header of TCP or UDP."""
    return _Headers(columns, packets).has_transport


def five_tuple(
    columns: Columns, packets: NDArray[np.int64], basis: Basis, *, as_received: bool = True
) -> Hash:
    """What the userspace datapath hashes a packet to when it receives it.

    ``miniflow_hash_5tuple``, and for TCP and UDP ``dp_packet_update_rss_hash_ipv6_tcp_udp``, which
    takes the first of IPv6's next headers for the protocol; but not if it is not ``as_received``
    (``flow_hash_5tuple``).
    """
    headers = _Headers(columns, packets)
    fragment = headers.get(NW_FRAG_BITS)
    with_header = headers.is_ipv6 & headers.has_transport & as_received
    following = np.where(fragment != 0, np.uint64(FRAGMENT), headers.protocol)
    extended = headers.get(IPV6_EXTENDED_BITS) != 0
    following = np.where(extended, headers.get(IPV6_NEXT_BITS), following)
    protocol = np.where(with_header, following, headers.protocol)
    is_ipv4 = headers.is_ipv4 | (headers.eth_type == ETH_TYPE_ARP)
    ipv4 = _words(packed((headers.get(IPV4_SRC_BITS), 4), (headers.get(IPV4_DST_BITS), 4)))
    source, destination = (headers.ipv6(column) for column in (Column.IPV6_SRC, Column.IPV6_DST))
    ipv6 = _words(packed(*((half, 8) for half in (*source, *destination))))
    by_ipv4 = by_ipv6 = _start(basis)
    for word in ipv4:
        by_ipv4 = add(by_ipv4, word)
    for word in ipv6:
        by_ipv6 = add(by_ipv6, word)
    hashed = np.where(is_ipv4, by_ipv4, by_ipv6)
    hashed = add(hashed, protocol.astype(np.uint32))
    (ports,) = _words(packed((headers.get(TP_SRC_BITS), 2), (headers.get(TP_DST_BITS), 2)))
    with_ports = np.isin(headers.protocol, (TCP, UDP, SCTP, ICMP, ICMPV6))
    hashed = np.where(with_ports, add(hashed, ports), hashed)
    return finish(np.where(is_ipv4 | headers.is_ipv6, hashed, _start(basis)), _FINAL_5TUPLE)


# -- which headers --------------------------------------------------------------------------------


@dataclass(frozen=True)
class FlowHash:
    """A way to hash packets by their headers.

    ``of(columns, packets, basis)`` gives the hashes; ``reads`` are the bits they depend on.
    """

    of: Callable[[Columns, NDArray[np.int64], int], Hash]
    reads: Mapping[int, int]


def _whole(*columns: int) -> Mapping[int, int]:
    return dict.fromkeys(columns, (1 << 64) - 1)


_IPV4 = _whole(Column.IPV4)
_SOURCE_AND_DESTINATION = _whole(
    Column.IPV4,
    Column.IPV6_SRC, Column.IPV6_SRC_LOW, Column.IPV6_DST, Column.IPV6_DST_LOW,
)  # fmt: skip
_PORTS = union(NW_PROTO_BITS.mask, TP_SRC_BITS.mask, TP_DST_BITS.mask)
_ETHERNET = union(_whole(Column.ETH_SRC, Column.ETH_DST, Column.VLAN), _PACKET_TYPE_BITS.mask)
_L3L4 = union(ETH_TYPE_BITS.mask, _SOURCE_AND_DESTINATION, _PORTS, NW_FRAG_BITS.mask, _ETHERNET)

FIVE_TUPLE = FlowHash(
    five_tuple,
    union(
        *(bits.mask for bits in (ETH_TYPE_BITS, NW_FRAG_BITS, IPV6_EXTENDED_BITS, IPV6_NEXT_BITS)),
        _SOURCE_AND_DESTINATION,
        _PORTS,
    ),
)

HASHES: Mapping[str, FlowHash] = MappingProxyType(
    {
        "eth_src": FlowHash(eth_src, _whole(Column.ETH_SRC)),
        "nw_src": FlowHash(
            _network_address(IPV4_SRC_BITS, Column.IPV6_SRC),
            union(ETH_TYPE_BITS.mask, _whole(Column.IPV4, Column.IPV6_SRC, Column.IPV6_SRC_LOW)),
        ),
        "nw_dst": FlowHash(
            _network_address(IPV4_DST_BITS, Column.IPV6_DST),
            union(ETH_TYPE_BITS.mask, _whole(Column.IPV4, Column.IPV6_DST, Column.IPV6_DST_LOW)),
        ),
        "symmetric_l4": FlowHash(
            symmetric_l4, union(ETH_TYPE_BITS.mask, _SOURCE_AND_DESTINATION, _PORTS, _ETHERNET)
        ),
        "symmetric_l3l4": FlowHash(symmetric_l3l4, _L3L4),
        "symmetric_l3l4+udp": FlowHash(symmetric_l3l4_udp, _L3L4),
        "symmetric_l3": FlowHash(symmetric_l3, union(ETH_TYPE_BITS.mask, _SOURCE_AND_DESTINATION)),
    }
)
"""The hashes of ``multipath`` and ``bundle`` by the word for their fields (ovs-actions(7))."""
