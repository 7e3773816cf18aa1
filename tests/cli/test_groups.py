"""``--groups``: what ovs-ofctl dump-groups printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Run

FLOWS = b"priority=1,in_port=1 actions=group:7\n"
GROUPS = """\
OFPST_GROUP_DESC reply (OF1.5) (xid=0x2):
 group_id=7,type=ff,bucket=bucket_id:0,watch_port:2,actions=output:2,bucket=bucket_id:1,\
actions=output:3
"""
SHOW = """\
 1(a): addr:fe:d2:9d:1a:7f:11
 2(b): addr:06:c5:64:0e:a6:c2
     config:     0
     state:      LINK_DOWN
 3(c): addr:06:c5:64:0e:a6:c3
"""
FRAME = "ffffffffffff52540000000188b5" + "00" * 46


@pytest.fixture
def groups(tmp_path: Path) -> Path:
    file = tmp_path / "groups.txt"
    file.write_text(GROUPS)
    return file


def test_a_trace_tells_the_bucket(flowvm: Run, groups: Path, tmp_path: Path) -> None:
    """The first bucket, unless the port that it watches has no link."""
    show = tmp_path / "show.txt"
    show.write_text(SHOW)
    ended = flowvm("trace", "-", "in_port=1", "--groups", groups, stdin=FLOWS)
    assert "bucket 0\n            output:2\n" in ended.out
    ended = flowvm("trace", "-", "in_port=1", "--groups", groups, "--ports", show, stdin=FLOWS)
    assert " -> bucket 0: not live due to port 2\n     -> using bucket 1\n" in ended.out
    assert ended.out.endswith("Verdict: output to 3 (c)\n")


def test_groups_may_stand_among_the_flows(flowvm: Run) -> None:
    """Then no option is needed."""
    both = FLOWS + GROUPS.encode()
    assert flowvm("trace", "-", "in_port=1", stdin=both).out.endswith("output to 2\n")


def test_without_groups_the_verdict_says_what_is_missing(flowvm: Run) -> None:
    """It is an answer, not an error."""
    ended = flowvm("trace", "-", "in_port=1", stdin=FLOWS)
    assert ended.status == 0
    assert ended.out.endswith("Verdict: unsupported: group:7 without the groups\n")


def test_a_replay_goes_through_groups(flowvm: Run, groups: Path, tmp_path: Path) -> None:
    """As a trace does."""
    flows, events, out = (tmp_path / name for name in ("flows.txt", "in.jsonl", "out.jsonl"))
    flows.write_bytes(FLOWS)
    events.write_text(json.dumps({"time": 0, "in_port": 1, "frame": FRAME}) + "\n")
    files = ("--events", events, "--out-events", out)
    assert flowvm("replay", flows, *files, "--groups", groups).status == 0
    (line,) = out.read_text().splitlines()
    assert json.loads(line)["port"] == 2


def test_only_one_file_can_come_from_standard_input(flowvm: Run) -> None:
    """Asked for twice, it is said so."""
    ended = flowvm("trace", "-", "in_port=1", "--groups", "-", stdin=FLOWS)
    assert ended.status == 2
    assert "cannot both come from standard input" in ended.err


def test_a_bad_group_is_pointed_at(flowvm: Run, tmp_path: Path) -> None:
    """With the file, the line and the column."""
    file = tmp_path / "bad.txt"
    file.write_text("group_id=1,type=sellect\n")
    ended = flowvm("trace", "-", "in_port=1", "--groups", file, stdin=FLOWS)
    assert ended.status == 2
    assert f"{file}:1" in ended.err
    assert 'did you mean "select"' in ended.err
