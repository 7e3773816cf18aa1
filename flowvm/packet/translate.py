"""Network address translation of a frame's bytes, as Open vSwitch's ``nat_packet`` does it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from flowvm.columns import Column
from flowvm.conntrack.nat import Translation
from flowvm.fields import (
    ETH_TYPE_BITS,
    ETH_TYPE_IP,
    IPV4_DST_BITS,
    IPV4_SRC_BITS,
    NW_PROTO_BITS,
    TP_DST_BITS,
    TP_SRC_BITS,
    Bits,
)
from flowvm.packet.checksum import finish, sum_bytes, update
from flowvm.packet.control import edit_control
from flowvm.packet.decode import ETH_HEADER, decode
from flowvm.packet.encode import rewrite
from flowvm.packet.frames import Frames
from flowvm.packet.keys import read
from flowvm.packet.layout import Layout
from flowvm.packet.rewrite_l3 import IPV6_DST_BITS, IPV6_SRC_BITS
from flowvm.packet.words import U64, Words
from flowvm.protocols import ICMPV6, TCP, UDP

_ICMP_HEADER = 8
_ETHERNET_IPV6 = bytes(12) + b"\x86\xdd"
_IPV4_ADDRESSES, _IPV6_ADDRESSES = 12, 8
_CHECKSUM_AT = {TCP: 16, UDP: 6, ICMPV6: 2}
_ANY_PROTOCOL = 255
_LEAST = {TCP: 20, UDP: 8, ICMPV6: 4}
"""Bytes that there must be of a header for its checksum to be kept right with the addresses."""


def translate(frame: bytes, translation: Translation, l3: int = ETH_HEADER) -> bytes:
    """What ``translation`` makes of an IP packet, and of what it quotes if it is an ICMP error.

    The IP header is at ``l3``, or behind a tag that is there.
    """
    if l3 > ETH_HEADER:
        # Who decodes a frame with several tags does not find it.
        hidden = l3 - ETH_HEADER
        return frame[:hidden] + translate(frame[hidden:], translation)
    if translation.control is not None:
        translated = translate(frame, replace(translation, control=None))
        return edit_control(translated, translation.control)
    frames = Frames.of([frame])
    decoded = decode(frames, 0)
    is_ipv4 = int(read(decoded.columns, ETH_TYPE_BITS)[0]) == ETH_TYPE_IP
    if translation.quoted is not None:
        return _Error(frame, decoded.layout, is_ipv4=is_ipv4).translated(translation)
    behind, l4 = int(decoded.layout.l3[0]) + 40, int(decoded.layout.l4[0])
    if not is_ipv4 and l4 > behind:
        # Checksums are kept as if there were no extension headers.
        plain = bytearray(frame[:behind] + frame[l4:])
        plain[behind - 34] = translation.protocol
        plain[behind - 36 : behind - 34] = (
            int.from_bytes(plain[behind - 36 : behind - 34], "big") - (l4 - behind)
        ).to_bytes(2, "big")
        changed = bytearray(translate(bytes(plain), translation))
        changed[behind - 36 : behind - 33] = frame[behind - 36 : behind - 33]
        return bytes(changed[:behind] + frame[behind:l4] + changed[behind:])
    before = decoded.columns.copy()
    if not read(before, NW_PROTO_BITS)[0]:
        # Set actions leave packets of protocol 0 alone; NAT does not.
        _put(before, NW_PROTO_BITS, _ANY_PROTOCOL)
    after = before.copy()
    for bits, address in (
        (IPV4_SRC_BITS if is_ipv4 else IPV6_SRC_BITS, translation.source),
        (IPV4_DST_BITS if is_ipv4 else IPV6_DST_BITS, translation.destination),
    ):
        if address is not None:
            _put(after, bits, address)
    if translation.ports is not None:
        for bits, port in zip((TP_SRC_BITS, TP_DST_BITS), translation.ports, strict=True):
            _put(after, bits, port)
    return rewrite(frames, before, after, decoded.layout)[0]


def _put(columns: U64, bits: Bits, value: int) -> None:
    mask = (1 << bits.width) - 1
    for (column, word), (_, room) in zip(bits.words(value), bits.words(mask), strict=True):
        columns[column] = columns[column] & np.uint64(~room & (1 << 64) - 1) | np.uint64(word)


class _Error:
    """An ICMP error and the packet in it, of which there may be but a part."""

    def __init__(self, frame: bytes, layout: Layout, *, is_ipv4: bool) -> None:
        self._frame = bytearray(frame)
        self._is_ipv4 = is_ipv4
        self._l3 = int(layout.l3[0])
        self._l4 = int(layout.l4[0])
        self._end = len(frame) - int(layout.l2_pad[0])
        self._quoted_l3 = self._l4 + _ICMP_HEADER
        self._quoted_l4 = self._quoted_l3 + self._quoted_header()

    def _quoted_header(self) -> int:
        """How long the IP header in the error is, extensions included."""
        at = self._quoted_l3
        if self._is_ipv4:
            return (self._frame[at] & 0xF) * 4
        inner = bytes(self._frame[at : self._end])
        # What is missing of the datagram is not looked at.
        whole = inner.ljust(40 + int.from_bytes(inner[4:6], "big"), b"\0")
        return int(decode(Frames.of([_ETHERNET_IPV6 + whole]), 0).layout.l4[0]) - 14

    def translated(self, wanted: Translation) -> bytes:
        """The bytes after ``wanted``."""
        protocol, quoted = wanted.protocol, wanted.quoted
        assert quoted is not None
        # As if the error were a packet of the connection, even where that spoils what it quotes.
        self._set_addresses(wanted, protocol, self._l3, self._l4, only_header=self._is_ipv4)
        at = self._quoted_l4
        checksum = at + _CHECKSUM_AT.get(protocol, 0)
        if quoted.ports is not None:
            keeps = protocol == TCP or self._number(checksum, 2) != 0
            for place, port in zip((at, at + 2), quoted.ports, strict=True):
                self._set(place, port, 2, [checksum] if keeps else [])
            self._never_zero(protocol, checksum, keeps)
        self._set_addresses(quoted, protocol, self._quoted_l3, at)
        self._sum_up()
        return bytes(self._frame)

    def _set_addresses(
        self, wanted: Translation, protocol: int, l3: int, l4: int, *, only_header: bool = False
    ) -> None:
        size = 4 if self._is_ipv4 else 16
        first = l3 + (_IPV4_ADDRESSES if self._is_ipv4 else _IPV6_ADDRESSES)
        checksum = l4 + _CHECKSUM_AT.get(protocol, 0)
        for at, address in ((first, wanted.source), (first + size, wanted.destination)):
            if address is None:
                continue
            covered = not only_header and self._end - l4 >= _LEAST.get(protocol, 1 << 16)
            covered &= protocol != ICMPV6 or not self._is_ipv4
            covered &= protocol != UDP or self._number(checksum, 2) != 0
            header = [l3 + 10] if self._is_ipv4 else []
            self._set(at, address, size, [checksum, *header] if covered else header)
            self._never_zero(protocol, checksum, covered)

    def _never_zero(self, protocol: int, checksum: int, kept: bool) -> None:
        """A checksum of UDP that comes out as zero would mean that there is none."""
        if kept and protocol == UDP and not self._number(checksum, 2):
            self._put(checksum, 0xFFFF, 2)

    def _set(self, at: int, value: int, size: int, checksums: list[int]) -> None:
        """Write a number, and keep the checksums that cover it."""
        old = self._number(at, size)
        if old == value:
            return
        for checksum in checksums:
            if checksum + 2 <= self._end:
                new = _array(self._number(checksum, 2))
                for shift in range(8 * max(size - 8, 0), -1, -64):
                    before, after = (
                        _array(number >> shift & (1 << 64) - 1) for number in (old, value)
                    )
                    new = update(new, before, after, min(8 * size, 64))
                self._put(checksum, int(new[0]), 2)
        self._put(at, value, size)

    def _sum_up(self) -> None:
        """Work out the checksum of the ICMP error anew."""
        self._put(self._l4 + 2, 0, 2)
        words = Words(np.frombuffer(bytes(self._frame) + bytes(8), np.uint8))
        at, size = np.array([self._l4]), np.array([self._end - self._l4])
        total = sum_bytes(words, at, size)
        if not self._is_ipv4:
            total = total + sum_bytes(words, np.array([self._l3 + 8]), np.array([32]))
            total = total + np.uint64(self._end - self._l4 + ICMPV6)
        self._put(self._l4 + 2, int(finish(total)[0]), 2)

    def _number(self, at: int, size: int) -> int:
        return int.from_bytes(self._frame[at : at + size], "big")

    def _put(self, at: int, value: int, size: int) -> None:
        self._frame[at : at + size] = value.to_bytes(size, "big")


def _array(number: int) -> U64:
    return np.array([number], np.uint64)


def packet_columns(frame: bytes, packet_type: int = 0) -> U64:
    """The header columns of a frame, by default Ethernet, shape (N_COLUMNS - ETH_SRC,)."""
    types = np.array([packet_type], np.uint64)
    return decode(Frames.of([frame]), 0, packet_types=types).columns[Column.ETH_SRC :, 0]
