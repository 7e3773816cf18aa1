"""Choosing and applying the addresses of network address translation.

The rules are those of ``nat_get_unique_tuple`` and ``nat_packet`` in Open vSwitch 3.1's
lib/conntrack.c.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from flowvm.conntrack.hashing import range_hash
from flowvm.conntrack.key import Endpoint, Key
from flowvm.fields import ETH_TYPE_IP
from flowvm.protocols import TCP, UDP

SOURCE, DESTINATION = 1, 2
"""What of a connection's first packet is translated."""

_LOW_HALF = (1 << 64) - 1
_MOST_OFFSET = 0xFFFF_FFFE

_SURE_ATTEMPTS = 128
"""So many ports are tried in turn; then Open vSwitch jumps to a random one."""


class UnpredictableError(Exception):
    """What Open vSwitch does here depends on a random number; ``str()`` says what it is about."""


@dataclass(frozen=True)
class NatRequest:
    """The ``nat`` of a ``ct`` action: ``which`` is SOURCE, DESTINATION or 0 for neither.

    ``addresses`` and ``ports`` are ranges (first, last); ``ip_version`` is that of the addresses.
    """

    which: int = 0
    ip_version: int = 4
    addresses: tuple[int, int] | None = None
    ports: tuple[int, int] | None = None


@dataclass(frozen=True)
class ControlEdit:
    """What becomes of a segment of FTP's control connection.

    By how much its numbers change, and what comes in the place of ``size`` bytes from ``at`` of
    its payload.
    """

    sequence: int = 0
    acknowledgement: int = 0
    at: int = 0
    size: int = 0
    text: bytes = b""


@dataclass(frozen=True)
class Translation:
    """What becomes of a packet's addresses: ``None`` for what stays.

    ``ports`` are source and destination; ``quoted`` is what becomes of the packet that an ICMP
    error quotes, whose protocol is ``protocol``; ``control`` what becomes of the rest.
    """

    source: int | None
    destination: int | None
    ports: tuple[int, int] | None
    protocol: int
    quoted: Translation | None = None
    control: ControlEdit | None = None


def reply_key(
    key: Key, request: NatRequest, taken: Callable[[Key], bool], basis: int | None = None
) -> Key | None:
    """What replies to a new connection look like, or ``None`` if all tuples are taken.

    ``basis`` is what the switch's choices from ranges depend on, if it is known. Raises
    UnpredictableError where Open vSwitch chooses by a number that is not.
    """
    choose = _Choice(key, request, basis)
    address = _address(key, request, choose)
    reply = key.reversed()
    if request.which == SOURCE:
        reply = reply._replace(destination=reply.destination._replace(address=address))
    else:
        reply = reply._replace(source=reply.source._replace(address=address))
    if key.protocol not in (TCP, UDP):
        return None if taken(reply) else reply
    wanted = None
    if request.ports is not None:
        wanted = _Ports(request.ports[0] + choose(request.ports, "ports"), *request.ports)
    sources = wanted if request.which == SOURCE and wanted else _source_ports(key, request)
    destination = key.destination.port
    if request.which == DESTINATION and wanted:
        destination = wanted.first
        for port in wanted.tried():
            candidate = _with_ports(reply, port, sources.first)
            if not taken(candidate):
                return candidate
    for port in sources.tried():
        candidate = _with_ports(reply, destination, port)
        if not taken(candidate):
            return candidate
    return None


class _Choice:
    """Chooses from ranges as Open vSwitch does, by a hash whose basis is its own."""

    def __init__(self, key: Key, request: NatRequest, basis: int | None) -> None:
        self._key = key
        self._request = request
        self._basis = basis

    def __call__(self, span: tuple[int, int], what: str) -> int:
        """How far behind the first one of ``span`` is the one that is chosen."""
        size = _size(*span)
        if size == 1:
            return 0
        if self._basis is None:
            raise UnpredictableError(
                f"nat to one of several {what}, which is a secret of the switch (--nat-basis)"
            )
        addresses, ports = self._request.addresses or (0, 0), self._request.ports or (0, 0)
        return range_hash(self._key, addresses, ports, self._basis) % size


def _size(first: int, last: int) -> int:
    """How many there are in a range, as far as 32 bits count (``nat_ipv6_addrs_delta``)."""
    far = last >> 64 != first >> 64 and (
        last >> 64 != (first >> 64) + 1 or last & _LOW_HALF >= first & _LOW_HALF
    )
    return _MOST_OFFSET + 1 if far else min(last - first, _MOST_OFFSET) + 1


def _with_ports(reply: Key, source: int, destination: int) -> Key:
    return reply._replace(
        source=Endpoint(reply.source.address, source),
        destination=Endpoint(reply.destination.address, destination),
    )


def _address(key: Key, request: NatRequest, choose: _Choice) -> int:
    if request.addresses is None or request.addresses[0] == 0:
        match request.which:
            case 1:
                return key.source.address
            case 2:
                return key.destination.address
        return 0
    if request.ip_version != (4 if key.eth_type == ETH_TYPE_IP else 6):
        raise UnpredictableError("nat to an address of the other IP version")
    return request.addresses[0] + choose(request.addresses, "addresses")


@dataclass(frozen=True)
class _Ports:
    """Ports to try: ``first``, and then round from there."""

    first: int
    low: int
    high: int

    def tried(self) -> Iterator[int]:
        """One after the other. Raises UnpredictableError where they go on at random."""
        port = self.first
        inside = self.low <= port <= self.high
        for tried in range(self.high - self.low + (1 if inside else 2)):
            if tried == _SURE_ATTEMPTS:
                raise UnpredictableError("nat with more than 128 ports taken")
            yield port
            port = port + 1 if self.low <= port < self.high else self.low


def _source_ports(key: Key, request: NatRequest) -> _Ports:
    if request.which == 0:
        return _Ports(0, 0, 0)
    port = key.source.port
    if port < 512:
        return _Ports(port, 1, 511)
    return _Ports(port, 600, 1023) if port < 1024 else _Ports(port, 1024, 65535)


def translation(
    key: Key, reply: Key, which: int, *, is_reply: bool, related: bool
) -> Translation | None:
    """What NAT makes of a packet of the connection ``key``, whose replies look like ``reply``.

    ``which`` is what of the first packet is translated; a packet in the other direction has that
    undone. ``None`` if nothing is translated.
    """
    if not which:
        return None
    target = key.reversed() if is_reply else reply.reversed()
    if is_reply:
        which = _other_way(which)
    translated = _translate(target, which)
    if not related:
        return translated
    quoted = _translate(target.reversed(), _other_way(which))
    return Translation(translated.source, translated.destination, None, key.protocol, quoted)


def _other_way(which: int) -> int:
    return {SOURCE: DESTINATION, DESTINATION: SOURCE}.get(which, which)


def _translate(target: Key, which: int) -> Translation:
    ports = target.source.port, target.destination.port
    return Translation(
        target.source.address if which & SOURCE else None,
        target.destination.address if which & DESTINATION else None,
        ports if target.protocol in (TCP, UDP) else None,
        target.protocol,
    )
