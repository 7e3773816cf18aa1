"""How many packets have been through the groups of a switch, and through their buckets."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Self

import numpy as np
from numpy.typing import NDArray

from flowvm.clock import SECOND
from flowvm.pipeline.group_table import NONE, GroupTable
from flowvm.pipeline.ragged import ranges
from flowvm.text.group_stats import GroupStats

Counts = NDArray[np.int64]


@dataclass(eq=False)
class GroupCounters:
    """One entry a group, or a bucket, of ``table``."""

    table: GroupTable
    n_packets: Counts
    n_bytes: Counts
    bucket_packets: Counts
    bucket_bytes: Counts

    @classmethod
    def of(cls, table: GroupTable) -> Self:
        """What the dump says they are, zero where it does not."""
        groups = np.zeros((2, len(table.ids)), np.int64)
        buckets = np.zeros((2, len(table.bucket_id)), np.int64)
        for place, group in enumerate(table.groups):
            stats = table.statistics.get(group.group_id)
            if stats is not None:
                groups[:, place] = stats.packet_count, stats.byte_count
                first = int(table.first_bucket[place])
                for number, counted in enumerate(stats.buckets[: len(group.buckets)]):
                    buckets[:, first + number] = counted
        return cls(table, groups[0], groups[1], buckets[0], buckets[1])

    def copy(self) -> Self:
        """Counters like these that go their own way."""
        return type(self)(
            self.table,
            self.n_packets.copy(),
            self.n_bytes.copy(),
            self.bucket_packets.copy(),
            self.bucket_bytes.copy(),
        )

    def count(self, groups: Counts, buckets: Counts, n_packets: Counts, n_bytes: Counts) -> None:
        """Count packets, and their bytes, at groups and one bucket each, ``NONE`` for all."""
        np.add.at(self.n_packets, groups, n_packets)
        np.add.at(self.n_bytes, groups, n_bytes)
        every = buckets == NONE
        many = np.where(every, self.table.n_buckets[groups], 1)
        which = np.repeat(np.arange(len(groups)), many)
        places = ranges(np.where(every, self.table.first_bucket[groups], buckets), many)
        np.add.at(self.bucket_packets, places, n_packets[which])
        np.add.at(self.bucket_bytes, places, n_bytes[which])

    def statistics(self, now: int) -> list[GroupStats]:
        """What ``dump-group-stats`` would print ``now`` (ns since the dump), in order of the IDs.

        Durations and references are left out unless the dump told of them.
        """
        elapsed = Decimal(now) / SECOND
        table = self.table
        ends = (table.first_bucket + table.n_buckets).tolist()
        buckets = list(zip(self.bucket_packets.tolist(), self.bucket_bytes.tolist(), strict=True))
        told = [table.statistics.get(group.group_id) for group in table.groups]
        return [
            GroupStats(
                group.group_id,
                None if before is None or before.duration is None else before.duration + elapsed,
                None if before is None else before.ref_count,
                packet_count=int(self.n_packets[place]),
                byte_count=int(self.n_bytes[place]),
                buckets=tuple(buckets[ends[place] - int(table.n_buckets[place]) : ends[place]]),
            )
            for place, (group, before) in enumerate(zip(table.groups, told, strict=True))
        ]
