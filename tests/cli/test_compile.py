"""``flowvm compile``."""

from __future__ import annotations

import gzip
from pathlib import Path

from flowvm.examples import read_source
from tests.cli.conftest import Run

PACKET = "in_port=2,tun_id=0x1,icmp,dl_dst=52:54:00:5e:10:01"


def test_a_compiled_dump_serves_wherever_flows_are_asked_for(flowvm: Run, tmp_path: Path) -> None:
    """The same answers as from the text; the file says how much it holds."""
    compiled = tmp_path / "br-tun.flows"
    ended = flowvm("compile", "example:br-tun", "-o", compiled)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out == f"{compiled}: 13 flows in 7 tables\n"
    for command in (("trace", PACKET), ("show",)):
        name, *rest = command
        assert flowvm(name, compiled, *rest) == flowvm(name, "example:br-tun", *rest)
    data = compiled.read_bytes()
    assert flowvm("trace", "-", PACKET, stdin=data) == flowvm("trace", compiled, PACKET)


def test_compressed_dumps_are_read_as_they_are(flowvm: Run, tmp_path: Path) -> None:
    """From a file and from standard input, to be compiled or not."""
    data = gzip.compress(read_source("example:br-tun").encode())
    path = tmp_path / "dump"
    path.write_bytes(data)
    assert flowvm("trace", path, PACKET) == flowvm("trace", "example:br-tun", PACKET)
    assert flowvm("show", "-", stdin=data) == flowvm("show", "example:br-tun")


def test_it_can_replace_what_it_reads(flowvm: Run, tmp_path: Path) -> None:
    """The output is there whole or not at all."""
    path = tmp_path / "dump"
    path.write_text(read_source("example:br-tun"), encoding="utf-8")
    assert flowvm("compile", path, "-o", path).status == 0
    assert flowvm("trace", path, PACKET) == flowvm("trace", "example:br-tun", PACKET)
    assert [entry.name for entry in tmp_path.iterdir()] == ["dump"]


def test_bad_lines(flowvm: Run, tmp_path: Path) -> None:
    """They are told, and stop it unless it is to be lenient; nothing is left behind."""
    text = b"table=0,actions=drop\ntable=1,in_port=,actions=drop\n"
    out = tmp_path / "out"
    ended = flowvm("compile", "-", "-o", out, stdin=text)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith("<stdin>:2:9: in_port has no value\n")
    assert not out.exists()
    ended = flowvm("compile", "-", "-o", out, "--lenient", stdin=text)
    assert (ended.status, ended.out) == (0, f"{out}: 1 flows in 1 tables\n")
    assert ended.err.startswith("<stdin>:2:9: ")


def test_damaged_files(flowvm: Run, tmp_path: Path) -> None:
    """A damaged compiled dump is the user's to know: no traceback, status 2."""
    path = tmp_path / "x"
    path.write_bytes(b"PK\x03\x04" + bytes(99))
    ended = flowvm("trace", path, PACKET)
    assert ended.status == 2
    assert ended.err.startswith(f"flowvm: {path} is not a compiled dump, or damaged: ")


def test_a_place_that_cannot_be_written(flowvm: Run, tmp_path: Path) -> None:
    """The system's message, status 2."""
    ended = flowvm("compile", "example:br-tun", "-o", tmp_path / "no" / "where")
    assert ended.status == 2
    assert "No such file or directory" in ended.err
