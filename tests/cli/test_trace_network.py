"""``flowvm trace --node``: where a packet gets to in a network of several nodes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scapy.layers.l2 import Ether
from scapy.utils import wrpcap

from .conftest import Ended, Run

VM, STRANGER = "compute:qvo591d8cc4-df", "compute:qvo3b07f2a9-14"
TAP = "network:tapde5739e1-95"
QDHCP = "qdhcp-2782bf5e-284c-4e0d-a580-452243e3497a"
MAC = "fa:16:3e:59:1d:01"
DISCOVER = f"udp,dl_src={MAC},dl_dst=ff:ff:ff:ff:ff:ff,tp_src=68,tp_dst=67"


def nodes(cloud: str) -> list[str]:
    return [f"--node={name}=example:{cloud}/{name}" for name in ("compute", "network")]


def answered(ended: Ended) -> list[str]:
    """The sentences at the end."""
    assert (ended.status, ended.err) == (0, "")
    return ended.out.rsplit("=" * 79, 1)[-1].strip().splitlines()


def refused(ended: Ended) -> str:
    assert (ended.status, ended.out) == (2, "")
    return ended.err


@pytest.mark.parametrize(
    ("cloud", "links"),
    [("gre", []), ("vxlan", []), ("vlan", ["--link=compute:eth1,network:eth1"])],
)
def test_discover_reaches_the_dhcp_server(flowvm: Run, cloud: str, links: list[str]) -> None:
    """The answer says where it got to, on which node, with which tag there."""
    ended = flowvm("trace", *nodes(cloud), *links, "--from", VM, DISCOVER)
    told = answered(ended)
    assert told[0] == f"Delivered to {TAP} ({QDHCP}), tag 1 on network, bridge br-int."
    assert "bridge compute" not in "".join(line for line in told if line.startswith("Delivered"))


def test_tree_of_hops(flowvm: Run) -> None:
    """It begins with the way through nodes and bridges, tunnels with what they put around."""
    out = flowvm("trace", *nodes("gre"), "--from", VM, DISCOVER).out
    assert (
        out.partition("\n\n")[0]
        == f"""\
Hops:
  1. compute, br-int: in by qvo591d8cc4-df (2)
    out by patch-tun (1)
      2. compute, br-tun: in by patch port patch-int (1)
        out by gre-1 (2), gre 10.0.1.11 > 10.0.1.10, key 0x1
          3. network, br-tun: in by tunnel port gre-1 (2)
            out by patch-int (1)
              4. network, br-int: in by patch port patch-tun (1)
                out by tapde5739e1-95 (2): delivered: {TAP} ({QDHCP}), tag 1
                out by qr-6c21e0b7-48 (3): delivered: network:qr-6c21e0b7-48 \
(qrouter-f3395cd5-4cf8-47dd-a8f2-056768ff49ae), tag 1
                out by br-int (LOCAL): dropped: network:br-int is down
    out by br-int (LOCAL): dropped: compute:br-int is down"""
    )


def test_each_hop_has_its_trace(flowvm: Run) -> None:
    """Under the tree stands, for each bridge, what a trace of it alone prints."""
    out = flowvm("trace", *nodes("gre"), "--from", VM, DISCOVER).out
    assert [line for line in out.splitlines() if line.startswith("bridge(")] == [
        'bridge("br-int")',
        'bridge("br-tun")',
        'bridge("br-tun")',
        'bridge("br-int")',
    ]
    assert "Tunnel gre-1: gre 10.0.1.11 > 10.0.1.10, key 0x1, tos=0x0, ttl=64, df: " in out


@pytest.mark.parametrize(
    ("cloud", "link", "rule"),
    [
        ("gre", [], "bridge br-tun: table=2, priority=0 actions=drop."),
        (
            "vlan",
            ["--link=compute:eth1,network:eth1"],
            "bridge br-int: table=0, priority=2,in_port=1 actions=drop.",
        ),
    ],
)
def test_another_tenant_gets_nothing(flowvm: Run, cloud: str, link: list[str], rule: str) -> None:
    """The answer names the rule of the bridge of the node that ate the packet."""
    told = answered(flowvm("trace", *nodes(cloud), *link, "--from", STRANGER, DISCOVER))
    assert not [line for line in told if TAP in line]
    assert f"Dropped on network, {rule}" in told


def test_router_leads_outside(flowvm: Run) -> None:
    """What the router sends leaves by the device of br-ex that no link joins to anything."""
    gateway = "network:qg-0f9d44aa-7e"
    packet = "icmp,dl_src=fa:16:3e:0f:9d:44,dl_dst=02:00:00:00:00:01,nw_dst=8.8.8.8"
    told = answered(flowvm("trace", *nodes("gre"), "--from", gateway, packet))
    assert told[:2] == [
        "Delivered to nobody.",
        "Leaves the network: network:eth2, without a tag on network, bridge br-ex.",
    ]


def test_node_alone(flowvm: Run) -> None:
    """Where the other node is not given, the packet leaves the network to its IP address."""
    told = answered(flowvm("trace", nodes("gre")[0], "--from", VM, DISCOVER))
    assert told[1].startswith("Leaves the network: leaves the network to 10.0.1.10 (gre 10.0.1.11")


def test_json_has_the_same(flowvm: Run) -> None:
    """Hops are traces with node and bridge, and say where each output led."""
    found = json.loads(flowvm("trace", *nodes("vxlan"), "--from", VM, DISCOVER, "--json").out)
    assert [(hop["node"], hop["bridge"], hop["via"]) for hop in found["hops"]] == [
        ("compute", "br-int", "start"),
        ("compute", "br-tun", "patch"),
        ("network", "br-tun", "tunnel"),
        ("network", "br-int", "patch"),
    ]
    assert found["hops"][2]["steps"][1]["match"] == "tun_id=0x1"
    (left,) = found["hops"][1]["exits"]
    assert left["hops"] == [3]
    outer = {name: value for name, value in left["outer"].items() if name != "frame"}
    assert outer == {
        "type": "vxlan", "src": "10.0.1.11", "dst": "10.0.1.10", "key": "0x1",
        "tos": 0, "ttl": 64, "df": True, "csum": False,
    }  # fmt: skip
    assert left["outer"]["frame"].endswith(left["frame"])
    assert found["ends"][0]["name"] == "tapde5739e1-95"
    assert (found["ends"][0]["vlan"], found["ends"][0]["fate"]) == (1, "delivered")


def test_packets_of_a_capture_one_after_the_other(flowvm: Run, tmp_path: Path) -> None:
    """Each is followed with what those before it taught the bridges."""
    capture = tmp_path / "in.pcap"
    wrpcap(str(capture), [Ether(src=MAC, dst="ff:ff:ff:ff:ff:ff", type=0x800) / bytes(46)] * 2)
    ended = flowvm("trace", *nodes("gre"), "--from", VM, "--pcap", capture, "--json")
    one, two = json.loads(ended.out)
    assert [entry["fate"] for entry in one["ends"]] == [entry["fate"] for entry in two["ends"]]
    assert "learned that" in flowvm("trace", *nodes("gre"), "--from", VM, "--pcap", capture).out


def test_frames_and_times(flowvm: Run) -> None:
    """A frame in hexadecimal goes with BR_FLOW for what it does not carry; --at says when."""
    frame = "ffffffffffff" + MAC.replace(":", "") + "0800" + "00" * 46
    ended = flowvm(
        "trace", *nodes("gre"), "--from", VM, "pkt_mark=5", "--frame", frame, "--at", "7", "--json"
    )
    found = json.loads(ended.out)
    assert found["time"] == 7
    assert found["hops"][1]["flow"].startswith("pkt_mark=0x5,")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*nodes("gre"), DISCOVER], "--node needs --from NODE:PORT"),
        ([*nodes("gre"), "--from", VM], "give the packet: BR_FLOW, --frame HEX or --pcap FILE"),
        (
            [*nodes("gre"), "--from", "compote:x", DISCOVER],
            '--from: there is no node "compote"; did you mean "compute"?',
        ),
        (
            [*nodes("gre"), "--from", VM + "x", DISCOVER],
            '--from: there is no interface "qvo591d8cc4-dfx" on a bridge of compute; '
            'did you mean "qvo591d8cc4-df"?',
        ),
        (
            [*nodes("gre"), "--from", VM, DISCOVER, "--link", "compute:eth1"],
            '"compute:eth1" is not a link: NODE:INTERFACE,NODE:INTERFACE',
        ),
        (
            [*nodes("vlan"), "--from", VM, DISCOVER, "--link", "compute:eth1,network:eth7"],
            'there is no interface "eth7" on a bridge of network; did you mean "eth2"?',
        ),
        ([*nodes("gre"), "--from", VM, DISCOVER, "--in-port", "1"], "--in-port does not go with"),
        (
            [*nodes("gre"), "--from", VM, DISCOVER, "--tlv-map", "x"],
            "--tlv-map does not go with --node",
        ),
        ([*nodes("gre"), "--from", VM, "a", "b"], "with --node there are no FLOWS, only BR_FLOW"),
        (["example:br-tun", DISCOVER, "--from", VM], "--from does not go with FLOWS"),
        (
            [nodes("gre")[0], nodes("gre")[0], "--from", VM, DISCOVER],
            "two nodes are called compute: name them NAME=DIR",
        ),
        (["--node", "example:gre/nobody", "--from", VM, DISCOVER], "no such example"),
        ([*nodes("gre"), "--from", VM, "icmp,nw_scr=1"], 'BR_FLOW:1:6: unknown field "nw_scr"'),
        ([*nodes("gre"), "--from", VM, "icmp", "--at", "-1"], "is before the switch's time"),
        ([*nodes("gre"), "--from", VM, "icmp,in_port=9"], "two ports to come in by are given"),
    ],
)
def test_what_cannot_be_asked(flowvm: Run, arguments: list[str], message: str) -> None:
    """Unknown nodes and ports, and options that do not go together, are told."""
    assert message in refused(flowvm("trace", *arguments))


def test_a_bad_line_of_a_node_is_told(flowvm: Run, tmp_path: Path) -> None:
    """With file, line and caret, as everywhere."""
    (tmp_path / "ovs-ofctl dump-flows br0").write_text("priority=1 actions=outptu:1\n")
    (tmp_path / "ovs-ofctl show br0").write_text(" 1(p1): addr:02:00:00:00:00:01\n")
    error = refused(flowvm("trace", "--node", f"n={tmp_path}", "--from", "n:p1", "icmp"))
    assert "ovs-ofctl dump-flows br0:1:" in error
    assert "^" in error
