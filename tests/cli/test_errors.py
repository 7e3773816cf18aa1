"""What cannot be used is told in words, with exit status 2, and never with a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Ended, Run

EXAMPLE = "example:br-tun"

BAD_LINE = " table=0, priority=1,in_port=1 actions=resubmitt(,1)\n"


def refused(ended: Ended) -> str:
    """The message of a refusal."""
    assert (ended.status, ended.out) == (2, "")
    assert "Traceback" not in ended.err
    return ended.err


def test_a_bad_line_is_shown_with_a_caret(flowvm: Run, tmp_path: Path) -> None:
    """File, line, column, the line, a caret under the spot, and what was expected."""
    file = tmp_path / "flows.txt"
    file.write_text(f"NXST_FLOW reply (xid=0x4):\n{BAD_LINE}")
    lines = refused(flowvm("trace", file, "in_port=1")).splitlines()
    assert lines[0].startswith(f'{file}:2:40: unknown action "resubmitt"')
    assert lines[1].index("resubmitt") == lines[2].index("^")
    assert lines[3].startswith("  expected ")


@pytest.mark.parametrize("command", ["trace", "show", "replay"])
def test_lenient_goes_on_and_lists_all_bad_lines(flowvm: Run, tmp_path: Path, command: str) -> None:
    """The good lines are used, and standard error has the bad ones."""
    file, events = tmp_path / "flows.txt", tmp_path / "events.jsonl"
    file.write_text(f"{BAD_LINE} in_port=1 actions=output:2\nprority=1 actions=drop\n")
    events.write_text("")
    more: dict[str, list[str | Path]] = {
        "trace": ["in_port=1"],
        "show": [],
        "replay": ["--events", events, "--out-events", tmp_path / "out.jsonl"],
    }
    ended = flowvm(command, file, *more[command], "--lenient")
    assert ended.status == 0
    assert [line.split(":")[1] for line in ended.err.splitlines() if str(file) in line] == [
        "1",
        "3",
    ]
    refused(flowvm(command, file, *more[command]))


@pytest.mark.parametrize("command", [["trace", "{}", "in_port=1"], ["show", "{}"]])
def test_files_that_cannot_be_read(flowvm: Run, tmp_path: Path, command: list[str]) -> None:
    """A missing file, a directory, and one that is no text."""
    binary = tmp_path / "binary"
    binary.write_bytes(bytes(range(256)) * 4)

    def message(file: object) -> str:
        return refused(flowvm(*(word.format(file) for word in command)))

    missing = tmp_path / "missing"
    assert message(missing) == f"flowvm: {missing}: No such file or directory\n"
    assert message(tmp_path) == f"flowvm: {tmp_path}: Is a directory\n"
    assert message("example:nope").startswith("flowvm: example:nope: no such example")
    shown = message(binary)
    assert shown.startswith(f"{binary}:1:")
    assert all(character.isprintable() or character in "\n\t" for character in shown)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "flowvm: give the packet: BR_FLOW, or --frame HEX"),
        (["--frame", "0"], "flowvm: --frame: half a byte: hexadecimal digits come in pairs"),
        (["--frame", "00zz"], 'flowvm: --frame: "z", character 3, is no hexadecimal digit'),
        (["icmp", "--in-port", "eth9"], 'flowvm: there is no port "eth9"'),
        (["icmp", "--in-port", ""], "flowvm: --in-port: a port is missing"),
        (["icmp", "--in-port", "99999"], "flowvm: --in-port: port 99999 is out of range"),
        (["in_port=1", "--in-port", "2"], "flowvm: two ports to come in by are given: 1 and 2"),
        (["icmp", "--at", "-1"], "flowvm: -1 s is before the switch's time, 0 s"),
        (["icmp", "--at", "soon"], 'flowvm: "soon" is not a number of seconds'),
        (["icmp", "--at", "nan"], 'flowvm: "nan" is not a number of seconds'),
        (["icmp", "--at", "1e99999999"], "flowvm: 1e99999999 s is further away than a clock"),
        (["icmp,tp_src=1"], "BR_FLOW:1:6: tp_src does not exist in such a packet"),
        (["in_port=1,icm"], 'BR_FLOW:1:11: unknown field "icm"; did you mean "icmp"?'),
        (["in_port=1,in_port=2"], "BR_FLOW:1:11: in_port sets in_port a second time"),
        (["ip,nw_src=10.0.0.0/8"], "BR_FLOW:1:11: a packet's headers have no masks"),
        (["in_port=eth9"], 'BR_FLOW:1:9: there is no port "eth9"'),
        (["in_port=1", "--ports", EXAMPLE], f"{EXAMPLE}:1:1: no port is described here"),
    ],
)
def test_packets_that_cannot_be(flowvm: Run, arguments: list[str], message: str) -> None:
    """The packet's headers, bytes, port and time are checked."""
    assert refused(flowvm("trace", EXAMPLE, *arguments)).startswith(message)


@pytest.mark.parametrize(
    "arguments",
    [
        ["trace", "-", "icmp", "--ports", "-"],
        ["replay", "-", "--events", "-", "--out-events", "out"],
        ["replay", EXAMPLE, "--ports", "-", "--events", "-", "--out-events", "out"],
    ],
)
def test_standard_input_is_read_once(flowvm: Run, arguments: list[str]) -> None:
    """Two things cannot both come from it."""
    assert "cannot both come from standard input" in refused(flowvm(*arguments))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--table", "300"], "flowvm: "),
        (["--cookie", "x"], "flowvm: "),
        (["--match", "foo=1"], '--match:1:1: unknown field "foo"'),
        (["--match", "nw_src=x"], "--match:1:8: "),
    ],
)
def test_filters_that_make_no_sense(flowvm: Run, arguments: list[str], message: str) -> None:
    """What ``show`` is to show is checked."""
    assert refused(flowvm("show", EXAMPLE, *arguments)).startswith(message)


@pytest.mark.parametrize("arguments", [["nonsense"], ["trace"], ["show", EXAMPLE, "--nonsense"]])
def test_usage_errors_have_the_same_status(flowvm: Run, arguments: list[str]) -> None:
    """An unknown command or option, a missing argument."""
    assert "Usage: flowvm" in refused(flowvm(*arguments))


def test_a_bug_is_told_as_one(flowvm: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit status 70, and a line instead of a traceback."""

    def broken(_: object) -> str:
        raise ZeroDivisionError("oops\nand more")

    monkeypatch.setattr("flowvm.report.text.format_trace", broken)
    ended = flowvm("trace", EXAMPLE, "in_port=1")
    assert (ended.status, ended.out) == (70, "")
    assert ended.err == "flowvm: internal error: ZeroDivisionError: oops; please report\n"


def test_a_reader_who_has_seen_enough_is_no_error() -> None:
    """``flowvm example br-tun | head`` ends without a word."""
    command = [sys.executable, "-m", "flowvm", "example", "br-tun"]
    read, write = os.pipe()
    os.close(read)
    ended = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (ended.returncode, ended.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
def test_a_full_disk_is_told() -> None:
    """Output that cannot be written is not lost in silence."""
    command = [sys.executable, "-m", "flowvm", "example", "br-tun"]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert (ended.returncode, ended.stderr) == (2, b"flowvm: No space left on device\n")
