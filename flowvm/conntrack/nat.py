"""Choosing and applying the addresses of network address translation.

The rules are those of ``nat_get_unique_tuple`` and ``nat_packet`` in Open vSwitch 3.1's
lib/conntrack.c.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from flowvm.conntrack.key import Endpoint, Key
from flowvm.fields import ETH_TYPE_IP
from flowvm.protocols import TCP, UDP

SOURCE, DESTINATION = 1, 2
"""What of a connection's first packet is translated."""

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
class Translation:
    """What becomes of a packet's addresses: ``None`` for what stays.

    ``ports`` are source and destination; ``quoted`` is what becomes of the packet that an ICMP
    error quotes, whose protocol is ``protocol``.
    """

    source: int | None
    destination: int | None
    ports: tuple[int, int] | None
    protocol: int
    quoted: Translation | None = None


def reply_key(key: Key, request: NatRequest, taken: Callable[[Key], bool]) -> Key | None:
    """What replies to a new connection look like, or ``None`` if all tuples are taken.

    Raises UnpredictableError where Open vSwitch chooses by a random number.
    """
    reply = key.reversed()
    address = _address(key, request)
    with_ports = key.protocol in (TCP, UDP)
    own_ports = request.ports if request.which == SOURCE else None
    sources = _source_ports(key, request, own_ports)
    fixed = _first(request.ports) if request.which == DESTINATION and request.ports else None
    if with_ports:
        reply = _with_ports(reply, fixed or key.destination.port, sources.first)
    if request.which == SOURCE:
        reply = reply._replace(destination=reply.destination._replace(address=address))
    else:
        reply = reply._replace(source=reply.source._replace(address=address))
    if not with_ports:
        return None if taken(reply) else reply
    if fixed is not None and not taken(reply):
        return reply
    for tried, port in enumerate(sources):
        if tried == _SURE_ATTEMPTS:
            raise UnpredictableError("nat with more than 128 ports taken")
        candidate = _with_ports(reply, reply.source.port, port)
        if not taken(candidate):
            return candidate
    return None


def _with_ports(reply: Key, source: int, destination: int) -> Key:
    return reply._replace(
        source=Endpoint(reply.source.address, source),
        destination=Endpoint(reply.destination.address, destination),
    )


def _address(key: Key, request: NatRequest) -> int:
    if request.addresses is None or request.addresses[0] == 0:
        match request.which:
            case 1:
                return key.source.address
            case 2:
                return key.destination.address
        return 0
    if request.ip_version != (4 if key.eth_type == ETH_TYPE_IP else 6):
        raise UnpredictableError("nat to an address of the other IP version")
    first, last = request.addresses
    if first != last:
        raise UnpredictableError("nat to one of several addresses")
    return first


@dataclass(frozen=True)
class _Ports:
    """Ports to try: ``first``, and then round from there."""

    first: int
    low: int
    high: int

    def __iter__(self) -> Iterator[int]:
        port = self.first
        inside = self.low <= port <= self.high
        for _ in range(self.high - self.low + (1 if inside else 2)):
            yield port
            port = port + 1 if self.low <= port < self.high else self.low


def _source_ports(key: Key, request: NatRequest, wanted: tuple[int, int] | None) -> _Ports:
    if wanted is not None:
        return _Ports(_first(wanted), *wanted)
    if request.which == 0:
        return _Ports(0, 0, 0)
    port = key.source.port
    if port < 512:
        return _Ports(port, 1, 511)
    return _Ports(port, 600, 1023) if port < 1024 else _Ports(port, 1024, 65535)


def _first(ports: tuple[int, int]) -> int:
    if ports[0] != ports[1]:
        raise UnpredictableError("nat to one of several ports")
    return ports[0]


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
