"""``flowvm replay``."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from .conftest import Ended, Run

EXAMPLE = "example:br-tun"

ALICE, BOB = "5254005e2001", "5254005e1001"
REQUEST = f"{BOB}{ALICE}81000002" + "0800" + "00" * 46
REPLY = f"{ALICE}{BOB}" + "0800" + "00" * 46

Event = dict[str, Any]


def event(time: float, in_port: int | str, frame: str, **metadata: object) -> Event:
    return {"time": time, "in_port": in_port, "frame": frame, **metadata}


class Replay:
    """Runs ``flowvm replay`` on events, in files of its own."""

    def __init__(self, run: Run, directory: Path) -> None:
        self._run = run
        self.events = directory / "in.jsonl"
        self.out = directory / "out.jsonl"
        self.after = directory / "after.txt"

    def text(self, text: str, *options: object, flows: object = EXAMPLE) -> Ended:
        self.events.write_text(text)
        files = ("--events", self.events, "--out-events", self.out, "--dump-after", self.after)
        return self._run("replay", flows, *files, *options)

    def __call__(
        self, *events: Event, flows: object = EXAMPLE, options: Sequence[object] = ()
    ) -> list[Event]:
        text = "".join(f"{json.dumps(event)}\n" for event in events)
        ended = self.text(text, *options, flows=flows)
        assert (ended.status, ended.err) == (0, "")
        return [json.loads(line) for line in self.out.read_text().splitlines()]


@pytest.fixture
def replay(flowvm: Run, tmp_path: Path) -> Replay:
    return Replay(flowvm, tmp_path)


def test_what_leaves_is_told_with_all_its_keys(replay: Replay) -> None:
    """One object for each frame that leaves."""
    assert replay(event(0, 1, REQUEST)) == [
        {
            "packet": 0,
            "port": 2,
            "name": None,
            "frame": f"{BOB}{ALICE}0800" + "00" * 46,
            "tun_id": "0x1",
            "tun_src": "0.0.0.0",
            "tun_dst": "0.0.0.0",
        }
    ]


def test_state_is_carried_from_packet_to_packet(replay: Replay) -> None:
    """A sender in the tunnel is learned, confirmed while it sends, and forgotten 300 s later."""
    seen = replay(
        event(1, 2, REPLY, tun_id="0x1"),
        event(200.5, 2, REPLY, tun_id=1),
        event(500.4, 1, REQUEST),
        event(500.6, 1, REQUEST),
        event(500.6, 2, REPLY, tun_id="0x9"),
    )
    assert [(out["packet"], out["port"]) for out in seen] == [(0, 1), (1, 1), (2, 2), (3, 2)]
    after = replay.after.read_text()
    # Packet 2 met the learned row; packet 3 the flood, and the row is gone.
    assert "dl_dst=52:54:00:5e:10:01" not in after
    counters = {
        match: int(packets)
        for packets, match in re.findall(r"n_packets=(\d+),.*?(priority=\S+) actions", after)
    }
    assert counters["priority=1,tun_id=0x1"] == 4911 + 2
    assert counters["priority=1,dl_vlan=2"] == 1009 + 1


def test_the_tables_afterwards_are_as_dump_flows_prints_them(replay: Replay) -> None:
    """Counters and ages have moved on, and the learned flow has those of its own."""
    replay(
        event(10, 2, REPLY, tun_id="0x1"),
        event(20, 2, REPLY, tun_id="0x1"),
        event(25, 1, REQUEST),
    )
    after = replay.after.read_text().splitlines()
    learned = next(line for line in after if "dl_dst=52:54:00:5e:10:01" in line)
    assert learned == (
        " cookie=0x0, duration=15s, table=20, n_packets=1, n_bytes=64, hard_timeout=300,"
        " idle_age=0, hard_age=5, priority=1,vlan_tci=0x0002/0x0fff,dl_dst=52:54:00:5e:10:01"
        " actions=load:0->NXM_OF_VLAN_TCI[],load:0x1->NXM_NX_TUN_ID[],output:2"
    )
    drop = next(line for line in after if "table=3," in line)
    assert drop == (
        " cookie=0xb1a5, duration=86425.417s, table=3, n_packets=0, n_bytes=0,"
        " idle_age=65534, hard_age=65534, priority=0 actions=drop"
    )


def test_the_tables_afterwards_can_be_replayed_again(replay: Replay, tmp_path: Path) -> None:
    """Two halves of a replay do what the whole does, the clock of the second beginning anew."""
    first = [event(0, 2, REPLY, tun_id="0x1"), event(100, 2, REPLY, tun_id="0x1")]
    whole = replay(*first, event(399, 1, REQUEST), event(401, 1, REQUEST))
    replay(*first)
    half = tmp_path / "half.txt"
    replay.after.rename(half)
    second = replay(event(299, 1, REQUEST), event(301, 1, REQUEST), flows=half)
    assert [(out["port"], out["frame"]) for out in second] == [
        (out["port"], out["frame"]) for out in whole[2:]
    ]


def test_metadata_of_all_kinds_is_taken(replay: Replay, tmp_path: Path) -> None:
    """Numbers and text in the field's own format; fields that are null are left alone."""
    flows = tmp_path / "flows.txt"
    match = "tun_src=192.0.2.1,tun_dst=192.0.2.2,metadata=0x12,reg3=7,pkt_mark=0x1"
    flows.write_text(f"{match},in_port=LOCAL actions=output:3\n")
    metadata = {"tun_src": "192.0.2.1", "tun_dst": 0xC0000202, "metadata": "0x12", "reg3": 7}
    (out,) = replay(event(0, "LOCAL", REPLY, **metadata, pkt_mark="1", tun_id=None), flows=flows)
    assert (out["tun_src"], out["tun_dst"]) == ("192.0.2.1", "192.0.2.2")


def test_ports_have_names(replay: Replay, tmp_path: Path) -> None:
    """With --ports, events may name ports, and outputs do."""
    show = tmp_path / "show.txt"
    show.write_text(" 1(patch-int): addr:0\n 2(gre-1): addr:0\n")
    (out,) = replay(event(0, "patch-int", REQUEST), options=("--ports", show))
    assert (out["port"], out["name"]) == (2, "gre-1")


def test_events_and_output_may_be_pipes(flowvm: Run) -> None:
    """ "-" is standard input and output; blank lines are nothing."""
    text = f"\n{json.dumps(event(0, 1, REQUEST))}\n\n".encode()
    ended = flowvm("replay", EXAMPLE, "--events", "-", "--out-events", "-", stdin=text)
    assert (ended.status, ended.err) == (0, "")
    assert json.loads(ended.out)["port"] == 2


def test_packets_that_come_to_no_end_are_counted(replay: Replay, tmp_path: Path) -> None:
    """Standard error says what flowvm could not do, how often and where first."""
    flows = tmp_path / "flows.txt"
    flows.write_text("in_port=1 actions=NORMAL\nin_port=2 actions=resubmit(,0)\n")
    text = "".join(f"{json.dumps(event(0, port, REPLY))}\n" for port in (2, 1, 1))
    ended = replay.text(text, flows=flows)
    assert ended.status == 0
    assert ended.err.splitlines() == [
        "flowvm: error: Recursion too deep: 1 of 3 packets, the first is 0",
        "flowvm: unsupported: NORMAL without knowing the bridge's ports (--ports, --vsctl): "
        "2 of 3 packets, the first is 1",
    ]


BAD_EVENTS = [
    ('{"time": 1, "in_port": 2', "not JSON: ", '{"time": SECONDS'),
    ("[]", "not an object", '{"time": SECONDS'),
    ("[" * 100_000, "not JSON that can be read: ", '{"time": SECONDS'),
    ('{"time": 1, "in_port": 2}', '"frame" is missing', '{"time": SECONDS'),
    ('{"time": true, "in_port": 2, "frame": ""}', '"time" cannot be true', "seconds"),
    ('{"time": NaN, "in_port": 2, "frame": ""}', '"time" cannot be NaN', "seconds"),
    ('{"time": 1e400, "in_port": 2, "frame": ""}', '"time": 1E+400 s is further', "seconds"),
    ('{"time": 4, "in_port": 2, "frame": ""}', '"time" goes back by 1 s', "a time from 5 s on"),
    ('{"time": 9, "in_port": 99999, "frame": ""}', "port 99999 is out of range", "a port"),
    ('{"time": 9, "in_port": -1, "frame": ""}', 'there is no port "-1"', "a port"),
    ('{"time": 9, "in_port": null, "frame": ""}', '"in_port" cannot be null', "a port"),
    ('{"time": 9, "in_port": "eth9", "frame": ""}', 'there is no port "eth9"', "a port"),
    ('{"time": 9, "in_port": 2, "frame": "0"}', '"frame": half a byte', "the bytes"),
    ('{"time": 9, "in_port": 2, "frame": "0x"}', '"frame": "x", character 2,', "the bytes"),
    ('{"time": 9, "in_port": 2, "frame": 5}', '"frame" cannot be 5', "the bytes"),
    (
        '{"time": 9, "in_port": 2, "frame": "", "tunid": 1}',
        'unknown field "tunid"; did you mean "tun_id"?',
        "a field that comes besides the frame",
    ),
    (
        '{"time": 9, "in_port": 2, "frame": "", "nw_src": "1.2.3.4"}',
        '"nw_src" is not a field that comes besides the frame',
        "tun_id",
    ),
    ('{"time": 9, "in_port": 2, "frame": "", "tun_id": "x"}', '"x" is not a number', "a number"),
    ('{"time": 9, "in_port": 2, "frame": "", "reg0": -1}', "-1 does not fit", "a number of 32"),
    ('{"time": 9, "in_port": 2, "frame": "", "reg0": [1]}', '"reg0" is neither', "a number of 32"),
    (
        '{"time": 9, "in_port": 2, "frame": "", "tun_src": "1.2.3.0/24"}',
        '"tun_src" of a packet has no mask',
        "a number of 32",
    ),
]


@pytest.mark.parametrize(("line", "problem", "expected"), BAD_EVENTS)
def test_bad_events_are_told_with_file_and_line(
    replay: Replay, line: str, problem: str, expected: str
) -> None:
    """File, line, what is wrong with it and what was expected; what came before has left."""
    good = event(5, 1, REQUEST)
    ended = replay.text(f"{json.dumps(good)}\n{line}\n")
    assert (ended.status, ended.out) == (2, "")
    first, second = ended.err.splitlines()
    assert first.startswith(f"{replay.events}:2: {problem}")
    assert second.startswith(f"  expected {expected}")
    assert [json.loads(line)["packet"] for line in replay.out.read_text().splitlines()] == [0]
    assert not replay.after.exists()


def test_the_events_are_not_overwritten(replay: Replay, flowvm: Run) -> None:
    """A file cannot be read and written at once, nor written for two purposes."""
    replay.events.write_text(f"{json.dumps(event(0, 1, REQUEST))}\n")
    ended = flowvm("replay", EXAMPLE, "--events", replay.events, "--out-events", replay.events)
    assert (ended.status, "cannot be for the events" in ended.err) == (2, True)
    assert replay.events.read_text() != ""
    replay.out.write_text("")
    files = ("--events", replay.events, "--out-events", replay.out, "--dump-after", replay.out)
    assert flowvm("replay", EXAMPLE, *files).status == 2


@pytest.mark.parametrize("option", ["--events", "--out-events", "--dump-after"])
def test_files_that_cannot_be_opened(replay: Replay, tmp_path: Path, option: str) -> None:
    """Events that are not there, results that have no place."""
    missing = tmp_path / "missing" / "file"
    ended = replay.text("", option, missing)
    assert ended.status == 2
    assert ended.err == f"flowvm: {missing}: No such file or directory\n"
