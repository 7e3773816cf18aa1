"""Where the records of a buffer begin, when each says how long it is.

Record ``i + 1`` begins where record ``i`` ends, so they cannot be found independently; stepping
through them in Python costs some 250 ns each. Compiled, it costs next to nothing. Without that, the
ways here guess, and keep only what the lengths confirm, so that the answer is always that of
stepping:

- *evenly*: as long as the records are of one size, their lengths are read at that stride;
- *in lanes*: the buffer is cut in lanes, a record that begins early in each lane is guessed, and
  all lanes are stepped through at once. A lane is confirmed when the one before it ends where it
  begins;
- *stepwise*, where neither finds much.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowvm.kernels import kernels
from flowvm.packet.words import Bool, Bytes, Index, overlapping

FEW = 64
"""Fewer records than this are not worth a vectorised attempt."""

LANE = 8192
"""Bytes from where one lane begins to where the next does."""

SEARCHED = 1024
"""Bytes at the beginning of each lane in which a record is looked for; most frames are shorter."""

MOST_LANES = 1 << 14
"""Lanes at once: their numbers fit in 16 bits, by which numpy sorts fastest."""


@dataclass(frozen=True, slots=True)
class Form:
    """How a kind of record says its size: the 32-bit word at ``length_at``, plus ``overhead``.

    ``order`` is ``<`` or ``>``. A record is at least ``least`` bytes and its first ``header``
    bytes include the length. ``mark`` are the positions of bytes of the header in which
    neighbouring records are mostly the same, and most other bytes are not.
    """

    order: str
    length_at: int
    overhead: int
    header: int
    least: int
    mark: tuple[int, ...]


def record_starts(buffer: Bytes, start: int, end: int, form: Form) -> tuple[Index, int]:
    """Positions of the whole records in ``buffer[start:end]``, and that of the next.

    The first record begins at ``start``. What begins at the returned next position is not wholly
    in the buffer, or says it is smaller than ``form.least``. At least 8 bytes follow ``end``.
    """
    compiled = kernels()
    if compiled is not None:
        found = np.empty((end - start) // form.least + 1, np.int64)
        told = np.array([form.order == ">", form.length_at, form.overhead, form.header, form.least])
        reached = np.zeros(2, np.int64)
        compiled.step(overlapping(buffer, "<u4"), start, end, told, found, reached)
        return found[: reached[0]].copy(), int(reached[1])
    walk = _Walk(buffer, end, form)
    pieces: list[Index] = []
    steps = FEW
    at = start
    while at + form.header <= end:
        size = walk.size(at)
        if size < form.least or at + size > end:
            break
        found = walk.evenly(at, size)
        if found.size < FEW:
            found = walk.in_lanes(at)
            if found.size < FEW:
                # Guessing failed here; try it the less often, the more it fails.
                found = walk.stepwise(at, steps)
                steps *= 4
            else:
                steps = FEW
        pieces.append(found)
        last = int(found[-1])
        at = last + walk.size(last)
    return (np.concatenate(pieces) if pieces else np.zeros(0, np.int64)), at


class _Walk:
    """The ways through ``buffer[:end]``. Each gives records from a whole one at ``at`` on."""

    def __init__(self, buffer: Bytes, end: int, form: Form) -> None:
        self.buffer = buffer
        self.end = end
        self.form = form
        self._lengths = overlapping(buffer, f"{form.order}u4")[form.length_at :]

    def size(self, at: int) -> int:
        return int(self._lengths[at]) + self.form.overhead

    def evenly(self, at: int, size: int) -> Index:
        """Records that are all of ``size`` bytes, as the first is."""
        count = (self.end - at) // size
        same: NDArray[Any] = self._lengths[at : at + (count - 1) * size + 1 : size]
        probe = min(count, FEW)
        while True:
            differs = same[:probe] != same[0]
            if differs.any():
                count = int(differs.argmax())
                break
            if probe == count:
                break
            probe = min(count, 16 * probe)
        return at + size * np.arange(count)

    def in_lanes(self, at: int) -> Index:
        """Records as far as lanes are confirmed; the first alone where there are few lanes."""
        begins = self._guesses(at)
        if begins.size < FEW:
            return np.array([at])
        form = self.form
        stop = min(self.end, at + (MOST_LANES + 2) * LANE)
        limits = np.append(begins[1:], stop - form.header + 1)
        ends = np.zeros_like(begins)
        lanes, places = np.arange(begins.size), begins
        all_lanes, all_places = [], []
        while lanes.size:
            sizes = self._lengths[places].astype(np.int64) + form.overhead
            following = places + sizes
            whole = (sizes >= form.least) & (following <= stop)
            ends[lanes] = np.where(whole, following, places)
            all_lanes.append(lanes[whole])
            all_places.append(places[whole])
            on = whole & (following < limits[lanes])
            lanes, places = lanes[on], following[on]
        broken = ends[:-1] != begins[1:]
        confirmed = int(broken.argmax()) if broken.any() else begins.size - 1
        of_lane = np.concatenate(all_lanes)
        found = np.concatenate(all_places)
        mine = of_lane <= confirmed
        order = np.argsort(of_lane[mine].astype(np.int16), kind="stable")
        return found[mine][order]

    def _guesses(self, at: int) -> Index:
        """Where lanes begin: ``at``, then spots marked like it that end at spots like it."""
        form, buffer = self.form, self.buffer
        count = min((self.end - form.header - SEARCHED - at) // LANE, MOST_LANES)
        telling = [byte for byte in form.mark if buffer[at + byte]]
        if count < FEW or not telling:
            return np.array([at])
        searched: Bytes = np.ndarray(
            (count, SEARCHED), np.uint8, buffer.data, at + LANE + telling[0], (LANE, 1)
        )
        lanes, offsets = np.divmod(_sparse(searched == buffer[at + telling[0]]), SEARCHED)
        spots = at + LANE + lanes * LANE + offsets
        alike = self._marked_like(at, spots)
        spots, lanes = spots[alike], lanes[alike]
        nexts = spots + self._lengths[spots].astype(np.int64) + form.overhead
        inside = nexts + form.header <= self.end
        spots, lanes, nexts = spots[inside], lanes[inside], nexts[inside]
        alike = self._marked_like(at, nexts)
        spots, lanes = spots[alike], lanes[alike]
        return np.append(at, spots[np.diff(lanes, prepend=-1) > 0])

    def _marked_like(self, at: int, spots: Index) -> Bool:
        alike: Bool = np.ones(spots.size, bool)
        for byte in self.form.mark:
            alike &= self.buffer[spots + byte] == self.buffer[at + byte]
        return alike

    def stepwise(self, at: int, steps: int) -> Index:
        """At most so many records."""
        form, view = self.form, memoryview(self.buffer.data)
        word = struct.Struct(f"{form.order}I")
        found = []
        for _ in range(steps):
            if at + form.header > self.end:
                break
            size: int = word.unpack_from(view, at + form.length_at)[0] + form.overhead
            if size < form.least or at + size > self.end:
                break
            found.append(at)
            at += size
        return np.array(found, np.int64)


def gather(buffer: Bytes, starts: Index, words: int, order: str) -> Index:
    """The ``words`` 32-bit words from each start on; ``int64`` of shape (``words``, N)."""
    compiled = kernels()
    if compiled is not None:
        found = np.empty((words, len(starts)), np.int64)
        compiled.gather(overlapping(buffer, "<u4"), starts, int(order == ">"), found)
        return found
    rows = overlapping(buffer, f"V{4 * words}")[starts]
    return rows.view(f"{order}u4").reshape(-1, words).T.astype(np.int64)


def _sparse(mask: Bool) -> Index:
    """``np.flatnonzero``, faster where next to nothing holds; ``mask.size`` is a multiple of 8."""
    octets = np.flatnonzero(mask.reshape(-1).view(np.uint64) != 0)
    hits = np.flatnonzero(mask.reshape(-1, 8)[octets])
    found: Index = octets[hits >> 3] * 8 + (hits & 7)
    return found
