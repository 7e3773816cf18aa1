"""What leaves the switch, and what it looks like by then.

An output does not build a frame. It notes the header columns as they are (a *commit*), and which
commit came before it; once the run is over the frames of all packets are built together. The chain
matters: OVS rewrites the packet at each output from what it was at the one before, checksums
incrementally, and the bytes come out accordingly.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from flowvm.columns import Column
from flowvm.packet.encode import rewrite
from flowvm.packet.frames import Frames

if TYPE_CHECKING:
    from flowvm.actions.base import Packets
    from flowvm.pipeline.engine import Run

Scalar = TypeVar("Scalar", bound=np.generic)

UNLIMITED = 0xFFFF
_NO_COMMIT = -1


class Reason(IntEnum):
    """Why a packet goes to the controller (``enum ofp_packet_in_reason``)."""

    NONE = -1
    NO_MATCH = 0
    ACTION = 1
    INVALID_TTL = 2
    ACTION_SET = 3
    GROUP = 4
    PACKET_OUT = 5
    EXPLICIT_MISS = 6


@dataclass(frozen=True)
class Emissions:
    """What leaves: one entry each, ordered by packet and then by the order they were emitted.

    ``port`` is an OpenFlow port number (reserved ones for LOCAL and CONTROLLER); ``reason`` a
    :class:`Reason`; ``table`` and ``cookie`` those of the flow that sent a packet to the
    controller; ``tun_id``, ``tun_src``, ``tun_dst`` the tunnel metadata it leaves with.
    """

    packet: NDArray[np.int64]
    port: NDArray[np.int64]
    frames: Frames
    tun_id: NDArray[np.uint64]
    tun_src: NDArray[np.uint64]
    tun_dst: NDArray[np.uint64]
    reason: NDArray[np.int8]
    table: NDArray[np.int32]
    cookie: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.packet)

    def shifted(self, first: int) -> Emissions:
        """The same, with packets counted from ``first``."""
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
            words,
            words,
            words,
            np.zeros(0, np.int8),
            tables,
            words,
        )

    @staticmethod
    def concatenate(parts: list[Emissions]) -> Emissions:
        """One after the other."""
        if len(parts) == 1:
            return parts[0]

        def joined(name: str) -> NDArray[np.generic]:
            return np.concatenate([getattr(part, name) for part in parts])

        names = ("tun_id", "tun_src", "tun_dst", "reason", "table", "cookie")
        return Emissions(
            joined("packet"),  # type: ignore[arg-type]
            joined("port"),  # type: ignore[arg-type]
            Frames.concatenate([part.frames for part in parts]),
            *(joined(name) for name in names),  # type: ignore[arg-type]
        )


@dataclass(frozen=True)
class _Emitted:
    packets: Packets
    ports: NDArray[np.int64]
    commits: NDArray[np.int64]
    max_len: int
    reason: Reason
    tables: NDArray[np.int32]
    cookies: NDArray[np.uint64]


class EmissionLog:
    """The emissions of one run, in the order in which they happen."""

    def __init__(self, run: Run) -> None:
        n = run.original.shape[1]
        self._run = run
        self._columns = sorted(run.state.program.written)
        self._dirty = np.zeros(n, bool)
        self._commit_of = np.full(n, _NO_COMMIT, np.int64)
        self._packets: list[Packets] = []
        self._parents: list[NDArray[np.int64]] = []
        self._snapshots: list[NDArray[np.uint64]] = []
        self._n_commits = 0
        self._emitted: list[_Emitted] = []

    def touch(self, packets: Packets) -> None:
        """Note that columns of ``packets`` have changed."""
        self._dirty[packets] = True

    def _commit(self, packets: Packets) -> NDArray[np.int64]:
        """The commit that says what each of ``packets`` is now."""
        changed = packets[self._dirty[packets]]
        if len(changed):
            self._packets.append(changed)
            self._parents.append(self._commit_of[changed])
            self._snapshots.append(self._run.columns[np.array(self._columns)[:, None], changed])
            numbers = np.arange(self._n_commits, self._n_commits + len(changed))
            self._commit_of[changed] = numbers
            self._n_commits += len(changed)
            self._dirty[changed] = False
        return self._commit_of[packets]

    def emit(
        self,
        packets: Packets,
        ports: NDArray[np.int64],
        max_len: int = UNLIMITED,
        reason: Reason = Reason.NONE,
    ) -> None:
        """Send ``packets`` out, each to its port, cut to ``max_len`` bytes."""
        if not len(packets):
            return
        run = self._run
        rules = run.rule[packets]
        cookies = np.where(rules >= 0, run.state.rules.cookie[rules], np.uint64(0))
        commits = self._commit(packets)
        tables = run.table[packets]
        self._emitted.append(_Emitted(packets, ports, commits, max_len, reason, tables, cookies))

    def collect(self, frames: Frames, before: int, dropped: Packets) -> Emissions:
        """The emissions of packets before ``before``, but for those ``dropped``.

        ``frames`` are the packets as they came in.
        """
        emitted = self._emitted
        packets = _joined([e.packets for e in emitted], np.int64)
        stands = (packets < before) & ~np.isin(packets, dropped)
        chosen = np.flatnonzero(stands)
        chosen = chosen[np.argsort(packets[chosen], kind="stable")]
        packets = packets[chosen]
        commits = _joined([e.commits for e in emitted], np.int64)[chosen]
        sizes = [len(e.packets) for e in emitted]
        max_len = np.repeat(np.array([e.max_len for e in emitted], np.int64), sizes)[chosen]
        reasons = np.repeat(np.array([e.reason for e in emitted], np.int8), sizes)[chosen]
        out = self._frames(frames, packets, commits)
        if (max_len < out.lengths).any():
            out = Frames(out.buffer, out.offsets, np.minimum(out.lengths, max_len))
        tun_id = self._column(Column.TUN_ID, packets, commits)
        tun_ipv4 = self._column(Column.TUN_IPV4, packets, commits)
        return Emissions(
            packets,
            _joined([e.ports for e in emitted], np.int64)[chosen],
            out,
            tun_id,
            tun_ipv4 >> np.uint64(32),
            tun_ipv4 & np.uint64(0xFFFFFFFF),
            reasons,
            _joined([e.tables for e in emitted], np.int32)[chosen],
            _joined([e.cookies for e in emitted], np.uint64)[chosen],
        )

    def _column(
        self, column: Column, packets: Packets, commits: NDArray[np.int64]
    ) -> NDArray[np.uint64]:
        """The values of ``column`` at each commit, or as they came in."""
        values: NDArray[np.uint64] = self._run.original[column][packets]
        if column in self._columns and self._n_commits:
            row = self._columns.index(column)
            committed = np.concatenate([snapshot[row] for snapshot in self._snapshots])
            values = np.where(commits >= 0, committed[commits], values)
        return values

    def _frames(self, frames: Frames, packets: Packets, commits: NDArray[np.int64]) -> Frames:
        """The frame of each commit; those without one are as they came in."""
        wanted = np.unique(commits[commits >= 0])
        if not len(wanted):
            return frames.take(packets)
        owners = np.concatenate(self._packets)
        parents = np.concatenate(self._parents)
        snapshots = np.concatenate(self._snapshots, axis=1)
        # Commits before the wanted ones of the same packet are needed on the way.
        needed = wanted
        while True:
            more = np.union1d(needed, parents[needed])
            more = more[more >= 0]
            if len(more) == len(needed):
                break
            needed = more
        built: list[Frames] = [frames]
        # Where the frame of each commit lies among all those built so far.
        place = np.full(len(parents), -1, np.int64)
        n_built = len(frames)
        waiting = needed
        while len(waiting):
            ready = (parents[waiting] < 0) | (place[parents[waiting]] >= 0)
            now, waiting = waiting[ready], waiting[~ready]
            before = self._run.original[:, owners[now]]
            has_parent = parents[now] >= 0
            after = before.copy()
            rows = np.array(self._columns)
            before[np.ix_(rows, has_parent)] = snapshots[:, parents[now][has_parent]]
            after[rows] = snapshots[:, now]
            so_far = Frames.concatenate(built)
            source = np.where(has_parent, place[parents[now]], owners[now])
            made = rewrite(so_far.take(source), before, after)
            place[now] = np.arange(n_built, n_built + len(now))
            n_built += len(now)
            built.append(made)
        return Frames.concatenate(built).take(np.where(commits >= 0, place[commits], packets))


def _joined(parts: list[NDArray[Scalar]], dtype: type[Scalar]) -> NDArray[Scalar]:
    return np.concatenate(parts) if parts else np.zeros(0, dtype)
