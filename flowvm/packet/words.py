"""Big-endian integers at arbitrary positions of a byte buffer, many at once.

Every reader takes an array of byte positions, or a slice of them, and returns ``uint64`` values,
one a position; the caller vouches that the bytes exist. Writers store the low bits of ``uint64``
values. Where two positions of one write overlap, the later one wins.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowvm.arrays import nonzero
from flowvm.kernels import kernels

U64 = NDArray[Any]
"""An array of ``uint64``; numpy's stubs call ``uint64 >> int`` signed, so they are not told."""

Index = NDArray[np.int64]
Bool = NDArray[np.bool_]
Bytes = NDArray[np.uint8]

SPAN = 64
"""Bytes in the larger items that runs of bytes are copied by."""

_U16, _U32, _U64 = np.dtype(">u2"), np.dtype(">u4"), np.dtype(">u8")
_SPANS_AT_ONCE = 4096  # what is copied stays in cache


class Words:
    """A buffer seen as overlapping integers of 1, 2, 4, 6 and 8 bytes, one at every position.

    ``buffer`` is a contiguous ``uint8`` array of at least 8 bytes; writing through the view
    changes it.
    """

    __slots__ = ("_u8", "_u16", "_u32", "_u64")

    def __init__(self, buffer: Bytes) -> None:
        self._u8 = buffer
        self._u16 = overlapping(buffer, _U16)
        self._u32 = overlapping(buffer, _U32)
        self._u64 = overlapping(buffer, _U64)

    def u8(self, at: Index | slice) -> U64:
        return self._u8[at].astype(np.uint64)

    def u16(self, at: Index | slice) -> U64:
        return self._u16[at].astype(np.uint64)

    def u32(self, at: Index | slice) -> U64:
        return self._u32[at].astype(np.uint64)

    def u48(self, at: Index) -> U64:
        """Six bytes, as an Ethernet address; two bytes before ``at`` must exist too."""
        return self.u64(at - 2) & np.uint64(0xFFFF_FFFF_FFFF)

    def u64(self, at: Index | slice) -> U64:
        return self._u64[at].astype(np.uint64)

    def spans(self, at: Index) -> Words:
        """A copy of the :data:`SPAN` bytes at each position, one after the other."""
        return Words(overlapping(self._u8, f"V{SPAN}")[at].view(np.uint8))

    def put8(self, at: Index, value: U64) -> None:
        self._u8[at] = value & np.uint64(0xFF)

    def put16(self, at: Index, value: U64) -> None:
        self._u16[at] = value & np.uint64(0xFFFF)

    def put32(self, at: Index, value: U64) -> None:
        self._u32[at] = value & np.uint64(0xFFFF_FFFF)

    def put48(self, at: Index, value: U64) -> None:
        self.put16(at, value >> np.uint64(32))
        self.put32(at + 2, value)

    def put64(self, at: Index, value: U64) -> None:
        self._u64[at] = value

    def retag(self, starts: Index, shift: Index, pushed: Index, tags: U64) -> None:
        """Move the first 12 bytes of frames by ``shift``, and put ``pushed`` tags behind them.

        ``tags`` has shape (2, frames), the first to be outermost.
        """
        compiled = kernels()
        if compiled is not None:
            words = overlapping(self._u8, "<u8"), overlapping(self._u8, "<u4")
            compiled.retag(*words, starts, shift, pushed, tags)
            return
        moved = nonzero(shift)
        if moved.size:
            source = starts[moved]
            addresses, rest = self.u64(source), self.u32(source + 8)
            self.put64(source + shift[moved], addresses)
            self.put32(source + shift[moved] + 8, rest)
        for i in range(len(tags)):
            chosen = nonzero(pushed > i)
            if chosen.size:
                self.put32(starts[chosen] + shift[chosen] + 12 + 4 * i, tags[i, chosen])


def overlapping(buffer: Bytes, dtype: str | np.dtype[Any]) -> NDArray[Any]:
    """``buffer`` as items, one beginning at every byte."""
    kind = np.dtype(dtype)
    count = buffer.size - kind.itemsize + 1
    return np.ndarray((count,), kind, buffer=buffer.data, strides=(1,))


def ranges(starts: Index, counts: Index, step: int = 1) -> Index:
    """Concatenate ``starts[i] + step * [0 .. counts[i])`` for every i; int64."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if ends.size else 0
    return np.repeat(starts - step * (ends - counts), counts) + step * np.arange(total)


def copy_spans(
    source: Bytes, source_at: Index, target: Bytes, target_at: Index, lengths: Index
) -> None:
    """Copy ``lengths[i]`` bytes from ``source_at[i]`` to ``target_at[i]``, for ascending targets.

    Bytes are moved in items of 64, so that up to 63 bytes after each span are overwritten too,
    unless a later span of the same call covers them; both buffers must have these bytes.
    """
    compiled = kernels()
    if compiled is not None:
        words = overlapping(source, "<u8"), overlapping(target, "<u8")
        compiled.copy(words[0], source_at, words[1], target_at, lengths)
        return
    items = overlapping(source, f"V{SPAN}")
    places = overlapping(target, f"V{SPAN}")
    counts = (lengths + (SPAN - 1)) // SPAN
    ends = np.cumsum(counts)
    first = 0
    while first < len(counts):
        begun = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, begun + _SPANS_AT_ONCE)))
        some = slice(first, last)
        found = items[ranges(source_at[some], counts[some], SPAN)]
        places[ranges(target_at[some], counts[some], SPAN)] = found
        first = last
