"""``flowvm trace``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Run

EXAMPLE = "example:br-tun"
FLOODED = "in_port=1,dl_vlan=2,udp,dl_dst=ff:ff:ff:ff:ff:ff"
FRAME = "ffffffffffff52540000000181000002080045000014000000004000" + "66d80a0000010a000002"

SHOW = """\
 1(patch-int): addr:fe:d2:9d:1a:7f:11
     config:     0
 2(gre-1): addr:06:c5:64:0e:a6:c2
     config:     0
 3(quiet): addr:06:c5:64:0e:a6:c3
     config:     NO_FLOOD
 LOCAL(br-tun): addr:82:72:c4:83:d8:47
     config:     PORT_DOWN
"""


@pytest.fixture
def show(tmp_path: Path) -> Path:
    file = tmp_path / "show.txt"
    file.write_text(SHOW)
    return file


def flows(tmp_path: Path, *lines: str) -> Path:
    file = tmp_path / "flows.txt"
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


def test_json_has_just_the_documented_keys(flowvm: Run) -> None:
    """Programs rely on the keys, their types and their order."""
    answer = json.loads(flowvm("trace", EXAMPLE, FLOODED, "--json").out)
    assert list(answer) == [
        *("flow", "steps", "outputs", "verdict", "reason", "learned", "final_flow"),
    ]
    step = ["depth", "table", "priority", "cookie", "match", "actions"]
    assert [list(s) for s in answer["steps"]] == [step] * 3
    assert [(s["depth"], s["table"]) for s in answer["steps"]] == [(0, 0), (1, 1), (2, 21)]
    (output,) = answer["outputs"]
    assert list(output) == ["port", "name", "frame", "tun_id", "tun_src", "tun_dst"]
    assert (output["port"], output["name"], output["tun_id"]) == (2, None, "0x1")
    assert answer["verdict"] == "output"


def test_json_marks_a_miss(flowvm: Run, tmp_path: Path) -> None:
    """A lookup that finds nothing has neither priority nor actions."""
    file = flows(tmp_path, "priority=1,in_port=1 actions=resubmit(,7)")
    answer = json.loads(flowvm("trace", file, "in_port=1", "--json").out)
    assert answer["steps"][1] == {"depth": 1, "table": 7, "miss": True}
    assert (answer["verdict"], answer["reason"]) == ("drop", "no match in table 7")


def test_json_lists_what_was_learned_as_dump_flows_prints_it(flowvm: Run) -> None:
    """The learned flow can be given to ovs-ofctl add-flow."""
    arrival = "in_port=2,tun_id=0x1,icmp,dl_src=52:54:00:5e:10:01"
    answer = json.loads(flowvm("trace", EXAMPLE, arrival, "--json").out)
    assert answer["learned"] == [
        "table=20, hard_timeout=300, priority=1,vlan_tci=0x0002/0x0fff,dl_dst=52:54:00:5e:10:01"
        " actions=load:0->NXM_OF_VLAN_TCI[],load:0x1->NXM_NX_TUN_ID[],output:2"
    ]


def test_outputs_come_in_the_order_of_the_actions(flowvm: Run, tmp_path: Path, show: Path) -> None:
    """Ports are numbers but for LOCAL and CONTROLLER, and have names where they are known."""
    file = flows(tmp_path, "actions=output:2,LOCAL,IN_PORT,CONTROLLER,output:1")
    answer = json.loads(flowvm("trace", file, "in_port=1", "--ports", show, "--json").out)
    assert [(output["port"], output["name"]) for output in answer["outputs"]] == [
        (2, "gre-1"),
        ("LOCAL", "br-tun"),
        (1, "patch-int"),
        ("CONTROLLER", None),
    ]
    answer = json.loads(flowvm("trace", file, "in_port=1", "--json").out)
    assert [output["name"] for output in answer["outputs"]] == [None] * 4


@pytest.mark.parametrize(
    ("actions", "verdict", "reason"),
    [
        ("drop", "drop", "dropped by table=0, priority=1 actions=drop"),
        ("output:1", "drop", "skipping output to input port: table=0, priority=1 actions=output:1"),
        ("output:2", "output", "output to 2"),
        ("output:2,output:3,output:2", "output", "output to 2, 3"),
        ("CONTROLLER", "controller", "sent to CONTROLLER (action)"),
        (
            "NORMAL",
            "unsupported",
            "NORMAL without knowing the bridge's ports (--ports, --vsctl)",
        ),
        ("output:2,resubmit(,0)", "error", "over max translation depth 64"),
    ],
)
def test_the_verdict_says_what_became_of_the_packet(
    flowvm: Run, tmp_path: Path, actions: str, verdict: str, reason: str
) -> None:
    """A word for programs, and a reason for people."""
    file = flows(tmp_path, f"priority=1 actions={actions}")
    answer = json.loads(flowvm("trace", file, "in_port=1", "--json").out)
    assert (answer["verdict"], answer["reason"]) == (verdict, reason)
    assert flowvm("trace", file, "in_port=1").out.splitlines()[-1].endswith(reason)


def test_flood_needs_the_ports_and_heeds_no_flood(flowvm: Run, tmp_path: Path, show: Path) -> None:
    """FLOOD goes to all ports of the bridge, without the ingress port and those set NO_FLOOD."""
    file = flows(tmp_path, "in_port=1 actions=FLOOD", "in_port=2 actions=ALL")
    unknown = json.loads(flowvm("trace", file, "in_port=1", "--json").out)
    assert (unknown["verdict"], unknown["outputs"]) == ("unsupported", [])
    flood = json.loads(flowvm("trace", file, "in_port=1", "--ports", show, "--json").out)
    assert {output["port"] for output in flood["outputs"]} == {2, "LOCAL"}
    everywhere = json.loads(flowvm("trace", file, "in_port=gre-1", "--ports", show, "--json").out)
    assert {output["port"] for output in everywhere["outputs"]} == {1, 3, "LOCAL"}


def test_a_frame_gives_the_headers_and_the_flow_the_rest(flowvm: Run, tmp_path: Path) -> None:
    """Port, tunnel and registers come from BR_FLOW; headers in it give way to the frame's."""
    file = flows(tmp_path, "reg3=5,tun_id=0x9,metadata=0x7,in_port=2,ip actions=output:1")
    said = "in_port=2,tun_id=0x9,reg3=5,metadata=7,ip,nw_src=9.9.9.9"
    answer = json.loads(flowvm("trace", file, said, "--frame", FRAME, "--json").out)
    assert "nw_src=10.0.0.1" in answer["flow"]
    assert [(o["port"], o["frame"]) for o in answer["outputs"]] == [(1, FRAME)]


def test_a_frame_may_be_spaced_out(flowvm: Run) -> None:
    """Blanks and colons between bytes, as other tools print them, are taken."""
    spaced = ":".join(FRAME[i : i + 2] for i in range(0, len(FRAME), 2)).upper()
    assert (
        flowvm("trace", EXAMPLE, "--frame", spaced, "--in-port", 1).out
        == flowvm("trace", EXAMPLE, "in_port=1", "--frame", FRAME).out
    )


def test_the_port_may_be_an_option(flowvm: Run, show: Path) -> None:
    """--in-port takes what in_port= does, a name too."""
    by_number = flowvm("trace", EXAMPLE, FLOODED, "--ports", show)
    headers = FLOODED.partition(",")[2]
    by_name = flowvm("trace", EXAMPLE, headers, "--in-port", "patch-int", "--ports", show)
    assert by_number.out == by_name.out
    assert 'bridge("br-tun")' in by_name.out


@pytest.mark.parametrize(("at", "table"), [("287.9", 20), ("288.1", 21)])
def test_a_flow_lives_on_from_its_age(flowvm: Run, at: str, table: int) -> None:
    """The learned row was confirmed 12 s before the dump; its hard timeout is 300 s."""
    known = "in_port=1,dl_vlan=2,ip,dl_dst=52:54:00:5e:10:02"
    answer = json.loads(flowvm("trace", EXAMPLE, known, "--at", at, "--json").out)
    assert answer["steps"][-1]["table"] == table


def test_flows_come_from_standard_input(flowvm: Run) -> None:
    """FLOWS of "-" is standard input."""
    ended = flowvm("trace", "-", "in_port=1", stdin=b"in_port=1 actions=output:2\n")
    assert ended.out.endswith("Verdict: output to 2\n")


def test_a_table_without_flows_drops(flowvm: Run, tmp_path: Path) -> None:
    """A dump may be empty: a bridge in secure mode then drops everything."""
    ended = flowvm("trace", flows(tmp_path), "in_port=1")
    assert (ended.status, ended.out.splitlines()[-1]) == (0, "Verdict: drop: no match in table 0")


def test_a_frame_without_an_ethernet_header_is_dropped(flowvm: Run) -> None:
    """No port could receive it."""
    ended = flowvm("trace", EXAMPLE, "in_port=1", "--frame", "00")
    assert ended.out.endswith("Verdict: drop: shorter than an Ethernet header\n")
