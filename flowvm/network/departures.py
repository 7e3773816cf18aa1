"""Departures: what leaves a bridge of a network, with all that the next bridge may take over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flowvm.pipeline.emission import UNLIMITED
from flowvm.pipeline.entry import Entry
from flowvm.pipeline.paths import Paths
from flowvm.pipeline.result import Result, Stretch, Verdict
from flowvm.pipeline.state import State


@dataclass(frozen=True, eq=False, slots=True)
class Departure:
    """One packet that leaves by ``port``; ``columns`` (shape (columns,)) are its headers.

    ``depth`` and ``resubmits`` are how far the translation was, and ``popped`` whether it had
    popped a label. ``learns_later`` tells that the bridge learned something after this output,
    ``steps_later`` that it had the datapath do something besides output (``ct``). ``cut`` is
    whether only the first bytes leave, ``failed`` whether an error came later in the translation.
    ``recirculations`` are those that it has been through, one within the other. ``length`` is how
    many bytes it had when the datapath took it up again in this bridge; ``None`` if it did not.
    """

    port: int
    frame: bytes
    columns: NDArray[np.uint64]
    depth: int
    resubmits: int
    popped: bool
    learns_later: bool
    steps_later: bool
    cut: bool
    failed: bool
    recirculations: int
    length: int | None

    def is_lost(self, came: Entry) -> bool:
        """Whether the error takes it back, in a bridge that the packet came to as ``came``.

        An error in a translation that began in another bridge leaves alone what was done before.
        """
        return self.failed and (self.length is not None or not came.nested)


def departures(result: Result, state: State, came: Entry) -> list[Departure]:
    """What leaves of the one packet of ``result``, which came in as ``came``, in order."""
    (stretch,) = result.stretches
    paths, emitted = stretch.paths, stretch.paths.emissions
    path_of = stretch.legs[1]
    entries, legs = emitted.of_owners(path_of)
    if stretch.travels is not None:
        legs, order = stretch.travels.emitted(emitted.counts[path_of])
        entries = entries[order]
    written = sorted(state.program.written.items())
    frames, ports = result.emissions.frames, result.emissions.port.tolist()
    found = []
    for number, (entry, leg) in enumerate(zip(entries.tolist(), legs.tolist(), strict=True)):
        path = int(path_of[leg])
        columns = _arrived(result, stretch, leg)
        _apply(paths, path, int(emitted["commit"][entry]), written, columns)
        position = entry - int(emitted.starts[path])
        travels = stretch.travels if leg else None
        steps = slice(int(paths.steps.starts[path]), int(paths.steps.starts[path + 1]))
        found.append(
            Departure(
                ports[number],
                frames[number],
                columns,
                int(emitted["depth"][entry]),
                int(emitted["resubmits"][entry]),
                bool(emitted["popped"][entry]),
                _learns_after(paths, path, path_of[leg + 1 :], int(emitted["lessons"][entry])),
                bool((paths.steps["position"][steps] > position).any()),
                int(emitted["max_len"][entry]) < UNLIMITED,
                bool(paths.verdict[path] == Verdict.ERROR),
                came.recirculations if travels is None else int(travels.depths[leg - 1]),
                None if travels is None else int(travels.frames.lengths[leg - 1]),
            )
        )
    return found


def has_steps(result: Result) -> bool:
    """Whether the datapath did more than output to the one packet of ``result``."""
    (stretch,) = result.stretches
    return bool(stretch.paths.steps.counts[stretch.legs[1]].any())


def resubmits(result: Result, before: int) -> int:
    """The most resubmits that any output of the packet came after, at least ``before``."""
    (stretch,) = result.stretches
    emitted = stretch.paths.emissions
    entries = emitted.of_owners(stretch.legs[1])[0]
    return int(emitted["resubmits"][entries].max(initial=before))


def _arrived(result: Result, stretch: Stretch, leg: int) -> NDArray[np.uint64]:
    """The headers that a leg of the packet's way began with."""
    if leg == 0 or stretch.travels is None:
        return result.batch.columns[:, 0].copy()
    return stretch.travels.columns[:, leg - 1].copy()


def _apply(
    paths: Paths,
    path: int,
    commit: int,
    written: Sequence[tuple[int, int]],
    columns: NDArray[np.uint64],
) -> None:
    """Let ``columns`` be what they are at a commit of the path (-1: as they came)."""
    if commit < 0:
        return
    values = paths.commits["header"][:, int(paths.commits.starts[path]) + commit].tolist()
    for (column, mask), value in zip(written, values, strict=True):
        columns[column] = int(columns[column]) & ~mask | value & mask


def _learns_after(paths: Paths, path: int, later: NDArray[np.int64], lessons: int) -> bool:
    """Whether anything is learned on ``path`` after so many lessons, or on a ``later`` one."""
    return any(
        bool(((events.packets == path) & (events.order >= lessons)).any())
        or bool(np.isin(events.packets, later).any())
        for events in paths.learned
    )
