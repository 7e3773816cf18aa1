"""Paths: what packets that agree on every bit the pipeline can consult have in common.

Open vSwitch remembers the fate of such packets as a megaflow. Here a *path* is run once, by one of
its packets, and its outcome is applied to all of them: which rules it hits, what it emits and
learns. Long pipelines cost what their distinct paths cost (ARCHITECTURE, "Remember the path").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from flowvm.arrays import nonzero
from flowvm.flow import ReservedPort
from flowvm.pipeline.engine import Run
from flowvm.pipeline.learning import LearnEvents
from flowvm.pipeline.ragged import Ragged
from flowvm.pipeline.replacement import cookies_vary, teaching_again
from flowvm.pipeline.result import Verdict
from flowvm.pipeline.run_log import TimeoutCut
from flowvm.pipeline.state import State
from flowvm.pipeline.subtable import NO_ENTRY, KeyIndex, Mask, bring_together

MAX_PATHS = 1 << 16
"""So many paths are remembered; then they are forgotten, and memory stays bounded."""


@dataclass(frozen=True, eq=False)
class Paths:
    """Some paths; what is known of them is in columns of one entry a path.

    ``volatile`` marks a path whose outcome holds for the very moment it was run at only.
    ``consults`` are its lookups in tables that flows are learned into, with the key of each;
    ``consulted_macs`` and ``sightings`` are those in the MAC table, and what it is taught
    (:mod:`flowvm.pipeline.mac_log`).
    ``steps`` are what else than output the datapath does (:mod:`flowvm.pipeline.recirculation`).
    ``hits`` and ``group_hits`` say by how many bytes packets have ``grown`` when they are counted,
    ``hits`` also how many ``lessons`` there were before, and if it was ``again``: in a translation
    after the first.
    """

    verdict: NDArray[np.int8]
    last_table: NDArray[np.int32]
    last_rule: NDArray[np.int64]
    volatile: NDArray[np.bool_]
    stopped: Mapping[int, str]
    hits: Ragged
    consults: Ragged
    emissions: Ragged
    commits: Ragged
    learned: tuple[LearnEvents, ...]
    cuts: tuple[TimeoutCut, ...]
    group_hits: Ragged
    steps: Ragged
    consulted_macs: Ragged
    sightings: Ragged

    def __len__(self) -> int:
        return len(self.verdict)

    @classmethod
    def of(cls, run: Run) -> Paths:
        """The paths that the packets of ``run`` took, one each."""
        n = len(run.halted)
        failed = np.zeros(n, bool)
        failed[list(run.errors)] = True
        emitted, commits = run.emissions.seal(failed & (run.entry is None))
        verdict = np.full(n, Verdict.DROP, np.int8)
        owners = emitted.owner_of_entries()
        to_controller = emitted["port"] == ReservedPort.CONTROLLER
        verdict[owners[to_controller]] = Verdict.CONTROLLER
        verdict[owners[~to_controller]] = Verdict.OUTPUT
        verdict[list(run.unsupported)] = Verdict.UNSUPPORTED
        verdict[failed] = Verdict.ERROR
        return cls(
            verdict,
            run.last_table,
            run.last_rule,
            run.volatile,
            {**run.unsupported, **run.errors},
            _hits(run, n),
            _consults(run, n),
            emitted,
            commits,
            tuple(run.learned),
            tuple(run.timeout_cuts),
            _group_hits(run, n),
            run.datapath.seal(failed & (run.entry is None or not run.entry.nested)),
            *run.macs.seal(n),
        )

    @cached_property
    def ports(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The ports that they emit to, and which of these each emission goes to."""
        ports, which = np.unique(self.emissions["port"], return_inverse=True)
        return ports, which

    @cached_property
    def teach_again(self) -> NDArray[np.bool_]:
        """Which of them teach some flow more than once."""
        return teaching_again(self.learned, len(self))

    @cached_property
    def cookies_vary(self) -> bool:
        """Whether what they teach could change the cookie of a flow more than once."""
        return cookies_vary(self.learned)

    def plain(self) -> NDArray[np.bool_]:
        """Which of them change nothing but counters."""
        plain = ~self.volatile
        plain &= self.sightings.counts == 0
        for events in self.learned:
            plain[events.packets] = False
        for cut in self.cuts:
            plain[cut.packets] = False
        return plain

    def extended(self, other: Paths) -> Paths:
        """These paths, and then those of ``other``."""
        n = len(self)
        return Paths(
            np.concatenate([self.verdict, other.verdict]),
            np.concatenate([self.last_table, other.last_table]),
            np.concatenate([self.last_rule, other.last_rule]),
            np.concatenate([self.volatile, other.volatile]),
            {**self.stopped, **{n + path: why for path, why in other.stopped.items()}},
            self.hits.extended(other.hits),
            self.consults.extended(other.consults),
            self.emissions.extended(other.emissions),
            self.commits.extended(other.commits),
            _merged((*self.learned, *(events.shifted(n) for events in other.learned))),
            (*self.cuts, *(cut.shifted(n) for cut in other.cuts)),
            self.group_hits.extended(other.group_hits),
            self.steps.extended(other.steps),
            self.consulted_macs.extended(other.consulted_macs),
            self.sightings.extended(other.sightings),
        )


def _hits(run: Run, n: int) -> Ragged:
    none = np.zeros(0, np.int64)
    found = run.hits
    packets = np.concatenate([none, *(h.packets for h in found)])
    rules = np.concatenate([none, *(h.rules for h in found)])
    grown = np.concatenate([none, *(h.grown for h in found)])
    freezings = np.concatenate([none, *(h.freezings for h in found)])
    stands = (rules >= 0) & run.emissions.happened(packets, freezings)
    lessons = np.repeat([h.lessons for h in found], [len(h.packets) for h in found])
    return Ragged.of(
        packets[stands],
        n,
        rule=rules[stands],
        grown=grown[stands],
        lessons=lessons[stands].astype(np.int64),
        again=freezings[stands] > 0,
    )


def _group_hits(run: Run, n: int) -> Ragged:
    found = run.group_hits
    if not found:
        none = np.zeros(0, np.int64)
        return Ragged.of(none, n, group=none, bucket=none, grown=none)
    packets = np.concatenate([h.packets for h in found])
    freezings = np.concatenate([h.freezings for h in found])
    stands = run.emissions.happened(packets, freezings)
    return Ragged.of(
        packets[stands],
        n,
        group=np.concatenate([h.groups for h in found])[stands],
        bucket=np.concatenate([h.buckets for h in found])[stands],
        grown=np.concatenate([h.grown for h in found])[stands],
    )


def _consults(run: Run, n: int) -> Ragged:
    rows = len(run.state.program.learnable_columns)
    none = np.zeros(0, np.int64)
    found = run.consulted
    return Ragged.of(
        np.concatenate([none, *(c.hits.packets for c in found)]),
        n,
        table=np.repeat(
            np.array([c.hits.table for c in found], np.int32), [len(c.hits.packets) for c in found]
        ),
        rule=np.concatenate([none, *(c.hits.rules for c in found)]),
        key=np.concatenate([np.zeros((rows, 0), np.uint64), *(c.key for c in found)], axis=1),
    )


def _merged(events: tuple[LearnEvents, ...]) -> tuple[LearnEvents, ...]:
    """One entry for all events of the same template and shape that are in a row for a path."""
    together: dict[tuple[int, int], list[LearnEvents]] = {}
    for some in events:
        together.setdefault((some.template.number, some.shape), []).append(some)
    return tuple(LearnEvents.joined(group) for group in together.values())


class PathCache:
    """The paths known so far, found by the bits that decide them."""

    def __init__(self, key: Mask) -> None:
        self._key = key
        self._rows = np.array(key.columns, np.int64)
        self._bits = key.array[:, 0]
        self._forget()

    def _forget(self) -> None:
        self.paths: Paths | None = None
        self._index = KeyIndex(len(self._key.columns))
        self._path_of_key = np.zeros(0, np.int64)
        self._found: dict[bytes, int] = {}

    def path_of_one(self, columns: NDArray[np.uint64]) -> int:
        """The path of one packet, or -1 if it is not known; ``columns`` has shape (columns,)."""
        key = (columns[self._rows] & self._bits).tobytes()
        path = self._found.get(key)
        if path is None:
            path = int(self.paths_of(self.number(columns[:, None], may_forget=False))[0])
            if path >= 0:
                self._found[key] = path
        return path

    def number(self, columns: NDArray[np.uint64], *, may_forget: bool = True) -> NDArray[np.int64]:
        """A number for each packet, the same for packets that agree on all bits that matter.

        Numbers hold until the next call that ``may_forget``. ``columns`` has shape (columns,
        packets).
        """
        if may_forget and self._is_full():
            self._forget()
        numbers = self._index.find_masked(columns, self._rows, self._bits)
        unseen = nonzero(numbers == NO_ENTRY)
        if len(unseen):
            keys = columns[self._rows[:, None], unseen] & self._key.array
            distinct, which = distinct_keys(keys)
            new = self._index.add(keys[:, distinct])
            numbers[unseen] = new[which]
            nothing = np.full(len(new), NO_ENTRY, np.int64)
            self._path_of_key = np.concatenate([self._path_of_key, nothing])
        return numbers

    def _is_full(self) -> bool:
        known = 0 if self.paths is None else len(self.paths)
        return max(known, len(self._index)) > MAX_PATHS

    def paths_of(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """The path that goes with each number, or -1 if it is not known."""
        return self._path_of_key[numbers]

    def remember(self, numbers: NDArray[np.int64], paths: Paths) -> None:
        """Let ``paths`` be those of ``numbers``, which are distinct."""
        first = 0 if self.paths is None else len(self.paths)
        self.paths = paths if self.paths is None else self.paths.extended(paths)
        self._path_of_key[numbers] = first + np.arange(len(paths))

    def drop(self, paths: NDArray[np.bool_]) -> None:
        """Forget some paths: ``paths`` has an entry each."""
        self._found.clear()
        known = nonzero(self._path_of_key >= 0)
        self._path_of_key[known[paths[self._path_of_key[known]]]] = NO_ENTRY

    def drop_through(self, rules: NDArray[np.int64], state: State) -> None:
        """Forget the paths that hit one of ``rules``, or that one may have led to another rule."""
        if self.paths is None or not len(rules):
            return
        gone = np.zeros(len(state.rules), bool)
        gone[rules] = True
        # A clause of a conjunction decides over what is hit without being hit itself.
        tables = np.unique(state.rules.table[rules])
        shared = tables[np.isin(tables, list(state.conjunctions.tables))]
        if len(shared):
            gone |= np.isin(state.rules.table, shared)
        through = np.zeros(len(self.paths), bool)
        through[self.paths.hits.owner_of_entries()[gone[self.paths.hits["rule"]]]] = True
        self.drop(through)

    def drop_consulting(self, macs: NDArray[np.uint64]) -> None:
        """Forget the paths that looked one of ``macs`` up in the MAC table."""
        if self.paths is None or not len(macs):
            return
        consulted = self.paths.consulted_macs
        through = np.zeros(len(self.paths), bool)
        through[consulted.owner_of_entries()[np.isin(consulted["key"], macs)]] = True
        self.drop(through)


def distinct_keys(
    keys: NDArray[np.uint64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which columns of ``keys`` are the first of their value, and which of those each equals."""
    n = keys.shape[1]
    order, begins = bring_together(keys, np.arange(n))
    group = np.cumsum(begins) - 1
    firsts = order[begins]
    which = np.empty(n, np.int64)
    which[order] = group
    # Number the groups in the order of their first packets.
    by_arrival = np.argsort(firsts, kind="stable")
    rank = np.empty(len(firsts), np.int64)
    rank[by_arrival] = np.arange(len(firsts))
    return firsts[by_arrival], rank[which]
