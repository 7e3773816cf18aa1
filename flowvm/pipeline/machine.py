"""The machine: runs batches of packets against a state, as if one packet came after the other.

A batch is taken in chunks. The packets of a chunk are sorted into paths; a path that is not known
yet is run by one packet, against the state as it is when the chunk begins. Then it is found out how
many packets of the chunk, from the first on, saw what they would have seen had those before them
been settled. Those stand, and the rest is taken up again. Rules that expire meanwhile may be there
for longer only as far as no packet notices.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from flowvm.arrays import all_of, any_of, nonzero
from flowvm.clock import NEVER, SECOND
from flowvm.fields import PACKET_TYPE_BITS
from flowvm.kernels import WORTHWHILE, kernels, load
from flowvm.packet.batch import PacketBatch
from flowvm.pipeline import learning
from flowvm.pipeline.bits import Columns
from flowvm.pipeline.ct_columns import tracking_of
from flowvm.pipeline.engine import Run
from flowvm.pipeline.entry import Entry
from flowvm.pipeline.expiry import before_outlived, cut_timeouts, until
from flowvm.pipeline.learning import Alterations, History
from flowvm.pipeline.legs import Journal, Leg, offsets_of
from flowvm.pipeline.mac_history import MacHistory
from flowvm.pipeline.misled import first_misled, misleading
from flowvm.pipeline.paths import PathCache, Paths
from flowvm.pipeline.reclaim import reclaim
from flowvm.pipeline.recording import Recorder
from flowvm.pipeline.refreshes import Refreshed, Refreshes
from flowvm.pipeline.replacement import idle_cuts, lost_hits
from flowvm.pipeline.result import ETHERNET_HEADER, Result, Stretch
from flowvm.pipeline.state import State
from flowvm.pipeline.steps import NONE, Steps
from flowvm.pipeline.subtable import NO_ENTRY
from flowvm.pipeline.travel import travel
from flowvm.pipeline.world import World

MAX_CHUNK = 32_768
MILLISECOND = 1_000_000
MAX_CACHES = 64
"""From so many states of a translation paths are remembered; then they are forgotten."""

_Limits = tuple[int, int, bool, int]
"""Depth and resubmits of a translation that a packet comes by, and if it is in the middle of it."""


class Machine:
    """A state and what it takes to run packets through it.

    Keep it while only it changes the state: it remembers paths that hold for this very state.
    """

    def __init__(self, state: State, max_chunk: int = MAX_CHUNK) -> None:
        self.state = state
        self._max_chunk = max_chunk
        self._n_run = 0
        self._cache = PathCache(state.program.key)
        self._caches: dict[_Limits | None, PathCache] = {None: self._cache}
        self._refreshes = Refreshes()
        self._ct_next: deque[int] | None = None
        self._entry: Entry | None = None
        self._settles = True

    def run(
        self,
        batch: PacketBatch,
        recorder: Recorder | None = None,
        ct_next: Iterable[int] | None = None,
        entry: Entry | None = None,
        *,
        settles: bool = True,
    ) -> Result:
        """Run ``batch``, in its order; the state moves on with it.

        The numbers of rules in the result hold until the next run.
        Times are nanoseconds since the dump was taken. A ``recorder`` needs a batch of one, and so
        does an ``entry``, which says how a packet of a network comes in. With ``ct_next`` the
        connections of the state do not matter: ``ct`` actions find these states in turn, and then
        always new connections. Unless it ``settles``, what a batch of one does to the state is only
        worked out as far as the result depends on it; then the state is of no further use.
        Raises ValueError if the first packet is earlier than the state's clock, and for packets
        that have tunnel options by another TLV map than that of the program.
        """
        if len(batch) and int(batch.times[0]) < self.state.now:
            raise ValueError("packets cannot be earlier than those before them")
        if not self.state.program.names.tlv_map.includes(batch.tlv_map):
            raise ValueError("the packets have their tunnel options by another TLV map")
        if (recorder is not None or entry is not None or not settles) and len(batch) != 1:
            raise ValueError("only one packet can be recorded, come in specially or not settle")
        self._ct_next = None if ct_next is None else deque(ct_next)
        self._entry = entry
        self._settles = settles
        if kernels() is None:
            self._n_run += len(batch)
            if self._n_run > WORTHWHILE:
                load()
        if reclaim(self.state):
            self._caches.clear()
            self._refreshes.forget()
        self._cache = self._cache_for(entry)
        stretches: list[Stretch] = []
        for first in range(0, len(batch), self._max_chunk):
            stretches += self._chunk(
                batch, first, min(first + self._max_chunk, len(batch)), recorder
            )
        return Result(batch, stretches, self.state)

    def _cache_for(self, entry: Entry | None) -> PathCache:
        """The paths of packets that come in so, which may end at limits where others do not."""
        limits = (
            None
            if entry is None
            else (
                entry.depth,
                entry.resubmits,
                entry.nested,
                entry.recirculations,
            )
        )
        if limits not in self._caches:
            if len(self._caches) > MAX_CACHES:
                self._caches.clear()
            self._caches[limits] = PathCache(self.state.program.key)
        return self._caches[limits]

    def _chunk(
        self, batch: PacketBatch, first: int, last: int, recorder: Recorder | None
    ) -> list[Stretch]:
        columns = batch.columns[:, first:last]
        lengths = batch.frames.lengths[first:last]
        counted = self._counted(lengths)
        times = batch.times[first:last]
        if recorder is None:
            numbers = self._cache.number(columns)
        else:
            numbers = np.full(last - first, NO_ENTRY, np.int64)
        stretches = []
        at, size = 0, last - first
        while at < last - first:
            self.advance(int(times[at]))
            stop = min(at + size, at + self._until_expiry(times[at:]))
            part = slice(at, stop)
            paths, path_of = self._paths(columns[:, part], lengths[part], numbers[part], recorder)
            n_translated = _before_steps(paths, path_of)
            if n_translated:
                path_of = path_of[:n_translated]
                steps = Steps(paths, path_of, counted[part], times[part])
                good = self._settle(steps) if self._settles else n_translated
                stretches.append(Stretch(first + at, paths, path_of[:good]))
            else:
                path_of = path_of[: until(times[part], self.state.deadline)]
                stretch = self._travel(batch, first + at, path_of, _Guide(self, paths, recorder))
                good = len(stretch.path_of)
                stretches.append(stretch)
            # Packets that meet what others learn are taken in small steps until they are through:
            # each step from one of them up to where the next one was.
            size = 4 * size if good == len(path_of) else good + 1
            at += good
        return stretches

    def _counted(self, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many bytes flows count of packets of these ``lengths``."""
        if self._entry is None or self._entry.length is None:
            return lengths
        return np.full_like(lengths, self._entry.length)

    def advance(self, now: int) -> None:
        """Move the clock to ``now`` (ns); paths through rules that expired are not known any more.

        A time before the state's own changes nothing.
        """
        removed = self.state.advance(now)
        if len(removed):
            self._refreshes.forget()
        macs = self.state.expire_macs()
        for cache in self._caches.values():
            cache.drop_through(removed, self.state)
            cache.drop_consulting(macs)

    def _until_expiry(self, times: NDArray[np.int64]) -> int:
        """How many packets, from the first on, come before anything can expire that matters.

        What expires unnoticed, :meth:`_before_outlived` finds; but not what is learned only now,
        nor where it matters to more than the packets that hit it.
        """
        program = self.state.program
        minded = self.state.owns_learned or self.state.conjunctions.tables
        horizon = self.state.deadline if minded else NEVER
        if program.shortest_timeout is not None:
            horizon = min(horizon, int(times[0]) + program.shortest_timeout * SECOND)
        if self.state.macs is not None:
            horizon = min(horizon, self.state.macs.horizon(int(times[0]) // SECOND) * SECOND - 1)
        return until(times, horizon)

    def _paths(
        self,
        columns: NDArray[np.uint64],
        lengths: NDArray[np.int64],
        numbers: NDArray[np.int64],
        recorder: Recorder | None,
    ) -> tuple[Paths, NDArray[np.int64]]:
        """The path of each packet, run now if it is not known."""
        ethernet = columns[PACKET_TYPE_BITS.column] >> np.uint64(PACKET_TYPE_BITS.shift) == 0
        short = (lengths < ETHERNET_HEADER) & ethernet
        unlike = any_of(short) or not all_of(ethernet)
        if recorder is not None or unlike:
            # Such packets are no example for others that agree with them in all headers.
            run = Run(self.state, list(columns), recorder, self._entry)
            run.halted[short] = True
            run.run()
            return Paths.of(run), np.arange(len(numbers))
        cache = self._cache
        path_of = cache.paths_of(numbers)
        if self._forget_crowded(int(path_of[0])):
            path_of = cache.paths_of(numbers)
        unknown = nonzero(path_of < 0)
        if len(unknown):
            _, first = np.unique(numbers[unknown], return_index=True)
            examples = np.sort(unknown[first])
            run = Run(self.state, self._examples(columns, examples), entry=self._entry)
            run.run()
            paths = Paths.of(run)
            if self._entry is not None and len(paths.steps["step"]):
                # What comes after the datapath's steps does not come in so any more.
                return paths, np.zeros(1, np.int64)
            cache.remember(numbers[examples], paths)
            path_of = cache.paths_of(numbers)
        assert cache.paths is not None
        return cache.paths, path_of

    def _forget_crowded(self, path: int) -> bool:
        """Forget a known path if the MAC table has no room any more for what it teaches.

        Which entries go for that depends on all that happened before.
        """
        macs, paths = self.state.macs, self._cache.paths
        if path < 0 or macs is None or paths is None or not paths.sightings.counts_of(path):
            return False
        entries = slice(*paths.sightings.starts[path : path + 2].tolist())
        if macs.has_room_for(paths.sightings["key"][entries]):
            return False
        self._cache.drop(np.arange(len(paths)) == path)
        return True

    def _examples(self, columns: NDArray[np.uint64], packets: NDArray[np.int64]) -> Columns:
        """What matters of ``packets``; all the rest is zero, for no path depends on it."""
        nothing = np.zeros(len(packets), np.uint64)
        found = [nothing] * len(columns)
        for column in self.state.program.key.columns:
            found[column] = columns[column][packets]
        return found

    def _travel(
        self, batch: PacketBatch, first: int, path_of: NDArray[np.int64], guide: _Guide
    ) -> Stretch:
        """Take packets from ``first`` on to their end, one after the other.

        It ends with the last of those that ``path_of`` tells the paths of, or else with one that
        changes more than counters and connections, so that paths may be different after it.
        """
        journal = Journal(len(path_of))
        written = sorted(self.state.program.written.items())
        state = self.state
        world = World(
            guide,
            journal,
            state.connections,
            state.fragments,
            state.steps,
            state.frozen,
            written,
            state.contexts,
        )
        world.meters, world.ct_next = state.meters, self._ct_next
        good = 0
        mine = slice(first, first + len(path_of))
        types = batch.columns[PACKET_TYPE_BITS.column, mine] >> np.uint64(PACKET_TYPE_BITS.shift)
        offsets = offsets_of(batch.frames.take(np.arange(mine.start, mine.stop)), types)
        counted = self._counted(batch.frames.lengths[mine]).tolist()
        for packet, path in enumerate(path_of.tolist()):
            time = int(batch.times[first + packet])
            if packet and not guide.is_plain(path):
                break
            frame = batch.frames[first + packet]
            leg = Leg(
                packet,
                packet,
                batch.columns[:, first + packet],
                frame,
                tracking_of(batch.columns[:, first + packet]),
                (packet,),
                0 if self._entry is None else self._entry.recirculations,
                path=path,
                offsets=offsets[packet],
            )
            guide.time, world.now = time, time // MILLISECOND
            guide.account(path, counted[packet])
            travel(world, leg)
            good += 1
            if guide.has_changed:
                break
        guide.settle()
        return Stretch(first, guide.paths, path_of[:good], journal.finish(good))

    def _settle(self, steps: Steps) -> int:
        """Let packets become part of the state as far as they saw what they should have seen.

        Returns how many.
        """
        state = self.state
        good = steps.until_again(before_outlived(state, steps, steps.before_volatile()))
        seen: MacHistory | None = None
        if state.macs is not None:
            seen = MacHistory.of(state.macs, steps.paths, steps.path_of[:good])
            good = min(seen.fitting, seen.first_misled(steps.paths, steps.path_of[:good]))
        altered: list[Alterations] = []
        cuts = steps.paths.cuts
        idle = [np.zeros(len(cut.packets), bool) for cut in cuts]
        refreshed: Sequence[Refreshed] | None = None
        if not steps.teach_again(good):
            refreshed = self._refreshes.of(state, steps.paths.learned, steps.tally(good).members)
        if refreshed is not None:
            steps.count(state, good)
            learning.refresh(state, refreshed, steps.times[steps.tally(good).last])
        else:
            histories = self._histories(steps, good)
            altered = learning.alterations(histories)
            whole = good
            for alteration in altered:
                good = min(good, first_misled(state, steps, alteration, good))
            if good < whole:
                histories = self._histories(steps, good)
                altered = learning.alterations(histories)
            lost = NONE
            if steps.teach_again(good):
                lost = lost_hits(state, histories, steps.paths.hits, steps.path_of)
            if cuts:
                idle = idle_cuts(state, histories, cuts, steps.path_of)
            steps.count(state, good, lost)
            learning.apply(state, histories, steps.times)
            if altered:
                self._refreshes.forget()
            else:
                self._refreshes.look(state, steps.paths.learned)
        if state.macs is not None and seen is not None:
            if good < seen.n:
                seen = MacHistory.of(state.macs, steps.paths, steps.path_of[:good])
            macs = seen.apply(state.macs, steps.times)
            for cache in self._caches.values():
                cache.drop_consulting(macs)
        now = int(steps.times[good - 1])
        for cut, without_effect in zip(cuts, idle, strict=True):
            cut_timeouts(state, steps, good, cut, without_effect, at_end=False)
        for alteration in altered:
            self._forget(alteration)
        if self._cache.paths is not None and any_of(self._cache.paths.volatile):
            self._cache.drop(self._cache.paths.volatile)
        self.advance(now)
        for cut, without_effect in zip(cuts, idle, strict=True):
            cut_timeouts(state, steps, good, cut, without_effect, at_end=True)
        return good

    def _histories(self, steps: Steps, good: int) -> list[History]:
        """What the first ``good`` packets teach."""
        histories = learning.histories_of(self.state, steps.events(good))
        if learning.contested(histories):
            histories = learning.histories_of(self.state, steps.every_event(good))
        return histories

    def _forget(self, altered: Alterations) -> None:
        """Forget the paths that would be different now."""
        for cache in self._caches.values():
            if cache.paths is not None:
                paths, _ = misleading(self.state, cache.paths, altered)
                gone = np.zeros(len(cache.paths), bool)
                gone[paths] = True
                cache.drop(gone)


def _before_steps(paths: Paths, path_of: NDArray[np.int64]) -> int:
    """How many packets come before the first with a step for the datapath."""
    if not len(paths.steps["step"]):
        return len(path_of)
    stepping = nonzero(paths.steps.counts[path_of])
    return int(stepping[0]) if len(stepping) else len(path_of)


class _Guide:
    """Finds the paths of legs one by one, and settles them.

    ``has_changed`` tells that one of them has changed more than counters. ``time`` (ns) is when the
    packet on its way came in.
    """

    def __init__(self, machine: Machine, paths: Paths, recorder: Recorder | None) -> None:
        self.paths = paths
        self.time = 0
        self.has_changed = False
        self._machine = machine
        self._recorder = recorder
        self._remembers = paths is machine._cache.paths
        self._plain = paths.plain()
        self._waiting: list[tuple[int, int, int]] = []

    def is_plain(self, path: int) -> bool:
        """Whether a path changes nothing but counters."""
        if path >= len(self._plain):
            self._plain = self.paths.plain()
        return bool(self._plain[path])

    def take(self, leg: Leg) -> int:
        """The path of ``leg``, accounted for."""
        path = self._find(leg.columns) if self._remembers else self._run(leg)
        self.account(path, len(leg.frame))
        return path

    def _find(self, columns: NDArray[np.uint64]) -> int:
        cache = self._machine._cache
        path = cache.path_of_one(columns)
        if path < 0 or self._machine._forget_crowded(path):
            self.settle()
            batch = columns[:, None]
            run = Run(self._machine.state, self._machine._examples(batch, np.zeros(1, np.int64)))
            run.run()
            cache.remember(cache.number(batch, may_forget=False), Paths.of(run))
            assert cache.paths is not None
            self.paths = cache.paths
            path = len(self.paths) - 1
        return path

    def _run(self, leg: Leg) -> int:
        self.settle()
        recorder = None if self._recorder is None else self._recorder.resume(leg)
        entry = None if self._machine._entry is None else Entry()
        run = Run(self._machine.state, list(leg.columns[:, None]), recorder, entry)
        run.run()
        self.paths = self.paths.extended(Paths.of(run))
        return len(self.paths) - 1

    def account(self, path: int, length: int) -> None:
        """Let a packet of ``length`` bytes be one that took ``path``."""
        plain = self.is_plain(path)
        if not plain:
            self.settle()
        self._waiting.append((path, length, self.time))
        if not plain:
            self.settle()
            self.has_changed = True

    def settle(self) -> None:
        """Let what was accounted for become part of the state."""
        if self._waiting:
            path_of, lengths, times = np.array(self._waiting, np.int64).T
            self._machine._settle(Steps(self.paths, path_of, lengths, times))
            self._waiting.clear()
