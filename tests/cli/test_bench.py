"""``flowvm bench``."""

from __future__ import annotations

import json

from .conftest import Run

SMALL = ("--packets", "200", "--flows", "20")


def test_a_table_is_printed(flowvm: Run) -> None:
    """Totals, the pipeline's speed, and a line for each table of the dump."""
    ended = flowvm("bench", "example:br-tun", *SMALL)
    assert ended.status == 0
    lines = ended.out.splitlines()
    assert lines[0].startswith("200 packets of ")
    assert "6 of 7 tables reached" in lines[0]
    headings = [line.split()[0] for line in lines if "/" in line]
    assert {"pipeline", "table"} <= set(headings)
    start = next(i for i, line in enumerate(lines) if line.startswith("table "))
    assert lines[start].split()[:3] == ["table", "rules", "subtables"]
    rows = [line.split() for line in lines[start + 1 :]]
    assert [row[0] for row in rows] == ["0", "1", "2", "3", "10", "20", "21"]
    assert rows[0][:3] == ["0", "3", "2"]


def test_json_has_the_same(flowvm: Run) -> None:
    """One object, and nothing else on standard output."""
    ended = flowvm("bench", "example:br-tun", *SMALL, "--json")
    assert ended.status == 0
    measured = json.loads(ended.out)
    assert measured["packets"] == 200
    assert measured["rules"] == 13
    assert [table["table"] for table in measured["tables"]] == [0, 1, 2, 3, 10, 20, 21]
    assert measured["warm"]["ns_per_packet"] > 0


def test_the_seed_decides_on_the_packets(flowvm: Run) -> None:
    """What is counted is the same for the same seed."""
    counted = [
        json.loads(flowvm("bench", "example:br-tun", *SMALL, "--seed", seed, "--json").out)
        for seed in (1, 1)
    ]
    assert counted[0]["verdicts"] == counted[1]["verdicts"]
    assert counted[0]["learned"] == counted[1]["learned"]


def test_flows_come_from_standard_input_too(flowvm: Run) -> None:
    """As for all commands."""
    ended = flowvm("bench", "-", *SMALL, "--json", stdin=b"in_port=1 actions=output:2\n")
    assert json.loads(ended.out)["rules"] == 1


def test_input_that_cannot_be_used_is_told(flowvm: Run) -> None:
    """Exit status 2, with a message."""
    assert flowvm("bench", "/nowhere").status == 2
    assert flowvm("bench", "example:br-tun", "--packets", "0").status == 2
    ended = flowvm("bench", "-", stdin=b"in_port=1 actions=outputt:2\n")
    assert (ended.status, ended.out) == (2, "")
    assert "outputt" in ended.err
