"""N Ethernet frames of any lengths in one byte buffer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from flowvm.packet.words import SPAN, Bytes, Index, Words, copy_spans

HEADROOM = 24
"""Free bytes before each frame of a copy: room for two VLAN tags and three MPLS labels."""

TAIL = SPAN
"""Zero bytes kept after the last frame, so that reading a little past an end stays inside."""


@dataclass(frozen=True, eq=False, slots=True)
class Frames:
    """Frame ``i`` is ``buffer[offsets[i] : offsets[i] + lengths[i]]``.

    ``buffer`` is ``uint8``, ``offsets`` and ``lengths`` are ``int64`` of shape (N,), in bytes.
    Frames may lie in any order, with gaps, and share bytes. Treat all three as read-only. At least
    :data:`TAIL` bytes follow the end of the last frame.
    """

    buffer: Bytes
    offsets: Index
    lengths: Index

    @classmethod
    def of(cls, frames: Iterable[bytes]) -> Frames:
        """Frames with the given bytes."""
        items = list(frames)
        lengths = np.fromiter(map(len, items), np.int64, len(items))
        buffer = np.frombuffer(b"".join((*items, bytes(TAIL))), np.uint8)
        return cls(buffer, np.cumsum(lengths) - lengths, lengths)

    @classmethod
    def blank(cls, lengths: Index) -> Frames:
        """Frames of zero bytes in a buffer of their own, :data:`HEADROOM` before each."""
        lengths = lengths.astype(np.int64)
        slots = (lengths + 7) // 8 * 8
        ends = np.cumsum(slots + HEADROOM)
        total = (int(ends[-1]) if ends.size else 0) + TAIL
        return cls(np.zeros(total, np.uint8), ends - slots, lengths)

    def __len__(self) -> int:
        return self.offsets.size

    def __getitem__(self, index: int) -> bytes:
        start = int(self.offsets[index])
        return self.buffer[start : start + int(self.lengths[index])].tobytes()

    def __iter__(self) -> Iterator[bytes]:
        view = memoryview(self.buffer.data)
        for start, length in zip(self.offsets.tolist(), self.lengths.tolist(), strict=True):
            yield bytes(view[start : start + length])

    def __repr__(self) -> str:
        return f"<Frames {len(self)}, {int(self.lengths.sum())} bytes>"

    def words(self) -> Words:
        """The buffer as integers at any byte position."""
        return Words(self.buffer)

    def take(self, indices: ArrayLike) -> Frames:
        """The frames at ``indices`` (or where a boolean mask holds); shares the buffer."""
        chosen = np.asarray(indices)
        if chosen.size == 0:
            chosen = chosen.astype(np.int64)
        return Frames(self.buffer, self.offsets[chosen], self.lengths[chosen])

    def copy(self) -> Frames:
        """The same frames in a fresh writable buffer, each with headroom of its own."""
        result = Frames.blank(self.lengths)
        copy_spans(self.buffer, self.offsets, result.buffer, result.offsets, result.lengths)
        result.buffer[result.buffer.size - TAIL :] = 0
        return result

    def matrix(self, width: int) -> Bytes:
        """The first ``width`` bytes of every frame, shape (N, ``width``), zero past its end."""
        columns = np.arange(width)
        at = np.minimum(self.offsets[:, None] + columns, self.buffer.size - 1)
        return np.where(columns < self.lengths[:, None], self.buffer[at], np.uint8(0))

    @classmethod
    def concatenate(cls, parts: Iterable[Frames]) -> Frames:
        """All frames of ``parts``, in order, in one buffer; what parts share is there once."""
        items = list(parts)
        if len(items) < 2:
            return items[0] if items else cls.of([])
        buffers = {id(part.buffer): part.buffer for part in items}
        sizes = [buffer.size for buffer in buffers.values()]
        bases = dict(zip(buffers, np.cumsum([0, *sizes[:-1]]).tolist(), strict=True))
        return cls(
            np.concatenate(list(buffers.values())),
            np.concatenate([part.offsets + bases[id(part.buffer)] for part in items]),
            np.concatenate([p.lengths for p in items]),
        )
