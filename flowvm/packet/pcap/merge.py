"""Several captures as one, in the order of their times."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from flowvm.packet.frames import TAIL, Frames
from flowvm.packet.pcap.source import MICROSECOND, CaptureError, Records
from flowvm.packet.words import Index

Failed = Callable[[int, CaptureError], None]
"""Is told which input cannot be read on, and why."""


@dataclass(frozen=True, eq=False, slots=True)
class Merged:
    """Consecutive packets of several inputs.

    ``inputs`` (``int64``, (N,)) is the input that each came from. ``clock`` (``int64``, (N,)) is
    ``records.times`` made ascending: a packet that its capture dates before one that precedes it
    counts as of the same time as that one. ``resolution`` is that of the finest input, the same
    from the first packet on.
    """

    records: Records
    inputs: Index
    clock: Index
    resolution: int

    def part(self, first: int, last: int) -> Merged:
        """Packets ``first`` to, but not including, ``last``; shares the buffer."""
        some = slice(first, last)
        records = self.records.part(first, last)
        return Merged(records, self.inputs[some], self.clock[some], self.resolution)


def merge_captures(inputs: Sequence[Iterator[Records]], failed: Failed) -> Iterator[Merged]:
    """The packets of all ``inputs`` by time; of the same time, by the order of the inputs.

    Packets of one input stay in its order. A part of each input is held at a time. Where an input
    raises CaptureError it ends, ``failed`` is told, and the others go on, unless ``failed`` raises.
    The first parts of all inputs are read before any packet is given.
    """
    waiting = [_Input(number, records, failed) for number, records in enumerate(inputs)]
    while live := [some for some in waiting if some.fill()]:
        resolution = min(some.resolution for some in waiting)
        ends = [int(some.clock[-1]) for some in live]
        horizon = min(ends)
        # More packets of just that time may follow in the input that ends there. They come before
        # those of later inputs, and after those of earlier ones.
        first = ends.index(horizon)
        parts = [some.take_until(horizon, n <= first, resolution) for n, some in enumerate(live)]
        yield _woven([part for part in parts if len(part.clock)])


@dataclass
class _Input:
    """One input, of which ``clock`` and ``_records`` are what has been read but not been taken."""

    number: int
    chunks: Iterator[Records]
    failed: Failed
    clock: Index = field(default_factory=lambda: np.zeros(0, np.int64))
    resolution: int = MICROSECOND
    _records: Records | None = None
    _last: int = np.iinfo(np.int64).min

    def fill(self) -> bool:
        """Read on, if all has been taken; whether there is anything."""
        while not self.clock.size:
            try:
                self._records = next(self.chunks)
            except StopIteration:
                return False
            except CaptureError as error:
                self.chunks = iter(())
                self.failed(self.number, error)
                return False
            self.clock = np.maximum(np.maximum.accumulate(self._records.times), self._last)
            self._last = int(self.clock.max(initial=self._last))
            self.resolution = min(self.resolution, self._records.resolution)
        return True

    def take_until(self, horizon: int, inclusive: bool, resolution: int) -> Merged:
        count = int(np.searchsorted(self.clock, horizon, side="right" if inclusive else "left"))
        assert self._records is not None
        taken = Merged(
            self._records.part(0, count),
            np.full(count, self.number, np.int64),
            self.clock[:count],
            resolution,
        )
        self._records = self._records.part(count, len(self._records))
        self.clock = self.clock[count:]
        return taken


def _woven(parts: list[Merged]) -> Merged:
    if len(parts) == 1:
        return parts[0]
    clock = np.concatenate([part.clock for part in parts])
    # The sort is stable, and the parts are in the order of the inputs.
    order = np.argsort(clock, kind="stable")
    frames = Frames.concatenate([trimmed(part.records.frames) for part in parts])
    times = np.concatenate([part.records.times for part in parts])
    original_lengths = np.concatenate([part.records.original_lengths for part in parts])
    inputs = np.concatenate([part.inputs for part in parts])
    resolution = parts[0].resolution
    records = Records(frames.take(order), times[order], original_lengths[order], resolution)
    return Merged(records, inputs[order], clock[order], resolution)


def trimmed(frames: Frames) -> Frames:
    """The same frames, whose buffer (a view) has nothing before the first or after the last."""
    if not len(frames):
        return frames
    first = int(frames.offsets.min())
    end = int((frames.offsets + frames.lengths).max()) + TAIL
    return Frames(frames.buffer[first:end], frames.offsets - first, frames.lengths)
