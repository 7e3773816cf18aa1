"""Traces of packets that go through ``ct``, line by line as ``ofproto/trace`` has them."""

from __future__ import annotations

import re

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from flowvm.switch import Switch
from flowvm.text.dump import parse_dump

from ..oracle import Bridge
from .ct_traffic import MACS

pytestmark = pytest.mark.oracle

FRAME = bytes(
    Ether(src=MACS[0], dst=MACS[1])
    / IP(src="10.0.0.1", dst="10.0.0.2")
    / UDP(sport=1000, dport=2000)
    / b"x"
)
FRAME6 = bytes(
    Ether(src=MACS[0], dst=MACS[1])
    / IPv6(src="fd00::1", dst="fd00::2")
    / UDP(sport=1000, dport=2000)
    / b"x"
)
_RECIRC = re.compile(r"recirc(?:_id=|\()(0x[0-9a-f]+)")


def told(trace: str) -> list[str]:
    """The lines that both tell, with recirculations numbered as they come."""
    lines = [
        line
        for line in trace.splitlines()
        if not line.startswith(("Megaflow: ", "Datapath actions: ", "This flow is handled"))
    ]
    last = max(i for i, line in enumerate(lines) if line.startswith("Final flow: "))
    numbers: dict[str, int] = {}
    shown = []
    for line in lines[: last + 1]:
        for number in _RECIRC.findall(line):
            numbers.setdefault(number, len(numbers) + 1)
        shown.append(
            _RECIRC.sub(lambda found: found[0].replace(found[1], f"#{numbers[found[1]]}"), line)
        )
    return shown


LISTS = {
    "one": "ip actions=ct(table=1)\ntable=1 actions=output:2",
    "no table": "ip actions=ct(commit,zone=5),output:2",
    "several": r"""
ip actions=load:7->NXM_NX_REG0[],push:NXM_NX_REG0[],output:2,ct(table=1,zone=5),\
load:8->NXM_NX_REG0[],ct(commit,nat(src=10.5.5.5-10.5.5.9:77),table=1,zone=6,\
exec(load:9->NXM_NX_CT_MARK[],load:0x3->NXM_NX_CT_LABEL[0..63])),ct_clear,output:3
table=1,ip,reg0=7 actions=ct(table=2),output:4
table=1,ip,reg0=8 actions=resubmit(,2),ct_clear,output:5
table=2 actions=pop:NXM_NX_REG1[],output:6
""",
    "states": r"""
ip actions=ct(table=1,nat)
table=1,ct_state=+new+trk,ip actions=ct(commit,table=2,nat(dst=10.9.9.9))
table=1,ct_state=+est+trk,ip actions=output:2
table=1,ct_state=+inv+trk actions=drop
table=2,ct_state=+est,ip,nw_dst=10.9.9.9 actions=output:3
table=2,ct_state=+new,ip,nw_dst=10.9.9.9 actions=output:4
""",
    "marks": r"""
ip actions=ct(commit,table=1,exec(load:0x5->NXM_NX_CT_MARK[0..3],\
move:NXM_OF_IN_PORT[]->NXM_NX_CT_LABEL[0..15]))
table=1,ip,ct_mark=5 actions=ct(commit,table=2,exec(load:0x1->NXM_NX_CT_MARK[4..7]))
table=2,ct_mark=0x15 actions=output:3
table=2,priority=1 actions=output:4
""",
    "no match after": "ip actions=ct(table=1)\ntable=1,ct_state=+est actions=output:2",
    "by the original tuple": r"""
ip actions=ct(table=1)
table=1,ct_state=+new,ip actions=resubmit(,2,ct),output:3
table=2 actions=output:2
""",
    "in a clone": r"""
ip actions=clone(ct(commit,table=1),output:2),output:3
table=1 actions=output:4
""",
}


def compare(bridge: Bridge, flows: str, br_flow: str, frame: bytes | None, *states: str) -> None:
    """The trace with these states to come."""
    bridge.reset()
    flows = flows.replace("\\\n", "")
    bridge.add_flows(flows)
    ports = {name: number for number, name in bridge.ports.items()}
    switch = Switch(parse_dump(flows).flows, ports)
    packet = br_flow if frame is None else frame
    extra = "" if frame is None else br_flow
    ours = str(switch.trace(packet, br_flow=extra, ct_next=states))
    options = [word for state in states for word in ("--ct-next", state)]
    theirs = bridge.trace(br_flow, frame, *options)
    assert told(ours) == told(theirs), f"{ours}\n\n{theirs}"


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("states", [(), ("trk,est", "trk,inv"), ("trk,new", "trk,est,rpl")])
def test_copies_go_on_as_in_open_vswitch(
    bridge: Bridge, name: str, states: tuple[str, ...]
) -> None:
    """With the states that are given, and new connections after that."""
    compare(bridge, LISTS[name], "in_port=1", FRAME, *states)


def test_headers_without_a_frame(bridge: Bridge) -> None:
    """The first address and port of NAT take effect on headers alone too."""
    br_flow = "in_port=1,udp,nw_src=10.0.0.1,nw_dst=10.0.0.2,udp_src=3,nw_ttl=64"
    compare(bridge, LISTS["several"], br_flow, None)


def test_nat_of_ipv6(bridge: Bridge) -> None:
    """Addresses stand in brackets."""
    flows = (
        "ipv6 actions=ct(commit,nat(src=[fd01::1]-[fd01::9]:5-6),table=1)\n"
        "table=1,udp6,ipv6_src=fd01::1,tp_src=5 actions=output:2"
    )
    compare(bridge, flows, "in_port=1", FRAME6)
