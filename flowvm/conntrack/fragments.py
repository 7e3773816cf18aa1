"""Fragments of IP datagrams, which connection tracking holds until a datagram is complete.

The whole datagram goes through connection tracking; then the fragments go on, with what was found
out about it and in the order of their data, in the place of the packet that completed it. Those of
a datagram that stays incomplete go on as invalid when the next packet is tracked after 15 seconds.
The rules are those of Open vSwitch 3.1's lib/ipf.c. Times are milliseconds.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field, replace

from flowvm.conntrack.extract import Datagram
from flowvm.conntrack.headers import (
    FRAGMENT,
    FRAGMENT_HEADER,
    IPV4_HEADER,
    IPV6_HEADER,
    MalformedError,
    follow_ipv6,
    number,
    sums_up,
    updated,
)
from flowvm.conntrack.nat import UnpredictableError
from flowvm.conntrack.request import INVALID, Tracking
from flowvm.fields import ETH_TYPE_IP, ETH_TYPE_IPV6

BATCH = 32
"""How many packets the datapath handles together (``NETDEV_MAX_BURST``)."""

_TIMEOUT = 15_000
_PURGED_AFTER = 10_000
_MOST_FRAGMENTS = 1000
_MOST_OF_ONE_IPV4, _MOST_OF_ONE_IPV6 = 58, 65535
_LEAST_SIZE = {ETH_TYPE_IP: 1200, ETH_TYPE_IPV6: 1280}
_LARGEST = 0xFFFF
_CHECKSUM, _ADDRESSES, _ADDRESSES6 = 10, 12, 8


@dataclass(frozen=True, slots=True)
class Fragment:
    """A fragment and what is known of it; ``first`` and ``last`` number bytes of the datagram."""

    datagram: Datagram
    tracking: Tracking
    first: int
    last: int

    @property
    def payload(self) -> bytes:
        """What it carries."""
        return self.datagram.frame[self.datagram.l4 : self.datagram.end]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a fragment belongs in its datagram."""

    identification: int
    protocol: int
    first: int
    last: int
    begins: bool
    ends: bool


@dataclass(eq=False, slots=True)
class Assembly:
    """The fragments of one datagram so far; ``sent`` of them have gone on."""

    key: Hashable
    expiration: int
    fragments: list[Fragment] = field(default_factory=list)
    begins: bool = False
    ends: bool = False
    is_closed: bool = False
    sent: int = 0

    def copy(self) -> Assembly:
        kept = [replace(some, tracking=some.tracking.copy()) for some in self.fragments]
        return replace(self, fragments=kept)

    @property
    def is_complete(self) -> bool:
        """Whether no data is missing; the fragments are in their order if both ends are there."""
        if not (self.begins and self.ends):
            return False
        self.fragments.sort(key=lambda fragment: fragment.first)
        following = zip(self.fragments, self.fragments[1:], strict=False)
        return all(one.last + 1 == other.first for one, other in following)

    def overlaps(self, place: _Place) -> bool:
        """Whether an end of the data at ``place`` is in a fragment that is known."""
        return any(
            some.first <= place.first <= some.last or some.first <= place.last <= some.last
            for some in self.fragments
        )

    def whole(self) -> Datagram | None:
        """The datagram; ``None`` if it would be too long."""
        datagram = self.fragments[0].datagram
        rest = self.fragments[-1].last - self.fragments[1].first + 1
        frame = datagram.frame[: datagram.end]
        frame += b"".join(fragment.payload for fragment in self.fragments[1:])
        make = _whole_ipv4 if datagram.eth_type == ETH_TYPE_IP else _whole_ipv6
        made = make(frame, datagram.l3, rest)
        return None if made is None else replace(datagram, frame=made, end=len(made))

    def settle(self, whole: Datagram, tracking: Tracking) -> None:
        """Let the fragments be what became of the ``whole`` datagram in connection tracking."""
        for which, fragment in enumerate(self.fragments):
            datagram = fragment.datagram
            frame = _with_addresses(datagram, whole)
            if not which:
                at, end = datagram.l4, datagram.end
                frame = frame[:at] + whole.frame[at:end] + frame[end:]
            known = tracking.copy()
            known.connection = fragment.tracking.connection
            known.reply, known.related = fragment.tracking.reply, fragment.tracking.related
            self.fragments[which] = replace(
                fragment, datagram=replace(datagram, frame=frame), tracking=known
            )


class FragmentStore:
    """The fragments that a datapath holds."""

    def __init__(self) -> None:
        self._assemblies: dict[Hashable, Assembly] = {}
        self._incomplete: list[Assembly] = []
        self._completed: list[Assembly] = []
        self._held = 0

    def copy(self) -> FragmentStore:
        """A store of its own, equal to this one now."""
        twin = FragmentStore()
        twin._assemblies = {key: one.copy() for key, one in self._assemblies.items()}
        twin._incomplete = [twin._assemblies[one.key] for one in self._incomplete]
        twin._completed = [twin._assemblies[one.key] for one in self._completed]
        twin._held = self._held
        return twin

    def take(
        self, datagram: Datagram, tracking: Tracking, zone: int, context: Hashable, now: int
    ) -> Assembly | None:
        """Hold the packet if it is a fragment; the result is the assembly that it belongs to now.

        ``None`` for other packets; a fragment that fits nowhere is marked as invalid then.
        ``context`` is that which fragments of one datagram share beside the headers.
        """
        if datagram.eth_type not in _LEAST_SIZE:
            return None
        is_ipv4 = datagram.eth_type == ETH_TYPE_IP
        try:
            place = _ipv4_place(datagram) if is_ipv4 else _ipv6_place(datagram)
        except MalformedError:
            tracking.state = INVALID
            return None
        if place is None:
            return None
        size = 8 if is_ipv4 else 32
        at = datagram.l3 + (_ADDRESSES if is_ipv4 else _ADDRESSES6)
        addresses = datagram.frame[at : at + size]
        key = (addresses, place.identification, place.protocol, zone, context)
        assembly = self._assemblies.get(key)
        if self._held >= _MOST_FRAGMENTS:
            return None
        if assembly is None:
            assembly = self._assemblies[key] = Assembly(key, now + _TIMEOUT)
            self._incomplete.append(assembly)
        elif now >= assembly.expiration + _PURGED_AFTER:
            raise UnpredictableError(
                "a fragment more than 25 s after the first of its datagram, which Open vSwitch may "
                "have forgotten by then,"
            )
        most = _MOST_OF_ONE_IPV4 if is_ipv4 else _MOST_OF_ONE_IPV6
        if assembly.is_closed or len(assembly.fragments) >= most:
            return None
        if assembly.overlaps(place):
            tracking.state = INVALID
            return None
        self._held += 1
        fragment = Fragment(datagram, tracking.copy(), place.first, place.last)
        assembly.fragments.append(fragment)
        assembly.begins |= place.begins
        assembly.ends |= place.ends
        return assembly

    def close(self, assembly: Assembly) -> Datagram | None:
        """The datagram of an assembly that is complete now; it takes no more fragments.

        ``None`` if the datagram would be too long.
        """
        assembly.is_closed = True
        whole = assembly.whole()
        if whole is not None:
            self._incomplete.remove(assembly)
            self._completed.append(assembly)
        return whole

    def release(self, now: int, room: int) -> Iterator[Fragment]:
        """Those fragments that go on when a packet was tracked, at most ``room`` of them.

        Those of completed datagrams, and those of the first one whose time is over, as invalid.
        """
        released: list[Fragment] = []
        for assembly in list(self._completed):
            if not self._send(assembly, now, room, released):
                return iter(released)
            self._completed.remove(assembly)
        if self._incomplete and now > self._incomplete[0].expiration:
            oldest = self._incomplete[0]
            at = len(released)
            if self._send(oldest, now, room, released):
                self._incomplete.remove(oldest)
            for fragment in released[at:]:
                fragment.tracking.state = INVALID
        return iter(released)

    def _send(self, assembly: Assembly, now: int, room: int, released: list[Fragment]) -> bool:
        """Release fragments of ``assembly``; whether nothing is left of it."""
        left = assembly.fragments[assembly.sent :]
        if now >= assembly.expiration + _PURGED_AFTER:
            self._held -= len(left)
        else:
            some = left[: room - len(released)]
            released += some
            assembly.sent += len(some)
            self._held -= len(some)
            if len(some) < len(left):
                return False
        del self._assemblies[assembly.key]
        return True


def _ipv4_place(datagram: Datagram) -> _Place | None:
    frame, at = datagram.frame, datagram.l3
    size = datagram.end - at
    if at < 0 or size < IPV4_HEADER:
        raise MalformedError
    bits = number(frame, at + 6, 2)
    if not bits & 0x3FFF:
        return None
    header = (frame[at] & 0xF) * 4
    if number(frame, at + 2, 2) != size or not IPV4_HEADER <= header <= size:
        raise MalformedError
    if not sums_up(frame[at : at + header]):
        raise MalformedError
    more, offset = bool(bits & 0x2000), (bits & 0x1FFF) * 8
    _check_size(datagram, size, ends=offset > 0 and not more)
    return _Place(
        number(frame, at + 4, 2),
        frame[at + 9],
        offset,
        offset + size - header - 1 & 0xFFFF,
        more and not offset,
        bool(offset) and not more,
    )


def _ipv6_place(datagram: Datagram) -> _Place | None:
    frame, at = datagram.frame, datagram.l3
    if at < 0 or datagram.l4 < 0 or datagram.end - at < IPV6_HEADER:
        raise MalformedError
    header = _fragment_header(frame, at, datagram.end)
    if header is None:
        return None
    if number(frame, at + 4, 2) + IPV6_HEADER != datagram.end - at:
        raise MalformedError
    bits = number(frame, header + 2, 2)
    more, offset = bool(bits & 1), bits & 0xFFF8
    if not more and not offset:
        return None
    _check_size(datagram, datagram.end - at, ends=offset > 0 and not more)
    first = offset + FRAGMENT_HEADER & 0xFFFF
    return _Place(
        number(frame, header + 4, 4),
        0,
        first,
        first + datagram.end - datagram.l4 - 1 & 0xFFFF,
        more and not offset,
        bool(offset) and not more,
    )


def _fragment_header(frame: bytes, at: int, end: int) -> int | None:
    """Where the last fragment header of an IPv6 datagram is; ``None`` if there is none."""
    try:
        found = [part.at for part in follow_ipv6(frame, at, end) if part.protocol == FRAGMENT]
    except MalformedError:
        return None
    return found[-1] if found else None


def _check_size(datagram: Datagram, size: int, *, ends: bool) -> None:
    if not ends and size < _LEAST_SIZE[datagram.eth_type]:
        raise MalformedError


def _whole_ipv4(frame: bytes, at: int, rest: int) -> bytes | None:
    total = number(frame, at + 2, 2)
    if total + rest > _LARGEST:
        return None
    bits = number(frame, at + 6, 2)
    checksum = updated(number(frame, at + _CHECKSUM, 2), bits, bits & ~0x2000, 2)
    checksum = updated(checksum, total, total + rest, 2)
    header = bytearray(frame[at : at + IPV4_HEADER])
    header[2:4] = (total + rest).to_bytes(2, "big")
    header[6:8] = (bits & ~0x2000).to_bytes(2, "big")
    header[_CHECKSUM : _CHECKSUM + 2] = checksum.to_bytes(2, "big")
    return frame[:at] + header + frame[at + IPV4_HEADER :]


def _whole_ipv6(frame: bytes, at: int, rest: int) -> bytes | None:
    """The datagram still has its fragment header, that of no fragment."""
    size = number(frame, at + 4, 2) - FRAGMENT_HEADER + rest
    header = _fragment_header(frame, at, len(frame))
    if size > _LARGEST or header is None:
        return None
    whole = bytearray(frame)
    whole[header + 2 : header + 4] = bytes(2)
    whole[at + 4 : at + 6] = size.to_bytes(2, "big")
    return bytes(whole)


def _with_addresses(datagram: Datagram, whole: Datagram) -> bytes:
    """The frame of ``datagram`` with the IP addresses of ``whole``."""
    frame, at = datagram.frame, datagram.l3
    if datagram.eth_type != ETH_TYPE_IP:
        first = at + _ADDRESSES6
        moved = whole.frame[whole.l3 + _ADDRESSES6 :][:32]
        return frame[:first] + moved + frame[first + 32 :]
    checksum = number(frame, at + _CHECKSUM, 2)
    first = at + _ADDRESSES
    moved = whole.frame[whole.l3 + _ADDRESSES :][:8]
    for start in (0, 4):
        old = number(frame, first + start, 4)
        checksum = updated(checksum, old, int.from_bytes(moved[start : start + 4], "big"), 4)
    header = frame[at : at + _CHECKSUM] + checksum.to_bytes(2, "big") + moved
    return frame[:at] + header + frame[first + 8 :]
