"""What leaves the switch, and what it looks like by then.

An output does not build a frame. It notes the header columns as they are (a *commit*), and which
commit came before it; once the run is over the frames of all packets are built together. The chain
matters: OVS rewrites the packet at each output from what it was at the one before, checksums
incrementally, and the bytes come out accordingly.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from flowvm.arrays import all_of, any_of
from flowvm.columns import Column
from flowvm.pipeline.bits import Columns
from flowvm.pipeline.ragged import Ragged, ranges

if TYPE_CHECKING:
    from flowvm.actions.base import Packets
    from flowvm.pipeline.engine import Run

Scalar = TypeVar("Scalar", bound=np.generic)

UNLIMITED = 0xFFFF
NO_COOKIE = (1 << 64) - 1
"""The cookie that a packet to the controller has which is sent by no flow (OVS_BE64_MAX)."""
CIRCUMSTANCES = ("depth", "resubmits", "popped", "lessons")
"""Where a packet is when it leaves: how deep, after how many resubmits and learn actions, and
whether it must be looked at anew (a label was popped)."""

_NO_COMMIT = -1
_NOT_FROZEN = -2


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
class PacketInOptions:
    """What else a packet to the controller says: to which controllers it goes, and their bytes.

    One that ``is_paused`` goes no further until a controller resumes it.
    """

    controller_id: int = 0
    userdata: bytes = b""
    is_paused: bool = False


PLAIN = PacketInOptions()


@dataclass(frozen=True, eq=False)
class Place:
    """How far some packets are.

    ``commits`` are their latest ones, ``changed`` says which of them have changed since. Where they
    froze: ``frozen`` is the commit of the first time, ``began`` how much had been emitted at the
    last, and ``freezings`` tells that time from others.
    """

    commits: NDArray[np.int64]
    changed: NDArray[np.bool_]
    frozen: NDArray[np.int64]
    began: NDArray[np.int64]
    freezings: NDArray[np.int64]


@dataclass(frozen=True)
class _Emitted:
    packets: Packets
    ports: NDArray[np.int64]
    commits: NDArray[np.int64]
    before: NDArray[np.int64]
    max_len: int
    reason: Reason
    tables: NDArray[np.int32]
    cookies: NDArray[np.uint64]
    options: int
    circumstances: dict[str, NDArray[np.int64]]


class EmissionLog:
    """The emissions of one run, in the order in which they happen."""

    def __init__(self, run: Run) -> None:
        n = len(run.original[0])
        self._run = run
        self._columns = sorted(run.state.program.written)
        self._is_layered = Column.LAYERS in run.state.program.written
        self._dirty = np.zeros(n, bool)
        self._commit_of = np.full(n, _NO_COMMIT, np.int64)
        self._frozen = np.full(n, _NOT_FROZEN, np.int64)
        self._began = np.full(n, _NOT_FROZEN, np.int64)
        self._freezings = np.zeros(n, np.int64)
        self._last_freezing = np.zeros(n, np.int64)
        self._n_freezings = 0
        self._void: list[tuple[Packets, NDArray[np.int64], int]] = []
        self._withdrawn: list[tuple[Packets, NDArray[np.int64], int]] = []
        self._packets: list[Packets] = []
        self._parents: list[NDArray[np.int64]] = []
        self._snapshots: list[NDArray[np.uint64]] = []
        self._n_commits = 0
        self._emitted: list[_Emitted] = []

    def touch(self, packets: Packets) -> None:
        """Note that columns of ``packets`` have changed."""
        self._dirty[packets] = True

    def place(self, packets: Packets) -> Place:
        """Where the chain of commits of ``packets`` is, for :meth:`come_back`."""
        place = Place(
            self._commit_of[packets],
            self._dirty[packets],
            self._frozen[packets],
            self._began[packets],
            self._freezings[packets],
        )
        self._frozen[packets] = _NOT_FROZEN
        return place

    def come_back(self, packets: Packets, place: Place, *, rewind: bool) -> None:
        """Note that the columns of ``packets`` are again what they were at ``place``.

        With ``rewind`` the chain of commits goes on from there too, else from where it is now, or
        from where the packet froze since.
        """
        frozen = self._frozen[packets]
        self._frozen[packets] = place.frozen
        self._began[packets] = place.began
        self._freezings[packets] = place.freezings
        if rewind:
            self._commit_of[packets] = place.commits
            self._dirty[packets] = place.changed
        else:
            commits = np.where(frozen == _NOT_FROZEN, self._commit_of[packets], frozen)
            self._commit_of[packets] = commits
            self._dirty[packets] = place.changed | (commits != place.commits)

    def freeze(self, packets: Packets) -> None:
        """Note that the datapath takes up ``packets`` again, as they are now.

        What it does from then on it does to a copy, if the packets :meth:`come_back`.
        """
        commits = self.commit(packets)
        frozen = self._frozen[packets]
        self._frozen[packets] = np.where(frozen == _NOT_FROZEN, commits, frozen)
        self._began[packets] = len(self._emitted)
        self._n_freezings += 1
        self._freezings[packets] = self._last_freezing[packets] = self._n_freezings

    def freezings(self, packets: Packets) -> NDArray[np.int64]:
        """A number for each of ``packets`` that is another once it has frozen again."""
        return self._freezings[packets]

    def have_frozen(self, packets: Packets) -> NDArray[np.bool_]:
        """Which of ``packets`` froze in the clone or bucket that they are in."""
        return np.asarray(self._frozen[packets] != _NOT_FROZEN, bool)

    def has_nested(self, packets: Packets) -> NDArray[np.bool_]:
        """Which of ``packets`` froze in what they do now, and came back."""
        return np.asarray(self._last_freezing[packets] > self._freezings[packets], bool)

    def happened(self, packets: Packets, freezings: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each of ``packets`` came to do what it did when its number was that.

        A translation that fails leaves nothing to the datapath to take up again.
        """
        happened = np.ones(len(packets), bool)
        for failed, translation, until in self._void:
            first = np.full(len(self._dirty), until)
            first[failed] = translation
            happened &= (freezings <= first[packets]) | (freezings > until)
        return happened

    def withdraw(self, packets: Packets) -> NDArray[np.bool_]:
        """Take back what ``packets`` emitted since they froze last; which of them have frozen."""
        began = self._began[packets]
        frozen = np.asarray(began != _NOT_FROZEN, bool)
        if any_of(self.has_nested(packets)):
            self._void.append((packets, self._freezings[packets], self._n_freezings))
        if any_of(frozen):
            self._withdrawn.append((packets[frozen], began[frozen], len(self._emitted)))
        return frozen

    def commit(self, packets: Packets) -> NDArray[np.int64]:
        """The commit that says what each of ``packets`` is now."""
        changed = packets[self._dirty[packets] & self._can_commit(packets)]
        if len(changed):
            if self._is_layered:
                self._run.layers.note(changed)
            if self._run.hashes.is_forgetful:
                self._run.hashes.note_commit(changed, self.committed(changed))
            self._packets.append(changed)
            self._parents.append(self._commit_of[changed])
            header = [self._run.columns[column][changed] for column in self._columns]
            self._snapshots.append(np.array(header, np.uint64))
            numbers = np.arange(self._n_commits, self._n_commits + len(changed))
            self._commit_of[changed] = numbers
            self._n_commits += len(changed)
            self._dirty[changed] = False
        return self._commit_of[packets]

    def _can_commit(self, packets: Packets) -> NDArray[np.bool_]:
        """Which of ``packets`` can be committed; the others are stopped."""
        if self._is_layered:
            fine = self._run.layers.check(packets, self._commit_of[packets])
        else:
            fine = np.ones(len(packets), bool)
        if self._run.misreadings.happened:
            fine &= self._run.misreadings.stop_changes(packets)
        return fine

    def committed(self, packets: Packets) -> Columns:
        """The columns of ``packets`` at their latest commits."""
        before = [column[packets] for column in self._run.original]
        parents = self._commit_of[packets]
        known = parents >= 0
        if known.any():
            snapshots = np.concatenate(self._snapshots, axis=1)[:, parents[known]]
            for column, values in zip(self._columns, snapshots, strict=True):
                before[column][known] = values
        return before

    def emit(
        self,
        packets: Packets,
        ports: NDArray[np.int64],
        max_len: int = UNLIMITED,
        reason: Reason = Reason.NONE,
        options: PacketInOptions = PLAIN,
    ) -> None:
        """Send ``packets`` out, each to its port, cut to ``max_len`` bytes.

        How many bytes that takes off is told by the packet as it was before this output.
        """
        fine = self._can_commit(packets)
        packets, ports = packets[fine], ports[fine]
        if not len(packets):
            return
        run = self._run
        rules = run.rule[packets]
        cookies = np.where(rules >= 0, run.state.rules.cookie[rules], np.uint64(NO_COOKIE))
        limited = max_len < UNLIMITED
        before = self._commit_of[packets] if limited else None
        commits = self.commit(packets)
        if reason is not Reason.NONE:
            run.hashes.look_at(packets)
            run.misreadings.note_sent(packets)
        tables = run.table[packets]
        self._emitted.append(
            _Emitted(
                packets,
                ports,
                commits,
                commits if before is None else before,
                max_len,
                reason,
                tables,
                cookies,
                0 if options == PLAIN else run.state.packet_ins.number(options),
                {} if run.entry is None else self._circumstances(packets),
            )
        )

    def _circumstances(self, packets: Packets) -> dict[str, NDArray[np.int64]]:
        run = self._run
        return {
            "depth": run.depth[packets].astype(np.int64),
            "resubmits": run.resubmits[packets].astype(np.int64),
            "popped": run.freezer.popped[packets].astype(np.int64),
            "lessons": np.full(len(packets), len(run.learned)),
        }

    def latest(self, packets: Packets) -> NDArray[np.int64]:
        """The last commit of each of ``packets``."""
        return self._commit_of[packets]

    @property
    def moment(self) -> int:
        """Tells what is emitted before from what is emitted later."""
        return len(self._emitted)

    def emitted_before(self, packets: Packets, moments: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many times each of ``packets`` was emitted before a moment of each."""
        if not len(packets):
            return packets
        sizes = [len(e.packets) for e in self._emitted]
        span = self.moment + 1
        owners = _joined([e.packets for e in self._emitted], np.int64)
        numbers = np.repeat(np.arange(self.moment), sizes)
        emitted = np.sort((owners * span + numbers)[self._standing(owners, numbers)])
        first = packets * span
        counts = np.searchsorted(emitted, first + moments) - np.searchsorted(emitted, first)
        return counts.astype(np.int64)

    def _standing(self, owners: Packets, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which emissions have not been withdrawn: their packets, and what number each is."""
        stands = np.ones(len(owners), bool)
        for packets, began, until in self._withdrawn:
            first = np.full(len(self._dirty), until)
            first[packets] = began
            stands &= (numbers < first[owners]) | (numbers >= until)
        return stands

    def own_numbers(self, n: int) -> NDArray[np.int64]:
        """The number of each commit among those of its packet; for -1 the same."""
        owners = _joined(self._packets, np.int64)
        own_number = np.full(self._n_commits + 1, _NO_COMMIT, np.int64)
        counts = np.bincount(owners, minlength=n)
        own_number[np.argsort(owners, kind="stable")] = ranges(np.zeros(n, np.int64), counts)
        return own_number

    def seal(self, failed: NDArray[np.bool_]) -> tuple[Ragged, Ragged]:
        """What each packet emits, and what it was at each commit; nothing of those that failed.

        Emissions have columns ``port``, ``commit`` (a number among the packet's own, or -1),
        ``before`` (the commit of which ``max_len`` bytes are left), ``max_len``, ``reason``,
        ``table``, ``cookie``, and of packets with an :class:`~flowvm.pipeline.entry.Entry`
        what :data:`CIRCUMSTANCES` names; commits ``parent`` and ``header``: the program's written
        columns, shape (columns, commits).
        """
        n = len(failed)
        emitted = self._emitted
        owners = _joined([e.packets for e in emitted], np.int64)
        sizes = [len(e.packets) for e in emitted]
        commit_owners = _joined(self._packets, np.int64)
        parents = _joined(self._parents, np.int64)
        own_number = self.own_numbers(n)
        no_header = np.zeros((len(self._columns), 0), np.uint64)
        commits = Ragged.of(
            commit_owners,
            n,
            parent=own_number[parents],
            header=np.concatenate([no_header, *self._snapshots], axis=1),
        )
        columns: dict[str, NDArray[Any]] = {
            "port": _joined([e.ports for e in emitted], np.int64),
            "commit": own_number[_joined([e.commits for e in emitted], np.int64)],
            "before": own_number[_joined([e.before for e in emitted], np.int64)],
            "max_len": np.repeat(np.array([e.max_len for e in emitted], np.int64), sizes),
            "reason": np.repeat(np.array([e.reason for e in emitted], np.int8), sizes),
            "table": _joined([e.tables for e in emitted], np.int32),
            "cookie": _joined([e.cookies for e in emitted], np.uint64),
            "options": np.repeat(np.array([e.options for e in emitted], np.int32), sizes),
        }
        if self._run.entry is not None:
            for name in CIRCUMSTANCES:
                columns[name] = _joined([e.circumstances[name] for e in emitted], np.int64)
        stands = ~failed[owners]
        stands &= self._standing(owners, np.repeat(np.arange(len(emitted)), sizes))
        if not all_of(stands):
            owners = owners[stands]
            columns = {name: column[stands] for name, column in columns.items()}
        return Ragged.of(owners, n, **columns), commits


def _joined(parts: list[NDArray[Scalar]], dtype: type[Scalar]) -> NDArray[Scalar]:
    return np.concatenate(parts) if parts else np.zeros(0, dtype)
