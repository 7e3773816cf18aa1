"""Reading pcap files: pcap-savefile(5), draft-ietf-opsawg-pcap."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from flowvm.clock import SECOND
from flowvm.packet.frames import Frames
from flowvm.packet.pcap.linktypes import ETHERNET, not_ethernet
from flowvm.packet.pcap.source import Records, Window
from flowvm.packet.pcap.walk import Form, gather, record_starts
from flowvm.packet.words import Bytes, Index

MAGIC = {
    bytes.fromhex("d4c3b2a1"): ("<", 1000),
    bytes.fromhex("4d3cb2a1"): ("<", 1),
    bytes.fromhex("a1b2c3d4"): (">", 1000),
    bytes.fromhex("a1b23c4d"): (">", 1),
}
"""First bytes of a file: its byte order, and the nanoseconds of a unit of its fractions."""

FILE_HEADER = 24
RECORD_HEADER = 16

LONGEST = 262_144
"""No packet is longer, by libpcap's MAXIMUM_SNAPLEN; a record that says so is damaged."""


def read_classic(window: Window) -> Iterator[Records]:
    """The packets of a pcap file, from a window at its beginning.

    Raises :class:`~flowvm.packet.pcap.source.CaptureError`, after all packets before the spot,
    where the file is damaged or ends inside a record, and at once for another link type.
    """
    order, unit = MAGIC[window.buffer[:4].tobytes()]
    if window.end < FILE_HEADER:
        raise window.cut_off(0, 1, "the file header", FILE_HEADER)
    _, version, *_, network = gather(window.buffer, np.zeros(1, np.int64), 6, order)[:, 0].tolist()
    major = version & 0xFFFF if order == "<" else version >> 16
    if major != 2:
        raise window.error(f"version {major} of the pcap format; only 2 is known", 0, 1)
    # The upper half holds the length of a frame check sequence and reserved bits.
    if network & 0xFFFF != ETHERNET:
        raise window.error(not_ethernet(network & 0xFFFF), 0, 1)

    # The high half of the seconds: within 18 hours it is the same.
    high = (2, 3) if order == "<" else (0, 1)
    form = Form(order, length_at=8, overhead=16, header=16, least=16, mark=high)
    start, packet = FILE_HEADER, 1
    while True:
        starts, start = record_starts(window.buffer, start, window.end, form)
        heads = gather(window.buffer, starts, 4, order)
        count = len(starts)
        too_long = heads[2] > LONGEST
        if too_long.any():
            count = int(too_long.argmax())
            start = int(starts[count])
        if count:
            yield _records(window.buffer, starts[:count], heads[:, :count], unit)
        packet += count

        left = window.end - start
        size = RECORD_HEADER
        if left >= RECORD_HEADER:
            captured = int(gather(window.buffer, np.array([start]), 4, order)[2, 0])
            if captured > LONGEST:
                problem = f"a captured length of {captured} bytes; no packet exceeds {LONGEST}"
                raise window.error(problem, start, packet)
            size += captured
        if window.complete:
            if left or window.damage:
                raise window.cut_off(start, packet, "the packet's record", size)
            return
        window.advance(start)
        start = 0


def _records(buffer: Bytes, starts: Index, heads: Index, unit: int) -> Records:
    seconds, fraction, captured, original = heads
    frames = Frames(buffer, starts + RECORD_HEADER, captured)
    return Records(frames, seconds * SECOND + fraction * unit, original, unit)
