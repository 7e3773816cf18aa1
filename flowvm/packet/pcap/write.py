"""Writing pcap files: pcap-savefile(5), draft-ietf-opsawg-pcap."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from flowvm.clock import SECOND
from flowvm.kernels import kernels
from flowvm.packet.frames import TAIL, Frames
from flowvm.packet.pcap.classic import LONGEST, MAGIC, RECORD_HEADER
from flowvm.packet.pcap.linktypes import ETHERNET
from flowvm.packet.pcap.source import MICROSECOND, BinaryFile
from flowvm.packet.words import Bytes, Index, copy_spans, overlapping

_MAGIC_OF = {unit: magic for magic, (order, unit) in MAGIC.items() if order == "<"}


class CaptureWriter:
    """A pcap file (little-endian, of Ethernet) that packets are appended to.

    ``target`` is a path, whose file is replaced, and open only while something is written; or a
    file open for writing bytes, at its beginning, that stays open. ``resolution`` is what times are
    told in: :data:`MICROSECOND`, or 1 for nanoseconds. The file is valid, with whole packets only,
    whenever no call is under way, and after one that an exception ended. Raises OSError.
    """

    def __init__(
        self, target: str | os.PathLike[str] | BinaryFile, resolution: int = MICROSECOND
    ) -> None:
        self.packets = 0
        self._target = target
        self._resolution = resolution
        self._size = 0
        if not isinstance(target, io.RawIOBase | io.BufferedIOBase):
            Path(target).write_bytes(b"")
        header = struct.pack("<4sHHiIII", _MAGIC_OF[resolution], 2, 4, 0, 0, LONGEST, ETHERNET)
        self._append(np.frombuffer(header, np.uint8))

    def write(self, frames: Frames, times: Index, original_lengths: Index) -> None:
        """Append packets; ``times`` (``int64``, (N,)) are nanoseconds since the epoch.

        ``original_lengths`` (``int64``, (N,)) are what the packets had on the wire. Raises
        ValueError for a time that the format cannot tell: before 1970 or after 2106.
        """
        seconds = times // SECOND
        rest = times - seconds * SECOND
        if ((seconds < 0) | (seconds > 0xFFFF_FFFF)).any():
            raise ValueError("pcap files can tell no time before 1970 or after 2106")
        heads = seconds, rest // self._resolution, frames.lengths, original_lengths
        self._append(_records(frames, heads))
        self.packets += len(frames)

    def _append(self, data: Bytes) -> None:
        rest = memoryview(data.data)
        with self._opened() as file:
            try:
                while rest:
                    rest = rest[file.write(rest) :]
            except BaseException:
                file.truncate(self._size)
                file.seek(self._size)
                raise
        self._size += data.size

    @contextmanager
    def _opened(self) -> Iterator[BinaryFile]:
        if isinstance(self._target, io.RawIOBase | io.BufferedIOBase):
            yield self._target
            return
        with Path(self._target).open("r+b", buffering=0) as file:
            file.seek(self._size)
            yield file


def _records(frames: Frames, heads: tuple[Index, Index, Index, Index]) -> Bytes:
    """The bytes of records, of whose headers ``heads`` are the words."""
    size = int(frames.lengths.sum()) + RECORD_HEADER * len(frames)
    records = np.empty(size + TAIL, np.uint8)
    compiled = kernels()
    if compiled is not None:
        seconds, fraction, lengths, original = heads
        compiled.records(
            *(overlapping(frames.buffer, "<u8"), frames.offsets, lengths),
            *(seconds, fraction, original),
            *(overlapping(records, "<u8"), overlapping(records, "<u4")),
        )
        return records[:size]
    starts = np.cumsum(frames.lengths + RECORD_HEADER) - frames.lengths
    copy_spans(frames.buffer, frames.offsets, records, starts, frames.lengths)
    # Last, since copying the frames writes over what lies between them.
    places = overlapping(records, f"V{RECORD_HEADER}")
    texts = np.column_stack(heads).astype("<u4").view(f"V{RECORD_HEADER}")
    places[starts - RECORD_HEADER] = texts[:, 0]
    return records[:size]
