"""``--meters``: what ovs-ofctl dump-meters printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Run

FLOWS = b"priority=1,in_port=1 actions=meter:1,output:2\n"
METERS = """\
OFPST_METER_CONFIG reply (OF1.3) (xid=0x2):
meter=1 pktps burst stats bands=
type=drop rate=1 burst_size=2
"""
FRAME = "ffffffffffff52540000000188b5" + "00" * 46


@pytest.fixture
def meters(tmp_path: Path) -> Path:
    file = tmp_path / "meters.txt"
    file.write_text(METERS)
    return file


def test_a_trace_finds_buckets_full(flowvm: Run, meters: Path) -> None:
    """The one packet passes."""
    ended = flowvm("trace", "-", "in_port=1", "--meters", meters, stdin=FLOWS)
    assert "    meter:1\n    output:2\n" in ended.out
    assert ended.out.endswith("Verdict: output to 2\n")


def test_without_meters_the_verdict_says_what_is_missing(flowvm: Run) -> None:
    """It is an answer, not an error."""
    ended = flowvm("trace", "-", "in_port=1", stdin=FLOWS)
    assert ended.status == 0
    assert ended.out.endswith("Verdict: unsupported: meter:1 without its rate\n")


def test_a_replay_drops_what_comes_too_fast(flowvm: Run, meters: Path, tmp_path: Path) -> None:
    """Two packets of a burst, and one a second later."""
    flows, events, out = (tmp_path / name for name in ("flows.txt", "in.jsonl", "out.jsonl"))
    flows.write_bytes(FLOWS)
    lines = [{"time": time, "in_port": 1, "frame": FRAME} for time in (0, 0, 0, 0.5, 1, 1)]
    events.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    ended = flowvm(*("replay", flows, "--meters", meters, "--events", events, "--out-events", out))
    assert (ended.status, ended.err) == (0, "")
    left = [json.loads(line)["packet"] for line in out.read_text().splitlines()]
    assert left == [0, 1, 4]


def test_text_that_is_no_meter_is_pointed_at(flowvm: Run, tmp_path: Path) -> None:
    """File, line and word."""
    bad = tmp_path / "bad.txt"
    bad.write_text("meter=1 pktps bands=\ntype=mark rate=1\n")
    ended = flowvm("trace", "-", "in_port=1", "--meters", bad, stdin=FLOWS)
    assert ended.status == 2
    assert ended.err.startswith(f"{bad}:2:1: a band of type")
