"""Reading pcapng files: draft-ietf-opsawg-pcapng.

Section header, interface description, enhanced, simple and obsolete packet blocks are understood,
all others skipped.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

import numpy as np

from flowvm.packet.frames import Frames
from flowvm.packet.pcap.linktypes import ETHERNET, not_ethernet
from flowvm.packet.pcap.ng_interface import Interface
from flowvm.packet.pcap.source import Records, Window
from flowvm.packet.pcap.walk import Form, gather, record_starts
from flowvm.packet.words import Bool, Index

MAGIC = bytes.fromhex("0a0d0d0a")
"""First bytes of a file, the same in both byte orders: the type of a section header block."""

ORDERS = {bytes.fromhex("4d3c2b1a"): "<", bytes.fromhex("1a2b3c4d"): ">"}

SECTION, INTERFACE, OBSOLETE, SIMPLE, ENHANCED = 0x0A0D0D0A, 1, 2, 3, 6

SECTION_SIZE = 28
"""Bytes of a section header block without options."""

LEAST, LONGEST = 12, 1 << 24
"""Bytes of a block. The limit is libpcap's: a block is read into memory as a whole."""

HEAD_WORDS = 7
"""32-bit words before the data of the enhanced and obsolete packet blocks."""

TRAILER = 4
"""Bytes of the length that ends a block."""

_TYPE = (0, 1, 2, 3)

"""The first words of blocks: ``uint32`` of shape (blocks, :data:`HEAD_WORDS`)."""


def read_pcapng(window: Window) -> Iterator[Records]:
    """The packets of a pcapng file, from a window at its beginning.

    A simple packet block has no timestamp: its packet gets that of the packet before it in the
    file (0 if there is none). Raises :class:`~flowvm.packet.pcap.source.CaptureError`, after all
    packets before the spot, where the file is damaged, ends inside a block, or has a packet of
    another link type than Ethernet.
    """
    reader = _Reader(window)
    start = 0
    while True:
        reader.begin_section(start)
        starts, after = record_starts(window.buffer, start, window.end, reader.form)
        types = gather(window.buffer, starts, 1, reader.order)[0]
        sections = np.flatnonzero(types[1:] == SECTION)
        if sections.size:
            # Its byte order may differ, and with that where the blocks after it begin.
            after = int(starts[1 + sections[0]])
            starts = starts[: 1 + sections[0]]
        if starts.size:
            yield from reader.records(starts)
        start = after
        if starts.size and reader.at_section(start):
            continue
        missing = reader.size_of_next(start)
        if window.complete:
            if start < window.end or window.damage:
                raise window.cut_off(start, reader.packet, "a block", missing)
            return
        window.advance(start)
        start = 0


class _Reader:
    """What the blocks read so far say about those that follow."""

    def __init__(self, window: Window) -> None:
        self.order = "<"
        self.packet = 1
        """The number of the next packet."""
        self._window = window
        self._interfaces: list[Interface] = []
        self._last_time = 0

    @property
    def form(self) -> Form:
        """How blocks of this section say their size."""
        return Form(self.order, length_at=4, overhead=0, header=8, least=LEAST, mark=_TYPE)

    def at_section(self, start: int) -> bool:
        """Whether a section header is at ``start``, with all its fixed part."""
        window = self._window
        whole = window.end - start >= SECTION_SIZE
        return whole and window.buffer[start : start + 4].tobytes() == MAGIC

    def begin_section(self, start: int) -> None:
        """If a section begins at ``start``, take its byte order and forget all interfaces."""
        if not self.at_section(start):
            return
        window = self._window
        header = window.buffer[start : start + SECTION_SIZE].tobytes()
        if header[8:12] not in ORDERS:
            raise window.error("a section of pcapng without its byte order", start, self.packet)
        self.order = ORDERS[header[8:12]]
        (major,) = struct.unpack_from(f"{self.order}H", header, 12)
        if major != 1:
            problem = f"version {major} of the pcapng format; only 1 is known"
            raise window.error(problem, start, self.packet)
        self._interfaces = []

    def size_of_next(self, start: int) -> int:
        """The bytes of the block at ``start``, not all of which need be there.

        Raises CaptureError if no block can be so long.
        """
        window = self._window
        there = window.end - start
        if there < 8:
            return LEAST
        kind, size = struct.unpack_from(f"{self.order}II", window.buffer.data, start)
        if kind == SECTION and there < SECTION_SIZE:
            return SECTION_SIZE
        if not LEAST <= size <= LONGEST or size % 4:
            raise window.error(_impossible(size), start, self.packet)
        return int(size)

    def records(self, starts: Index) -> Iterator[Records]:
        """The packets of the whole blocks at ``starts``, up to one that makes no sense."""
        window = self._window
        heads = gather(window.buffer, starts, HEAD_WORDS, self.order)
        sizes = heads[1]
        sound = _Sound(len(starts))
        sound.check(
            (sizes < LEAST) | (sizes > LONGEST) | (sizes % 4 != 0),
            lambda i: _impossible(int(sizes[i])),
        )
        ends = (starts + sizes)[: sound.count]
        trailers = gather(window.buffer, ends - TRAILER, 1, self.order)[0]
        sound.check(
            trailers != sizes[: sound.count],
            lambda i: f"a block whose length is {sizes[i]} at its begin, {trailers[i]} at its end",
        )
        known = self._describe(starts, sizes, heads[0], sound)
        records = self._packets(starts, heads, sizes, known, sound)
        if len(records):
            yield records
            self._last_time = int(records.times[-1])
            self.packet += len(records)
        if sound.problem:
            raise window.error(sound.problem, int(starts[sound.count]), self.packet)

    def _describe(self, starts: Index, sizes: Index, types: Index, sound: _Sound) -> Index:
        """Note the interfaces that sound blocks describe; how many are known at each block."""
        described = types == INTERFACE
        known = len(self._interfaces) + np.cumsum(described)
        for block in np.flatnonzero(described[: sound.count]).tolist():
            at = int(starts[block])
            text = self._window.buffer[at : at + int(sizes[block])].tobytes()
            try:
                self._interfaces.append(Interface.parse(text, self.order))
            except ValueError as error:
                sound.end(block, str(error))
                break
        return known

    def _packets(
        self, starts: Index, heads: Index, sizes: Index, known: Index, sound: _Sound
    ) -> Records:
        """The packets in sound blocks; blocks whose packets make no sense are not sound."""
        types, interface, captured, original = heads[[0, 2, 5, 6]]
        simple, obsolete = types == SIMPLE, types == OBSOLETE
        timed = (types == ENHANCED) | obsolete
        packet = timed | simple
        header = 4 * HEAD_WORDS
        room, data = sizes - header - TRAILER, starts + header
        if obsolete.any():
            # Its first field is of 16 bits.
            half = interface & 0xFFFF if self.order == "<" else interface >> 16
            interface[obsolete] = half[obsolete]
        if simple.any():
            original[simple] = interface[simple]
            interface[simple] = 0
            room[simple], data[simple] = (sizes - 16)[simple], (starts + 12)[simple]
            limit = self._interfaces[0].snaplen if self._interfaces else 0
            captured[simple] = np.minimum(original, limit or LONGEST)[simple]

        sound.check(
            packet & (interface >= known),
            lambda i: f"a packet of interface {interface[i]}, of which the file says nothing",
        )
        sound.check(
            packet & (captured > room),
            lambda i: f"a packet of {captured[i]} bytes in a block of {sizes[i]}",
        )
        times = np.zeros(len(starts), np.int64)
        ticks = heads[3].astype(np.uint64) << np.uint64(32) | heads[4].astype(np.uint64)
        for number, its in enumerate(self._interfaces):
            mine = packet & (interface == number) if len(self._interfaces) > 1 else packet
            if its.linktype != ETHERNET:
                sound.check(mine, lambda _, linktype=its.linktype: not_ethernet(linktype))  # type: ignore[misc]
                continue
            mine = np.flatnonzero(mine & timed)
            times[mine], representable = its.nanoseconds(ticks[mine])
            beyond = np.zeros(len(starts), bool)
            beyond[mine] = ~representable
            sound.check(beyond, lambda _: "a time that 64 bits of nanoseconds cannot tell")

        which = np.flatnonzero(packet[: sound.count])
        times = times[which]
        if simple.any():
            times = _filled(times, timed[which], self._last_time)
        frames = Frames(self._window.buffer, data[which], captured[which])
        return Records(frames, times, original[which], 1)


class _Sound:
    """How many blocks, from the first on, make sense, and what is wrong with the next."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.problem = ""

    def end(self, block: int, problem: str) -> None:
        if block < self.count:
            self.count, self.problem = block, problem

    def check(self, wrong: Bool, tell: Callable[[int], str]) -> None:
        """The first block that is ``wrong`` is not sound; ``tell`` says why."""
        first = int(wrong.argmax()) if wrong.size else 0
        if wrong.size and wrong[first]:
            self.end(first, tell(first))


def _impossible(size: int) -> str:
    return f"a block of {size} bytes; {LEAST} to {LONGEST}, in fours, are possible"


def _filled(times: Index, timed: Bool, before: int) -> Index:
    """``times``, and where they are not ``timed`` those of the last that is, or ``before``."""
    last = np.maximum.accumulate(np.where(timed, np.arange(len(times)), -1))
    return np.where(last >= 0, times[last], before)
