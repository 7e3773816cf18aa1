"""The interface description block of pcapng: how the packets of an interface tell their time."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from flowvm.clock import SECOND
from flowvm.packet.words import U64, Bool, Index

IF_TSRESOL, IF_TSOFFSET = 9, 14
MICROSECONDS = 6

LATEST = 2**63 // SECOND - 1
"""Seconds from the epoch, either way, that surely fit as nanoseconds in an ``int64``."""

U32 = np.uint64(32)
LOW = np.uint64(0xFFFF_FFFF)


@dataclass(frozen=True, slots=True)
class Interface:
    """What an interface description block says.

    ``resolution`` is if_tsresol's byte: a negative power of 10, or of 2 if its top bit is set.
    ``offset`` is if_tsoffset, in seconds. ``snaplen`` 0 means no limit.
    """

    linktype: int
    snaplen: int
    resolution: int = MICROSECONDS
    offset: int = 0

    @classmethod
    def parse(cls, block: bytes, order: str) -> Interface:
        """From the whole block, header and trailer included; ValueError where it is too short."""
        if len(block) < 20:
            raise ValueError("an interface description too short for its fields")
        linktype, _, snaplen = struct.unpack_from(f"{order}HHI", block, 8)
        resolution, offset = MICROSECONDS, 0
        at, end = 16, len(block) - 4
        while at + 4 <= end:
            option, size = struct.unpack_from(f"{order}HH", block, at)
            if option == 0:
                break
            value = block[at + 4 : at + 4 + size]
            at += 4 + (size + 3) // 4 * 4
            if at > end:
                raise ValueError("an interface description whose options exceed it")
            if option == IF_TSRESOL and size == 1:
                resolution = value[0]
            elif option == IF_TSOFFSET and size == 8:
                (offset,) = struct.unpack(f"{order}q", value)
        return cls(linktype, snaplen, resolution, offset)

    def nanoseconds(self, ticks: U64) -> tuple[Index, Bool]:
        """Timestamps (``uint64``) in nanoseconds since the epoch, and whether they fit there.

        Exact for every resolution, rounded down; ``int64`` of any value where they do not fit.
        """
        if self.resolution & 0x80:
            seconds, rest = self._binary(ticks, self.resolution & 0x7F)
        else:
            seconds, rest = self._decimal(ticks, self.resolution)
        earliest, latest = (min(max(end - self.offset, -1), 2**64 - 1) for end in (-LATEST, LATEST))
        fits = np.full(len(seconds), latest >= 0)
        fits &= (seconds >= np.uint64(max(earliest, 0))) & (seconds <= np.uint64(max(latest, 0)))
        # Where they fit, the sum is right modulo 2**64.
        whole = (seconds + np.uint64(self.offset % 2**64)).astype(np.int64)
        return whole * SECOND + rest.astype(np.int64), fits

    @staticmethod
    def _decimal(ticks: U64, digits: int) -> tuple[U64, U64]:
        if digits <= 9:
            seconds, rest = np.divmod(ticks, np.uint64(10**digits))
            return seconds, rest * np.uint64(10 ** (9 - digits))
        unit = 10 ** (digits - 9)
        whole = ticks // np.uint64(unit) if unit < 1 << 64 else np.zeros_like(ticks)
        return _split(whole)

    @staticmethod
    def _binary(ticks: U64, bits: int) -> tuple[U64, U64]:
        if bits < 32:
            shift = np.uint64(bits)
            rest = ticks & ((np.uint64(1) << shift) - np.uint64(1))
            return ticks >> shift, rest * np.uint64(SECOND) >> shift
        # ticks * SECOND / 2**32 in two halves, then the remaining bits.
        upper = (ticks >> U32) * np.uint64(SECOND)
        lower = (ticks & LOW) * np.uint64(SECOND) >> U32
        # Shifting by 64 or more is undefined; by 63 nothing is left either, the sum being < 2**63.
        return _split(upper + lower >> np.uint64(min(bits - 32, 63)))


def _split(nanoseconds: U64) -> tuple[U64, U64]:
    seconds, rest = np.divmod(nanoseconds, np.uint64(SECOND))
    return seconds, rest
