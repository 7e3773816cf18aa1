"""Meters: their text, and token buckets worked out by hand."""

from __future__ import annotations

import pytest

from flowvm import Frames, PacketBatch
from flowvm.pipeline.metering import MeterTable
from flowvm.switch import Switch
from flowvm.text.dump import parse_dump
from flowvm.text.errors import FlowSyntaxError
from flowvm.text.meters import Band, MeterConfig, parse_meters

DUMP = """\
OFPST_METER_CONFIG reply (OF1.3) (xid=0x2):
meter=1 pktps burst stats bands=
type=drop rate=3 burst_size=2
type=drop rate=10 burst_size=5
meter=2 kbps bands=
type=drop rate=1000

meter=controller pktps stats bands=
type=drop rate=100
"""


def test_a_dump_is_read_and_written_as_it_was() -> None:
    """Every meter, virtual ones included; without the heading and empty lines."""
    meters = parse_meters(DUMP)
    assert meters[0] == MeterConfig(1, ("pktps", "burst", "stats"), (Band(3, 2), Band(10, 5)))
    assert meters[1].bands == (Band(1000),)
    assert [meter.counts_packets for meter in meters] == [True, False, True]
    assert [line for line in DUMP.splitlines()[1:] if line] == "\n".join(
        map(str, meters)
    ).splitlines()


def test_what_add_meter_takes_is_read_too() -> None:
    """One meter a line, with commas."""
    text = "meter=7,kbps,burst,bands=type=drop,rate=5,burst_size=6"
    assert parse_meters(text) == (MeterConfig(7, ("kbps", "burst"), (Band(5, 6),)),)


@pytest.mark.parametrize(
    ("text", "problem", "line", "column"),
    [
        ("meter=1 pktps bands=\ntype=remark rate=1", 'a band of type "remark"', 2, 1),
        ("meter=1 pkts bands=", 'unknown word "pkts"', 1, 9),
        ("meter=1 pktps bands=\ntype=drop", "a band of a meter needs a rate", 1, 1),
        ("meter=x bands=", "", 1, 1),
        ("type=drop rate=1", '"type" does not begin a meter', 1, 1),
    ],
)
def test_what_cannot_be_read_is_pointed_at(text: str, problem: str, line: int, column: int) -> None:
    """The line and the word."""
    with pytest.raises(FlowSyntaxError) as raised:
        parse_meters(text, file="meters.txt")
    assert problem in raised.value.problem
    assert (raised.value.line, raised.value.column) == (line, column)
    assert str(raised.value).startswith(f"meters.txt:{line}:{column}: ")


def passed(config: str, arrivals: list[tuple[int, int]]) -> list[bool]:
    """Which of some packets, bytes at a time in ms, pass a meter."""
    table = MeterTable.of(parse_meters(config))
    return [table.passes(1, length, now) for length, now in arrivals]


def test_a_bucket_of_packets_is_full_at_first_and_fills_by_its_rate() -> None:
    """Two packets at once, then one each half second."""
    arrivals = [(60, now) for now in (0, 0, 0, 499, 500, 1000, 9000, 9000, 9000)]
    expected = [True, True, False, False, True, True, True, True, False]
    assert passed("meter=1 pktps burst bands=type=drop rate=2 burst_size=2", arrivals) == expected


def test_a_bucket_of_bits_has_a_second_of_its_rate_if_it_has_no_burst() -> None:
    """1 kbit: a packet of 125 bytes, and nothing more until a second is over."""
    arrivals = [(125, 0), (1, 0), (1, 8), (125, 1000), (125, 1008)]
    assert passed("meter=1 kbps bands=type=drop rate=1", arrivals) == [
        *(True, False, True, False, True)
    ]


def test_every_band_is_drained_and_any_one_drops() -> None:
    """The wide band loses what the narrow one drops."""
    config = "meter=1 pktps burst bands=type=drop rate=1 burst_size=1 type=drop rate=1 burst_size=3"
    assert passed(config, [(60, 0)] * 2 + [(60, 1000)] * 2) == [True, False, True, False]


def test_a_copy_of_a_switch_has_meters_of_its_own() -> None:
    """A trace takes nothing from a bucket, and a copy goes its own way."""
    flows = parse_dump("actions=meter:1,output:2").flows
    switch = Switch(flows, meters=parse_meters("meter=1 pktps bands=type=drop rate=1"))
    assert str(switch.trace(bytes(60), in_port=1).verdict) == "output"
    twin = switch.copy()
    batch = PacketBatch.of(Frames.of([bytes(60)] * 2), 1, [0, 0])
    for one in (switch, twin):
        result = one.run(batch)
        assert [str(result.verdict(packet)) for packet in range(2)] == ["output", "drop"]
        assert result.port_counts() == {2: 1}


@pytest.mark.parametrize("meters", [None, ()])
def test_a_meter_of_unknown_rate_is_unsupported(meters: tuple[MeterConfig, ...] | None) -> None:
    """Nobody knows what it lets pass."""
    switch = Switch(parse_dump("actions=meter:5,output:2").flows, meters=meters)
    trace = switch.trace(bytes(60), in_port=1)
    assert trace.verdict == "unsupported"
    assert "meter:5" in trace.reason
