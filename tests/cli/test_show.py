"""``flowvm show`` and ``flowvm example``."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .conftest import Run

EXAMPLE = "example:br-tun"


def rows(out: str) -> list[str]:
    """The lines that show a flow."""
    return [line for line in out.splitlines() if re.match(r" *\d+  ", line)]


def test_flows_are_shown_by_table_and_priority(flowvm: Run, tmp_path: Path) -> None:
    """Whatever their order in the dump; the higher priority first."""
    file = tmp_path / "flows.txt"
    file.write_text(
        "table=1,priority=5,ip actions=drop\n"
        "table=0,priority=1,in_port=1 actions=resubmit(,1)\n"
        "table=0,priority=7,arp actions=output:3\n"
    )
    assert flowvm("show", file).out.split() == [
        *("Table", "0:", "2", "flows", "priority", "match", "actions"),
        *("7", "arp", "output:3"),
        *("1", "in_port=1", "resubmit(,1)"),
        *("Table", "1:", "1", "flow", "priority", "match", "actions"),
        *("5", "ip", "drop"),
    ]


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ([], 13),
        (["--table", "20"], 2),
        (["--table", "99"], 0),
        (["--cookie", "0"], 1),
        (["--cookie", "0xb1a5"], 12),
        (["--cookie", "0xb000/0xf000"], 12),
        (["--match", "dl_dst"], 3),
        (["--match", "in_port"], 2),
        (["--match", "tun_id=0x1"], 1),
        (["--match", "tun_id=0x2"], 0),
        (["--match", "dl_dst=ff:ff:ff:ff:ff:ff"], 1),
        (["--match", "dl_dst", "--match", "vlan_tci"], 1),
        (["--match", "dl_dst", "--table", "1"], 2),
    ],
)
def test_flows_can_be_chosen(flowvm: Run, options: list[str], count: int) -> None:
    """By table, by cookie under a mask, by a field or its value; all that is asked must hold."""
    ended = flowvm("show", EXAMPLE, *options)
    assert (ended.status, ended.err, len(rows(ended.out))) == (0, "", count)


def test_a_pipe_gets_one_line_a_flow_and_no_colour(flowvm: Run) -> None:
    """What a program reads is not folded, and actions are as they were."""
    out = flowvm("show", EXAMPLE, "--table", "10").out
    assert "\x1b" not in out
    assert "output:NXM_OF_IN_PORT[]),output:1" in rows(out)[0]


def test_colours_can_be_had(flowvm: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal, or if asked for."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    out = flowvm("show", EXAMPLE, "--table", "3", "--color", "always").out
    assert "\x1b[1;31mdrop\x1b[0m" in out
    assert "\x1b" not in flowvm("show", EXAMPLE, "--color", "never").out


def test_digits_of_an_address_are_no_key(flowvm: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """In "52:54:00:5e:10:02" no pair before a colon is taken for the name of a field."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    out = flowvm("show", EXAMPLE, "--table", "20", "--color", "always").out
    assert "52:54:00:5e:10:02" in out


def test_groups_are_shown(flowvm: Run, tmp_path: Path) -> None:
    """The groups of a dump come after its flows."""
    file = tmp_path / "flows.txt"
    file.write_text("actions=group:1\n group_id=1,type=all,bucket=actions=output:2\n")
    assert flowvm("show", file).out.splitlines()[-1].startswith("group_id=1,type=all,bucket=")


def test_examples_are_listed_and_printed(flowvm: Run, tmp_path: Path) -> None:
    """What an example prints is a dump like any other."""
    assert flowvm("example").out.split() == [
        "br-tun",
        *(
            f"{cloud}/{node}"
            for cloud in ("gre", "vlan", "vxlan")
            for node in ("compute", "network")
        ),
    ]
    file = tmp_path / "copy.txt"
    file.write_text(flowvm("example", "br-tun").out)
    assert flowvm("show", file).out == flowvm("show", EXAMPLE).out


def test_the_files_of_a_node_are_printed_with_their_names(flowvm: Run) -> None:
    """As ``head`` prints several files."""
    out = flowvm("example", "gre/network").out
    assert re.findall("^==> (ip_.*) <==$", out, re.M)[:2] == ["ip_addr", "ip_netns"]
    assert "            Interface tapde5739e1-95\n" in out
    ended = flowvm("show", "example:gre/network")
    assert (ended.status, ended.out) == (2, "")
