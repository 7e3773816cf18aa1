"""``--tlv-map``: what ovs-ofctl dump-tlv-map printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.captures import Captured, classic

from .conftest import Run

HEAD = " cookie=0x0, duration=1.000s, table=0, n_packets=0, n_bytes=0, "
FLOWS = f"""\
{HEAD}priority=2,tun_metadata0=0x10002 actions=output:2
{HEAD}priority=1 actions=set_field:0x5->tun_metadata0,output:3
"""
MAP = """\
NXT_TLV_TABLE_REPLY (xid=0x2):
 max option space=256 max fields=64
 allocated option space=4

 mapping table:
  class  type  length  match field
 ------  ----  ------  --------------
  0x102  0x80       4  tun_metadata0
"""
FRAME = "ffffffffffff52540000000188b5" + "00" * 46


@pytest.fixture
def flows(tmp_path: Path) -> Path:
    file = tmp_path / "flows.txt"
    file.write_text(FLOWS)
    return file


@pytest.fixture
def tlv_map(tmp_path: Path) -> Path:
    file = tmp_path / "map.txt"
    file.write_text(MAP)
    return file


def test_a_trace_tells_the_options_by_their_map(flowvm: Run, flows: Path, tlv_map: Path) -> None:
    """What the datapath would be told is there too."""
    ended = flowvm("trace", flows, "in_port=1", "--tlv-map", tlv_map)
    assert (
        "3: 14 bytes, tun_metadata0=0x5, geneve({class=0x102,type=0x80,len=4,0x5})\n" in ended.out
    )


def test_without_a_map_the_flows_tell(flowvm: Run, flows: Path) -> None:
    """Packets are matched the same, and their options are told by field."""
    ended = flowvm("trace", flows, "in_port=1,tun_metadata0=0x10002", "--json")
    (output,) = json.loads(ended.out)["outputs"]
    assert (output["port"], output["tunnel"]) == (2, {"tun_metadata0": "0x10002"})
    assert ended.err == ""


def test_a_length_that_nothing_tells_is_a_guess_that_is_told(flowvm: Run) -> None:
    """On standard error, with what to do about it."""
    ended = flowvm("trace", "-", "in_port=1,tun_metadata0=7", stdin=b"tun_metadata0 actions=2\n")
    assert ended.err == (
        "flowvm: nothing tells how long tun_metadata0 is: "
        "taken for 4 bytes (--tlv-map FILE tells)\n"
    )
    assert ended.out.endswith("Verdict: output to 2\n")


def test_a_packet_that_the_map_has_no_room_for_is_refused(flowvm: Run, flows: Path) -> None:
    """In one line, that says why."""
    ended = flowvm("trace", flows, "in_port=1,tun_metadata0=0x100000000")
    assert (ended.status, ended.err) == (
        2,
        "flowvm: tun_metadata0 has 4 bytes, too few for 0x100000000 "
        "(as flows use it; a TLV map may give it more)\n",
    )


def test_a_map_that_cannot_be_read_is_shown(flowvm: Run, flows: Path, tmp_path: Path) -> None:
    """File, line, column and a caret."""
    bad = tmp_path / "bad.txt"
    bad.write_text("{class=0x102,type=0x80,len=5}->tun_metadata0\n")
    ended = flowvm("trace", flows, "in_port=1", "--tlv-map", bad)
    assert ended.status == 2
    assert ended.err.startswith(f"{bad}:1:1: ")
    assert "\n  ^\n" in ended.err


def test_events_have_options_and_tell_them(flowvm: Run, flows: Path, tmp_path: Path) -> None:
    """A packet comes and goes with its tunnel's options."""
    events, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    event = {"time": 0, "in_port": 1, "frame": FRAME}
    more = {"tun_metadata0": "0x10002", "tun_flags": "oam"}
    events.write_text(f"{json.dumps(event)}\n{json.dumps(event | more)}\n")
    flowvm("replay", flows, "--events", events, "--out-events", out)
    left = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(line["port"], line["tunnel"]) for line in left] == [
        (3, {"tun_metadata0": "0x5"}),
        (2, {"tun_flags": "oam", "tun_metadata0": "0x10002"}),
    ]


def test_an_event_with_an_option_that_nothing_names_is_refused(
    flowvm: Run, flows: Path, tmp_path: Path
) -> None:
    """It could not have a place."""
    events, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    event = {"time": 0, "in_port": 1, "frame": FRAME, "tun_metadata3": 1}
    events.write_text(f"{json.dumps(event)}\n")
    ended = flowvm("replay", flows, "--events", events, "--out-events", out)
    assert (ended.status, ended.err) == (
        2,
        f"{events}:1: no TLV map has tun_metadata3, and no flow\n"
        "  expected a field that a flow or a TLV map names\n",
    )


def test_a_compiled_dump_keeps_its_map(
    flowvm: Run, flows: Path, tlv_map: Path, tmp_path: Path
) -> None:
    """Given with another map, it is compiled anew."""
    compiled = tmp_path / "flows.flowvm"
    flowvm("compile", flows, "--tlv-map", tlv_map, "-o", compiled)
    assert "class=0x102" in flowvm("trace", compiled, "in_port=1").out
    other = tmp_path / "other.txt"
    other.write_text("{class=0x7,type=0,len=12}->tun_metadata0\n")
    ended = flowvm("trace", compiled, "in_port=1", "--tlv-map", other)
    assert "geneve({class=0x7,type=0,len=12,0x5})" in ended.out


@pytest.mark.parametrize(("metadata", "port"), [("tun_metadata0=0x10002", 2), ("tun_id=1", 3)])
def test_captures_come_out_of_tunnels_with_options(
    flowvm: Run, flows: Path, tmp_path: Path, metadata: str, port: int
) -> None:
    """--tunnel gives what no frame carries."""
    capture, out = tmp_path / "in.pcap", tmp_path / "out"
    capture.write_bytes(classic([Captured.whole(10**18, bytes.fromhex(FRAME))]))
    flowvm("replay", flows, "--in", f"1={capture}", "--tunnel", f"1:{metadata}", "--out", out)
    assert (out / f"{port}.pcap").exists()
