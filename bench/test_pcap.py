"""Captures: reading, writing and merging them in memory, replaying them from file to file."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from flowvm.captures.replay import CaptureInput, replay_captures
from flowvm.packet.frames import Frames
from flowvm.packet.pcap.merge import merge_captures
from flowvm.packet.pcap.read import Records, read_capture
from flowvm.packet.pcap.write import CaptureWriter
from flowvm.switch import load

PACKETS = 100_000
EPOCH = 1_700_000_000 * 10**9

SIZES = {
    "60": [60],
    "mixed": [60] * 7 + [590] * 4 + [1514],  # "simple IMIX"
    "any": list(range(60, 1515)),
}


def capture(sizes: list[int], packets: int = PACKETS) -> bytes:
    """A pcap file in nanoseconds, a packet each microsecond."""
    random = np.random.default_rng(1)
    lengths = random.choice(sizes, packets).astype(np.int64)
    ends = np.cumsum(lengths)
    content = random.integers(0, 256, int(ends[-1]) + 64, np.uint8)
    file = io.BytesIO()
    times = EPOCH + 1000 * np.arange(packets)
    CaptureWriter(file, resolution=1).write(
        Frames(content, ends - lengths, lengths), times, lengths
    )
    return file.getvalue()


def as_pcapng(data: bytes) -> bytes:
    """The same packets as enhanced packet blocks, times in nanoseconds."""
    head = np.array([0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0xFFFF_FFFF, 0xFFFF_FFFF, 28], "<u4")
    interface = np.array([1, 28, 1, 0, 9 | 1 << 16, 9, 28], "<u4")
    parts = [head.tobytes(), interface.tobytes()]
    for records in read_capture(io.BytesIO(data)):
        for time, frame in zip(records.times.tolist(), records.frames, strict=True):
            size = 32 + -(-len(frame) // 4) * 4
            words = [6, size, 0, time >> 32, time & 0xFFFF_FFFF, len(frame), len(frame)]
            parts += [np.array(words, "<u4").tobytes(), frame, bytes(-len(frame) % 4)]
            parts.append(size.to_bytes(4, "little"))
    return b"".join(parts)


def count(records: Iterator[Records]) -> int:
    return sum(len(part) for part in records)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("kind", ["pcap", "pcapng"])
def test_read(benchmark: BenchmarkFixture, sizes: str, kind: str) -> None:
    """Frames, times and lengths out of a file in memory."""
    data = capture(SIZES[sizes])
    if kind == "pcapng":
        data = as_pcapng(data)
    benchmark.extra_info["packets"] = PACKETS
    assert benchmark(lambda: count(read_capture(io.BytesIO(data)))) == PACKETS


@pytest.mark.parametrize("sizes", SIZES)
def test_write(benchmark: BenchmarkFixture, sizes: str) -> None:
    """Frames as they were read, into a file in memory."""
    data = capture(SIZES[sizes])
    parts = list(read_capture(io.BytesIO(data)))

    def write() -> bytes:
        file = io.BytesIO()
        writer = CaptureWriter(file, resolution=1)
        for part in parts:
            writer.write(part.frames, part.times, part.original_lengths)
        return file.getvalue()

    benchmark.extra_info["packets"] = PACKETS
    assert benchmark(write) == data


@pytest.mark.parametrize("inputs", [2, 8])
def test_merge(benchmark: BenchmarkFixture, inputs: int) -> None:
    """Several captures of the same time, a packet of each in turn."""
    data = capture(SIZES["mixed"], PACKETS // inputs)

    def merge() -> int:
        captures = [read_capture(io.BytesIO(data)) for _ in range(inputs)]
        return sum(len(part.clock) for part in merge_captures(captures, lambda *_: None))

    benchmark.extra_info["packets"] = PACKETS
    assert benchmark(merge) == PACKETS // inputs * inputs


@pytest.mark.parametrize("senders", [100, 16_000])
def test_replay(benchmark: BenchmarkFixture, tmp_path: Path, senders: int) -> None:
    """60-byte frames of so many senders out of a tunnel, learned from, into a file."""
    random = np.random.default_rng(1)
    header = bytes.fromhex("5254005e2001 525400000000 0800")
    content = np.zeros((PACKETS, 60), np.uint8)
    content[:, : len(header)] = np.frombuffer(header, np.uint8)
    content[:, 10:12] = random.integers(0, senders, (PACKETS, 1)).astype(">u2").view(np.uint8)
    frames = Frames.of([content.tobytes()])
    lengths = np.full(PACKETS, 60)
    frames = Frames(frames.buffer, 60 * np.arange(PACKETS), lengths)
    path = tmp_path / "in.pcap"
    CaptureWriter(path).write(frames, EPOCH + 1000 * np.arange(PACKETS), lengths)
    inputs = [CaptureInput(2, path, "tun_id=0x1")]

    def replay() -> int:
        switch = load("example:br-tun")
        return int(replay_captures(switch, inputs, tmp_path / "out").summary["packets"])

    benchmark.extra_info["packets"] = PACKETS
    assert benchmark.pedantic(replay, rounds=3) == PACKETS
    assert (tmp_path / "out" / "1.pcap").stat().st_size == 24 + PACKETS * (16 + 64)
