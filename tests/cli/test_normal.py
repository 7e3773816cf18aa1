"""NORMAL on the command line: --vsctl and --fdb."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from .conftest import Run

SHOW = """\
 1(a): addr:00:00:00:00:00:01
 2(b): addr:00:00:00:00:00:02
 3(c): addr:00:00:00:00:00:03
 LOCAL(br-int): addr:00:00:00:00:00:04
"""
VSCTL = """\
00000000-0000-0000-0000-000000000000
    Bridge br-ex
        Port br-ex
            Interface br-ex
    Bridge br-int
        Port a
            tag: 10
            Interface a
        Port b
            tag: 10
            Interface b
        Port c
            Interface c
        Port br-int
            tag: 20
            Interface br-int
                type: internal
"""
FDB = """\
 port  VLAN  MAC                Age
    2    10  0a:00:00:00:00:02  290
"""
TO_B = "in_port=a,dl_src=0a:00:00:00:00:01,dl_dst=0a:00:00:00:00:02"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Files with all there is to know of a bridge, by option."""
    texts = {"flows": "actions=NORMAL", "--ports": SHOW, "--vsctl": VSCTL, "--fdb": FDB}
    found = {}
    for name, text in texts.items():
        path = tmp_path / f"{name.strip('-')}.txt"
        path.write_text(text)
        found[name] = str(path)
    return found


def options(files: dict[str, str], *names: str) -> list[str]:
    return [word for name in names for word in (name, files[name])]


def test_normal_goes_by_the_ports_of_the_bridge(flowvm: Run, files: dict[str, str]) -> None:
    """The bridge is that whose local port --ports names; its VLANs are those of ovs-vsctl show."""
    given = options(files, "--ports", "--vsctl")
    answer = flowvm("trace", files["flows"], TO_B, *given)
    assert (answer.status, answer.err) == (0, "")
    assert (
        "    NORMAL\n"
        "     -> learned that 0a:00:00:00:00:01 is on port a in VLAN 10\n"
        "     -> no learned MAC for destination, flooding\n" in answer.out
    )
    assert answer.out.endswith("Verdict: output to 2 (b), 3 (c)\n")


def test_what_was_learned_is_known_while_it_is_young(flowvm: Run, files: dict[str, str]) -> None:
    """An entry of --fdb tells where to forward to, until it has been idle for 300 seconds."""
    given = options(files, "--ports", "--vsctl", "--fdb")
    answer = json.loads(flowvm("trace", files["flows"], TO_B, *given, "--json").out)
    assert [output["port"] for output in answer["outputs"]] == [2]
    later = json.loads(flowvm("trace", files["flows"], TO_B, *given, "--at", 10, "--json").out)
    assert [output["port"] for output in later["outputs"]] == [2, 3]


def test_a_replay_learns(flowvm: Run, files: dict[str, str], tmp_path: Path) -> None:
    """What one packet teaches the next one finds."""
    one, other, rest = "0a0000000001", "0a0000000002", "9999" + "00" * 46
    events = [(1, one + other), (2, other + one)]
    lines = [
        json.dumps({"time": 0, "in_port": port, "frame": addresses + rest})
        for port, addresses in events
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    out = tmp_path / "out.jsonl"
    given = options(files, "--ports", "--vsctl")
    ended = flowvm(
        "replay", files["flows"], "--events", tmp_path / "in.jsonl", "--out-events", out, *given
    )
    assert (ended.status, ended.err) == (0, "")
    left = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(event["packet"], event["port"]) for event in left] == [(0, 2), (0, 3), (1, 1)]


@pytest.mark.parametrize("with_vsctl", [False, True])
def test_a_replay_of_captures_tells_what_was_learned(
    flowvm: Run, files: dict[str, str], tmp_path: Path, with_vsctl: bool
) -> None:
    """fdb.txt is what fdb/show would print, where it is known what NORMAL goes by."""
    frame = bytes.fromhex("0a0000000001 0a0000000002 9999") + bytes(46)
    header = struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    (tmp_path / "in.pcap").write_bytes(header + struct.pack("=IIII", 5, 0, 60, 60) + frame)
    given = options(files, "--ports", *(["--vsctl"] if with_vsctl else []))
    out = tmp_path / "out"
    ended = flowvm(
        "replay", files["flows"], "--in", f"b={tmp_path / 'in.pcap'}", "--out", out, *given
    )
    assert ended.status == 0
    assert (out / "fdb.txt").exists() == with_vsctl
    if with_vsctl:
        assert (out / "fdb.txt").read_text().splitlines()[1:] == [
            "    2    10  0a:00:00:00:00:02    0"
        ]


@pytest.mark.parametrize(
    ("names", "changed", "complaint"),
    [
        (("--vsctl",), {}, "--vsctl needs --ports"),
        (("--ports", "--fdb"), {}, "--fdb needs --vsctl"),
        (("--ports", "--vsctl"), {"--vsctl": "Bridge br-ex\n"}, "the bridges are br-ex"),
        (("--ports", "--vsctl"), {"--vsctl": "nothing\n"}, "vsctl.txt:1:1: no bridge"),
        (("--ports", "--vsctl", "--fdb"), {"--fdb": "nothing\n"}, "fdb.txt:1:1: this is no row"),
    ],
)
def test_what_cannot_be_used_is_said(
    flowvm: Run,
    files: dict[str, str],
    names: tuple[str, ...],
    changed: dict[str, str],
    complaint: str,
) -> None:
    """An option that lacks another, or a file that is the wrong one, ends the command."""
    for name, text in changed.items():
        Path(files[name]).write_text(text)
    ended = flowvm("trace", files["flows"], TO_B, *options(files, *names))
    assert ended.status == 2
    assert complaint in ended.err
    assert len(ended.err.splitlines()) <= 4
