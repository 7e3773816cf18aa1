"""A run of packets that are read together, at the same places of their frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flowvm.arrays import all_of
from flowvm.packet.words import SPAN, U64, Index, Words

At = Index | int
"""Where to read, in bytes from a frame's start: one place for all packets, or one each."""

_NEAR = 128
"""Frames at most so far apart, and equally far, are read where they lie."""

_NO_LIMIT = 1 << 62  # more than any frame has


class Run:
    """Packets ``who`` of a key array; ``starts`` (in the buffer) and ``lengths`` are theirs.

    Most reads are at one place for all. They walk through memory in equal steps, which is several
    times faster than gathering from arbitrary positions: through the buffer if the frames lie that
    way, else through a copy of the first bytes of each.
    """

    def __init__(self, words: Words, starts: Index, lengths: Index, who: Index | slice) -> None:
        self.words = words
        self.starts = starts
        self.lengths = lengths
        self.who = who
        self._near: _Near | None = None
        self._whole: tuple[_Near, Index] | None = None

    def __len__(self) -> int:
        return self.starts.size

    def take(self, chosen: Index) -> Run:
        """The packets at ``chosen`` of this run."""
        who = chosen if isinstance(self.who, slice) else self.who[chosen]
        part = Run(self.words, self.starts[chosen], self.lengths[chosen], who)
        if self._near is not None:
            part._whole = self._near, chosen
        return part

    def u16(self, at: At) -> U64:
        """Two bytes at ``at``, as every reader here: of each packet, as a big-endian number."""
        words, where = self._find(at, 2)
        return words.u16(where)

    def u32(self, at: At) -> U64:
        words, where = self._find(at, 4)
        return words.u32(where)

    def u64(self, at: At) -> U64:
        words, where = self._find(at, 8)
        return words.u64(where)

    def _find(self, at: At, size: int) -> tuple[Words, Index | slice]:
        """Where to read ``size`` bytes, and at which positions there."""
        if isinstance(at, int):
            if self._near is None:
                self._near = self._approach()
            if at + size <= self._near.reach:
                return self._near.words, self._near.at(at)
        return self.words, self.starts + at

    def _approach(self) -> _Near:
        if self._whole is not None:
            # What was read to choose these packets is in the cache.
            near, chosen = self._whole
            return _Near.copied(near.words, near.first + near.step * chosen)
        steps = _steps(self.starts)
        if steps is not None:
            return _Near(self.words, int(self.starts[0]), steps, len(self), _NO_LIMIT)
        return _Near.copied(self.words, self.starts)


@dataclass(frozen=True, eq=False, slots=True)
class _Near:
    """``n`` frames in equal steps: frame i begins at ``first + i * step`` of ``words``.

    The first ``reach`` bytes of each can be read there.
    """

    words: Words
    first: int
    step: int
    n: int
    reach: int

    @classmethod
    def copied(cls, words: Words, starts: Index) -> _Near:
        return cls(words.spans(starts), 0, SPAN, starts.size, SPAN)

    def at(self, offset: int) -> slice:
        begin = self.first + offset
        return slice(begin, begin + (self.n - 1) * self.step + 1, self.step)


def _steps(starts: Index) -> int | None:
    """By how many bytes each frame follows the one before, if equally and closely."""
    if starts.size < 2:
        return None
    step = int(starts[1]) - int(starts[0])
    return step if 0 < step <= _NEAR and all_of(np.diff(starts) == step) else None
