"""Decoding literals by the thousand: numbers, addresses, durations, as columns.

Numbers are read eight characters at a time, as the bytes of one 64-bit word ("SIMD within a
register"). What is decoded here is only what :mod:`flowvm.text.values` reads without exception
and with the same result; anything else is ``Kind.OTHER``, and left to that.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from flowvm.clock import SECOND

Bytes = NDArray[np.uint8]
Positions = NDArray[np.int64]
Words = NDArray[np.uint64]


class Kind(IntEnum):
    """What a literal looks like."""

    OTHER = 1
    DECIMAL = 2
    """Up to 16 digits, the first not 0 unless it is the only one."""
    HEXADECIMAL = 3
    """``0x`` and up to 16 digits."""
    ETHERNET = 4
    """Six pairs of digits."""
    IPV4 = 5
    IPV6 = 6
    DURATION = 7
    """Seconds as ovs-ofctl writes them: whole, or to the milli- or nanosecond, and an ``s``.

    The value is in nanoseconds.
    """
    QUOTED = 8
    """A name in double quotes."""


_DECIMAL_PLACES = (3, 0, 9)
"""Of a duration, the most frequent first."""
_PAIR = np.uint64(0x000000FF000000FF)
_HIGH_BITS = np.uint64(0x8080808080808080)


def _each_byte(value: int) -> np.uint64:
    return np.uint64(value * 0x0101010101010101)


# The upper n bytes of a word, and "0" in the bytes below them.
_UPPER = np.array([((1 << 64) - 1) ^ ((1 << 8 * (8 - n)) - 1) for n in range(9)], np.uint64)
_ZEROS = np.array([0x3030303030303030 & ((1 << 8 * (8 - n)) - 1) for n in range(9)], np.uint64)


@dataclass(frozen=True)
class Literals:
    """What some literals are, one entry each.

    ``high`` holds, for those of kind IPV6 in their order, the upper 64 bits; ``values`` the lower.
    """

    kinds: NDArray[np.uint8]
    values: Words
    high: Words


def _eight(words: Words, lengths: Positions) -> Words:
    """Words of which the last ``lengths`` (at most 8) characters count; the others become "0"."""
    return (words & _UPPER[lengths]) | _ZEROS[lengths]


def _is_decimal(words: Words) -> NDArray[np.bool_]:
    odd = (words + _each_byte(0x46)) | (words - _each_byte(0x30))
    return np.asarray((odd & _HIGH_BITS) == 0)


def _decimal(words: Words) -> Words:
    """The number that eight digits are."""
    words = words - _each_byte(0x30)
    words = words * np.uint64(10) + (words >> np.uint64(8))
    low = (words & _PAIR) * np.uint64(100 + (1_000_000 << 32))
    high = ((words >> np.uint64(16)) & _PAIR) * np.uint64(1 + (10_000 << 32))
    return np.asarray((low + high) >> np.uint64(32))


def _is_hexadecimal(words: Words) -> NDArray[np.bool_]:
    letters = words | _each_byte(0x20)
    digit = (words + _each_byte(0x50)) & ~(words + _each_byte(0x46))
    letter = (letters + _each_byte(0x1F)) & ~(letters + _each_byte(0x19))
    return np.asarray(((digit | letter) & ~words & _HIGH_BITS) == _HIGH_BITS)


def _hexadecimal(words: Words) -> Words:
    """The number that eight hexadecimal digits are."""
    letters = (words >> np.uint64(6)) & _each_byte(0x01)
    n = (words & _each_byte(0x0F)) + letters * np.uint64(9)
    n = ((n << np.uint64(4)) | (n >> np.uint64(8))) & np.uint64(0x00FF00FF00FF00FF)
    n = ((n << np.uint64(8)) | (n >> np.uint64(16))) & np.uint64(0x0000FFFF0000FFFF)
    return np.asarray(((n << np.uint64(16)) | (n >> np.uint64(32))) & np.uint64(0xFFFFFFFF))


class Decoder:
    """Decodes literals of ``data``, ASCII text that ends with a newline."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._bytes: Bytes = np.frombuffer(data, np.uint8)
        # Every eight bytes of the text as a word, the first character in the lowest byte.
        self._words: Words = np.ndarray((max(len(data) - 7, 0),), "<u8", data, strides=(1,))

    def decode(self, starts: Positions, ends: Positions) -> Literals:
        """The literals from each of ``starts`` to the end of the same number."""
        n = len(starts)
        self._kinds: NDArray[np.uint8] = np.full(n, Kind.OTHER, np.uint8)
        self._values: Words = np.zeros(n, np.uint64)
        self._starts, self._ends = starts, ends
        lengths = ends - starts
        first, second = self._bytes[starts], self._bytes[starts + 1]
        last = self._bytes[ends - 1]
        # Loads reach up to 27 bytes back: a point, 9 decimal places and an "s" behind 16 digits.
        far = ends >= 27
        prefixed = (first == ord("0")) & ((second | 0x20) == ord("x"))
        timed = last == ord("s")
        plain = far & ~prefixed & ~timed
        self._decode_hexadecimal(np.flatnonzero(far & prefixed & (lengths > 2) & (lengths <= 18)))
        self._decode_durations(np.flatnonzero(far & timed & (lengths > 1)))
        self._decode_decimals(
            np.flatnonzero(plain & (lengths <= 16) & ((first != ord("0")) | (lengths == 1)))
        )
        rest = np.flatnonzero((self._kinds == Kind.OTHER) & ~timed & ~prefixed)
        length = lengths[rest]
        self._decode_ethernet(rest[length == 17])
        self._decode_ipv4(rest[(length >= 7) & (length <= 15)])
        high = self._decode_ipv6(rest[self._kinds[rest] == Kind.OTHER])
        quoted = (first == ord('"')) & (last == ord('"')) & (lengths > 1)
        self._kinds[quoted] = Kind.QUOTED
        return Literals(self._kinds, self._values, high)

    def _keep(self, which: Positions, kind: Kind, values: Words) -> None:
        self._kinds[which] = kind
        self._values[which] = values

    def _digits(self, ends: Positions, lengths: Positions) -> tuple[NDArray[np.bool_], Words]:
        """Which of the ``lengths`` characters, at most 16, before ``ends`` are digits, and of what.

        No digit at all is 0.
        """
        words = _eight(self._words[ends - 8], np.minimum(lengths, 8))
        fine = _is_decimal(words)
        values = _decimal(words)
        long = np.flatnonzero(lengths > 8)
        if len(long):
            upper = _eight(self._words[ends[long] - 16], lengths[long] - 8)
            fine[long] &= _is_decimal(upper)
            values[long] += _decimal(upper) * np.uint64(10**8)
        return fine, values

    def _decode_decimals(self, which: Positions) -> None:
        ends = self._ends[which]
        fine, values = self._digits(ends, ends - self._starts[which])
        self._keep(which[fine], Kind.DECIMAL, values[fine])

    def _decode_hexadecimal(self, which: Positions) -> None:
        lengths = self._ends[which] - self._starts[which] - 2
        words = _eight(self._words[self._ends[which] - 8], np.minimum(lengths, 8))
        fine = _is_hexadecimal(words)
        values = _hexadecimal(words)
        long = np.flatnonzero(lengths > 8)
        if len(long):
            upper = _eight(self._words[self._ends[which[long]] - 16], lengths[long] - 8)
            fine[long] &= _is_hexadecimal(upper)
            values[long] |= _hexadecimal(upper) << np.uint64(32)
        self._keep(which[fine], Kind.HEXADECIMAL, values[fine])

    def _decode_durations(self, which: Positions) -> None:
        for places in _DECIMAL_PLACES:
            ends = self._ends[which] - 1
            whole_ends = ends - places - 1 if places else ends
            lengths = whole_ends - self._starts[which]
            # More digits than eight are seconds of more than three years.
            found = (lengths > 0) & (lengths <= 8)
            if places:
                found &= self._bytes[whole_ends] == ord(".")
            some, whole_ends, lengths = which[found], whole_ends[found], lengths[found]
            fine, values = self._digits(whole_ends, lengths)
            values *= np.uint64(SECOND)
            if places:
                fraction_fine, fraction = self._digits(
                    ends[found], np.full(len(some), places, np.int64)
                )
                fine &= fraction_fine
                values += fraction * np.uint64(10 ** (9 - places))
            self._keep(some[fine], Kind.DURATION, values[fine])
            which = which[self._kinds[which] == Kind.OTHER]
            if not len(which):
                break

    def _decode_ethernet(self, which: Positions) -> None:
        starts = self._starts[which]
        fine = np.ones(len(which), bool)
        for colon in range(2, 17, 3):
            fine &= self._bytes[starts + colon] == ord(":")
        which, starts = which[fine], starts[fine]
        # The twelve digits, in two lots of eight characters.
        lots = []
        for offsets in ((0, 1, 3, 4), (6, 7, 9, 10, 12, 13, 15, 16)):
            digits = np.full((len(which), 8), ord("0"), np.uint8)
            for place, offset in enumerate(offsets, start=8 - len(offsets)):
                digits[:, place] = self._bytes[starts + offset]
            lots.append(digits.view("<u8")[:, 0])
        fine = _is_hexadecimal(lots[0]) & _is_hexadecimal(lots[1])
        values = _hexadecimal(lots[0]) << np.uint64(32) | _hexadecimal(lots[1])
        self._keep(which[fine], Kind.ETHERNET, values[fine])

    def _decode_ipv4(self, which: Positions) -> None:
        ends, starts = self._ends[which], self._starts[which]
        lengths = ends - starts
        value = np.zeros(len(which), np.uint64)
        octet = np.zeros(len(which), np.uint64)
        digits = np.zeros(len(which), np.int64)
        dots = np.zeros(len(which), np.int64)
        fine = np.ones(len(which), bool)
        for back in range(15, 0, -1):
            there = lengths >= back
            character = self._bytes[ends - back]
            dot = there & (character == ord("."))
            digit = character - np.uint8(ord("0"))
            fine &= ~there | dot | (digit < 10)
            fine &= ~dot | ((digits > 0) & (octet < 256))
            value = np.where(dot, value << np.uint64(8) | octet, value)
            octet = np.where(there & ~dot, octet * np.uint64(10) + digit, octet)
            octet[dot] = 0
            digits = np.where(dot, 0, digits + there)
            dots += dot
            fine &= digits <= 3
        fine &= (dots == 3) & (digits > 0) & (octet < 256)
        self._keep(which[fine], Kind.IPV4, (value << np.uint64(8) | octet)[fine])

    def _decode_ipv6(self, which: Positions) -> Words:
        """Returns the upper halves."""
        found: list[int] = []
        packed: list[bytes] = []
        spans = zip(
            which.tolist(), self._starts[which].tolist(), self._ends[which].tolist(), strict=True
        )
        for number, start, end in spans:
            word = self._data[start:end]
            if b":" not in word:
                continue
            try:
                packed.append(socket.inet_pton(socket.AF_INET6, word.decode()))
            except OSError:
                continue
            found.append(number)
        halves = np.frombuffer(b"".join(packed), ">u8").astype(np.uint64).reshape(-1, 2)
        self._keep(np.array(found, np.int64), Kind.IPV6, halves[:, 1])
        return halves[:, 0]
