"""What the packets of one run make of the MAC table: what they see there, and what they teach it.

The table itself stays as it is while a run lasts; but a packet sees what it has taught itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flowvm.clock import SECOND
from flowvm.pipeline.mac_table import NO_PORT, Keys, MacTable, Numbers
from flowvm.pipeline.ragged import Ragged

if TYPE_CHECKING:
    from flowvm.pipeline.engine import Run

_FIRST = 0


class MacLog:
    """The lookups and sightings of addresses in one run, in order."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._seen: list[tuple[Numbers, Keys, Numbers, NDArray[np.bool_]]] = []
        self._consulted: list[tuple[Numbers, Keys]] = []
        self._own: MacTable | None = None

    def _table(self) -> MacTable:
        table = self._run.state.macs
        assert table is not None
        return table

    def see(
        self, packets: Numbers, keys: Keys, ports: Numbers, gratuitous: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Note that ``packets`` came from addresses on ports; for which of them that is news."""
        table = self._table()
        news = np.zeros(len(packets), bool)
        dynamic = ~table.are_static(keys)
        packets, keys, ports = packets[dynamic], keys[dynamic], ports[dynamic]
        gratuitous = gratuitous[dynamic]
        before = self._find(packets, keys)
        news[dynamic] = before != ports
        self._heed_limit(packets[before == NO_PORT])
        if self._own is not None:
            self._teach(self._own, packets, keys, ports, gratuitous)
        self._seen.append((packets, keys, ports, gratuitous))
        return news

    def look_up(self, packets: Numbers, keys: Keys) -> Numbers:
        """The ports at which ``packets`` find the addresses they go to, or ``NO_PORT``."""
        self._consulted.append((packets, keys))
        return self._find(packets, keys)

    def _find(self, packets: Numbers, keys: Keys) -> Numbers:
        found = self._table().ports_of(keys)
        for seers, seen, ports, _ in self._seen:
            if not len(seers):
                continue
            at = np.searchsorted(seers, packets).clip(max=len(seers) - 1)
            own = (seers[at] == packets) & (seen[at] == keys)
            found = np.where(own, ports[at], found)
        if self._own is not None and len(packets) and packets[0] == _FIRST:
            found[0] = self._own.ports_of(keys[:1])[0]
        return found

    def _heed_limit(self, new: Numbers) -> None:
        """Find out what has to make room for the entries that packets are about to make.

        That depends on all that happened before, so only the first packet of a run can know it.
        """
        table = self._table()
        if not len(new):
            return
        made = np.zeros(len(new), np.int64)
        for seers, *_ in self._seen:
            made += np.isin(new, seers)
        full = len(table) + made >= table.max_entries
        if not full.any():
            return
        self._run.await_state(new[full])
        if self._own is None and new[0] == _FIRST and full[0]:
            self._own = table.copy()
            for seen in self._seen:
                self._teach(self._own, *seen)

    def _teach(
        self,
        table: MacTable,
        packets: Numbers,
        keys: Keys,
        ports: Numbers,
        gratuitous: NDArray[np.bool_],
    ) -> None:
        """Teach ``table`` what the first packet of the run saw."""
        own = slice(0, int(len(packets) > 0 and packets[0] == _FIRST))
        seconds = np.full(len(keys), self._run.state.now // SECOND)
        table.learn(keys[own], ports[own], seconds[own], gratuitous[own])

    def seal(self, n: int) -> tuple[Ragged, Ragged]:
        """The lookups (``key``) and sightings (``key``, ``port``, ``gratuitous``) by packet."""
        none = np.zeros(0, np.int64)
        no_key = np.zeros(0, np.uint64)
        consults = Ragged.of(
            np.concatenate([none, *(packets for packets, _ in self._consulted)]),
            n,
            key=np.concatenate([no_key, *(keys for _, keys in self._consulted)]),
        )
        sightings = Ragged.of(
            np.concatenate([none, *(seen[0] for seen in self._seen)]),
            n,
            key=np.concatenate([no_key, *(seen[1] for seen in self._seen)]),
            port=np.concatenate([none, *(seen[2] for seen in self._seen)]),
            gratuitous=np.concatenate([np.zeros(0, bool), *(seen[3] for seen in self._seen)]),
        )
        return consults, sightings
