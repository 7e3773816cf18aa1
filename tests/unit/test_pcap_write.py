"""Writing pcap files: what is in them, and that they are whole whatever happens."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.utils import RawPcapReader

from flowvm.packet.frames import Frames
from flowvm.packet.pcap.read import read_capture
from flowvm.packet.pcap.write import CaptureWriter
from flowvm.packet.words import Index
from tests.unit.captures import MICRO, NANO, Captured, classic, listed

packets = st.builds(
    lambda time, data, cut: Captured(time, data, len(data) + cut),
    st.integers(0, 2**32 * 10**9 - 1),
    st.binary(max_size=200),
    st.integers(0, 9000),
)


def columns(wanted: list[Captured]) -> tuple[Frames, Index, Index]:
    return (
        Frames.of([packet.data for packet in wanted]),
        np.array([packet.time for packet in wanted], np.int64),
        np.array([packet.original for packet in wanted], np.int64),
    )


@given(st.lists(st.lists(packets, max_size=20), max_size=4))
def test_files_are_as_made_by_hand(batches: list[list[Captured]]) -> None:
    """Every byte is that of the format, however the packets are shared out among calls."""
    file = io.BytesIO()
    writer = CaptureWriter(file, resolution=1)
    for batch in batches:
        writer.write(*columns(batch))
    everything = [packet for batch in batches for packet in batch]
    assert file.getvalue() == _with_limit(classic(everything, magic=NANO))
    assert writer.packets == len(everything)
    assert listed(list(read_capture(io.BytesIO(file.getvalue())))) == everything


def _with_limit(data: bytes) -> bytes:
    """A capture with the snap length that is written, libpcap's largest."""
    return data[:16] + (262_144).to_bytes(4, "little") + data[20:]


def test_microseconds_lose_what_is_below() -> None:
    """In microseconds times are rounded down, as tcpdump does."""
    file = io.BytesIO()
    CaptureWriter(file, resolution=1000).write(*columns([Captured.whole(1_999, b"x")]))
    assert file.getvalue() == _with_limit(classic([Captured.whole(1_000, b"x")], magic=MICRO))


def test_scapy_reads_what_is_written(tmp_path: Path) -> None:
    """Another reader finds the same frames, times and original lengths, and nothing else."""
    path = tmp_path / "out.pcap"
    wanted = [
        Captured(1_700_000_000 * 10**9 + i, bytes([i]) * (3 * i), 3 * i + i) for i in range(99)
    ]
    path.write_bytes(b"what was there before" * 900)
    CaptureWriter(path, resolution=1).write(*columns(wanted))
    found = [
        Captured(meta.sec * 10**9 + meta.usec, data, meta.wirelen)
        for data, meta in RawPcapReader(str(path))
    ]
    assert found == wanted


def test_frames_in_any_order_are_written_in_theirs() -> None:
    """Frames may lie in their buffer in any order, overlap and repeat."""
    frames = Frames(
        np.arange(200, dtype=np.uint8), np.array([70, 3, 3, 50]), np.array([65, 9, 0, 80])
    )
    times = np.zeros(4, np.int64)
    file = io.BytesIO()
    CaptureWriter(file).write(frames, times, frames.lengths)
    read = [data for part in read_capture(io.BytesIO(file.getvalue())) for data in part.frames]
    assert read == [bytes(range(70, 135)), bytes(range(3, 12)), b"", bytes(range(50, 130))]


@pytest.mark.parametrize("time", [-1, 2**32 * 10**9])
def test_times_the_format_cannot_tell_are_refused(time: int) -> None:
    """Seconds have 32 bits without a sign; nothing is written of such a batch."""
    file = io.BytesIO()
    writer = CaptureWriter(file)
    with pytest.raises(ValueError, match="before 1970 or after 2106"):
        writer.write(*columns([Captured.whole(5, b"x"), Captured.whole(time, b"x")]))
    assert file.getvalue() == _with_limit(classic([]))


def test_the_file_is_valid_after_each_call(tmp_path: Path) -> None:
    """Nothing waits in a buffer: what was written can be read at once."""
    path = tmp_path / "out.pcap"
    wanted = [Captured.whole(i * 1000, bytes(60)) for i in range(10)]
    writer = CaptureWriter(path)
    for count in range(10):
        assert listed(list(read_capture(path))) == wanted[:count]
        writer.write(*columns(wanted[count : count + 1]))


class Failing(io.FileIO):
    """A file that takes 100 bytes at a time, and stops after ``left`` of them with ``error``."""

    def __init__(self, path: Path, left: int, error: BaseException) -> None:
        super().__init__(path, "w+b")
        self.left = left
        self.error = error

    def write(self, data: memoryview) -> int:  # type: ignore[override]
        if not self.left:
            raise self.error
        count = super().write(memoryview(data)[: min(100, self.left)])
        self.left -= count
        return count


@pytest.mark.parametrize("error", [OSError("no space left"), KeyboardInterrupt()])
@pytest.mark.parametrize("left", [100, 500, 700])
def test_what_stops_a_call_leaves_whole_packets(
    tmp_path: Path, error: BaseException, left: int
) -> None:
    """A full disk or Ctrl-C in the middle of a batch takes the batch back, not more."""
    path = tmp_path / "out.pcap"
    batch = [Captured.whole(i * 1000, bytes(60)) for i in range(5)]
    with Failing(path, left, error) as file:
        writer = CaptureWriter(file)
        whole = (left - 24) // (5 * 76) * 5
        for _ in range(whole // 5):
            writer.write(*columns(batch))
        with pytest.raises(type(error)):
            writer.write(*columns(batch))
        assert listed(list(read_capture(path))) == batch[:whole]
        file.left = 10_000
        writer.write(*columns(batch))
    assert listed(list(read_capture(path))) == batch[:whole] + batch
