"""``flowvm trace`` of packets that go through connection tracking."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Run

FLOWS = """
 table=0, ip actions=ct(table=1,zone=7)
 table=1, ct_state=+new+trk,ip actions=output:2
 table=1, ct_state=+est-rpl+trk,ip actions=output:3
 table=1, ct_state=+est+rpl+trk,ip actions=output:4
 table=1, ct_state=+inv+trk actions=drop
"""
CONNECTION = (
    "udp,orig=(src=10.0.0.1,dst=10.0.0.2,sport=1000,dport=53),"
    "reply=(src=10.0.0.2,dst=10.0.0.1,sport=53,dport=1000),zone=7\n"
)
REQUEST = "in_port=1,udp,nw_src=10.0.0.1,nw_dst=10.0.0.2,udp_src=1000,udp_dst=53"
REPLY = "in_port=1,udp,nw_src=10.0.0.2,nw_dst=10.0.0.1,udp_src=53,udp_dst=1000"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """The paths of the flows and of the connections."""
    flows, connections = tmp_path / "flows.txt", tmp_path / "connections.txt"
    flows.write_text(FLOWS)
    connections.write_text(CONNECTION)
    return {"flows": str(flows), "connections": str(connections)}


def output_of(flowvm: Run, *arguments: str) -> str:
    result = flowvm("trace", *arguments)
    assert result.status == 0, result.err
    return result.out


def test_a_packet_without_history_is_new(flowvm: Run, files: dict[str, str]) -> None:
    """And the trace says that this is but the default."""
    told = output_of(flowvm, files["flows"], REQUEST)
    assert "resume conntrack with default ct_state=trk|new (use --ct-next to customize)" in told
    assert told.endswith("Verdict: output to 2\n")


def test_the_next_state_can_be_given(flowvm: Run, files: dict[str, str]) -> None:
    """As for ofproto/trace."""
    told = output_of(flowvm, files["flows"], REQUEST, "--ct-next", "trk,est")
    assert "recirc(0x1) - resume conntrack with ct_state=est|trk\n" in told
    assert told.endswith("Verdict: output to 3\n")


def test_connections_can_be_given(flowvm: Run, files: dict[str, str]) -> None:
    """A packet and its reply are part of the connection; others are new."""
    known = ("--conntrack", files["connections"])
    assert output_of(flowvm, files["flows"], REQUEST, *known).endswith("Verdict: output to 3\n")
    assert output_of(flowvm, files["flows"], REPLY, *known).endswith("Verdict: output to 4\n")
    other = REQUEST.replace("1000", "1001")
    assert output_of(flowvm, files["flows"], other, *known).endswith("Verdict: output to 2\n")


def test_json_has_what_is_resumed(flowvm: Run, files: dict[str, str]) -> None:
    """The state, the table, the headers; lookups of all copies are among the steps."""
    told = json.loads(output_of(flowvm, files["flows"], REQUEST, "--ct-next", "trk,est", "--json"))
    assert [step["table"] for step in told["steps"]] == [0, 1]
    (copy,) = told["resumed"]
    assert (copy["recirc_id"], copy["table"], copy["ct_state"]) == (1, 1, "est|trk")
    assert copy["flow"].startswith("recirc_id=0x1,ct_state=est|trk,ct_zone=7,eth,udp,")


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        ("est", 'no flag is set without "trk"'),
        ("trk,inv,est", '"inv" goes with "trk" only'),
        ("trk,new,rpl", '"new" does not go with "rpl"'),
        ("trk,nwe", 'unknown flag "nwe" of ct_state; did you mean "new"?'),
    ],
)
def test_a_state_that_cannot_be_is_refused(
    flowvm: Run, files: dict[str, str], state: str, problem: str
) -> None:
    """In one line."""
    result = flowvm("trace", files["flows"], REQUEST, "--ct-next", state)
    assert result.status == 2
    assert problem in result.err


def test_a_connection_that_cannot_be_read_is_shown(flowvm: Run, files: dict[str, str]) -> None:
    """With the file, the line and a caret."""
    Path(files["connections"]).write_text(CONNECTION + "udp,orig\n")
    result = flowvm("trace", files["flows"], REQUEST, "--conntrack", files["connections"])
    assert result.status == 2
    assert "connections.txt:2:1: this is not a connection" in result.err


def test_nat_picks_by_a_number_that_is_told(flowvm: Run, files: dict[str, str]) -> None:
    """Without it there is no answer; a number that is none is refused."""
    flows = Path(files["flows"])
    flows.write_text("ip actions=ct(commit,nat(src=10.1.1.1-10.1.1.9)),output:2")
    known = [str(flows), REQUEST, "--conntrack", files["connections"]]
    assert "unsupported: nat to one of several addresses" in output_of(flowvm, *known)
    told = output_of(flowvm, *known, "--nat-basis", "0x12345678")
    assert told.endswith("Verdict: output to 2\n")
    refused = flowvm("trace", *known, "--nat-basis", "x")
    assert (refused.status, refused.err) == (2, 'flowvm: --nat-basis: "x" is not a number\n')
