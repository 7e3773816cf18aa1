"""A trace reads as `ofproto/trace` does, line for line, down to the headers in the end."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from scapy.contrib.mpls import MPLS
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr, IPv6
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Packet, Raw

from flowvm.arrival import arrive
from flowvm.examples import read_source
from flowvm.switch import Switch
from flowvm.text.dump import parse_dump

from ..oracle import Bridge

pytestmark = pytest.mark.oracle

ALICE, BOB = "52:54:00:00:00:0a", "52:54:00:00:00:0b"
FLOOD = "01:00:5e:00:00:01"

TUNNEL = "tun_id={},tun_src=192.0.2.1,tun_dst=192.0.2.2"
"""With a frame, `ofproto/trace` believes a tunnel ID only of a tunnel that has addresses."""


def ether(destination: str = BOB) -> Packet:
    return Ether(src=ALICE, dst=destination)


def ipv4(**fields: object) -> Packet:
    return IP(src="10.0.0.1", dst="10.0.0.2", **fields)


FRAMES: Mapping[str, Packet] = {
    "tcp": ether() / ipv4() / TCP(sport=1000, dport=80, flags="SA") / Raw(b"payload"),
    "udp": ether() / ipv4(tos=0xB9, ttl=1) / UDP(sport=53, dport=53),
    "icmp": ether() / ipv4() / ICMP(type=8, code=0) / Raw(b"ping"),
    "sctp": ether() / ipv4() / SCTP(sport=5, dport=6),
    "gre": ether() / ipv4(proto=47) / Raw(bytes(8)),
    "first": ether() / ipv4(flags="MF") / UDP(sport=1, dport=2) / Raw(bytes(8)),
    "later": ether() / ipv4(frag=10, proto=17) / Raw(bytes(16)),
    "arp": ether("ff:ff:ff:ff:ff:ff") / ARP(op=1, hwsrc=ALICE, psrc="10.0.0.1", pdst="10.0.0.2"),
    "tcp6": ether() / IPv6(src="fe80::a", dst="fe80::b", fl=5, hlim=9) / TCP(sport=1, dport=2),
    "nd": ether()
    / IPv6(src="fe80::a", dst="fe80::b")
    / ICMPv6ND_NS(tgt="fe80::b")
    / ICMPv6NDOptSrcLLAddr(lladdr=ALICE),
    "tagged": ether() / Dot1Q(vlan=2, prio=3) / ipv4() / UDP(sport=1, dport=2),
    "priority": ether() / Dot1Q(vlan=0, prio=5) / ipv4() / UDP(sport=1, dport=2),
    "double": ether() / Dot1AD(vlan=7) / Dot1Q(vlan=2) / ipv4() / UDP(sport=1, dport=2),
    "mpls": ether() / MPLS(label=100, cos=3, s=0, ttl=9) / MPLS(label=200, s=1) / ipv4(),
    "lldp": Ether(src=ALICE, dst="01:80:c2:00:00:0e", type=0x88CC) / Raw(bytes(20)),
    "llc": Ether(bytes.fromhex("0180c200000052540000000a0026424203") + bytes(40)),
}


def common_part(trace: str) -> list[str]:
    """The lines down to "Final flow", which is where Open vSwitch goes on with the datapath.

    Ports that the oracle made to send by (`Bridge.entry_port`) are no part of the bridge.
    """
    lines = [line for line in trace.splitlines() if "OFPPC_NO_FWD set" not in line]
    ends = [i for i, line in enumerate(lines) if line.startswith("Final flow: ")]
    return lines[: ends[0] + 1]


def compare(bridge: Bridge, flows: str, br_flow: str, frame: bytes) -> None:
    ports = {name: number for number, name in bridge.ports.items()}
    switch = Switch(parse_dump(flows).flows, ports)
    ours = str(switch.trace(frame, br_flow=br_flow))
    theirs = bridge.trace(br_flow, frame)
    assert common_part(ours) == common_part(theirs), f"{frame.hex()}\n{ours}\n\n{theirs}"


@pytest.mark.parametrize("kind", FRAMES)
def test_headers_are_shown_as_open_vswitch_shows_them(bridge: Bridge, kind: str) -> None:
    """The flow of every kind of packet, with and without tunnel metadata."""
    flows = "priority=0 actions=output:2"
    bridge.add_flows(flows)
    for br_flow in (
        "in_port=1",
        f"in_port=1,{TUNNEL.format(5)}",
        "in_port=1,tun_id=0x5,tun_src=1.2.3.4,tun_dst=5.6.7.8,tun_tos=4,tun_ttl=64",
        "in_port=1,tun_src=1.2.3.4,tun_dst=5.6.7.8,tun_flags=oam",
        "in_port=1,tun_id=0x5,tun_ipv6_src=::1,tun_ipv6_dst=::2",
        "in_port=1,pkt_mark=0x7,skb_priority=0x3",
    ):
        compare(bridge, flows, br_flow, bytes(FRAMES[kind]))


MATCH_OF = {
    "tcp": "tcp,",
    "udp": "udp,",
    "sctp": "sctp,",
    "arp": "arp,",
    "tcp6": "tcp6,",
    "tagged": "ip,dl_vlan=2,",
    "double": "",
    "mpls": "mpls,",
}
"""What a rule must match on to be allowed actions for such a packet."""

ACTIONS = {
    "nothing": ("drop", "tcp"),
    "outputs": ("output:2,LOCAL,IN_PORT,output:3,4", "tcp"),
    "back": ("output:1", "tcp"),
    "missing": ("output:77,output:2", "tcp"),
    "flood": ("FLOOD", "tcp"),
    "all": ("ALL", "tcp"),
    "controller": ("CONTROLLER:65535,controller(reason=no_match,max_len=100,id=0)", "tcp"),
    "register output": ("load:2->NXM_NX_REG0[],output:NXM_NX_REG0[0..15]", "tcp"),
    "bad register output": ("load:0xffff->NXM_NX_REG0[],output:NXM_NX_REG0[]", "tcp"),
    "limited": ("output(port=2,max_len=40)", "tcp"),
    "resubmits": ("resubmit(,1),resubmit(3,),resubmit(3,2),resubmit(,9),output:2", "tcp"),
    "resubmit by port": ("resubmit:3", "tcp"),
    "vlan": ("mod_vlan_vid:5,mod_vlan_pcp:3,output:2,strip_vlan,output:3", "tcp"),
    "no tag": ("strip_vlan,output:2", "tcp"),
    "strip": ("strip_vlan,output:2", "double"),
    "push": ("push_vlan:0x8100,set_field:4102->vlan_vid,output:2", "tagged"),
    "push outer": ("push_vlan:0x88a8,set_field:4102->vlan_vid,output:2", "tagged"),
    "tci": ("load:0->NXM_OF_VLAN_TCI[],output:2", "tagged"),
    "tunnel": ("set_tunnel:0x1,output:2,set_tunnel64:0x100000002,output:3", "tcp"),
    "ethernet": ("mod_dl_src:00:00:00:00:00:01,mod_dl_dst:00:00:00:00:00:02,output:2", "tcp"),
    "network": ("mod_nw_src:1.1.1.1,mod_nw_dst:2.2.2.2,mod_nw_tos:252,output:2", "tcp"),
    "transport": ("mod_tp_src:1,mod_tp_dst:2,output:2", "udp"),
    "transport of none": ("mod_tp_src:1,output:2", "arp"),
    "sctp": ("mod_tp_src:1,output:2", "sctp"),
    "ipv6": ("set_field:fe80::1->ipv6_src,set_field:3->ipv6_label,output:2", "tcp6"),
    "ecn": ("set_field:2->nw_ecn,set_field:7->nw_ttl,output:2", "tcp"),
    "masked": ("set_field:12:34:56:00:00:00/ff:ff:ff:00:00:00->eth_src,output:2", "tcp"),
    "registers": (
        "set_field:0x5->reg0,set_field:0x7/0xf->reg1,set_field:9->xreg1,"
        "move:NXM_NX_REG0[0..3]->NXM_NX_REG5[4..7],set_field:0x11->xxreg3,output:2",
        "tcp",
    ),
    "moves": (
        "move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],move:NXM_OF_IN_PORT[]->NXM_NX_REG3[0..15],output:2",
        "tcp",
    ),
    "metadata": (
        "set_field:0x1234/0xffff->metadata,output:2,write_metadata:0xf0/0xf0,goto_table:1",
        "tcp",
    ),
    "mark": ("set_field:5->pkt_mark,output:2", "tcp"),
    "arp": (
        "load:0x2->NXM_OF_ARP_OP[],move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[],"
        "move:NXM_OF_ARP_SPA[]->NXM_OF_ARP_TPA[],load:0x0a000002->NXM_OF_ARP_SPA[],IN_PORT",
        "arp",
    ),
    "stack": (
        "push:NXM_OF_ETH_SRC[],push:NXM_NX_REG0[0..7],pop:NXM_NX_REG1[0..7],"
        "pop:NXM_OF_ETH_DST[],output:2",
        "tcp",
    ),
    "stack underflow": ("output:2,pop:NXM_NX_REG1[]", "tcp"),
    "ttl": ("dec_ttl,output:2", "tcp"),
    "ttl over": ("output:3,dec_ttl,output:2", "udp"),
    "ttl of none": ("dec_ttl,output:2", "arp"),
    "note": ("note:00.01.02,output:2", "tcp"),
    "exit": ("output:2,exit,output:3", "tcp"),
    "exit below": ("resubmit(,5),output:3", "tcp"),
    "learn": (
        "learn(table=8,idle_timeout=10,hard_timeout=20,priority=5,cookie=0x7,send_flow_rem,"
        "eth_type=0x800,NXM_OF_IP_DST[]=NXM_OF_IP_SRC[],nw_proto=6,"
        "load:NXM_OF_IN_PORT[]->NXM_NX_REG0[0..15],output:NXM_OF_IN_PORT[]),output:2",
        "tcp",
    ),
    "learn MACs": (
        "learn(table=8,hard_timeout=300,priority=1,NXM_OF_VLAN_TCI[0..11],"
        "NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],load:0->NXM_OF_VLAN_TCI[],"
        "load:NXM_NX_TUN_ID[]->NXM_NX_TUN_ID[],output:NXM_OF_IN_PORT[]),output:2",
        "tagged",
    ),
    "learn with fin": ("learn(table=8,fin_hard_timeout=3,fin_idle_timeout=2,in_port=3)", "tcp"),
    "goto": ("set_field:1->reg0,goto_table:1", "tcp"),
    "action set": ("write_actions(output:2,pop_vlan,set_field:5->ip_dscp),goto_table:1", "tagged"),
    "action set cleared": (
        "clear_actions,write_actions(output:3),goto_table:3",
        "tcp",
    ),
    "apply then write": ("output:4,clear_actions,write_actions(output:3)", "tcp"),
    "endless": ("output:2,resubmit(,6)", "tcp"),
    "fin": ("fin_timeout(idle_timeout=5,hard_timeout=6),output:2", "tcp"),
}

SERVICE_TABLES = """
table=1,priority=3,tcp,tcp_dst=80 actions=output:5
table=1,priority=2,ip actions=output:6,resubmit(,2)
table=1,priority=0,cookie=0xc actions=drop
table=2,priority=1,in_port=3 actions=output:7
table=2,priority=0 actions=drop
table=3,priority=0 actions=clear_actions,write_actions(output:4),goto_table:4
table=4,priority=0 actions=write_actions(output:3,dec_ttl,pop_vlan),goto_table:9
table=5,priority=0 actions=resubmit(,1),exit
table=6,priority=0 actions=output:3,resubmit(,6)
table=0,priority=1,in_port=3,cookie=0xab actions=output:8
"""


@pytest.mark.parametrize("name", ACTIONS)
def test_actions_are_told_as_open_vswitch_tells_them(bridge: Bridge, name: str) -> None:
    """Every step of a trace: the rule, its actions, what they did, and why not."""
    actions, kind = ACTIONS[name]
    # An older version of OpenFlow, which knows no importance, makes loads of set_field.
    modern = "importance=1," if "set_field" in actions else ""
    match = f"priority=1,{modern}{MATCH_OF[kind]}in_port=1"
    flows = f"{SERVICE_TABLES}\ntable=0,{match} actions={actions}\n"
    bridge.add_flows(flows)
    compare(bridge, flows, f"in_port=1,{TUNNEL.format(9)}", bytes(FRAMES[kind]))


MATCHES = (
    "priority=7",
    "cookie=0x1,priority=0",
    "priority=5,in_port=1,dl_src=52:54:00:00:00:0a,dl_dst=00:00:00:00:00:00/01:00:00:00:00:00",
    "priority=5,ip,nw_src=10.0.0.0/8,nw_dst=10.0.0.2/255.0.0.255",
    "priority=5,tcp,tp_src=1000,tp_dst=0x50/0xfff0,tcp_flags=+syn+ack",
    "priority=5,tun_id=0x9/0xff,metadata=0,reg0=0/0xff",
    "priority=5,dl_vlan=0xffff",
    "priority=5,vlan_tci=0/0x1fff",
    "priority=5,ip,nw_proto=6,nw_tos=0,nw_ttl=64,nw_frag=no",
    "priority=5,dl_type=0x0800",
    "priority=5,tun_dst=0.0.0.0,pkt_mark=0",
)


@pytest.mark.parametrize("match", MATCHES)
def test_matches_are_shown_in_the_terms_of_open_vswitch(bridge: Bridge, match: str) -> None:
    """The rule that a packet hit, however the dump spelled it."""
    flows = f"{match} actions=output:2"
    bridge.add_flows(flows)
    compare(bridge, flows, f"in_port=1,{TUNNEL.format(9)}", bytes(FRAMES["tcp"]))


@pytest.mark.parametrize(
    "br_flow",
    [
        "icmp,nw_ttl=64",
        "in_port=p1",
        "in_port=LOCAL,arp,arp_op=1",
        "in_port=1,tun_id=0x1,dl_src=52:54:00:00:00:0a,dl_dst=52:54:00:00:00:0b,ip,nw_ttl=64",
        "in_port=1,tcp,nw_ttl=64,nw_src=10.0.0.1,tp_dst=80,tcp_flags=syn|ack",
        "in_port=1,dl_vlan=5,udp6,ipv6_src=::1,nw_ttl=64",
        "in_port=1,dl_vlan_pcp=3",
        "in_port=1,vlan_tci=0x1005,tcp,nw_ttl=64,tp_dst=80",
        "in_port=1,reg0=5,metadata=7,icmp6,icmpv6_type=135,nd_target=fe80::1,nw_ttl=255",
        "in_port=1,mpls,mpls_label=5",
        "in_port=1,dl_type=0x1234",
        "in_port=1,ct_state=trk|new,tcp,nw_ttl=64",
        "in_port=1,ip,nw_frag=later,nw_proto=17,nw_ttl=64",
        "in_port=1,ip,nw_frag=first,nw_proto=17,nw_ttl=64",
        "in_port=1,udp,nw_tos=184,nw_ecn=1,nw_ttl=1",
    ],
)
def test_headers_without_a_frame_are_those_of_open_vswitch(bridge: Bridge, br_flow: str) -> None:
    """What a BR_FLOW leaves out is zero in both (but for a TTL, which is 64 here)."""
    flows = "priority=0 actions=output:2"
    bridge.add_flows(flows)
    ports = {name: number for number, name in bridge.ports.items()}
    ours = str(Switch(parse_dump(flows).flows, ports).trace(br_flow))
    assert common_part(ours) == common_part(bridge.trace(br_flow))


@pytest.mark.captures
@pytest.mark.parametrize("dump", ["computenode", "networknode"])
@pytest.mark.parametrize("destination", [BOB, FLOOD])
@pytest.mark.parametrize(
    "br_flow",
    ["in_port=1", f"in_port=2,{TUNNEL.format(1)}", f"in_port=2,{TUNNEL.format(7)}"],
    ids=["machine", "tunnel", "wrong tunnel"],
)
def test_the_seed_is_traced_as_open_vswitch_traces_it(
    bridge: Bridge, captures: Path, dump: str, destination: str, br_flow: str
) -> None:
    """Unicast and multicast, from the machines, from the tunnel, and from a wrong tunnel."""
    flows = (captures / f"seed-{dump}-br-tun.txt").read_text()
    bridge.add_flows(re.sub("^//.*\n", "", flows, flags=re.MULTILINE))
    tag = ether(destination) if "tun_id" in br_flow else ether(destination) / Dot1Q(vlan=2)
    compare(bridge, flows, br_flow, bytes(tag / ipv4() / UDP(sport=1, dport=2)))


@pytest.mark.captures
@pytest.mark.parametrize(
    "dump",
    [
        *("hotsos-neutron-fw-br-data", "hotsos-neutron-fw-br-tun"),
        *("neutron-gre-compute-0", "neutron-gre-network-0"),
        *("neutron-vlan-compute-0", "neutron-vlan-compute-1"),
        *("neutron-vxlan-l2pop-compute-0", "neutron-vxlan-l2pop-network-0"),
        "openshift-sdn-br0-of13",
    ],
)
def test_captured_tables_are_traced_as_open_vswitch_traces_them(
    bridge: Bridge, captures: Path, dump: str
) -> None:
    """Packets of all kinds with ports, tags, tunnels and addresses that the tables ask for.

    Each packet teaches both switches. Those that flowvm does not support are not asked about.
    """
    flows = (captures / f"{dump}.txt").read_text()
    bridge.add_flows(flows)
    switch = Switch(parse_dump(flows).flows)
    asked: dict[str, set[int]] = {"in_port": {1}, "vlan_vid": {2}, "tun_id": {1}, "eth_dst": {1}}
    for flow in switch.flows():
        for row, value, _ in flow.match.constraints():
            if isinstance(value, int):
                asked.setdefault(row.name, set()).add(value)
    values = {name: sorted(some) for name, some in asked.items()}
    rng = random.Random(dump)
    compared = 0
    for kind in [*FRAMES] * 3:
        frame = FRAMES[kind].copy()
        if rng.random() < 0.7:
            frame.dst = rng.choice(values["eth_dst"]).to_bytes(6, "big").hex(":")
        raw = bytes(frame)
        if rng.random() < 0.3:
            tag = rng.choice(values["vlan_vid"]) & 0xFFF
            raw = raw[:12] + b"\x81\x00" + tag.to_bytes(2, "big") + raw[12:]
        br_flow = f"in_port={rng.choice(values['in_port'])}"
        if rng.random() < 0.7:
            br_flow += "," + TUNNEL.format(rng.choice(values["tun_id"]))
        trace = switch.trace(raw, br_flow=br_flow)
        if trace.verdict != "unsupported":
            theirs = bridge.trace(br_flow, raw)
            assert common_part(str(trace)) == common_part(theirs), f"{br_flow} {raw.hex()}"
            switch.run(arrive(switch.state, raw, br_flow, None, None))
            compared += 1
    assert compared >= len(FRAMES)


GOLDEN = Path(__file__).parents[1] / "fixtures" / "traces"


@pytest.mark.parametrize(
    "name",
    [
        "flood",
        "unicast_known",
        "unicast_unknown",
        "unknown_network",
        "wrong_tunnel",
        "unknown_port",
    ],
)
def test_golden_traces_are_those_of_open_vswitch(bridge: Bridge, name: str) -> None:
    """The traces of the shipped example that learn nothing, which takes Open vSwitch a frame."""
    command, _, golden = (GOLDEN / f"{name}.txt").read_text().partition("\n")
    bridge.add_flows(read_source("example:br-tun"))
    assert common_part(golden) == common_part(bridge.trace(command.split()[-1]))
