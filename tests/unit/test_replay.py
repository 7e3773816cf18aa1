"""Replaying events: batches make no difference, and files of any size are read as they come."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

import pytest

import flowvm
from flowvm.names import Ports
from flowvm.replay import Tally, emission_lines, replay
from flowvm.report.json import emission_object

EXAMPLE = "example:br-tun"


def random_events(seed: int, count: int) -> list[str]:
    """Packets of a few machines on both sides, with pauses around the timeout of 300 s."""
    rng = random.Random(seed)
    time, lines = 0.0, []
    macs = [f"5254005e10{n:02x}" for n in range(6)]
    for _ in range(count):
        time += rng.choice((0, 0, 0.25, 3, 150, 299.5))
        source, destination = rng.sample([*macs, "ffffffffffff"], 2)
        tag = rng.choice(("81000002", "81000003", ""))
        event = {
            "time": time,
            "in_port": rng.choice((1, 2, 2, 3)),
            "frame": f"{destination}{source}{tag}0800" + "00" * rng.randrange(20, 40),
            "tun_id": rng.choice(("0x1", 1, 7)),
        }
        lines.append(json.dumps(event))
    return lines


def outcome(lines: list[str], batch: int) -> tuple[list[str], list[str], Tally]:
    """All that a replay gives: what leaves, the tables afterwards, and the tally."""
    switch, tally = flowvm.load(EXAMPLE), Tally()
    left: list[str] = []
    for first, result in replay(switch, lines, batch=batch):
        tally.add(result)
        left += emission_lines(first, result, switch.names)
    return left, [str(flow) for flow in switch.flows()], tally


@pytest.mark.parametrize("seed", range(3))
def test_the_size_of_the_batches_makes_no_difference(seed: int) -> None:
    """One at a time, in odd batches or all at once: the same frames, tables and counters."""
    lines = random_events(seed, 200)
    one_at_a_time = outcome(lines, 1)
    assert len(one_at_a_time[0]) > 50
    for batch in (2, 7, 64, 1000):
        assert outcome(lines, batch) == one_at_a_time


def test_events_are_read_as_they_are_run() -> None:
    """No more lines are taken than a batch needs."""
    taken = 0

    def lines() -> Iterator[str]:
        nonlocal taken
        for line in random_events(0, 100):
            taken += 1
            yield line

    run = replay(flowvm.load(EXAMPLE), lines(), batch=10)
    assert [next(run)[0] for _ in range(3)] == [0, 10, 20]
    assert taken == 30


def test_a_replay_goes_on_where_the_switch_is() -> None:
    """Events of a second replay must not come before those of the first."""
    switch = flowvm.load(EXAMPLE)
    event = {"time": 5, "in_port": 1, "frame": "00" * 60}
    list(replay(switch, [json.dumps(event)]))
    with pytest.raises(ValueError, match=r'<events>:1: "time" goes back by 1\.5 s'):
        list(replay(switch, [json.dumps(event | {"time": 3.5})]))


def test_what_leaves_is_told_as_a_trace_tells_it() -> None:
    """A line of a replay is the packet's number and what a trace's JSON has for the output."""
    lines = random_events(0, 30)
    switch = flowvm.load("example:br-tun", Ports({"patch-int": 1, "gre-1": 2}))
    for first, result in replay(switch.copy(), lines, batch=1):
        event = json.loads(lines[first])
        headers = f"in_port={event['in_port']},tun_id={event['tun_id']}"
        trace = switch.trace(bytes.fromhex(event["frame"]), br_flow=headers, at=event["time"])
        left = [json.loads(line) for line in emission_lines(first, result, switch.names)]
        assert left == [{"packet": first, **emission_object(output)} for output in trace.outputs]
        list(replay(switch, [lines[first]]))
