"""What identifies a connection: the two ends, the protocols, the zone."""

from __future__ import annotations

from typing import NamedTuple


class Endpoint(NamedTuple):
    """One end of a connection.

    ``port`` is the identifier of an ICMP echo and the like, of which ``icmp_type`` and
    ``icmp_code`` are a part of the identity too.
    """

    address: int
    port: int = 0
    icmp_type: int = 0
    icmp_code: int = 0


Bucket = tuple[Endpoint, Endpoint, int, int, int]


class Key(NamedTuple):
    """A connection, seen from the sender of one of its packets."""

    source: Endpoint
    destination: Endpoint
    eth_type: int
    protocol: int
    zone: int

    def reversed(self) -> Key:
        """The same, seen from the other end."""
        return self._replace(source=self.destination, destination=self.source)

    @property
    def bucket(self) -> Bucket:
        """The same for a key and its reverse."""
        ends = sorted((self.source, self.destination))
        return ends[0], ends[1], self.eth_type, self.protocol, self.zone


class OriginalTuple(NamedTuple):
    """The addresses that a connection began with: ``ct_nw_src`` and its like.

    Ports are the type and the code of ICMP. A packet that belongs to no connection has zeroes.
    """

    eth_type: int = 0
    source: int = 0
    destination: int = 0
    protocol: int = 0
    source_port: int = 0
    destination_port: int = 0
