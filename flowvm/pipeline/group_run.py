"""How a run takes packets through groups.

Semantics: ovs-actions(7), "group"; ``xlate_group_action`` in ofproto/ofproto-dpif-xlate.c. A bucket
is executed as an action set, on what is as good as a copy of the packet. Where the datapath has to
hash a packet first, it goes on afterwards as one that came back from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flowvm.columns import Column
from flowvm.pipeline import hashing
from flowvm.pipeline.group_table import (
    MOST_WATCH_LINKS,
    NONE,
    Choice,
    GroupTable,
)
from flowvm.pipeline.recirculation import MAX_RECIRCULATIONS, TOO_DEEP
from flowvm.text.values import format_port

if TYPE_CHECKING:
    from flowvm.actions.base import Kept, Packets
    from flowvm.pipeline.engine import Run
    from flowvm.text.groups import Bucket

_DP_HASH = np.uint64(0xFFFF_FFFF)
_SCORE = np.uint32(0xFFFF)

MOST_TOLD = 1 << 16
"""So much is said of buckets that are not live: groups may watch each other in endless ways."""

Places = NDArray[np.int64]
"""Places of groups, or of buckets, in a :class:`GroupTable`."""


@dataclass(frozen=True, eq=False)
class GroupHits:
    """Packets that went through groups: ``buckets`` says by which, ``NONE`` for all of them.

    ``grown`` is how many bytes longer the packets are by then than they came in, ``freezings`` in
    which translation of each it is.
    """

    packets: Packets
    groups: Places
    buckets: Places
    grown: NDArray[np.int64]
    freezings: NDArray[np.int64]


def enter_groups(run: Run, packets: Packets, ids: NDArray[np.int64]) -> Kept:
    """Take each of ``packets`` through the group of that ID; those without one end their list."""
    table = run.state.program.groups
    if table is None:
        for number in np.unique(ids).tolist():
            run.stop_unsupported(packets[ids == number], f"group:{number} without the groups")
        return None
    fine = run.within_depth(packets)
    places = table.find(ids)
    missing = fine & (places == NONE)
    if run.recorder and missing[0]:
        run.recorder.warning(f"output to nonexistent group {ids[0]}")
    there = fine & ~missing
    _Visit(run, table, packets[there], places[there]).execute()
    return np.asarray(~missing, bool)


@dataclass(eq=False)
class _Visit:
    """Some packets at groups, one each."""

    run: Run
    table: GroupTable
    packets: Packets
    places: Places
    told: int = 0
    """How much has been said of buckets."""

    def execute(self) -> None:
        choice = self.table.choice[self.places]
        if self.run.freezer.is_used:
            self._divert((choice == Choice.BY_HEADERS) | (choice == Choice.BY_DATAPATH))
            choice = self.table.choice[self.places]
        for kind, act in (
            (Choice.UNSUPPORTED, self._stop),
            (Choice.EVERY, self._execute_every),
            (Choice.FIRST_LIVE, self._execute_first_live),
            (Choice.BY_HEADERS, self._execute_by_headers),
            (Choice.BY_DATAPATH, self._execute_by_datapath),
        ):
            some = choice == kind
            if some.any():
                act(self.packets[some], self.places[some])

    def _divert(self, hashed: NDArray[np.bool_]) -> None:
        """Freeze packets that have to be ``hashed`` by headers that are not known."""
        goes_on = ~hashed
        goes_on[hashed] = self.run.freezer.divert(self.packets[hashed])
        self.packets, self.places = self.packets[goes_on], self.places[goes_on]

    def _stop(self, packets: Packets, places: Places) -> None:
        for place in np.unique(places).tolist():
            self.run.stop_unsupported(packets[places == place], self.table.unsupported[place])

    def _execute_every(self, packets: Packets, places: Places) -> None:
        run, table = self.run, self.table
        self._count(packets, places, np.full(len(packets), NONE))
        at_end = run.at_end
        counts = table.n_buckets[places]
        for number in range(int(counts.max(initial=0))):
            some = (counts > number) & ~run.halted[packets]
            if run.recorder and int(packets[0]) in run.errors:
                self._report_bucket(int(table.first_bucket[places[0]]) + number)
            is_last = number == counts - 1
            for mine, last in ((some & ~is_last, False), (some & is_last, True)):
                run.at_end = at_end and last
                buckets = table.first_bucket[places[mine]] + number
                self._execute_buckets(packets[mine], buckets)
        run.at_end = at_end

    def _execute_first_live(self, packets: Packets, places: Places) -> None:
        buckets = self.table.first_live[places]
        if self.run.recorder:
            self._examine(int(places[0]), 0)
        self._execute_chosen(packets, places, buckets)

    def _execute_by_headers(self, packets: Packets, places: Places) -> None:
        table = self.table
        hashed = np.zeros(len(packets), np.uint32)
        for number, selection in enumerate(table.selections):
            mine = table.selection[places] == number
            if mine.any():
                basis = table.basis[places[mine]]
                hashed[mine] = selection.hash(self.run.columns, packets[mine], basis)
        self._execute_chosen(packets, places, self._best(hashed, places))

    def _best(self, hashed: hashing.Hash, places: Places) -> Places:
        """The live bucket with the highest score, of equals the last (or ``NONE``)."""
        table = self.table
        counts = table.n_buckets[places]
        best = np.full(len(places), NONE, np.int64)
        best_score = np.zeros(len(places), np.uint32)
        for number in range(int(counts.max(initial=0))):
            some = np.flatnonzero(counts > number)
            buckets = table.first_bucket[places[some]] + number
            score = hashing.two_words(table.bucket_id[buckets], hashed[some]) & _SCORE
            score = score * table.weight[buckets]
            if self.run.recorder:
                self._report_score(int(buckets[0]), int(score[0]))
            better = table.live[buckets] & (score >= best_score[some])
            best[some[better]] = buckets[better]
            best_score[some[better]] = score[better]
        return best

    def _execute_by_datapath(self, packets: Packets, places: Places) -> None:
        """As ``pick_dp_hash_select_group``: a packet that has a hash already keeps it."""
        run = self.run
        column = run.columns[Column.RECIRC]
        fresh = column[packets] & _DP_HASH == 0
        if fresh.any():
            self._hash_in_datapath(packets[fresh], places[fresh])
        hashed = (column[packets] & _DP_HASH).astype(np.int64)
        table = self.table
        at = table.hash_map_start[places] + (hashed & table.hash_map_mask[places])
        in_action_set = run.in_action_set
        for some, came_back in ((~fresh, False), (fresh, True)):
            mine = some & ~run.halted[packets]
            if mine.any():
                # A packet that came back executes a list of actions, whatever it was before.
                run.in_action_set = in_action_set and not came_back
                self._execute_chosen(packets[mine], places[mine], table.hash_map[at[mine]])
        run.in_action_set = in_action_set

    def _hash_in_datapath(self, packets: Packets, places: Places) -> None:
        """Let the datapath hash ``packets``, which have then been through it once more."""
        run, table = self.run, self.table
        run.emissions.commit(packets)
        hashed = run.hashes.take(packets, table.algorithm[places], table.basis[places])
        run.reentries.enter(packets)
        column = run.columns[Column.RECIRC]
        column[packets] = column[packets] & ~_DP_HASH | hashed.astype(np.uint64)
        run.emissions.touch(packets)
        if run.recorder:
            run.recorder.detail(f"the datapath's hash is {hashed[0]:#x}")
        # Zero means "not hashed": the datapath goes round and round, and then drops the packet.
        lost = (hashed == 0) | (run.reentries.depths(packets) > MAX_RECIRCULATIONS)
        run.halt(packets[lost])
        if run.recorder and lost[0]:
            run.recorder.error(TOO_DEEP)

    def _execute_chosen(self, packets: Packets, places: Places, buckets: Places) -> None:
        run = self.run
        chosen = buckets != NONE
        if run.recorder:
            bucket = int(buckets[0])
            found = (
                f"using bucket {self.table.bucket_id[bucket]}" if chosen[0] else "no live bucket"
            )
            run.recorder.detail(found)
        packets, places, buckets = packets[chosen], places[chosen], buckets[chosen]
        self._count(packets, places, buckets)
        self._execute_buckets(packets, buckets)

    def _count(self, packets: Packets, places: Places, buckets: Places) -> None:
        run = self.run
        freezings = run.emissions.freezings(packets)
        run.group_hits.append(
            GroupHits(packets, places, buckets, run.reentries.grown[packets], freezings)
        )

    # -- buckets --------------------------------------------------------------------------------

    def _execute_buckets(self, packets: Packets, buckets: Places) -> None:
        """Execute a bucket on each of ``packets``, which are then what they were before."""
        if not len(packets):
            return
        run, table = self.run, self.table
        before = {column: run.columns[column][packets] for column in run.state.program.written}
        depth, grown = run.depth[packets], run.reentries.grown[packets]
        popped = run.freezer.popped[packets]
        run.depth[packets] += 1
        in_bucket, run.freezer.in_bucket = run.freezer.in_bucket, True
        place = run.emissions.place(packets)
        n_reentries = len(run.reentries)
        mark = run.recorder.mark() if run.recorder else None
        if run.recorder:
            self._begin_bucket(int(buckets[0]))
        shapes = table.shape[buckets]
        for number in np.unique(shapes).tolist():
            mine = shapes == number
            shape = table.shapes[number]
            rows = table.row[buckets[mine]]
            operands = tuple(some[:, rows] for some in shape.operands)
            run.execute_bucket(shape.operations, operands, packets[mine])
        run.freezer.in_bucket = in_bucket
        froze = run.freezer.froze(packets)
        run.freezer.finish(packets)
        run.freezer.popped[packets] = popped
        came_back = run.emissions.freezings(packets) != place.freezings
        if came_back.any():
            # What the datapath took up again was a copy, which goes its way to the very end.
            run.execute_action_sets(packets[came_back])
            run.reentries.come_back(n_reentries)
        if run.recorder:
            run.recorder.end_bucket()
            run.recorder.back(mark)
        run.depth[packets], run.reentries.grown[packets] = depth, grown
        for column, saved in before.items():
            run.columns[column][packets] = saved
        run.emissions.come_back(packets, place, rewind=False)
        run.revive(packets, came_back)
        run.go_on(packets[froze])

    def _begin_bucket(self, bucket: int) -> None:
        assert self.run.recorder
        number = int(self.table.bucket_id[bucket])
        self.run.recorder.bucket(number, self.table.actions[bucket])

    def _report_bucket(self, bucket: int) -> None:
        """Tell of a bucket that is come to but not executed, the packet having failed before."""
        recorder = self.run.recorder
        assert recorder
        mark = recorder.mark()
        self._begin_bucket(bucket)
        recorder.end_bucket()
        recorder.back(mark)

    # -- what a recorder is told ----------------------------------------------------------------

    def _examine(self, place: int, depth: int) -> bool:
        """Whether a group has a live bucket; tells of those before the first that are not live."""
        first = int(self.table.first_bucket[place])
        for bucket in range(first, first + int(self.table.n_buckets[place])):
            if self._examine_bucket(bucket, depth):
                return True
            self._report(bucket, f"not live due to {self._watched(bucket)}")
        return False

    def _examine_bucket(self, bucket: int, depth: int) -> bool:
        """Whether a bucket is live; tells why not if it is for the group it watches."""
        assert self.run.recorder
        if self.told >= MOST_TOLD:
            return bool(self.table.live[bucket])
        if depth >= MOST_WATCH_LINKS:
            self.told += 1
            self.run.recorder.error(f"bucket chaining exceeded {MOST_WATCH_LINKS} links")
            return False
        group = self.table.groups[int(self.table.group_of_bucket[bucket])]
        if group.type == "select" and self.table.weight[bucket] == 0:
            return False
        names = self.run.state.program.names
        port, watched = self._said(bucket).watched
        if port is None and watched is None:
            return True
        if port is not None and names.is_live(names.port(port)):
            return True
        (place,) = self.table.find(np.array([NONE if watched is None else watched])).tolist()
        return place != NONE and self._examine(place, depth + 1)

    def _report_score(self, bucket: int, score: int) -> None:
        if self._examine_bucket(bucket, 0):
            self._report(bucket, f"score {score}")
        else:
            self._report(bucket, f"not live due to {self._watched(bucket)}")

    def _report(self, bucket: int, text: str) -> None:
        assert self.run.recorder
        self.told += 1
        self.run.recorder.detail(f"bucket {self.table.bucket_id[bucket]}: {text}")

    def _said(self, bucket: int) -> Bucket:
        """What the dump says of the bucket."""
        place = int(self.table.group_of_bucket[bucket])
        return self.table.groups[place].buckets[bucket - int(self.table.first_bucket[place])]

    def _watched(self, bucket: int) -> str:
        """What the bucket watches, in Open vSwitch's words: it calls a group a port."""
        port, group = self._said(bucket).watched
        parts = [] if port is None else [f"port {format_port(port)}"]
        if group is not None:
            parts.append(f"port {group}")
        return " and ".join(parts)
