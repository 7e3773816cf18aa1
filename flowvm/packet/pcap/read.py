"""Reading captures of any format: pcap and pcapng, plain or packed by gzip or xz."""

from __future__ import annotations

import os
from collections.abc import Iterator

from flowvm.packet.pcap.classic import MAGIC, read_classic
from flowvm.packet.pcap.ng import MAGIC as NG_MAGIC
from flowvm.packet.pcap.ng import read_pcapng
from flowvm.packet.pcap.source import BinaryFile, CaptureError, Records, Window, opened

__all__ = ["CHUNK_BYTES", "CaptureError", "Records", "read_capture"]

CHUNK_BYTES = 1 << 22
"""So much of a capture is in memory at once, unless one packet needs more."""


def read_capture(
    capture: str | os.PathLike[str] | BinaryFile, *, chunk_bytes: int = CHUNK_BYTES
) -> Iterator[Records]:
    """The packets of a capture, in its order, about ``chunk_bytes`` of the file at a time.

    ``capture`` is a path, ``-`` for standard input, or a file open for reading bytes, which stays
    open. Times are as the capture has them: they can go back.

    Raises OSError if the file cannot be opened, and CaptureError where it cannot be read on: it is
    no capture, of another link type than Ethernet, damaged, or ends inside a packet. All packets
    before that spot have then been given.
    """
    file, name, ours = opened(capture)
    try:
        window = Window(file, name, chunk_bytes)
        magic = window.buffer[:4].tobytes() if window.end >= 4 else b""
        if magic in MAGIC:
            yield from read_classic(window)
        elif magic == NG_MAGIC:
            yield from read_pcapng(window)
        else:
            raise window.error(_not_a_capture(window), 0, 1)
    finally:
        if ours:
            file.close()


def _not_a_capture(window: Window) -> str:
    if window.damage:
        return window.damage
    if not window.end:
        return "the file is empty"
    first = window.buffer[: min(window.end, 4)].tobytes()
    return f"neither pcap nor pcapng: it begins with {first.hex(' ')}"
