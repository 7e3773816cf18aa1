"""Several captures as one: the order of packets, and inputs that end early."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowvm.packet.pcap.merge import Merged, merge_captures
from flowvm.packet.pcap.read import CaptureError, Records, read_capture
from tests.unit.captures import NANO, Captured, classic, listed


def opened(
    times: list[int], label: int, *, chunk_bytes: int = 1 << 20, cut: int = 0
) -> Iterator[Records]:
    """A capture with a packet at each of ``times`` (ns), marked with ``label`` and its number."""
    packets = [Captured.whole(time, bytes([label, i])) for i, time in enumerate(times)]
    data = classic(packets, magic=NANO)
    return read_capture(io.BytesIO(data[: len(data) - cut]), chunk_bytes=chunk_bytes)


def never(number: int, error: CaptureError) -> None:
    raise AssertionError((number, error))


def told(parts: list[Merged]) -> list[tuple[int, int, int, int]]:
    """Clock, input, label and number in the input, of each packet."""
    return [
        (clock, number, *data)
        for part in parts
        for clock, number, data in zip(
            part.clock.tolist(), part.inputs.tolist(), part.records.frames, strict=True
        )
    ]


inputs_of_times = st.lists(st.lists(st.integers(0, 30), max_size=25), max_size=4)


@given(inputs_of_times, st.integers(1, 200))
def test_packets_come_by_time_then_by_input(inputs: list[list[int]], chunk_bytes: int) -> None:
    """The order is that of a stable sort of all packets by time, whatever the chunks."""
    inputs = [sorted(times) for times in inputs]
    captures = [opened(times, n, chunk_bytes=chunk_bytes) for n, times in enumerate(inputs)]
    everything = [(time, n, n, i) for n, times in enumerate(inputs) for i, time in enumerate(times)]
    merged = told(list(merge_captures(captures, never)))
    assert merged == sorted(everything, key=lambda entry: entry[0])


@given(inputs_of_times, st.integers(1, 200))
def test_each_input_keeps_its_order(inputs: list[list[int]], chunk_bytes: int) -> None:
    """Times that go back within an input count as the latest so far, and are handed on as given."""
    captures = [opened(times, n, chunk_bytes=chunk_bytes) for n, times in enumerate(inputs)]
    parts = list(merge_captures(captures, never))
    merged = told(parts)
    clock = [time for time, *_ in merged]
    assert clock == sorted(clock)
    for number, times in enumerate(inputs):
        mine = [(time, i) for time, _, label, i in merged if label == number]
        assert mine == [(max(times[: i + 1]), i) for i in range(len(times))]
    given_times = [(p.data[0], p.time) for p in listed([part.records for part in parts])]
    for number, times in enumerate(inputs):
        assert [time for label, time in given_times if label == number] == times


def test_an_input_that_breaks_ends_there_and_others_go_on() -> None:
    """What can be read is given; the error says which input it is."""
    failed: list[tuple[int, int]] = []
    captures = [opened([1, 3, 5, 7], 0), opened([2, 4, 6], 1, cut=1)]
    merged = told(list(merge_captures(captures, lambda n, error: failed.append((n, error.packet)))))
    assert [(time, n) for time, n, *_ in merged] == [(1, 0), (2, 1), (3, 0), (4, 1), (5, 0), (7, 0)]
    assert failed == [(1, 3)]


def test_all_inputs_are_looked_at_before_anything_is_given() -> None:
    """A caller can refuse the whole when an input turns out to be no capture."""

    def refuse(_: int, error: CaptureError) -> None:
        raise error

    merged = merge_captures([opened([1], 0), read_capture(io.BytesIO(b"no capture"))], refuse)
    with pytest.raises(CaptureError, match="neither pcap nor pcapng"):
        next(merged)


def test_the_finest_resolution_counts() -> None:
    """Where one input tells nanoseconds, packets of both do."""
    micro = read_capture(io.BytesIO(classic([Captured.whole(2000, b"x")])))
    parts = list(merge_captures([micro, opened([2000], 1)], never))
    assert [part.resolution for part in parts] == [1] * len(parts)
    assert len(told(parts)) == 2


def test_nothing_merged_is_nothing() -> None:
    """Without inputs, or with empty ones, there are no packets."""
    assert list(merge_captures([], never)) == []
    assert list(merge_captures([opened([], 0)], never)) == []
