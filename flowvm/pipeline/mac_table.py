"""The MAC table of a bridge: where NORMAL has seen addresses, by VLAN.

Semantics: lib/mac-learning.c. Time counts in whole seconds there: an entry seen in a second stays
what it is for the rest of it, and goes when as many seconds are over as it may be idle. When the
table is full, the entry used longest ago of a port that has the most makes room.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from flowvm.clock import NEVER
from flowvm.pipeline.port_shares import PortShares
from flowvm.pipeline.subtable import NO_ENTRY, KeyIndex
from flowvm.port_settings import BridgeSettings, MacEntry

NO_PORT = -1

Keys = NDArray[np.uint64]
"""A VLAN and an Ethernet address each: ``vlan << 48 | address``."""

Numbers = NDArray[np.int64]

_VLAN_SHIFT = 48
_ADDRESS = (1 << _VLAN_SHIFT) - 1
_ROOM = 1024


class MacTable:
    """Entries by key: a port, when it expires (in seconds), and when it was used among others."""

    def __init__(self, idle_time: int, max_entries: int) -> None:
        self.idle_time = idle_time
        self.max_entries = max_entries
        self._count = 0
        self._uses = 0
        self._shares = PortShares()
        self._forget_rows()

    @classmethod
    def of(cls, bridge: BridgeSettings) -> MacTable:
        """The table, empty yet, of a bridge with these settings."""
        return cls(bridge.mac_aging_time, bridge.mac_table_size)

    def _forget_rows(self) -> None:
        none = np.zeros(0, np.int64)
        self._index = KeyIndex(1)
        self._port, self._expires, self._used = none, none, none

    def copy(self) -> MacTable:
        """A table of its own, equal to this one now."""
        twin = MacTable(self.idle_time, self.max_entries)
        twin._count, twin._uses = self._count, self._uses
        twin._shares = self._shares.copy()
        twin._index = self._index.copy()
        twin._port = self._port.copy()
        twin._expires = self._expires.copy()
        twin._used = self._used.copy()
        return twin

    def __len__(self) -> int:
        return self._count

    @property
    def deadline(self) -> int:
        """The second at which the next entry expires, if no packet is there before."""
        return int(self._expires[self._port != NO_PORT].min(initial=NEVER))

    def horizon(self, second: int) -> int:
        """The second at which an entry can expire at the soonest, be it one made at ``second``."""
        return min(self.deadline, second + self.idle_time)

    def ports_of(self, keys: Keys) -> Numbers:
        """The port of each key, or ``NO_PORT``."""
        rows = self._index.find(keys[None])
        return np.where(rows == NO_ENTRY, NO_PORT, self._at(self._port, rows))

    def are_static(self, keys: Keys) -> NDArray[np.bool_]:
        """Which of ``keys`` have an entry that no packet changes."""
        rows = self._index.find(keys[None])
        static: NDArray[np.bool_] = rows != NO_ENTRY
        static &= self._at(self._port, rows) != NO_PORT
        static &= self._at(self._expires, rows) == NEVER
        return static

    def _at(self, column: Numbers, rows: Numbers) -> Numbers:
        return column[rows] if len(column) else np.full(len(rows), NO_PORT)

    def has_room_for(self, keys: Keys) -> bool:
        """Whether no entry has to go for entries of all ``keys`` to be there."""
        if self._count + len(keys) <= self.max_entries:
            return True
        new = np.unique(keys[self.ports_of(keys) == NO_PORT])
        return self._count + len(new) <= self.max_entries

    def rows(self, second: int) -> list[MacEntry]:
        """The entries, those used longest ago first, as of ``second``."""
        alive = np.flatnonzero(self._port != NO_PORT)
        alive = alive[np.argsort(self._used[alive])]
        keys = self._index.keys[0, alive].tolist()
        columns = zip(keys, self._port[alive].tolist(), self._expires[alive].tolist(), strict=True)
        return [
            MacEntry(
                port,
                key >> _VLAN_SHIFT,
                key & _ADDRESS,
                None if expires == NEVER else second + self.idle_time - expires,
            )
            for key, port, expires in columns
        ]

    def load(self, entries: Iterable[MacEntry], second: int) -> None:
        """Enter what is known at ``second``, as if used in this order; old entries are left out.

        An entry for an address that is there already takes its place.
        """
        for entry in entries:
            if entry.age is not None and entry.age >= self.idle_time:
                continue
            key = np.array([entry.vlan << _VLAN_SHIFT | entry.mac], np.uint64)
            self._make_room(key)
            expires = NEVER if entry.age is None else second - entry.age + self.idle_time
            self._enter(key, np.array([entry.port]), np.array([expires]))

    def learn(
        self, keys: Keys, ports: Numbers, seconds: Numbers, gratuitous: NDArray[np.bool_]
    ) -> Keys:
        """Note that addresses were seen on ports, in this order; returns what had to go for that.

        ``gratuitous`` marks gratuitous ARP packets. None of ``keys`` may be static.
        """
        if self.has_room_for(keys):
            self._learn(keys, ports, seconds, gratuitous)
            return keys[:0]
        evicted: list[Keys] = []
        for i in range(len(keys)):
            one = slice(i, i + 1)
            evicted.append(self._make_room(keys[one]))
            self._learn(keys[one], ports[one], seconds[one], gratuitous[one])
        return np.concatenate(evicted)

    def _learn(
        self, keys: Keys, ports: Numbers, seconds: Numbers, gratuitous: NDArray[np.bool_]
    ) -> None:
        """As :meth:`learn`, where there is room for all."""
        order = np.argsort(keys, kind="stable")
        begins = np.ones(len(keys), bool)
        begins[1:] = keys[order][1:] != keys[order][:-1]
        rows = self._index.find(keys[order][None])
        last_port, last_second = np.roll(ports[order], 1), np.roll(seconds[order], 1)
        known = rows[begins]
        last_port[begins] = np.where(known == NO_ENTRY, NO_PORT, self._at(self._port, known))
        last_second[begins] = self._at(self._expires, known) - self.idle_time
        # In the second in which it was used an entry is left as it is, unless there is a reason.
        renews = gratuitous[order] | (seconds[order] != last_second) | (ports[order] != last_port)
        which = order[renews]
        moves = np.flatnonzero(ports[order] != last_port)
        self._share(order[moves], last_port[moves], ports)
        # Of each key, the last time counts.
        which, group = which, np.cumsum(begins)[renews]
        last = np.ones(len(which), bool)
        last[:-1] = group[1:] != group[:-1]
        which = np.sort(which[last])
        self._enter(keys[which], ports[which], seconds[which] + self.idle_time, shared=True)

    def _share(self, events: Numbers, before: Numbers, ports: Numbers) -> None:
        """Count entries by port, where ``events`` made them go to ``ports`` from ``before``."""
        order = np.argsort(events)
        after = ports[events[order]].tolist()
        for old, new in zip(before[order].tolist(), after, strict=True):
            if old != NO_PORT:
                self._shares.take(old)
            self._shares.add(new)

    def _enter(self, keys: Keys, ports: Numbers, expires: Numbers, *, shared: bool = False) -> None:
        """Let entries of distinct ``keys`` be those used last, in this order."""
        if not shared:
            before = self.ports_of(keys)
            moves = np.flatnonzero(before != ports)
            self._share(moves, before[moves], ports)
        rows = self._index.find(keys[None])
        new = rows == NO_ENTRY
        if new.any():
            rows[new] = self._index.add(keys[None, new])
            self._grow()
        self._count += int((self._port[rows] == NO_PORT).sum())
        self._port[rows] = ports
        self._expires[rows] = expires
        self._used[rows] = self._uses + np.arange(len(rows))
        self._uses += len(rows)

    def _grow(self) -> None:
        more = len(self._index) - len(self._port)
        self._port = np.concatenate([self._port, np.full(more, NO_PORT)])
        self._expires = np.concatenate([self._expires, np.zeros(more, np.int64)])
        self._used = np.concatenate([self._used, np.zeros(more, np.int64)])

    def _make_room(self, key: Keys) -> Keys:
        """Let an entry go if there is no room for ``key``; returns its key, if any."""
        if self._count < self.max_entries or self.ports_of(key)[0] != NO_PORT:
            return key[:0]
        own = np.flatnonzero(self._port == self._shares.largest)
        return self._remove(own[np.argmin(self._used[own])][None])

    def expire(self, second: int) -> Keys:
        """Let go what is idle for too long by ``second``; returns the keys that went."""
        over = np.flatnonzero((self._port != NO_PORT) & (self._expires <= second))
        return self._remove(over[np.argsort(self._used[over])])

    def _remove(self, rows: Numbers) -> Keys:
        keys: Keys = self._index.keys[0, rows]
        for port in self._port[rows].tolist():
            self._shares.take(port)
        self._port[rows] = NO_PORT
        self._count -= len(rows)
        if len(self._index) > 2 * self.max_entries + _ROOM:
            self._compact()
        return keys

    def _compact(self) -> None:
        """Forget the rows of entries that went."""
        alive = np.flatnonzero(self._port != NO_PORT)
        keys = self._index.keys[:, alive].copy()
        kept = self._port[alive], self._expires[alive], self._used[alive]
        self._forget_rows()
        self._index.add(keys)
        self._port, self._expires, self._used = kept
