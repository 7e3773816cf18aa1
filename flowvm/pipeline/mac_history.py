"""What packets in a row do to the MAC table, all of them at once.

The packets have run against the table as it was before the first of them. Which of them should
have seen another one, and what the table is in the end, is found out here; compare
:mod:`flowvm.pipeline.learning`, which does so for flows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flowvm.clock import SECOND
from flowvm.pipeline.mac_table import NO_PORT, Keys, MacTable, Numbers

if TYPE_CHECKING:
    from flowvm.pipeline.paths import Paths


@dataclass(frozen=True, eq=False)
class MacHistory:
    """Addresses seen on ports, in order: by which of ``n`` packets, and what they changed.

    ``since`` has for each of the distinct ``altered`` keys the first packet after which a lookup
    finds another port than before.
    """

    n: int
    packets: Numbers
    keys: Keys
    ports: Numbers
    gratuitous: NDArray[np.bool_]
    altered: Keys
    since: Numbers
    fitting: int
    """How many packets, but one at least, come before one for which there is no room."""

    @classmethod
    def of(cls, table: MacTable, paths: Paths, path_of: Numbers) -> MacHistory:
        """What packets on these paths do to ``table``."""
        entries, packets = paths.sightings.of_owners(path_of)
        keys, ports = paths.sightings["key"][entries], paths.sightings["port"][entries]
        order = np.argsort(keys, kind="stable")
        by_key = keys[order]
        begins = np.ones(len(keys), bool)
        begins[1:] = by_key[1:] != by_key[:-1]
        before = np.roll(ports[order], 1)
        before[begins] = table.ports_of(by_key[begins])
        altering = np.flatnonzero(before != ports[order])
        altered, first = np.unique(by_key[altering], return_index=True)
        new = np.sort(packets[order[begins & (before == NO_PORT)]])
        room = max(table.max_entries - len(table), 0)
        return cls(
            len(path_of),
            packets,
            keys,
            ports,
            paths.sightings["gratuitous"][entries],
            altered,
            packets[order[altering[first]]],
            len(path_of) if len(new) <= room else max(int(new[room]), 1),
        )

    def first_misled(self, paths: Paths, path_of: Numbers) -> int:
        """The first of the packets, or their number, that looks up what was altered before it."""
        if not len(self.altered):
            return len(path_of)
        consulted = paths.consulted_macs["key"]
        at = np.searchsorted(self.altered, consulted).clip(max=len(self.altered) - 1)
        hit = np.flatnonzero(self.altered[at] == consulted)
        after = np.full(len(paths), len(path_of), np.int64)
        np.minimum.at(after, paths.consulted_macs.owner_of_entries()[hit], self.since[at[hit]])
        misled = np.flatnonzero(np.arange(len(path_of)) > after[path_of])
        return int(misled[0]) if len(misled) else len(path_of)

    def apply(self, table: MacTable, times: Numbers) -> Keys:
        """Do it, with ``times`` (ns) of the packets; returns keys that are not as they were."""
        seconds = times[self.packets] // SECOND
        evicted = table.learn(self.keys, self.ports, seconds, self.gratuitous)
        return np.concatenate([self.altered, evicted])
