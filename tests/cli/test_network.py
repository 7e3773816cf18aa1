"""``flowvm network`` and ``flowvm collect``."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from pathlib import Path

import pytest

from flowvm.examples import node_source
from tests.unit.network_files import NODE, write

from .conftest import Run
from .golden import assert_prints, golden

GOLDEN = golden("networks")
GRE = ("example:gre/compute", "example:gre/network")
VLAN = ("example:vlan/compute", "example:vlan/network")


def test_there_are_golden_networks() -> None:
    """The files are where they are looked for."""
    assert len(GOLDEN) >= 9


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_a_network_is_shown_as_it_always_was(flowvm: Run, file: Path) -> None:
    """Every byte of the tree, of JSON and of the graphs is pinned."""
    assert_prints(flowvm, file)


def test_json_has_what_the_tree_has(flowvm: Run) -> None:
    """Joins with both ends."""
    told = json.loads(flowvm("network", *GRE, "--json").out)
    assert [
        (join["kind"], join["first"]["node"], join["second"]["node"]) for join in told["joins"]
    ] == [
        ("patch", "compute", "compute"),
        ("patch", "network", "network"),
        ("gre", "compute", "network"),
    ]
    assert told["loose"] == []


def test_colours_can_be_had(flowvm: Run) -> None:
    """On a terminal, or if asked for; the text is the same."""
    plain = flowvm("network", *GRE).out
    coloured = flowvm("network", *GRE, "--color", "always").out
    assert "\x1b[1;36mbr-int\x1b[0m" in coloured
    assert "\x1b" not in plain


def test_nodes_can_be_named(flowvm: Run, tmp_path: Path) -> None:
    """The same archive twice, under names of their own."""
    with tarfile.open(tmp_path / "n.tar.gz", "w:gz") as archive:
        archive.add(write(tmp_path / "files", NODE), "files")
    archive_file = tmp_path / "n.tar.gz"
    ended = flowvm("network", f"a={archive_file}", f"b={archive_file}")
    assert ended.status == 0
    assert {"a", "b"} <= set(ended.out.splitlines())
    ended = flowvm("network", archive_file, archive_file)
    assert (ended.status, ended.out) == (2, "")


def test_a_graph_is_written_to_a_file(flowvm: Run, tmp_path: Path) -> None:
    """As text, or drawn where Graphviz is; without it that is said."""
    file = tmp_path / "out.dot"
    assert flowvm("network", *GRE, "--graph", file).out == ""
    assert file.read_text().startswith("graph network {\n")
    drawn = tmp_path / "out.svg"
    ended = flowvm("network", *GRE, "--graph", drawn)
    if shutil.which("dot") is None:
        assert ended.status == 2
        assert "Graphviz's dot is needed" in ended.err
    else:
        assert (ended.status, ended.err) == (0, "")
        assert "<svg" in drawn.read_text()


def test_graphviz_does_the_drawing(
    flowvm: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets the text, and the form by the ending of the file's name; its errors are shown."""
    dot = tmp_path / "dot"
    dot.write_text('#!/bin/sh\necho "$1" >"$3"; cat >>"$3"\n')
    dot.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    drawn = tmp_path / "out.svg"
    assert flowvm("network", *GRE, "--graph", drawn).status == 0
    assert drawn.read_text().startswith("-Tsvg\ngraph network {\n")
    dot.write_text("#!/bin/sh\necho no >&2; exit 1\n")
    assert flowvm("network", *GRE, "--graph", drawn).err == "flowvm: dot failed: no\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["example:gre/nowhere"], "no such example; there is gre/compute"),
        ([*VLAN, "--link", "compute:eth1"], "is not a link"),
        ([*VLAN, "--link", "compute:eth1,network:eth7"], 'no "eth7" on a bridge of network'),
        ([*VLAN, "--link", "compute:eth1,netwrk:eth1"], 'there is no node "netwrk"'),
        ([*GRE, "--json", "--mermaid"], "give one of"),
        (["/nonexistent"], "No such file or directory"),
        ([__file__], "is no archive that can be read"),
        ([str(Path(__file__).parent)], "no file here is named after the command"),
    ],
)
def test_what_cannot_be_is_refused(flowvm: Run, arguments: list[str], message: str) -> None:
    """With status 2, and what is the matter."""
    ended = flowvm("network", *arguments)
    assert (ended.status, ended.out) == (2, "")
    assert message in ended.err


def test_bad_lines_are_shown_and_can_be_left_out(flowvm: Run, tmp_path: Path) -> None:
    """With file, line, column and a caret."""
    text = NODE["ovs-vsctl show"].replace("tag: 2", "tag: 4096")
    directory = write(tmp_path, dict(NODE) | {"ovs-vsctl show": text})
    ended = flowvm("network", directory)
    assert (ended.status, ended.out) == (2, "")
    place = directory / "ovs-vsctl show"
    assert ended.err.startswith(f"{place}:5:18: ")
    assert "\n              tag: 4096\n                   ^\n" in ended.err
    lenient = flowvm("network", directory, "--lenient")
    assert (lenient.status, lenient.err) == (0, ended.err)
    assert "tap1" in lenient.out


def test_what_is_missing_is_told(flowvm: Run, tmp_path: Path) -> None:
    """After the tree, with what follows from it."""
    out = flowvm("network", f"x={write(tmp_path, NODE)}").out
    assert "\n\nx: ovs-vsctl list Port is not there: a port with a tag is taken" in out


def test_collect_prints_a_script(flowvm: Run) -> None:
    """Which is one for the shell."""
    ended = flowvm("collect")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith("#!/bin/sh\n")
    assert "ovs-vsctl" in ended.out


def test_nodes_of_examples_are_found_as_files_are(flowvm: Run) -> None:
    """The directory that an example is can be given itself."""
    named = flowvm("network", "example:gre/compute").out
    assert flowvm("network", str(node_source("example:gre/compute"))).out == named
