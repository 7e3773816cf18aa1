"""Compiled loops do what numpy does; they are there where numba is, and loaded when it pays."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from flowvm import kernels
from flowvm.packet.batch import PacketBatch
from flowvm.packet.frames import Frames
from flowvm.packet.pcap.read import CaptureError, read_capture
from flowvm.packet.pcap.write import CaptureWriter
from flowvm.packet.words import Words, copy_spans
from flowvm.pipeline.machine import Machine
from flowvm.pipeline.ragged import Ragged
from flowvm.pipeline.steps import Tally, credit, matches
from flowvm.pipeline.subtable import KeyIndex, hash_keys
from flowvm.switch import load

SEEDS = range(5)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Begin and leave the process without compiled loops."""
    kernels.unload()
    yield
    kernels.unload()


def both(work: Callable[[], object]) -> tuple[object, object]:
    """What ``work`` gives with numpy, and what it gives with compiled loops."""
    kernels.unload()
    by_numpy = work()
    assert kernels.load() is not None
    return by_numpy, work()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n_words", [1, 2, 5])
def test_keys_are_found_alike(seed: int, n_words: int) -> None:
    """Those that are there and those that are not, of an index that grew, under masks or not."""

    def work() -> list[list[int]]:
        random = np.random.default_rng(seed)
        few = np.unique(random.integers(0, 40, (n_words, 500), np.uint64), axis=1)
        keys = few[:, random.permutation(few.shape[1])]
        index = KeyIndex(n_words)
        for part in np.array_split(keys, 4, axis=1):
            index.add(part)
        sought = random.integers(0, 40, (n_words, 700), np.uint64)
        columns = random.integers(0, 64, (n_words + 3, 900), np.uint64)
        rows, masks = random.permutation(n_words + 3)[:n_words], np.full(n_words, 31, np.uint64)
        return [
            index.find(sought).tolist(),
            index.find_masked(columns, rows, masks).tolist(),
            index.find_masked(columns[:, 100:300], rows, masks).tolist(),
        ]

    by_numpy, compiled = both(work)
    assert compiled == by_numpy


def test_keys_of_one_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers go by the keys; the part of the hash that a slot holds only saves comparisons."""
    monkeypatch.setattr(
        "flowvm.pipeline.subtable.hash_keys", lambda keys: np.zeros(keys.shape[1], np.uint64)
    )
    keys = np.arange(20, dtype=np.uint64)[None]
    index = KeyIndex(1)
    index.add(keys[:, :15])
    assert index.find(keys).tolist() == [*range(15), *[-1] * 5]


def test_keys_of_one_hash_are_found_alike() -> None:
    """Where a slot does not tell keys apart, the whole keys do."""
    first = np.arange(20, dtype=np.uint64)
    # The first word of two goes into the hash as a single one would with other low bits.
    keys = np.array([first, hash_keys((first ^ np.uint64(3))[None])])
    assert len(np.unique(hash_keys(keys))) == 1

    def work() -> object:
        index = KeyIndex(2)
        index.add(keys[:, :15])
        return index.find(keys).tolist()

    assert both(work) == ([*range(15), *[-1] * 5],) * 2


@pytest.mark.parametrize("seed", SEEDS)
def test_bytes_are_copied_alike(seed: int) -> None:
    """Spans of any length, to ascending places in a buffer that they fill."""

    def work() -> bytes:
        random = np.random.default_rng(seed)
        lengths = random.integers(0, 200, 50)
        source = random.integers(0, 256, 4000, np.uint8)
        starts = random.integers(0, 3700, 50)
        ends = np.cumsum(lengths)
        target = np.zeros(int(ends[-1]) + 64, np.uint8)
        copy_spans(source, starts, target, ends - lengths, lengths)
        return target[: ends[-1]].tobytes()

    by_numpy, compiled = both(work)
    assert compiled == by_numpy


@pytest.mark.parametrize("seed", SEEDS)
def test_packets_are_counted_alike(seed: int) -> None:
    """By path, by the rules that paths hit, and by the tables of these."""

    def work() -> list[list[int]]:
        random = np.random.default_rng(seed)
        path_of = random.integers(0, 30, 400)
        tally = Tally.of(path_of, random.integers(14, 1500, 400), 40)
        owners, rules = random.integers(0, 40, 90), random.integers(0, 12, 90)
        hits = Ragged.of(owners, 40, rule=rules, grown=random.integers(-4, 5, 90))
        counters = tuple(random.integers(0, 1000, (3, 12)))
        credit(hits, tally, np.sort(random.integers(0, 2000, 400)), counters)
        tables = random.integers(0, 5, 12, np.int32)
        by_table = matches(hits, tally.members, tables, 6)
        parts = (tally.members, tally.n_bytes, tally.first, tally.last, *counters, by_table)
        return [part.tolist() for part in parts]

    by_numpy, compiled = both(work)
    assert compiled == by_numpy


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("seed", SEEDS)
def test_captures_are_read_alike(seed: int, order: str) -> None:
    """Records of any length and either byte order, cut off somewhere or not."""

    def work() -> list[object]:
        random = np.random.default_rng(seed)
        capture = struct.pack(f"{order}IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
        for number in range(300):
            frame = random.bytes(int(random.integers(0, 90)))
            head = (number, int(random.integers(10**6)), len(frame), len(frame) + number % 3)
            capture += struct.pack(f"{order}4I", *head) + frame
        capture = capture[: len(capture) - seed * 7]
        found: list[object] = []
        try:
            for part in read_capture(io.BytesIO(capture), chunk_bytes=4096):
                found += [list(part.frames), part.times.tolist(), part.original_lengths.tolist()]
        except CaptureError as error:
            found.append(str(error))
        return found

    by_numpy, compiled = both(work)
    assert compiled == by_numpy


@pytest.mark.parametrize("resolution", [1, 1000])
@pytest.mark.parametrize("seed", SEEDS)
def test_captures_are_written_alike(seed: int, resolution: int) -> None:
    """To the byte."""

    def work() -> bytes:
        random = np.random.default_rng(seed)
        lengths = random.integers(0, 90, 200)
        frames = Frames.of([random.bytes(length) for length in lengths.tolist()])
        chosen = random.integers(0, 200, 300)
        times = np.sort(random.integers(0, 1 << 61, 300))
        file = io.BytesIO()
        writer = CaptureWriter(file, resolution)
        writer.write(frames.take(chosen), times, lengths[chosen] + 5)
        return file.getvalue()

    by_numpy, compiled = both(work)
    assert compiled == by_numpy


@pytest.mark.parametrize("seed", SEEDS)
def test_tags_are_put_alike(seed: int) -> None:
    """Up to two, in front of or in place of as many."""

    def work() -> bytes:
        random = np.random.default_rng(seed)
        buffer = random.integers(0, 256, 100 * 40, np.uint8)
        popped, pushed = random.integers(0, 3, (2, 100))
        tags = random.integers(0, 1 << 32, (2, 100), np.uint64)
        Words(buffer).retag(8 + 40 * np.arange(100), 4 * (popped - pushed), pushed, tags)
        return buffer.tobytes()

    by_numpy, compiled = both(work)
    assert compiled == by_numpy


def test_nobody_waits_for_them_with_little_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine loads them when it has had many packets."""
    monkeypatch.setattr("flowvm.pipeline.machine.WORTHWHILE", 5)
    switch = load("example:br-tun")
    machine = Machine(switch.state)
    three = PacketBatch.of(Frames.of([bytes(60)] * 3), in_ports=2)
    machine.run(three)
    assert kernels.kernels() is None
    machine.run(three)
    assert kernels.kernels() is not None


def test_without_numba_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numpy does it all then."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert kernels.load() is None


def test_they_need_no_place_to_be_kept(tmp_path: object) -> None:
    """Where nothing can be written, they are compiled for this process alone."""
    program = (
        "from numba.core import caching\n"
        "caching.CacheImpl._locator_classes = []\n"
        "from flowvm import kernels\n"
        "assert kernels.load() is not None\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=str(tmp_path))
