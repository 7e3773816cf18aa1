"""Making a witness small: fewer packets, shorter frames, zeroes wherever nothing depends on it.

Hypothesis could shrink what it drew, but a frame is many draws; to work on the bytes takes fewer
tries, and what remains is plain to see: each packet, each byte and each bit that is set is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from flowvm.clock import SECOND
from flowvm.pipeline.result import ETHERNET_HEADER
from flowvm.testing.frames import Packet

Where = Callable[[Sequence[Packet]], int | None]
"""Which of some packets is the first to prove a claim wrong, if any does."""

_CHUNKS = (64, 32, 16, 8, 4, 2, 1)


def shrink(packets: Sequence[Packet], where: Where) -> tuple[Packet, ...]:
    """A smallest sequence like ``packets`` whose last packet proves the claim wrong.

    Smallest means that no packet, byte, field or set bit can be left out of it, and that nothing
    can come earlier or by a lower port. ``where`` must find a packet in ``packets``.
    """
    last = where(packets)
    assert last is not None
    best = tuple(packets[: last + 1])
    again = True
    while again:
        again = False
        for candidates in (_fewer, _sooner, _plainer, _shorter, _emptier):
            better = _first_good(best, candidates, where)
            again = again or better != best
            best = better
    return best


def _first_good(
    best: tuple[Packet, ...],
    candidates: Callable[[tuple[Packet, ...], int], Iterator[tuple[Packet, ...]]],
    where: Where,
) -> tuple[Packet, ...]:
    """``best``, made simpler as far as ``candidates`` takes it."""
    number = 0
    while number < len(best):
        for candidate in candidates(best, number):
            last = where(candidate)
            if last is not None:
                best = candidate[: last + 1]
                break
        else:
            number += 1
    return best


def _fewer(packets: tuple[Packet, ...], number: int) -> Iterator[tuple[Packet, ...]]:
    if len(packets) > 1:
        yield packets[:number] + packets[number + 1 :]


def _sooner(packets: tuple[Packet, ...], number: int) -> Iterator[tuple[Packet, ...]]:
    """Less time before a packet; those after it come that much sooner too."""
    gap = packets[number].time - (packets[number - 1].time if number else 0)
    for shorter in {0: None, gap // SECOND * SECOND: None}:
        if shorter < gap:
            rest = (replace(p, time=p.time - gap + shorter) for p in packets[number:])
            yield (*packets[:number], *rest)


def _plainer(packets: tuple[Packet, ...], number: int) -> Iterator[tuple[Packet, ...]]:
    """Fewer and smaller fields beside the frame, and a lower port."""
    packet = packets[number]
    for name, value in packet.fields.items():
        rest = {other: v for other, v in packet.fields.items() if other != name}
        yield _with(packets, number, replace(packet, fields=rest))
        for smaller in _fewer_bits(value):
            yield _with(packets, number, replace(packet, fields={**packet.fields, name: smaller}))
    for port in sorted({1, *(other.in_port for other in packets)}):
        if port < packet.in_port:
            yield _with(packets, number, replace(packet, in_port=port))


def _shorter(packets: tuple[Packet, ...], number: int) -> Iterator[tuple[Packet, ...]]:
    frame = packets[number].frame
    for size in _CHUNKS:
        # From the end on: payload goes before headers do.
        for at in range(len(frame) - size, -1, -size):
            if len(frame) - size >= ETHERNET_HEADER:
                yield _with_frame(packets, number, frame[:at] + frame[at + size :])


def _emptier(packets: tuple[Packet, ...], number: int) -> Iterator[tuple[Packet, ...]]:
    frame = packets[number].frame
    for size in _CHUNKS:
        for at in range(0, len(frame), size):
            if any(frame[at : at + size]):
                rest = frame[at + size :]
                cleared = bytes(len(frame[at : at + size]))
                yield _with_frame(packets, number, frame[:at] + cleared + rest)
    for at, octet in enumerate(frame):
        for smaller in _fewer_bits(octet):
            yield _with_frame(packets, number, frame[:at] + bytes([smaller]) + frame[at + 1 :])


def _fewer_bits(value: int) -> Iterator[int]:
    """``value`` with one bit cleared, high ones first; but not 0."""
    for bit in reversed(range(value.bit_length())):
        smaller = value & ~(1 << bit)
        if smaller not in (value, 0):
            yield smaller


def _with_frame(packets: tuple[Packet, ...], number: int, frame: bytes) -> tuple[Packet, ...]:
    return _with(packets, number, replace(packets[number], frame=frame))


def _with(packets: tuple[Packet, ...], number: int, packet: Packet) -> tuple[Packet, ...]:
    return (*packets[:number], packet, *packets[number + 1 :])
