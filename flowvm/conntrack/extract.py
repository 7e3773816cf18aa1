"""What connection tracking reads in a packet's bytes.

The rules are those of ``conn_key_extract`` in Open vSwitch 3.1's lib/conntrack.c: lengths and
checksums must be right, and an ICMP error belongs to the connection of the packet it quotes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from flowvm.conntrack.headers import (
    FRAGMENT,
    IPV4_HEADER,
    IPV6_HEADER,
    MalformedError,
    follow_ipv6,
    number,
    sums_up,
)
from flowvm.conntrack.key import Endpoint, Key
from flowvm.fields import ETH_TYPE_IP, ETH_TYPE_IPV6
from flowvm.protocols import ICMP, ICMPV6, TCP, UDP

_TCP_HEADER, _UDP_HEADER, _ICMP_HEADER = 20, 8, 8

ECHO_REQUEST, ECHO_REPLY = 8, 0
TIMESTAMP, TIMESTAMP_REPLY = 13, 14
INFORMATION, INFORMATION_REPLY = 15, 16
ECHO_REQUEST6, ECHO_REPLY6 = 128, 129

ICMP_REPLIES = {
    ECHO_REQUEST: ECHO_REPLY,
    TIMESTAMP: TIMESTAMP_REPLY,
    INFORMATION: INFORMATION_REPLY,
}
ICMP_REPLIES |= {reply: request for request, reply in ICMP_REPLIES.items()}
"""The type that answers, or that is answered by, an ICMP type."""

ICMPV6_REPLIES = {ECHO_REQUEST6: ECHO_REPLY6, ECHO_REPLY6: ECHO_REQUEST6}

_ICMP_ERRORS = frozenset({3, 4, 5, 11, 12})
_ICMPV6_ERRORS = frozenset({1, 2, 3, 4})
_QUOTED = 8
"""Bytes of a transport header that an ICMP error for IPv4 has to quote."""


class Segment(NamedTuple):
    """What of a TCP segment matters to its connection; ``length`` is that of its payload."""

    flags: int
    sequence: int
    acknowledgement: int
    window: int
    length: int
    options: bytes


@dataclass(frozen=True, slots=True)
class Facts:
    """What a packet says of its connection.

    ``related`` marks an ICMP error; then ``key`` is that of the packet that would answer the one
    it quotes. ``icmp_type`` is the first byte after the IP header, whatever the protocol.
    """

    key: Key
    related: bool = False
    segment: Segment | None = None
    icmp_type: int = 0


@dataclass(frozen=True, slots=True)
class Datagram:
    """A frame and where its IP header (``l3``), what that carries (``l4``), and the datagram end.

    Offsets are in bytes from the frame's first; -1 for a header that was not found.
    """

    frame: bytes
    eth_type: int
    l3: int
    l4: int
    end: int


def extract(datagram: Datagram, zone: int) -> Facts | None:
    """What ``datagram`` says of its connection in ``zone``; ``None`` for an invalid packet.

    A fragment is one.
    """
    if datagram.l3 < 0:
        return None
    try:
        source, destination, protocol, _ = _network(
            datagram.frame, datagram.eth_type, datagram.l3, datagram.end, checked=True
        )
        if datagram.l4 < 0:
            return None
        network = Key(Endpoint(source), Endpoint(destination), datagram.eth_type, protocol, zone)
        return _transport(datagram, network)
    except MalformedError:
        return None


def _network(
    frame: bytes, eth_type: int, at: int, end: int, *, checked: bool
) -> tuple[int, int, int, int]:
    """Source, destination, protocol of an IP header, and where what it carries begins."""
    if eth_type == ETH_TYPE_IP:
        return _ipv4(frame, at, end, checked=checked)
    if eth_type == ETH_TYPE_IPV6:
        return _ipv6(frame, at, end)
    raise MalformedError


def _ipv4(frame: bytes, at: int, end: int, *, checked: bool) -> tuple[int, int, int, int]:
    if end - at < IPV4_HEADER:
        raise MalformedError
    size = (frame[at] & 0xF) * 4
    if size < IPV4_HEADER or end - at < size or number(frame, at + 6, 2) & 0x3FFF:
        raise MalformedError
    if checked and not sums_up(frame[at : at + size]):
        raise MalformedError
    return number(frame, at + 12, 4), number(frame, at + 16, 4), frame[at + 9], at + size


def _ipv6(frame: bytes, at: int, end: int) -> tuple[int, int, int, int]:
    if end - at < IPV6_HEADER:
        raise MalformedError
    source, destination = number(frame, at + 8, 16), number(frame, at + 24, 16)
    *extensions, last = follow_ipv6(frame, at, end)
    for extension in extensions:
        if extension.protocol == FRAGMENT and number(frame, extension.at + 2, 2):
            raise MalformedError
    if last.protocol == FRAGMENT:
        raise MalformedError
    return source, destination, last.protocol, last.at


def _transport(datagram: Datagram, network: Key) -> Facts:
    frame, at, size = datagram.frame, datagram.l4, datagram.end - datagram.l4
    kind = frame[at] if at < len(frame) else 0
    is_ipv4 = network.eth_type == ETH_TYPE_IP
    match network.protocol:
        case 6:
            if size < _TCP_HEADER:
                raise MalformedError
            header = (frame[at + 12] >> 4) * 4
            if header < _TCP_HEADER or header > size:
                raise MalformedError
            _check(datagram, network)
            return Facts(_with_ports(frame, at, network), False, _segment(frame, at, size), kind)
        case 17:
            if size < _UDP_HEADER:
                raise MalformedError
            length = number(frame, at + 4, 2)
            if length < _UDP_HEADER or length > size:
                raise MalformedError
            if not (is_ipv4 and number(frame, at + 6, 2) == 0):
                _check(datagram, network)
            return Facts(_with_ports(frame, at, network), icmp_type=kind)
        case 1 if is_ipv4:
            if not sums_up(frame[at : datagram.end]):
                raise MalformedError
            return _icmp(datagram, network, _ICMP_ERRORS)
        case 58 if not is_ipv4:
            _check(datagram, network)
            return _icmp(datagram, network, _ICMPV6_ERRORS)
    return Facts(network, icmp_type=kind)


def _icmp(datagram: Datagram, network: Key, errors: frozenset[int]) -> Facts:
    frame, at, end = datagram.frame, datagram.l4, datagram.end
    if end - at < _ICMP_HEADER:
        raise MalformedError
    if frame[at] not in errors:
        return Facts(_with_identifier(frame, at, network), icmp_type=frame[at])
    source, destination, protocol, inner = _network(
        frame, network.eth_type, at + _ICMP_HEADER, end, checked=False
    )
    if source != network.destination.address:
        raise MalformedError
    quoted = network._replace(
        source=Endpoint(source), destination=Endpoint(destination), protocol=protocol
    )
    key = _quoted_transport(frame, inner, end - inner, quoted)
    return Facts(key.reversed(), related=True, icmp_type=frame[at])


def _quoted_transport(frame: bytes, at: int, size: int, network: Key) -> Key:
    """The key of a packet in an ICMP error, of which little may be left."""
    is_ipv4 = network.eth_type == ETH_TYPE_IP
    protocol = network.protocol
    if protocol in (TCP, UDP):
        whole = _TCP_HEADER if protocol == TCP else _UDP_HEADER
        if size < (_QUOTED if is_ipv4 else whole):
            raise MalformedError
        return _with_ports(frame, at, network)
    if protocol == (ICMP if is_ipv4 else ICMPV6):
        if size < _ICMP_HEADER:
            raise MalformedError
        return _with_identifier(frame, at, network)
    return network


def _with_ports(frame: bytes, at: int, network: Key) -> Key:
    source, destination = number(frame, at, 2), number(frame, at + 2, 2)
    if not source or not destination:
        raise MalformedError
    return network._replace(
        source=Endpoint(network.source.address, source),
        destination=Endpoint(network.destination.address, destination),
    )


def _with_identifier(frame: bytes, at: int, network: Key) -> Key:
    kind, code, identifier = frame[at], frame[at + 1], number(frame, at + 4, 2)
    replies = ICMP_REPLIES if network.eth_type == ETH_TYPE_IP else ICMPV6_REPLIES
    if kind not in replies or code:
        raise MalformedError
    return network._replace(
        source=Endpoint(network.source.address, identifier, kind),
        destination=Endpoint(network.destination.address, identifier, replies[kind]),
    )


def _segment(frame: bytes, at: int, size: int) -> Segment:
    header = (frame[at + 12] >> 4) * 4
    return Segment(
        number(frame, at + 12, 2) & 0xFFF,
        number(frame, at + 4, 4),
        number(frame, at + 8, 4),
        number(frame, at + 14, 2),
        size - header,
        frame[at + _TCP_HEADER : at + header],
    )


def _check(datagram: Datagram, network: Key) -> None:
    """Verify the checksum that covers the addresses too."""
    width = 4 if network.eth_type == ETH_TYPE_IP else 16
    body = datagram.frame[datagram.l4 : datagram.end]
    pseudo = b"".join(
        number.to_bytes(size, "big")
        for number, size in (
            (network.source.address, width),
            (network.destination.address, width),
            (network.protocol, 2),
            (len(body), 4),
        )
    )
    if not sums_up(pseudo + body):
        raise MalformedError
