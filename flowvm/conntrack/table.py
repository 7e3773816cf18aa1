"""The table of connections, and how they are found (lib/conntrack.c of Open vSwitch 3.1).

Times are milliseconds. Where Open vSwitch forgets an expired connection at its next sweep, up to
twenty seconds late, it is forgotten here at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from flowvm.conntrack.key import Bucket, Endpoint, Key
from flowvm.conntrack.protocol import Progress

_SWEEP = 1 << 14
"""After so many new connections those that expired are taken out."""


@dataclass(eq=False, slots=True)
class Connection:
    """One tracked connection. ``key`` is seen by its opener, ``reply_key`` by the other end.

    It has expired when the clock is at ``expiration``. ``ended`` is when another connection took
    its place, which is how one ends before its time. ``parent`` is the control connection of one
    that was announced there. ``skew`` is by how many bytes more the packets of one direction have
    come to be than they were, that of replies if ``skew_in_reply``.
    """

    key: Key
    reply_key: Key
    progress: Progress
    expiration: int
    mark: int = 0
    label: int = 0
    nat: int = 0
    with_nat: bool = False
    helper: str = ""
    ended: int | None = None
    parent: Key | None = None
    skew: int = 0
    skew_in_reply: bool = False
    is_from_dump: bool = False

    def is_over(self, now: int) -> bool:
        """Whether packets are no part of it any more."""
        return self.ended is not None or now >= self.expiration

    def is_gone(self, now: int) -> bool:
        """Whether nothing is left of it, the reservation of its addresses included."""
        return now >= self.expiration or (self.ended is not None and now > self.ended)


@dataclass(frozen=True, eq=False, slots=True)
class Expectation:
    """A connection that a control connection, ``parent``, has announced.

    ``key`` is what it will begin with, from any port. ``address`` is its translated source in
    replies if ``to_destination``, else their source. The rest is what the parent was then.
    """

    key: Key
    parent: Connection
    mark: int
    label: int
    address: int
    to_destination: bool


@dataclass(frozen=True, eq=False, slots=True)
class Entry:
    """How a connection is found: under its own key, or under the key of translated replies."""

    connection: Connection
    for_replies: bool = False

    @property
    def key(self) -> Key:
        return self.connection.reply_key if self.for_replies else self.connection.key

    @property
    def reverse(self) -> Key:
        return self.connection.key if self.for_replies else self.connection.reply_key


class ConnectionTable:
    """All connections of a datapath.

    ``nat_basis`` is what its choices from ranges of addresses and ports depend on: a random number
    of 32 bits, drawn when the datapath is made; ``None`` if it is not known.
    """

    def __init__(self, nat_basis: int | None = None) -> None:
        self.nat_basis = nat_basis
        self._buckets: dict[Bucket, list[Entry]] = {}
        self._expected: dict[Key, Expectation] = {}
        self._added = 0

    def copy(self) -> ConnectionTable:
        """A table of its own, equal to this one now."""
        twin = ConnectionTable(self.nat_basis)
        twin._added = self._added
        copies: dict[int, Connection] = {}
        for bucket, entries in self._buckets.items():
            twin._buckets[bucket] = [
                Entry(_copied(entry.connection, copies), entry.for_replies) for entry in entries
            ]
        for key, one in self._expected.items():
            twin._expected[key] = replace(one, parent=_copied(one.parent, copies))
        return twin

    def __bool__(self) -> bool:
        return bool(self._buckets)

    def connections(self, now: int) -> Iterator[Connection]:
        """Those that have not expired, in the order of their keys."""
        found = [
            entry.connection
            for entries in self._buckets.values()
            for entry in entries
            if not entry.for_replies and not entry.connection.is_over(now)
        ]
        return iter(sorted(found, key=lambda connection: connection.key))

    def add(self, connection: Connection, now: int) -> None:
        """Enter a connection."""
        self._added += 1
        if self._added % _SWEEP == 0:
            self._sweep(now)
        if connection.with_nat:
            self._put(connection.reply_key, Entry(connection, for_replies=True))
        self._put(connection.key, Entry(connection))

    def _put(self, key: Key, entry: Entry) -> None:
        # Of entries with the same hash Open vSwitch finds the latest first.
        self._buckets.setdefault(key.bucket, []).insert(0, entry)

    def _sweep(self, now: int) -> None:
        for bucket, entries in list(self._buckets.items()):
            left = [entry for entry in entries if not entry.connection.is_gone(now)]
            if left:
                self._buckets[bucket] = left
            else:
                del self._buckets[bucket]

    def find(self, key: Key, now: int) -> tuple[Connection, bool] | None:
        """The connection that a packet with ``key`` is part of, and whether it is a reply."""
        found = self.entry(key, key.bucket, now)
        if found is not None and found[0].for_replies:
            found = self.entry(key, found[0].reverse.bucket, now)
        return None if found is None else (found[0].connection, found[1])

    def entry(self, key: Key, bucket: Bucket, now: int) -> tuple[Entry, bool] | None:
        """The entry for ``key`` in ``bucket``, and whether it is seen from the other end."""
        for entry in self._buckets.get(bucket, ()):
            connection = entry.connection
            if connection.is_gone(now) or (not entry.for_replies and connection.is_over(now)):
                continue
            if entry.key == key:
                return entry, False
            if entry.reverse == key:
                return entry, True
        return None

    def expect(self, announced: Expectation, now: int) -> None:
        """Expect a connection, unless one like it is expected already."""
        if self._expectation(announced.key, now) is None:
            self._expected[announced.key] = announced

    def expected(self, key: Key, now: int) -> Expectation | None:
        """What announced a connection that begins with ``key``, if anything did."""
        if not self._expected:
            return None
        return self._expectation(key._replace(source=Endpoint(key.source.address)), now)

    def _expectation(self, key: Key, now: int) -> Expectation | None:
        found = self._expected.get(key)
        if found is not None and found.parent.is_gone(now):
            del self._expected[key]
            return None
        return found

    def is_taken(self, key: Key, now: int) -> bool:
        """Whether there is a connection with ``key``, or one whose replies are sent there."""
        return self.entry(key, key.bucket, now) is not None


def _copied(connection: Connection, copies: dict[int, Connection]) -> Connection:
    if id(connection) not in copies:
        copies[id(connection)] = replace(connection, progress=connection.progress.copy())
    return copies[id(connection)]
