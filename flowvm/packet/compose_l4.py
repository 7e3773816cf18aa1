"""The transport part of composed frames: TCP, UDP, SCTP, ICMP, IGMP, ICMPv6, neighbor discovery.

As in Open vSwitch's ``flow_compose``, the IP version plays no part, but for the pseudo-header.
"""

from __future__ import annotations

import numpy as np

from flowvm.arrays import any_of, nonzero
from flowvm.columns import Column
from flowvm.fields import NW_PROTO_BITS, TCP_FLAGS_BITS, TP_DST_BITS, TP_SRC_BITS
from flowvm.packet.checksum import crc32c_change, finish, sum_bytes
from flowvm.packet.extract_l4 import (
    ICMP_HEADER,
    ND_ADVERT,
    ND_HEADER,
    ND_OPT_SOURCE,
    ND_OPT_TARGET,
    ND_SOLICIT,
    SCTP_HEADER,
    TCP_HEADER,
    UDP_HEADER,
)
from flowvm.packet.keys import read
from flowvm.packet.words import U64, Bool, Index, Words
from flowvm.protocols import ICMP, ICMPV6, IGMP, SCTP, TCP, UDP

PAYLOAD = 64
"""Bytes of payload where there is one, as Open vSwitch composes them."""

_FIN_SYN_RST = 0x007
_ND_OPTION = 8
_ECHO = {ICMP: (0, 8), ICMPV6: (128, 129)}
_HEADERS = np.zeros(256, np.int64)
"""Bytes of transport header, by protocol."""

_HEADERS[[TCP, UDP, SCTP]] = TCP_HEADER, UDP_HEADER, SCTP_HEADER
_HEADERS[[ICMP, IGMP, ICMPV6]] = ICMP_HEADER
_SCTP_CRC_OF_ZEROS = 0x5DB5_602B
"""CRC32c of an SCTP header of 12 zero bytes, as it stands in the header."""


def l4_sizes(columns: U64) -> tuple[Index, Index]:
    """Bytes of transport header with payload, and of payload alone, for IP that is no fragment."""
    proto = read(columns, NW_PROTO_BITS)
    kind, code = read(columns, TP_SRC_BITS), read(columns, TP_DST_BITS)
    header = _HEADERS[proto.astype(np.int64)]
    loaded = proto == UDP
    # The segments that open, close and reset a connection carry no data.
    loaded |= (proto == TCP) & (columns[Column.TP] & _FIN_SYN_RST == 0)
    for number, types in _ECHO.items():
        echo = proto == number
        if any_of(echo):
            loaded |= echo & (code == 0) & ((kind == types[0]) | (kind == types[1]))
    neighbor = _is_neighbor(columns)
    if any_of(neighbor):
        source, target = _options(columns)
        header[neighbor] = ND_HEADER
        header += _ND_OPTION * (neighbor & source) + _ND_OPTION * (neighbor & target)
    payload = np.where(loaded, PAYLOAD, 0)
    return header + payload, payload


def options_type(columns: U64) -> U64:
    """``nd_options_type`` as it reads in the composed frame; 0 for other packets and no option."""
    neighbor = _is_neighbor(columns)
    if not any_of(neighbor):
        return np.zeros(neighbor.size, np.uint64)
    source, target = _options(columns)
    first = np.where(source, ND_OPT_SOURCE, np.where(target, ND_OPT_TARGET, 0)).astype(np.uint64)
    return np.where(neighbor & (columns[Column.TP] & 0xFF == 0), first, np.uint64(0))


def _is_neighbor(columns: U64) -> Bool:
    found: Bool = read(columns, NW_PROTO_BITS) == ICMPV6
    if any_of(found):
        kind, code = read(columns, TP_SRC_BITS), read(columns, TP_DST_BITS)
        found &= (code == 0) & ((kind == ND_SOLICIT) | (kind == ND_ADVERT))
    return found


def _options(columns: U64) -> tuple[Bool, Bool]:
    """Whether there are options for a source and for a target link-layer address."""
    first = columns[Column.TP] & 0xFF
    source = (columns[Column.ARP_SHA] != 0) | (first == ND_OPT_SOURCE)
    target = (columns[Column.ARP_THA] != 0) | (first == ND_OPT_TARGET)
    return source, target


def put_l4(
    words: Words, columns: U64, at: Index, size: Index, payload: Index, sum_of_addresses: U64
) -> None:
    """Write transport headers and payloads of ``size`` bytes at ``at``, for the keys ``columns``.

    The last ``payload`` bytes are payload. The rest is zero before. ``sum_of_addresses`` is the
    addresses' part of the pseudo-header's checksum.
    """
    loaded = nonzero(payload)
    if loaded.size:
        start = (at + size - payload)[loaded]
        words.put8(start[:, None] + np.arange(PAYLOAD), np.arange(PAYLOAD, dtype=np.uint64))
    proto = read(columns, NW_PROTO_BITS)
    pseudo = sum_of_addresses + proto + size.astype(np.uint64)

    ported = nonzero((proto == TCP) | (proto == UDP) | (proto == SCTP))
    if ported.size:
        words.put32(at[ported], columns[Column.TP][ported] >> TP_DST_BITS.shift)
    tcp = nonzero(proto == TCP)
    if tcp.size:
        control = 5 << 12 | read(columns, TCP_FLAGS_BITS, tcp)
        words.put16(at[tcp] + 12, control)
        _put_checksum(words, at[tcp], 16, size[tcp], pseudo[tcp])
    udp = nonzero(proto == UDP)
    if udp.size:
        words.put16(at[udp] + 4, size[udp].astype(np.uint64))
        _put_checksum(words, at[udp], 6, size[udp], pseudo[udp], never_zero=True)
    sctp = nonzero(proto == SCTP)
    if sctp.size:
        change = crc32c_change(words.u32(at[sctp]), np.full(sctp.size, SCTP_HEADER - 4))
        words.put32(at[sctp] + 8, change ^ _SCTP_CRC_OF_ZEROS)

    typed = nonzero((proto == ICMP) | (proto == IGMP) | (proto == ICMPV6))
    if typed.size:
        kind, code = read(columns, TP_SRC_BITS, typed), read(columns, TP_DST_BITS, typed)
        words.put8(at[typed], kind)
        words.put8(at[typed] + 1, code)
        rest = np.where(proto[typed] == ICMP, np.uint64(0), columns[Column.FLOW_LABEL][typed])
        words.put32(at[typed] + 4, rest)
        neighbor = nonzero(_is_neighbor(columns))
        if neighbor.size:
            _put_neighbor(words, columns[:, neighbor], at[neighbor] + ICMP_HEADER)
        covered = np.where(proto == ICMPV6, pseudo, np.uint64(0))
        _put_checksum(words, at[typed], 2, size[typed], covered[typed])


def _put_neighbor(words: Words, columns: U64, at: Index) -> None:
    """Target and link-layer addresses; the one that ``nd_options_type`` names comes first."""
    for i in range(2):
        words.put64(at + 8 * i, columns[Column.ND_TARGET + i])
    source, target = _options(columns)
    swapped = source & target & (columns[Column.TP] & 0xFF == ND_OPT_TARGET)
    at = at + 16
    places = (
        (ND_OPT_SOURCE, Column.ARP_SHA, source, swapped),
        (ND_OPT_TARGET, Column.ARP_THA, target, source & ~swapped),
    )
    for kind, column, given, second in places:
        chosen = nonzero(given)
        option = np.uint64(kind << 56 | 1 << 48) | columns[column][chosen]
        words.put64(at[chosen] + _ND_OPTION * second[chosen], option)


def _put_checksum(
    words: Words, at: Index, offset: int, size: Index, total: U64, *, never_zero: bool = False
) -> None:
    """The checksum of the ``size`` bytes at ``at``, in which it is zero still, and ``total``."""
    checksum = finish(total + sum_bytes(words, at, size))
    if never_zero:  # zero would say that there is none
        checksum = np.where(checksum == 0, np.uint64(0xFFFF), checksum)
    words.put16(at + offset, checksum)
