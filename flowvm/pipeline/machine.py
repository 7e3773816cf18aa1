"""The machine: runs batches of packets against a state, as if one packet came after the other.

A batch is taken in chunks. The packets of a chunk are sorted into paths; a path that is not known
yet is run by one packet, against the state as it is when the chunk begins. Then it is found out how
many packets of the chunk, from the first on, saw what they would have seen had those before them
been settled. Those stand, and the rest is taken up again. No rule expires within a chunk.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flowvm.packet.batch import PacketBatch
from flowvm.pipeline import learning
from flowvm.pipeline.bits import Columns
from flowvm.pipeline.engine import Recorder, Run, TimeoutCut
from flowvm.pipeline.learning import Alterations, History, LearnEvents
from flowvm.pipeline.paths import PathCache, Paths
from flowvm.pipeline.ragged import ranges
from flowvm.pipeline.result import ETHERNET_HEADER, Result, Stretch
from flowvm.pipeline.rules import SECOND
from flowvm.pipeline.state import State

MAX_CHUNK = 32_768


class Machine:
    """A state and what it takes to run packets through it.

    Keep it while only it changes the state: it remembers paths that hold for this very state.
    """

    def __init__(self, state: State, max_chunk: int = MAX_CHUNK) -> None:
        self.state = state
        self._max_chunk = max_chunk
        self._cache = PathCache(state.program.key)

    def run(self, batch: PacketBatch, recorder: Recorder | None = None) -> Result:
        """Run ``batch``, in its order; the state moves on with it.

        Times are nanoseconds since the dump was taken. A ``recorder`` needs a batch of one.
        Raises ValueError if the first packet is earlier than the state's clock.
        """
        if len(batch) and int(batch.times[0]) < self.state.now:
            raise ValueError("packets cannot be earlier than those before them")
        if recorder is not None and len(batch) != 1:
            raise ValueError("only a batch of one packet can be recorded")
        stretches: list[Stretch] = []
        for first in range(0, len(batch), self._max_chunk):
            stretches += self._chunk(
                batch, first, min(first + self._max_chunk, len(batch)), recorder
            )
        return Result(batch, stretches, self.state)

    def _chunk(
        self, batch: PacketBatch, first: int, last: int, recorder: Recorder | None
    ) -> list[Stretch]:
        columns = batch.columns[:, first:last]
        lengths = batch.frames.lengths[first:last]
        times = batch.times[first:last]
        numbers = self._cache.number(columns)
        stretches = []
        at, size = 0, last - first
        while at < last - first:
            self._advance(int(times[at]))
            stop = min(at + size, at + self._until_expiry(times[at:]))
            part = slice(at, stop)
            paths, path_of = self._paths(columns[:, part], lengths[part], numbers[part], recorder)
            steps = _Steps(paths, path_of, lengths[part], times[part])
            good = self._settle(steps)
            stretches.append(Stretch(first + at, paths, path_of[:good]))
            # Packets that meet what others learn are taken in small steps until they are through.
            size = 4 * good if at + good == stop else max(1, good)
            at += good
        return stretches

    def _advance(self, now: int) -> None:
        """Move the clock; paths through rules that expired are not known any more."""
        removed = self.state.advance(now)
        self._cache.drop_through(removed, self.state)

    def _until_expiry(self, times: NDArray[np.int64]) -> int:
        """How many packets, from the first on, come before anything can expire."""
        horizon = self.state.deadline
        shortest = self.state.program.shortest_timeout
        if shortest is not None:
            horizon = min(horizon, int(times[0]) + shortest * SECOND)
        return int(np.searchsorted(times, horizon, side="right"))

    def _paths(
        self,
        columns: NDArray[np.uint64],
        lengths: NDArray[np.int64],
        numbers: NDArray[np.int64],
        recorder: Recorder | None,
    ) -> tuple[Paths, NDArray[np.int64]]:
        """The path of each packet, run now if it is not known."""
        cache = self._cache
        path_of = cache.paths_of(numbers)
        short = lengths < ETHERNET_HEADER
        if recorder is not None or short.any():
            # Such packets are no example for others that agree with them in all headers.
            run = Run(self.state, list(columns), recorder)
            run.halted[short] = True
            run.run()
            return Paths.of(run), np.arange(len(numbers))
        unknown = np.flatnonzero(path_of < 0)
        if len(unknown):
            _, first = np.unique(numbers[unknown], return_index=True)
            examples = np.sort(unknown[first])
            run = Run(self.state, self._examples(columns, examples))
            run.run()
            cache.remember(numbers[examples], Paths.of(run))
            path_of = cache.paths_of(numbers)
        assert cache.paths is not None
        return cache.paths, path_of

    def _examples(self, columns: NDArray[np.uint64], packets: NDArray[np.int64]) -> Columns:
        """What matters of ``packets``; all the rest is zero, for no path depends on it."""
        nothing = np.zeros(len(packets), np.uint64)
        found = [nothing] * len(columns)
        for column in self.state.program.key.columns:
            found[column] = columns[column][packets]
        return found

    def _settle(self, steps: _Steps) -> int:
        """Let packets become part of the state as far as they saw what they should have seen.

        Returns how many.
        """
        state = self.state
        good = steps.before_volatile()
        histories = self._histories(steps, good)
        altered = learning.alterations(histories)
        whole = good
        for alteration in altered:
            good = min(good, self._first_misled(steps, alteration, good))
        if good < whole:
            histories = self._histories(steps, good)
            altered = learning.alterations(histories)
        steps.count(state, good)
        learning.apply(state, histories, steps.times)
        for cut in steps.paths.cuts:
            self._cut_timeouts(steps, good, cut)
        state.now = max(state.now, int(steps.times[good - 1]))
        for alteration in altered:
            self._forget(alteration)
        if self._cache.paths is not None and self._cache.paths.volatile.any():
            self._cache.drop(self._cache.paths.volatile)
        return good

    def _histories(self, steps: _Steps, good: int) -> list[History]:
        """What the first ``good`` packets teach."""
        histories = learning.histories_of(self.state, steps.events(good))
        if learning.contested(histories):
            histories = learning.histories_of(self.state, steps.every_event(good))
        return histories

    def _misleading(self, paths: Paths, altered: Alterations) -> tuple[NDArray[np.int64], ...]:
        """The paths with a lookup that ``altered`` changes, and since which packet."""
        consults = paths.consults
        same_table = np.flatnonzero(consults["table"] == altered.target.table)
        if not len(same_table):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        rows = np.searchsorted(
            np.array(self.state.program.learnable_columns), altered.target.mask.columns
        )
        keys = consults["key"][rows[:, None], same_table] & altered.target.mask.array
        number = altered.index().find(keys)
        rules = consults["rule"][same_table]
        priority = np.where(rules >= 0, self.state.rules.priority[rules], -1)
        hit = np.flatnonzero((number >= 0) & (priority <= altered.target.priority))
        return consults.owner_of_entries()[same_table[hit]], altered.since[number[hit]]

    def _first_misled(self, steps: _Steps, altered: Alterations, good: int) -> int:
        """The first packet that comes after an alteration its lookups should have seen."""
        paths, since = self._misleading(steps.paths, altered)
        if not len(paths):
            return good
        after = np.full(len(steps.paths), len(steps.path_of), np.int64)
        np.minimum.at(after, paths, since)
        misled = np.flatnonzero(np.arange(good) > after[steps.path_of[:good]])
        return int(misled[0]) if len(misled) else good

    def _forget(self, altered: Alterations) -> None:
        """Forget the paths that would be different now."""
        if self._cache.paths is None:
            return
        paths, _ = self._misleading(self._cache.paths, altered)
        gone = np.zeros(len(self._cache.paths), bool)
        gone[paths] = True
        self._cache.drop(gone)

    def _cut_timeouts(self, steps: _Steps, good: int, cut: TimeoutCut) -> None:
        rules = self.state.rules
        mine = cut.rules[steps.members(good)[cut.packets] > 0]
        for column, seconds in (
            (rules.idle_timeout, cut.idle_timeout),
            (rules.hard_timeout, cut.hard_timeout),
        ):
            if seconds:
                longer = (column[mine] == 0) | (column[mine] > seconds)
                column[mine[longer]] = seconds
        self.state.note_deadlines(mine)


class _Steps:
    """Packets in a row and the paths they take, not settled yet. Times are nanoseconds."""

    def __init__(
        self,
        paths: Paths,
        path_of: NDArray[np.int64],
        lengths: NDArray[np.int64],
        times: NDArray[np.int64],
    ) -> None:
        self.paths = paths
        self.path_of = path_of
        self.lengths = lengths
        self.times = times

    def before_volatile(self) -> int:
        """How many packets come before the second whose path holds for one moment only.

        Only the first packet of all can be at that moment.
        """
        if not self.paths.volatile.any():
            return len(self.path_of)
        later = np.flatnonzero(self.paths.volatile[self.path_of[1:]])
        return 1 + int(later[0]) if len(later) else len(self.path_of)

    def members(self, good: int) -> NDArray[np.int64]:
        """How many of the first ``good`` packets take each path."""
        return np.bincount(self.path_of[:good], minlength=len(self.paths))

    def count(self, state: State, good: int) -> None:
        """Credit the rules that the first ``good`` packets hit."""
        some = self.path_of[:good]
        members = self.members(good)
        n_bytes = np.bincount(some, weights=self.lengths[:good], minlength=len(self.paths))
        last = np.zeros(len(self.paths), np.int64)
        last[some] = np.arange(good)
        taken = np.flatnonzero(members)
        entries, which = self.paths.hits.of_owners(taken)
        rules, through = self.paths.hits["rule"][entries], taken[which]
        np.add.at(state.rules.n_packets, rules, members[through])
        np.add.at(state.rules.n_bytes, rules, n_bytes[through].astype(np.int64))
        np.maximum.at(state.rules.used, rules, self.times[last[through]])

    def events(self, good: int) -> list[LearnEvents]:
        """What the first ``good`` packets learn.

        Of packets on one path the first and the last stand for all of them: those between only
        refresh, unless another path teaches the same flow something else.
        """
        if not self.paths.learned:
            return []
        some = self.path_of[:good]
        members = self.members(good)
        first = np.zeros(len(self.paths), np.int64)
        first[some[::-1]] = np.arange(good)[::-1]
        last = np.zeros(len(self.paths), np.int64)
        last[some] = np.arange(good)
        found = []
        for events in self.paths.learned:
            taught = np.flatnonzero(members[events.packets])
            if len(taught):
                again = taught[members[events.packets[taught]] > 1]
                which = np.concatenate([taught, again])
                when = np.concatenate([first[events.packets[taught]], last[events.packets[again]]])
                found.append(events.of(which, when))
        return found

    def every_event(self, good: int) -> list[LearnEvents]:
        """What the first ``good`` packets learn, an event for each of them."""
        some, members = self.path_of[:good], self.members(good)
        by_path = np.argsort(some, kind="stable")
        starts = np.cumsum(members) - members
        found = []
        for events in self.paths.learned:
            counts = members[events.packets]
            which = np.repeat(np.arange(len(events.packets)), counts)
            found.append(events.of(which, by_path[ranges(starts[events.packets], counts)]))
        return found
