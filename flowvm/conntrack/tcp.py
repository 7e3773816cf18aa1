"""Following a TCP connection: states, sequence numbers and windows.

The rules are those of ``tcp_conn_update`` in Open vSwitch 3.1's lib/conntrack-tcp.c, which are
those of pf: Guido van Rooij, "Real Stateful TCP Packet Filtering in IP Filter".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Self

from flowvm.conntrack import timeouts
from flowvm.conntrack.extract import Facts, Segment
from flowvm.conntrack.protocol import Progress, Update

FIN, SYN, RST, PSH, ACK, URG = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20

_END, _NO_OPERATION, _WINDOW_SCALE = 0, 1, 3
_MAX_SCALE = 14
_MAX_SKEW = 0xFFFF + 1500
_WORD = 0xFFFF_FFFF


class TcpState(IntEnum):
    """How far one side of a connection has got."""

    CLOSED = 0
    LISTEN = 1
    SYN_SENT = 2
    SYN_RECV = 3
    ESTABLISHED = 4
    CLOSE_WAIT = 5
    FIN_WAIT_1 = 6
    CLOSING = 7
    LAST_ACK = 8
    FIN_WAIT_2 = 9
    TIME_WAIT = 10


@dataclass(slots=True)
class Peer:
    """One side: what it has sent (``sent``) and may send (``allowed``) at most, and its window.

    ``scale`` is by how many bits the windows that it names are shifted, ``None`` if it did not say;
    ``unknown_scale`` marks a connection whose beginning was not seen.
    """

    state: TcpState
    sent: int = 0
    allowed: int = 0
    max_window: int = 0
    scale: int | None = None
    unknown_scale: bool = False


def has_invalid_flags(flags: int) -> bool:
    """Whether no TCP sends such flags."""
    if flags & SYN:
        if flags & (RST | FIN):
            return True
    elif not flags & (ACK | RST):
        return True
    return not flags & ACK and bool(flags & (FIN | PSH | URG))


def may_begin(segment: Segment) -> bool:
    """Whether a connection can be made from the segment: not from the answer to a SYN."""
    return not has_invalid_flags(segment.flags) and segment.flags & (SYN | ACK) != SYN | ACK


class TcpProgress(Progress):
    """Both sides of a TCP connection, that which opened it first.

    ``checked`` says whether sequence numbers are known well enough to be checked.
    """

    def __init__(self, peers: tuple[Peer, Peer], timeout: int, *, checked: bool = True) -> None:
        self.peers = peers
        self._timeout = timeout
        self._checked = checked

    @property
    def timeout(self) -> int:
        return self._timeout

    @classmethod
    def begun_by(cls, segment: Segment) -> Self:
        """The connection whose first packet is seen."""
        opener = Peer(TcpState.SYN_SENT, segment.sequence)
        other = Peer(TcpState.CLOSED, allowed=1, max_window=1)
        length = segment.length + 1
        window = max(segment.window, 1)
        if segment.flags & SYN:
            length += 1
            opener.scale = window_scale(segment.options)
            window = _rounded_up(window, opener.scale or 0)
        else:
            opener.unknown_scale = other.unknown_scale = True
        if segment.flags & FIN:
            length += 1
        opener.allowed = (segment.sequence + length) & _WORD
        opener.max_window = window
        return cls((opener, other), timeouts.TCP_FIRST_PACKET)

    @classmethod
    def resumed(cls, states: tuple[TcpState, TcpState]) -> Self:
        """A connection of which nothing but the states is known."""
        return cls((Peer(states[0]), Peer(states[1])), _timeout_of(*states), checked=False)

    def copy(self) -> Self:
        first, second = (replace(peer) for peer in self.peers)
        return type(self)((first, second), self._timeout, checked=self._checked)

    def update(self, facts: Facts, *, reply: bool) -> tuple[Update, bool]:
        segment = facts.segment
        assert segment is not None
        source, destination = self.peers[::-1] if reply else self.peers
        flags = segment.flags
        if has_invalid_flags(flags):
            return Update.INVALID, False
        if flags & (SYN | ACK) == SYN:
            if min(source.state, destination.state) >= TcpState.FIN_WAIT_2:
                source.state = destination.state = TcpState.CLOSED
                return Update.NEW, False
            if source.state <= TcpState.SYN_SENT:
                source.state = TcpState.SYN_SENT
                self._timeout = timeouts.TCP_FIRST_PACKET
                return Update.VALID_NEW, True
        return self._exchange(segment, source, destination)

    def _exchange(self, segment: Segment, source: Peer, destination: Peer) -> tuple[Update, bool]:
        """A packet other than the first of a connection: is it within the windows?"""
        flags, window = segment.flags, segment.window
        begins = (segment.sequence + segment.length) & _WORD
        end = (begins + bool(flags & SYN) + bool(flags & FIN)) & _WORD
        own_shift, other_shift = _shifts(source, destination, flags)
        with_skew = True
        if source.state < TcpState.SYN_SENT:
            if flags & SYN and destination.scale is not None:
                source.scale = window_scale(segment.options)
                if source.scale is not None:
                    own_shift, other_shift = source.scale, destination.scale
                    window = _rounded_up(window, own_shift)
                else:
                    destination.max_window = destination.max_window << destination.scale & 0xFFFF
                    destination.scale = None
            source.sent = segment.sequence
            source.state = TcpState.SYN_SENT
            limit = (end + max(1, destination.max_window << other_shift)) & _WORD
            if source.allowed == 1 or _at_least(limit, source.allowed):
                source.allowed = limit
                with_skew = False
            source.max_window = max(source.max_window, window)

        acknowledged = segment.acknowledgement
        if not flags & ACK or (acknowledged == 0 and flags & RST):
            acknowledged = destination.sent
        sequence = segment.sequence
        if sequence == end:
            sequence = end = source.sent

        skew = _signed(destination.sent - acknowledged) if with_skew else 0
        reset_fits = not flags & RST or _signed(segment.sequence - source.sent) in (-1, 0, 1)
        fits = (
            _at_least(source.allowed, end)
            and _at_least(sequence, source.sent - (destination.max_window << other_shift))
            and -_MAX_SKEW <= skew <= _MAX_SKEW << own_shift
            and reset_fits
        )
        if fits or not self._checked:
            _slide(source, destination, window, own_shift, end, acknowledged)
            _advance(source, destination, flags)
            self._timeout = _timeout_of(source.state, destination.state)
            return Update.VALID, True
        loose = (
            destination.state < TcpState.SYN_SENT
            or max(source.state, destination.state) >= TcpState.FIN_WAIT_2
        )
        if (
            loose
            and _at_least(source.allowed + _MAX_SKEW, end)
            and _at_least(sequence, source.sent - _MAX_SKEW)
        ):
            _slide(source, destination, window, own_shift, end, acknowledged)
            if flags & FIN and source.state < TcpState.CLOSING:
                source.state = TcpState.CLOSING
            if flags & RST:
                source.state = destination.state = TcpState.TIME_WAIT
            return Update.VALID, False
        return Update.INVALID, False


def _shifts(source: Peer, destination: Peer, flags: int) -> tuple[int, int]:
    """By how many bits the windows of the two are shifted, as far as that is known."""
    if not flags & SYN:
        if source.scale is not None and destination.scale is not None:
            return source.scale, destination.scale
        if source.unknown_scale and destination.unknown_scale:
            return _MAX_SCALE, _MAX_SCALE
    return 0, 0


def _slide(
    source: Peer, destination: Peer, window: int, shift: int, end: int, acknowledged: int
) -> None:
    source.max_window = max(source.max_window, window)
    if _signed(end - source.sent) > 0:
        source.sent = end
    if _at_least(acknowledged + (window << shift), destination.allowed):
        destination.allowed = (acknowledged + max(window << shift, 1)) & _WORD


def _advance(source: Peer, destination: Peer, flags: int) -> None:
    if flags & SYN and source.state < TcpState.SYN_SENT:
        source.state = TcpState.SYN_SENT
    if flags & FIN and source.state < TcpState.CLOSING:
        source.state = TcpState.CLOSING
    if flags & ACK:
        if destination.state == TcpState.SYN_SENT:
            destination.state = TcpState.ESTABLISHED
        elif destination.state == TcpState.CLOSING:
            destination.state = TcpState.FIN_WAIT_2
    if flags & RST:
        source.state = destination.state = TcpState.TIME_WAIT


def _timeout_of(one: TcpState, other: TcpState) -> int:
    lower, higher = min(one, other), max(one, other)
    if lower >= TcpState.FIN_WAIT_2:
        return timeouts.TCP_CLOSED
    if lower >= TcpState.CLOSING:
        return timeouts.TCP_FIN_WAIT
    if lower < TcpState.ESTABLISHED:
        return timeouts.TCP_OPENING
    if higher >= TcpState.CLOSING:
        return timeouts.TCP_CLOSING
    return timeouts.TCP_ESTABLISHED


def window_scale(options: bytes) -> int | None:
    """The shift that the options of a SYN name, at most 14; ``None`` if they name none."""
    scale = None
    at, left = 0, len(options)
    while left >= 3:
        kind = options[at] if at < len(options) else _END
        if kind == _END:
            break
        if kind == _NO_OPERATION:
            size = 1
        else:
            if kind == _WINDOW_SCALE:
                scale = min(options[at + 2], _MAX_SCALE)
            size = max(options[at + 1], 2)
        at, left = at + size, left - size
    return scale


def _rounded_up(window: int, shift: int) -> int:
    return -(-window >> shift)


def _signed(difference: int) -> int:
    """A difference of sequence numbers as a signed number of 32 bits."""
    difference &= _WORD
    return difference - (1 << 32) if difference >> 31 else difference


def _at_least(one: int, other: int) -> bool:
    """Whether a sequence number is not before another."""
    return _signed(one - other) >= 0
