"""``flowvm replay --in … --out``: captures."""

from __future__ import annotations

import gzip
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flowvm.packet.pcap.read import read_capture
from tests.unit.captures import Captured, Ng, classic, listed

from .conftest import Run

EXAMPLE = "example:br-tun"
EPOCH = 1_700_000_000 * 10**9

ALICE, BOB = "5254005e2001", "5254005e1001"
REQUEST = bytes.fromhex(f"{BOB}{ALICE}81000002" + "0800" + "00" * 46)
REPLY = bytes.fromhex(f"{ALICE}{BOB}" + "0800" + "00" * 46)
TAGGED_REPLY = bytes.fromhex(f"{ALICE}{BOB}81000002" + "0800" + "00" * 46)


def at(seconds: float, data: bytes) -> Captured:
    return Captured.whole(EPOCH + round(seconds * 10**9), data)


def capture(path: Path, *packets: Captured, cut: int = 0) -> Path:
    data = classic(packets)
    path.write_bytes(data[: len(data) - cut])
    return path


def read(path: Path) -> list[Captured]:
    return listed(list(read_capture(path)))


def test_what_leaves_is_written_and_summed_up(flowvm: Run, tmp_path: Path) -> None:
    """A reply from the tunnel teaches the way back; each port's packets are in its file."""
    vm = capture(tmp_path / "vm.pcap", at(2, REQUEST))
    net = capture(tmp_path / "net.pcap", at(1, REPLY), at(3, REPLY[:10]))
    out = tmp_path / "out"
    ended = flowvm(
        *("replay", EXAMPLE, "--in", f"1={vm}", "--in", f"2={net}"),
        *("--tunnel", "2:tun_id=0x1,tun_src=192.0.2.1", "--out", out),
    )
    assert (ended.status, ended.err) == (0, "")
    assert read(out / "1.pcap") == [at(1, TAGGED_REPLY)]
    assert read(out / "2.pcap") == [at(2, REQUEST[:12] + REQUEST[16:])]
    assert read(out / "drops.pcap") == [at(3, REPLY[:10])]
    assert "table=20, n_packets=1, n_bytes=64, hard_timeout=300" in (out / "flows.txt").read_text()
    assert json.loads((out / "summary.json").read_text())["packets"] == 3
    first, *rest = ended.out.splitlines()
    assert first.startswith("3 packets, 134 bytes; ")
    assert rest == [
        "  output  2",
        "  drop    1",
        "",
        "port  received  sent",
        "1            1     1  1.pcap",
        "2            2     1  2.pcap",
        "",
        "dropped                            packets",
        "  shorter than an Ethernet header        1",
        "  table 0                                1",
    ]


def test_json_is_the_summary(flowvm: Run, tmp_path: Path) -> None:
    """What --json prints is what summary.json says."""
    vm = capture(tmp_path / "vm.pcap", at(0, REQUEST))
    ended = flowvm("replay", EXAMPLE, "--in", f"1={vm}", "--out", tmp_path / "out", "--json")
    assert json.loads(ended.out) == json.loads((tmp_path / "out" / "summary.json").read_text())
    assert json.loads(ended.out)["inputs"][0]["capture"] == str(vm)


def test_captures_and_events_come_to_the_same(flowvm: Run, tmp_path: Path) -> None:
    """Whichever way packets come in, the same leaves, and the same flows stay."""
    frames = [(0.0, 2, REPLY), (0.25, 1, REQUEST), (299.0, 2, REPLY), (599.5, 1, REQUEST)]
    events = tmp_path / "in.jsonl"
    lines = (
        {"time": 5 + time, "in_port": port, "frame": frame.hex(), "tun_id": 1 if port == 2 else 0}
        for time, port, frame in frames
    )
    events.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    out_events, after = tmp_path / "out.jsonl", tmp_path / "after.txt"
    files = ("--events", events, "--out-events", out_events, "--dump-after", after)
    assert flowvm("replay", EXAMPLE, *files).status == 0

    inputs: list[object] = []
    for port in (1, 2):
        mine = [at(time, frame) for time, in_port, frame in frames if in_port == port]
        inputs += ["--in", f"{port}={capture(tmp_path / f'{port}.pcap', *mine)}"]
    out = tmp_path / "out"
    options = ("--tunnel", "2:tun_id=0x1", "--start", "5", "--out", out)
    assert flowvm("replay", EXAMPLE, *inputs, *options).status == 0
    seen = [json.loads(line) for line in out_events.read_text().splitlines()]
    for port in (1, 2):
        assert [packet.data.hex() for packet in read(out / f"{port}.pcap")] == [
            event["frame"] for event in seen if event["port"] == port
        ]
    assert (out / "flows.txt").read_text() == after.read_text()


def test_ports_have_names(flowvm: Run, tmp_path: Path) -> None:
    """With --ports, inputs may be named, and files and the summary are."""
    show = tmp_path / "show.txt"
    show.write_text(" 1(patch-int): addr:0\n 2(gre-1): addr:0\n")
    vm = capture(tmp_path / "vm.pcap", at(0, REQUEST))
    out = tmp_path / "out"
    ended = flowvm(
        "replay", EXAMPLE, "--ports", show, "--in", f"patch-int={vm}", "--out", out
    )  # fmt: skip
    assert read(out / "gre-1.pcap") == [at(0, REQUEST[:12] + REQUEST[16:])]
    assert "1 (patch-int)" in ended.out
    assert ended.out.splitlines()[-1].endswith("gre-1.pcap")


def test_until_stops_the_replay(flowvm: Run, tmp_path: Path) -> None:
    """Later packets are left out."""
    vm = capture(tmp_path / "vm.pcap", at(0, REQUEST), at(1, REQUEST), at(2, REQUEST))
    out = tmp_path / "out"
    flowvm("replay", EXAMPLE, "--in", f"1={vm}", "--out", out, "--start", "10", "--until", "11.5")
    assert len(read(out / "2.pcap")) == 2
    assert json.loads((out / "summary.json").read_text())["end"] == 11.5


@pytest.mark.parametrize("kind", ["pcapng", "gzip", "stdin"])
def test_captures_come_in_many_forms(flowvm: Run, tmp_path: Path, kind: str) -> None:
    """pcapng, packed, or from a pipe."""
    path, stdin = tmp_path / "vm", b""
    if kind == "pcapng":
        ng = Ng()
        path.write_bytes(ng.section() + ng.interface() + ng.enhanced(EPOCH // 1000, REQUEST))
    elif kind == "gzip":
        path.write_bytes(gzip.compress(classic([at(0, REQUEST)])))
    else:
        path, stdin = Path("-"), classic([at(0, REQUEST)])
    out = tmp_path / "out"
    ended = flowvm("replay", EXAMPLE, "--in", f"1={path}", "--out", out, stdin=stdin)
    assert (ended.status, ended.err) == (0, "")
    assert read(out / "2.pcap") == [at(0, REQUEST[:12] + REQUEST[16:])]


def test_a_truncated_capture_is_replayed_up_to_there(flowvm: Run, tmp_path: Path) -> None:
    """What can be read is done; then the error says at which packet, and the status is 2."""
    vm = capture(tmp_path / "vm.pcap", at(0, REQUEST), at(1, REQUEST), cut=1)
    out = tmp_path / "out"
    ended = flowvm("replay", EXAMPLE, "--in", f"1={vm}", "--out", out)
    assert ended.status == 2
    assert ended.err == (
        f"{vm}: packet 2, byte 104: the file ends after 79 of 80 bytes of the packet's record\n"
    )
    assert ended.out.startswith("1 packets, 64 bytes")
    assert len(read(out / "2.pcap")) == 1


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "packet 1, byte 0: the file is empty"),
        (b"garbage", "packet 1, byte 0: neither pcap nor pcapng: it begins with 67 61 72 62"),
        (
            classic([], linktype=113),
            "packet 1, byte 0: link type 113 (LINUX_SLL); only Ethernet (1) can be read",
        ),
    ],
)
def test_what_is_no_capture_is_refused(
    flowvm: Run, tmp_path: Path, content: bytes, problem: str
) -> None:
    """Nothing is written then."""
    path = tmp_path / "in"
    path.write_bytes(content)
    ended = flowvm("replay", EXAMPLE, "--in", f"1={path}", "--out", tmp_path / "out")
    assert (ended.status, ended.err) == (2, f"{path}: {problem}\n")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ((), "give --in and --out, or --events and --out-events"),
        (("--in", "1=x"), "give --in and --out, or --events and --out-events"),
        (("--in", "x", "--out", "o"), '--in: "x" is not PORT=FILE'),
        (("--in", "1=", "--out", "o"), '--in: "1=" is not PORT=FILE'),
        (("--in", "99999=x", "--out", "o"), "--in: port 99999 is out of range"),
        (("--in", "1=nowhere", "--out", "o"), "nowhere: No such file or directory"),
        (("--in", "1=-", "--in", "2=-", "--out", "o"), "--in: only one capture can come from"),
        (("--in", "1=x", "--tunnel", "1", "--out", "o"), '--tunnel: "1" is not PORT:tun_id='),
        (
            ("--in", "1=x", "--tunnel", "2:tun_id=1", "--out", "o"),
            "--tunnel: there is no --in for port 2",
        ),
        (
            ("--in", "1=x", "--tunnel", "1:reg0=1", "--tunnel", "1:reg0=2", "--out", "o"),
            "--tunnel: port 1 is there twice",
        ),
        (("--in", "vm=x", "--out", "o"), 'there is no port "vm"'),
        (("--in", "1=x", "--out", "o", "--events", "e"), "--events does not go with --in"),
        (
            ("--events", "e", "--out-events", "o", "--until", "5"),
            "--until does not go with --events",
        ),
        (("--in", "1=x", "--out", "o", "--until", "-1"), "until: -1 s is before the first packet"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    flowvm: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str], problem: str
) -> None:
    """One line says what is wrong; nothing is written."""
    monkeypatch.chdir(tmp_path)
    ended = flowvm("replay", EXAMPLE, *options)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith(f"flowvm: {problem}")
    assert ended.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_bar_is_drawn_on_a_terminal(tmp_path: Path) -> None:
    """On a terminal the replay tells how far it is; what it prints is the same."""
    vm = capture(tmp_path / "vm.pcap", at(0, REQUEST))
    terminal, theirs = pty.openpty()
    command = [sys.executable, "-m", "flowvm", "replay", EXAMPLE, "--in", f"1={vm}", "--out"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    ended = subprocess.run(
        [*command, str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=environment,
        check=True,
    )
    os.close(theirs)
    drawn = os.read(terminal, 65536).decode()
    os.close(terminal)
    assert "1 packets" in drawn
    assert ended.stdout.startswith(b"1 packets, 64 bytes")


def test_ctrl_c_leaves_valid_files(tmp_path: Path) -> None:
    """Interrupted while it waits for more, it writes down what it has, and the status is 130."""
    out = tmp_path / "out"
    command = [sys.executable, "-m", "flowvm", "replay", EXAMPLE, "--in", "1=-", "--out", str(out)]
    count = 100_000
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Tests that run in the background ignore it, and so would their children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(classic([at(n / 10**6, REQUEST) for n in range(count)]))
        process.stdin.flush()
        deadline = time.monotonic() + 60
        while not (out / "2.pcap").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        process.wait(60)
        assert process.returncode == 130
        assert process.stderr.read().decode() == (
            f"flowvm: interrupted; {out} has what came before\n"
        )
    summary = json.loads((out / "summary.json").read_text())
    assert summary["interrupted"] is True
    assert 0 < summary["packets"] < count
    assert len(read(out / "2.pcap")) == summary["packets"]
    assert "table=20," in (out / "flows.txt").read_text()
