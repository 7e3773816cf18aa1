"""Packets that have run and are to become part of the state: what they count and learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from flowvm.arrays import any_of, nonzero
from flowvm.kernels import kernels
from flowvm.pipeline.learning import LearnEvents
from flowvm.pipeline.paths import Paths
from flowvm.pipeline.ragged import Ragged, ranges
from flowvm.pipeline.state import State

Numbers = NDArray[np.int64]
NONE: Numbers = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Tally:
    """``n`` packets by path: how many there are, their bytes, and which are the first and the last.

    All have one entry a path; of a path without packets, ``first`` and ``last`` are 0.
    """

    n: int
    members: Numbers
    n_bytes: Numbers
    first: Numbers
    last: Numbers

    @classmethod
    def of(cls, path_of: Numbers, lengths: Numbers, n_paths: int) -> Self:
        """The packets that take the paths ``path_of``, of ``lengths`` bytes."""
        n = len(path_of)
        compiled = kernels()
        if compiled is not None:
            found = np.zeros((4, n_paths), np.int64)
            compiled.tally(path_of, lengths, *found)
            return cls(n, *found)
        members = np.bincount(path_of, minlength=n_paths)
        n_bytes = np.bincount(path_of, weights=lengths, minlength=n_paths).astype(np.int64)
        first, last = np.zeros(n_paths, np.int64), np.zeros(n_paths, np.int64)
        first[path_of[::-1]] = np.arange(n)[::-1]
        last[path_of] = np.arange(n)
        return cls(n, members, n_bytes, first, last)


def credit(
    hits: Ragged, tally: Tally, times: Numbers, counters: tuple[Numbers, Numbers, Numbers]
) -> None:
    """Add to packets, bytes and times of use of the rules that paths hit."""
    compiled = kernels()
    if compiled is not None:
        paths = tally.members, tally.n_bytes, tally.last
        compiled.credit(hits.starts, hits["rule"], hits["grown"], *paths, times, *counters)
        return
    n_packets, n_bytes, used = counters
    taken = nonzero(tally.members)
    entries, which = hits.of_owners(taken)
    rules, through = hits["rule"][entries], taken[which]
    members = tally.members[through]
    np.add.at(n_packets, rules, members)
    np.add.at(n_bytes, rules, tally.n_bytes[through] + hits["grown"][entries] * members)
    np.maximum.at(used, rules, times[tally.last[through]])


def matches(hits: Ragged, members: Numbers, tables: NDArray[np.int32], n_tables: int) -> Numbers:
    """How often packets match in each table; so many ``members`` take each path.

    ``tables`` has the table of each rule.
    """
    found = np.zeros(n_tables, np.int64)
    compiled = kernels()
    if compiled is not None:
        compiled.matches(hits.starts, hits["rule"], tables, members, found)
        return found
    taken = np.flatnonzero(members)
    entries, which = hits.of_owners(taken)
    np.add.at(found, tables[hits["rule"][entries]], members[taken[which]])
    return found


class Steps:
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
        self._tally: Tally | None = None

    def before_volatile(self) -> int:
        """How many packets come before the second whose path holds for one moment only.

        Only the first packet of all can be at that moment.
        """
        if not any_of(self.paths.volatile):
            return len(self.path_of)
        later = nonzero(self.paths.volatile[self.path_of[1:]])
        return 1 + int(later[0]) if len(later) else len(self.path_of)

    def tally(self, good: int) -> Tally:
        """The first ``good`` packets by path."""
        if self._tally is None or self._tally.n != good:
            self._tally = Tally.of(self.path_of[:good], self.lengths[:good], len(self.paths))
        return self._tally

    def teach_again(self, good: int) -> bool:
        """Whether one of the first ``good`` packets teaches some flow more than once."""
        if not self.paths.learned:
            return False
        return bool(any_of(self.tally(good).members[self.paths.teach_again]))

    def until_again(self, good: int) -> int:
        """How many of the first ``good`` packets there are up to one that may lose other hits.

        That is the first to teach a flow more than once, if cookies vary: the packets after it may
        find another one.
        """
        if not (self.teach_again(good) and self.paths.cookies_vary):
            return good
        return 1 + int(np.argmax(self.paths.teach_again[self.path_of[:good]]))

    def count(self, state: State, good: int, lost: Numbers = NONE) -> None:
        """Credit the rules that the first ``good`` packets hit, but for the ``lost`` hits."""
        tally, hits, rules = self.tally(good), self.paths.hits, state.rules
        if len(lost):
            hits = hits.without(lost)
        rules.own("n_packets", "n_bytes", "used")
        credit(hits, tally, self.times, (rules.n_packets, rules.n_bytes, rules.used))
        if state.groups is not None:
            taken = nonzero(tally.members)
            entries, which = self.paths.group_hits.of_owners(taken)
            through = taken[which]
            some = {name: some[entries] for name, some in self.paths.group_hits.columns.items()}
            grown = some["grown"] * tally.members[through]
            state.groups.count(
                *(some["group"], some["bucket"]),
                *(tally.members[through], tally.n_bytes[through] + grown),
            )

    def events(self, good: int) -> list[LearnEvents]:
        """What the first ``good`` packets learn.

        Of packets on one path the first and the last stand for all of them: those between only
        refresh, unless another path teaches the same flow something else.
        """
        if not self.paths.learned:
            return []
        tally = self.tally(good)
        found = []
        for events in self.paths.learned:
            members = tally.members[events.packets]
            taught = nonzero(members)
            if len(taught):
                again = taught[members[taught] > 1]
                which = np.concatenate([taught, again])
                first = tally.first[events.packets[taught]]
                last = tally.last[events.packets[again]]
                found.append(events.of(which, np.concatenate([first, last])))
        return found

    def every_event(self, good: int) -> list[LearnEvents]:
        """What the first ``good`` packets learn, an event for each of them."""
        some, members = self.path_of[:good], self.tally(good).members
        by_path = np.argsort(some, kind="stable")
        starts = np.cumsum(members) - members
        found = []
        for events in self.paths.learned:
            counts = members[events.packets]
            which = np.repeat(np.arange(len(events.packets)), counts)
            found.append(events.of(which, by_path[ranges(starts[events.packets], counts)]))
        return found
