"""Captures made by hand, byte by byte, for the tests of reading them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from flowvm.packet.pcap.source import Records

MICRO, NANO = 0xA1B2C3D4, 0xA1B23C4D


@dataclass(frozen=True)
class Captured:
    """One packet; ``time`` is in nanoseconds."""

    time: int
    data: bytes
    original: int

    @classmethod
    def whole(cls, time: int, data: bytes) -> Captured:
        return cls(time, data, len(data))


def classic(
    packets: Sequence[Captured], order: str = "<", magic: int = MICRO, linktype: int = 1
) -> bytes:
    """A pcap file (pcap-savefile(5))."""
    parts = [struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 65535, linktype)]
    for packet in packets:
        seconds, rest = divmod(packet.time, 10**9)
        fraction = rest // 1000 if magic == MICRO else rest
        length = len(packet.data)
        parts += [
            struct.pack(f"{order}IIII", seconds, fraction, length, packet.original),
            packet.data,
        ]
    return b"".join(parts)


class Ng:
    """Blocks of pcapng in one byte order."""

    def __init__(self, order: str = "<") -> None:
        self.order = order

    def pack(self, form: str, *values: int) -> bytes:
        return struct.pack(self.order + form, *values)

    def block(self, kind: int, body: bytes) -> bytes:
        body += bytes(-len(body) % 4)
        size = self.pack("I", len(body) + 12)
        return self.pack("I", kind) + size + body + size

    def section(self, major: int = 1) -> bytes:
        return self.block(0x0A0D0D0A, self.pack("IHHq", 0x1A2B3C4D, major, 0, -1))

    def option(self, code: int, value: bytes) -> bytes:
        return self.pack("HH", code, len(value)) + value + bytes(-len(value) % 4)

    def interface(self, linktype: int = 1, snaplen: int = 0, options: bytes = b"") -> bytes:
        return self.block(1, self.pack("HHI", linktype, 0, snaplen) + options)

    def resolution(self, byte: int) -> bytes:
        return self.option(9, bytes([byte]))

    def offset(self, seconds: int) -> bytes:
        return self.option(14, self.pack("q", seconds))

    def enhanced(
        self, ticks: int, data: bytes, original: int | None = None, interface: int = 0
    ) -> bytes:
        original = len(data) if original is None else original
        head = self.pack("IIIII", interface, ticks >> 32, ticks & 0xFFFFFFFF, len(data), original)
        return self.block(6, head + data + bytes(-len(data) % 4) + self.option(1, b"a comment"))

    def simple(self, data: bytes, original: int) -> bytes:
        return self.block(3, self.pack("I", original) + data)

    def obsolete(self, ticks: int, data: bytes, interface: int = 0, drops: int = 7) -> bytes:
        times = self.pack("II", ticks >> 32, ticks & 0xFFFFFFFF)
        lengths = self.pack("II", len(data), len(data))
        return self.block(2, self.pack("HH", interface, drops) + times + lengths + data)


def listed(records: Sequence[Records]) -> list[Captured]:
    """The packets of all ``records``, one by one."""
    return [
        Captured(time, data, original)
        for part in records
        for time, data, original in zip(
            part.times.tolist(), part.frames, part.original_lengths.tolist(), strict=True
        )
    ]
