"""Frames as they leave: what was noted while packets ran, made into bytes."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from flowvm.arrays import all_of, any_of, nonzero
from flowvm.columns import Column
from flowvm.packet.decode import blank_columns
from flowvm.packet.encode import is_shallow, keep_network, needed_to_rewrite, rewrite
from flowvm.packet.frames import Frames
from flowvm.packet.layers import Contexts
from flowvm.pipeline.emission import UNLIMITED
from flowvm.pipeline.ragged import Ragged

_NO_COMMIT = -1
_TUNNEL = range(Column.TUN_ID, Column.MARK)

Header = Callable[[Column], NDArray[np.uint64]]
"""Gives a column of some keys."""


@dataclass(frozen=True)
class Emissions:
    """What leaves: one entry each, ordered by packet and then by the order they were emitted.

    ``port`` is an OpenFlow port number (reserved ones for LOCAL and CONTROLLER); ``reason`` a
    :class:`Reason`; ``table`` and ``cookie`` those of the flow that sent a packet to the
    controller; ``options`` the number of what else goes to the controller, 0 for nothing
    (:meth:`flowvm.pipeline.result.Result.packet_in`). ``header`` gives a column of the packets'
    keys as they leave, ``tunnelled`` the columns of tunnel metadata that need not be zero then.
    """

    packet: NDArray[np.int64]
    port: NDArray[np.int64]
    frames: Frames
    header: Header
    tunnelled: Callable[[], Collection[Column]]
    reason: NDArray[np.int8]
    table: NDArray[np.int32]
    cookie: NDArray[np.uint64]
    options: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.packet)

    @cached_property
    def tun_id(self) -> NDArray[np.uint64]:
        """The ``tun_id`` that each leaves with."""
        return self.header(Column.TUN_ID)

    @cached_property
    def tun_src(self) -> NDArray[np.uint64]:
        """The ``tun_src`` that each leaves with."""
        return self.header(Column.TUN_IPV4) >> np.uint64(32)

    @cached_property
    def tun_dst(self) -> NDArray[np.uint64]:
        """The ``tun_dst`` that each leaves with."""
        return self.header(Column.TUN_IPV4) & np.uint64(0xFFFF_FFFF)

    def tunnel(self) -> dict[Column, NDArray[np.uint64]]:
        """The columns of tunnel metadata in which any of them has something as it leaves."""
        found = {column: self.header(column) for column in self.tunnelled()}
        return {column: words for column, words in found.items() if np.count_nonzero(words)}

    def shifted(self, first: int) -> Emissions:
        """The same, with packets counted from ``first``."""
        if not first:
            return self
        return replace(self, packet=self.packet + first)

    @classmethod
    def none(cls) -> Emissions:
        """No emission."""
        words = np.zeros(0, np.uint64)
        numbers = np.zeros(0, np.int64)
        tables = np.zeros(0, np.int32)
        return cls(
            numbers,
            numbers,
            Frames.of([]),
            lambda _: words,
            tuple,
            np.zeros(0, np.int8),
            tables,
            words,
            tables,
        )

    def take(self, entries: NDArray[np.int64]) -> Emissions:
        """Some of them, in that order."""
        return Emissions(
            self.packet[entries],
            self.port[entries],
            self.frames.take(entries),
            lambda column: self.header(column)[entries],
            self.tunnelled,
            self.reason[entries],
            self.table[entries],
            self.cookie[entries],
            self.options[entries],
        )

    @staticmethod
    def concatenate(parts: list[Emissions]) -> Emissions:
        """One after the other."""
        if len(parts) == 1:
            return parts[0]

        def joined(name: str) -> NDArray[np.generic]:
            return np.concatenate([getattr(part, name) for part in parts])

        names = ("reason", "table", "cookie", "options")
        return Emissions(
            joined("packet"),  # type: ignore[arg-type]
            joined("port"),  # type: ignore[arg-type]
            Frames.concatenate([part.frames for part in parts]),
            lambda column: np.concatenate([part.header(column) for part in parts]),
            lambda: sorted(set(chain(*(part.tunnelled() for part in parts)))),
            *(joined(name) for name in names),  # type: ignore[arg-type]
        )


@dataclass(frozen=True, eq=False)
class Delivery:
    """How to make the emissions of some packets that take known paths.

    ``paths`` is the path of each packet, ``columns`` (columns, packets) their headers as they came
    in; ``written`` are the bits that actions can change, in the order of the rows of
    ``commits["header"]``; ``contexts`` what numbers in headers that were pushed stand for.
    """

    frames: Frames
    columns: NDArray[np.uint64]
    paths: NDArray[np.int64]
    emissions: Ragged
    commits: Ragged
    written: tuple[tuple[int, int], ...]
    contexts: Contexts

    def emissions_of_all(self) -> Emissions:
        """Every emission, ordered by packet and then as they happened."""
        entries, packets = self.emissions.of_owners(self.paths)
        column = {name: values[entries] for name, values in self.emissions.columns.items()}
        frames = self._frames(packets, column["commit"])
        limited = nonzero(column["max_len"] < UNLIMITED)
        if len(limited):
            lengths = frames.lengths.copy()
            before = self._frames(packets[limited], column["before"][limited])
            lengths[limited] -= np.maximum(before.lengths - column["max_len"][limited], 0)
            frames = Frames(frames.buffer, frames.offsets, lengths)
        return Emissions(
            packets,
            column["port"],
            frames,
            partial(self._header, packets=packets, commits=column["commit"]),
            self._tunnelled,
            column["reason"],
            column["table"],
            column["cookie"],
            column["options"],
        )

    def _header(
        self, column: int, packets: NDArray[np.int64], commits: NDArray[np.int64]
    ) -> NDArray[np.uint64]:
        """The values of ``column`` of ``packets`` at a commit of each (-1: as it came in)."""
        values: NDArray[np.uint64] = self.columns[column][packets]
        if column in self._row_of:
            row = self._row_of[column]
            mask = np.uint64(self.written[row][1])
            changed: NDArray[np.int64] | slice = slice(None)
            if any_of(commits < 0):
                changed = nonzero(commits >= 0)
            at = self.commits.starts[self.paths[packets[changed]]] + commits[changed]
            written = self.commits["header"][row, at] & mask
            values[changed] = values[changed] & ~mask | written
        return values

    def _tunnelled(self) -> Collection[Column]:
        present = np.asarray(self.columns[_TUNNEL.start : _TUNNEL.stop].any(axis=1), bool)
        arrived = (nonzero(present) + _TUNNEL.start).tolist()
        return [Column(c) for c in sorted({*arrived, *self._row_of}) if c in _TUNNEL]

    @cached_property
    def _row_of(self) -> dict[int, int]:
        return {column: row for row, (column, _) in enumerate(self.written)}

    def _frames(self, packets: NDArray[np.int64], commits: NDArray[np.int64]) -> Frames:
        """The frame of each of ``packets`` at a commit of each."""
        if not any_of(commits >= 0):
            return self.frames.take(packets)
        shallow = is_shallow(self._written_columns)
        if np.array_equal(packets, np.arange(len(self.paths))):
            if shallow and not commits.any():
                # What most traffic comes to: one frame a packet, made of the one that came in.
                after = self._headers(packets, commits)
                return self._rewritten(self.frames, self.columns, after)
            depth = commits
        else:
            depth = np.full(len(self.paths), _NO_COMMIT, np.int64)
            np.maximum.at(depth, packets, commits)
        built = [self.frames]
        # Where the frame of a packet is at its latest commit but so many.
        place = [np.full(len(self.paths), -1, np.int64) for _ in range(int(depth.max()) + 1)]
        bases: list[NDArray[np.uint64]] = []
        n_built = len(self.frames)
        for number, places in enumerate(place):
            some = nonzero(depth >= number)
            parents = self.commits["parent"][self.commits.starts[self.paths[some]] + number]
            sources = some.copy()
            for earlier in range(number):
                mine = parents == earlier
                sources[mine] = place[earlier][some[mine]]
            if shallow and len(some) == len(self.paths) and all_of(parents == _NO_COMMIT):
                before = self.columns
            else:
                before = self._headers(some, parents)
            after = self._headers(some, np.full(len(some), number))
            if Column.MPLS in self._written_columns:
                for earlier, base in enumerate(bases):
                    mine = parents == earlier
                    before[:, mine] = keep_network(before[:, mine], base[:, some[mine]])
                bases.append(blank_columns(len(self.paths)))
                bases[-1][:, some] = keep_network(after, before)
            together = Frames.concatenate(built)
            changed = self._rewritten(together.take(sources), before, after)
            built = [together, changed]
            places[some] = n_built + np.arange(len(some))
            n_built += len(some)
        where = packets.copy()
        for number, places in enumerate(place):
            mine = commits == number
            where[mine] = places[packets[mine]]
        last = built[-1]
        if where.min() >= n_built - len(last):
            return last.take(where - (n_built - len(last)))
        return Frames.concatenate(built).take(where)

    def _rewritten(
        self, frames: Frames, before: NDArray[np.uint64], after: NDArray[np.uint64]
    ) -> Frames:
        return rewrite(frames, before, after, None, self._written_columns, self.contexts)

    def _headers(
        self, packets: NDArray[np.int64], commits: NDArray[np.int64]
    ) -> NDArray[np.uint64]:
        headers = blank_columns(len(packets))
        for column in needed_to_rewrite(self._written_columns):
            headers[column] = self._header(column, packets, commits)
        return headers

    @cached_property
    def _written_columns(self) -> frozenset[Column]:
        return frozenset(Column(column) for column, _ in self.written)
