"""The bytes of a capture file, a chunk at a time, and what can be wrong with them."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from flowvm.packet.frames import TAIL, Frames
from flowvm.packet.words import Bytes, Index

BinaryFile = io.RawIOBase | io.BufferedIOBase
"""An open file of bytes, as ``open(path, "rb")`` or ``io.BytesIO`` gives it."""

STDIN = "-"

GZIP = b"\x1f\x8b"
XZ = b"\xfd7zXZ\x00"


MICROSECOND = 1000
"""Nanoseconds: the resolution of most captures."""

LEAST_CHUNK = 32
"""Bytes; a file's own header fits in."""


class CaptureError(ValueError):
    """A capture file that cannot be read on.

    ``file`` names it, ``offset`` is the byte (of the uncompressed stream) where the record that
    cannot be read begins, and ``packet`` the number, counting from 1, that the next packet would
    have had.
    """

    def __init__(self, problem: str, *, file: str, offset: int, packet: int) -> None:
        super().__init__(problem, file, offset, packet)
        self.problem = problem
        self.file = file
        self.offset = offset
        self.packet = packet

    def __str__(self) -> str:
        return f"{self.file}: packet {self.packet}, byte {self.offset}: {self.problem}"


@dataclass(frozen=True, eq=False, slots=True)
class Records:
    """N consecutive packets of a capture.

    ``frames`` holds the captured bytes, ``times`` (``int64``, (N,)) nanoseconds since the epoch,
    ``original_lengths`` (``int64``, (N,)) the bytes each packet had on the wire: more than
    ``frames.lengths`` where the capture's snap length cut it. ``resolution`` is
    :data:`MICROSECOND` where the file's format tells no finer times, otherwise 1.
    """

    frames: Frames
    times: Index
    original_lengths: Index
    resolution: int

    def __len__(self) -> int:
        return len(self.frames)

    def part(self, first: int, last: int) -> Records:
        """Packets ``first`` to, but not including, ``last``; shares the buffer."""
        frames = self.frames
        some = Frames(frames.buffer, frames.offsets[first:last], frames.lengths[first:last])
        times, original_lengths = self.times[first:last], self.original_lengths[first:last]
        return Records(some, times, original_lengths, self.resolution)

    def take(self, indices: Index) -> Records:
        """The packets at ``indices``; shares the buffer."""
        frames, times = self.frames.take(indices), self.times[indices]
        return Records(frames, times, self.original_lengths[indices], self.resolution)


class Window:
    """A part of a file in memory: ``buffer[:end]``, whose first byte is the file's ``base``-th.

    At least :data:`~flowvm.packet.frames.TAIL` bytes follow ``end``. ``complete`` says that the
    file ends with the window, ``damage`` what broke its compression, if that ended it. Files
    packed by gzip or xz are recognised and unpacked.
    """

    def __init__(self, file: BinaryFile, name: str, chunk_bytes: int) -> None:
        self.name = name
        self.base = 0
        self.damage = ""
        self.complete = False
        self._chunk_bytes = max(chunk_bytes, LEAST_CHUNK)
        head = _first_bytes(file, len(XZ))
        self._file = _unpacked(head, file)
        known = head if self._file is file else b""
        self.buffer: Bytes = np.frombuffer(known, np.uint8)
        self.end = len(known)
        self.advance(0)

    def advance(self, kept: int) -> None:
        """Forget the bytes before ``kept`` and read on.

        The buffer is a new one, since frames may still share the old. It is of the chunk's size,
        or more where one record needs it.
        """
        rest = self.buffer[kept : self.end]
        size = max(self._chunk_bytes, 2 * rest.size)
        buffer = np.empty(size + TAIL, np.uint8)
        buffer[: rest.size] = rest
        end = rest.size
        while end < size and not self.complete:
            count = self._read(memoryview(buffer.data)[end:size])
            self.complete = count == 0
            end += count
        buffer[end : end + TAIL] = 0
        self.buffer = buffer[: end + TAIL]
        self.base += kept
        self.end = end

    def _read(self, target: memoryview) -> int:
        if not isinstance(self._file, gzip.GzipFile | lzma.LZMAFile):
            return self._file.readinto(target) or 0
        try:
            # read() would lose what it had unpacked when it meets the damage; read1() does not.
            part = self._file.read1(len(target))
        except (EOFError, OSError, lzma.LZMAError, zlib.error) as broken:
            self.damage = f"the compressed file is damaged or cut off ({broken})"
            return 0
        target[: len(part)] = part
        return len(part)

    def error(self, problem: str, at: int, packet: int) -> CaptureError:
        """The error of a record that begins at ``buffer[at]``."""
        return CaptureError(problem, file=self.name, offset=self.base + at, packet=packet)

    def cut_off(self, at: int, packet: int, what: str, size: int) -> CaptureError:
        """The error of a file that ends inside ``what``, ``size`` bytes from ``buffer[at]`` on."""
        if self.damage:
            return self.error(self.damage, at, packet)
        there = self.end - at
        return self.error(f"the file ends after {there} of {size} bytes of {what}", at, packet)


class _Rejoined(io.RawIOBase):
    """A file from its beginning, although its first bytes were read already."""

    def __init__(self, head: bytes, file: BinaryFile) -> None:
        self._head = head
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, target: memoryview) -> int:  # type: ignore[override]
        if not self._head:
            return self._file.readinto(target) or 0
        count = min(len(target), len(self._head))
        target[:count] = self._head[:count]
        self._head = self._head[count:]
        return count


def _first_bytes(file: BinaryFile, count: int) -> bytes:
    head = b""
    while len(head) < count:
        part = file.read(count - len(head))
        if not part:
            break
        head += part
    return head


def _unpacked(head: bytes, file: BinaryFile) -> BinaryFile:
    if head[: len(GZIP)] == GZIP:
        return gzip.GzipFile(fileobj=io.BufferedReader(_Rejoined(head, file)))
    if head == XZ:
        return lzma.LZMAFile(io.BufferedReader(_Rejoined(head, file)))
    return file


def opened(capture: str | os.PathLike[str] | BinaryFile) -> tuple[BinaryFile, str, bool]:
    """The file, its name for messages, and whether closing it is up to us; "-" is stdin."""
    if isinstance(capture, io.RawIOBase | io.BufferedIOBase):
        return capture, _name(capture), False
    if os.fspath(capture) == STDIN:
        return standard_input(), "<stdin>", False
    return Path(capture).open("rb", buffering=0), os.fspath(capture), True


def standard_input() -> BinaryFile:
    """Standard input, read without a buffer: that would hold up Ctrl-C while it waits for more."""
    buffered = sys.stdin.buffer
    return cast(BinaryFile, getattr(buffered, "raw", buffered))


def _name(file: BinaryFile) -> str:
    if file is standard_input():
        return "<stdin>"
    return str(getattr(file, "name", "<stream>"))
