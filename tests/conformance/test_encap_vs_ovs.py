"""Headers put before packets and taken off them: frames and counters are Open vSwitch's."""

from __future__ import annotations

import random

import pytest
from scapy.contrib.mpls import MPLS
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import ARP, Dot1Q, Ether

from flowvm.packet.batch import PacketBatch
from flowvm.packet.frames import Frames
from flowvm.switch import Switch
from flowvm.text.dump import parse_dump
from flowvm.text.groups import parse_group

from ..oracle import Bridge
from .ct_pair import Pair
from .encap_cases import GROUPS, frame, table
from .nsh_cases import FRAMES
from .test_labels_vs_ovs import accepted
from .test_trace_text import common_part

pytestmark = pytest.mark.oracle

ETHER = Ether(src="52:54:00:00:00:0a", dst="52:54:00:00:00:0b")
PAYLOAD = IP(src="10.0.0.1", dst="10.0.0.2", ttl=64, tos=0x48) / UDP(sport=1, dport=2) / b"data"
ONE = bytes(ETHER / MPLS(label=7, cos=1, ttl=9, s=1) / PAYLOAD)
PACKETS = {
    **{name: FRAMES[name] for name in ("type 1", "ip inside", "nsh inside", "type 2", "tagged")},
    "unknown inside": FRAMES["unknown inside"],
    "ip": bytes(ETHER / PAYLOAD),
    "arp": bytes(ETHER / ARP(psrc="10.0.0.1", pdst="10.0.0.2")),
    "vlan": bytes(ETHER / Dot1Q(vlan=5, prio=3) / PAYLOAD),
    "label": ONE,
    "for multicast": ONE[:12] + b"\x88\x48" + ONE[14:],
    "labels": bytes(ETHER / MPLS(label=7, ttl=9, s=0) / MPLS(label=8, ttl=3, s=1) / PAYLOAD),
    "three": bytes(ETHER / MPLS(s=0) / MPLS(s=0, label=4) / MPLS(label=9, s=1) / PAYLOAD),
}
NEXT_TABLES = (
    "table=1,priority=9,packet_type=(1,0x894f),nsh_np=3 actions=decap(),goto_table:2\n"
    "table=1,priority=8,packet_type=(1,0x894f) actions=set_field:9->nsh_si,CONTROLLER:65535\n"
    "table=1,priority=7,packet_type=(1,0x800),nw_dst=10.0.0.2 actions=dec_ttl,encap(ethernet),"
    "set_field:00:00:00:00:00:01->eth_src,output:4\n"
    "table=1,priority=6,ip actions=output:5\n"
    "table=1,priority=5,dl_src=52:54:00:00:00:0a actions=output:6\n"
    "table=1,priority=1 actions=output:7,CONTROLLER:65535\n"
    "table=2,priority=2,ip,nw_dst=10.0.0.2 actions=dec_ttl,output:2\n"
    "table=2,priority=1 actions=CONTROLLER:65535,output:3"
)
LISTS = {
    "nsh": "ip actions=encap(nsh(md_type=1)),set_field:0x1234->nsh_spi,set_field:0x1->nsh_c1,"
    "encap(ethernet),set_field:11:22:33:44:55:66->eth_dst,output:2,output:3",
    "nsh of type 2": "ip actions=encap(nsh(md_type=2,tlv(0x1000,10,0x12345678),"
    "tlv(0x2000,20,0xfedcba9876))),set_field:5->nsh_ttl,encap(ethernet),output:2",
    "nsh of type 2 without a context": "ip actions=encap(nsh(md_type=2)),encap(ethernet),output:2",
    "a context of type 1": "actions=encap(nsh(md_type=1,tlv(0x1,2,0x03))),encap(ethernet),output:2",
    "nsh in nsh": "actions=encap(nsh),set_field:1->nsh_si,encap(nsh),encap(ethernet),output:2",
    "the controller sees it bare": "actions=encap(nsh),output:2,CONTROLLER:65535,encap(ethernet),"
    "output:3",
    "decap to another table": "dl_type=0x894f actions=decap(),goto_table:1\n" + NEXT_TABLES,
    "decap to the first table": "priority=5,dl_type=0x894f actions=decap(),decap()\n"
    "priority=2,packet_type=(1,0x800) actions=encap(ethernet),output:3\n"
    "priority=1 actions=output:2,CONTROLLER:65535",
    "decap below": "priority=5,dl_type=0x894f actions=resubmit(,1),output:9\n"
    "table=1,dl_type=0x894f actions=decap(),resubmit(,3),set_field:5->reg0,output:8\n"
    "table=3,packet_type=(1,0x894f) actions=decap()\ntable=3,ip actions=output:4",
    "no more ethernet": "packet_type=(0,0) actions=decap(),resubmit(,1)\n" + NEXT_TABLES,
    "another ethernet": "ip actions=decap(),mod_nw_src:9.9.9.9,encap(ethernet),"
    "set_field:1:2:3:4:5:6->eth_src,output:3",
    "ethernet for nsh": "ip actions=decap(),encap(nsh),encap(ethernet),output:2",
    "ethernet twice": "actions=output:3,encap(ethernet),output:2",
    "nothing to decap": "actions=output:3,decap(),decap(),output:2",
    "nsh before arp": "arp actions=output:3,decap(),encap(nsh),output:2",
    "no field of ethernet": "actions=decap(),resubmit(,1)\n"
    "table=1 actions=set_field:1:2:3:4:5:6->eth_dst,load:0x1001->NXM_OF_VLAN_TCI[],"
    "mod_dl_src:1:2:3:4:5:6,CONTROLLER:65535,goto_table:2",
    "mpls": "actions=encap(mpls),set_mpls_label(77),set_mpls_ttl(3),encap(ethernet),output:2",
    "mpls twice": "actions=encap(mpls_mc),set_mpls_label(77),encap(mpls),set_mpls_ttl(3),"
    "encap(ethernet),set_field:1:2:3:4:5:6->eth_src,output:3",
    "a tag of before": "dl_vlan=5 actions=encap(mpls),encap(ethernet),strip_vlan,output:2,"
    "push_vlan:0x8100,output:3",
    "mpls and back": "ip actions=encap(mpls),encap(ethernet),pop_mpls:0x6558,output:2",
    "label by label": "priority=4,mpls actions=decap(),decap(packet_type(ns=1,type=0x8847)),"
    "goto_table:1\n"
    "table=1,packet_type=(1,0x8847) actions=CONTROLLER:65535,encap(ethernet),output:2",
    "what a label hides": "priority=4,mpls,mpls_bos=1 actions=decap(),"
    "decap(packet_type(ns=1,type=0x800)),goto_table:1\n" + NEXT_TABLES,
    "ethernet in mpls": "priority=9,ip actions=encap(mpls),encap(ethernet),decap(),"
    "decap(packet_type(ns=0,type=0))\npriority=1 actions=output:2,CONTROLLER:65535",
    "changes before": "ip actions=mod_nw_dst:1.2.3.4,encap(nsh),encap(ethernet),output:2,decap(),"
    "output:3,decap()",
    "a tag inside": "ip actions=push_vlan:0x8100,set_field:4103->vlan_vid,encap(nsh),"
    "encap(ethernet),strip_vlan,output:2,push_vlan:0x88a8,output:3",
    "in the action set": "ip actions=write_actions(encap(nsh),set_field:5->nsh_spi,output:2)",
    "ethernet in the action set": "packet_type=(0,0) "
    "actions=write_actions(decap(),set_field:5->reg0,output:2)",
    "decap in the action set": "dl_type=0x894f actions=decap(),write_actions(decap(),output:2)",
    "in a clone": "ip actions=clone(encap(nsh),encap(ethernet),output:2),output:3,"
    "encap(nsh),clone(encap(ethernet),output:4),output:5",
    "decap in a clone": "dl_type=0x894f actions=clone(decap(),decap(),output:2),output:3",
    "track without ethernet": "ip actions=decap(),ct(commit,table=1),output:2\n"
    "table=1,ct_state=+inv,packet_type=(1,0x800) actions=mod_nw_src:4.4.4.4,encap(ethernet),"
    "output:3",
    "count down": "dl_type=0x894f actions=decap(),dec_nsh_ttl,encap(ethernet),output:2",
}


@pytest.mark.parametrize("name", LISTS)
def test_headers_come_and_go_as_in_open_vswitch(bridge: Bridge, name: str) -> None:
    """Frames, packets-in, connections and counters."""
    pair = Pair(bridge, LISTS[name])
    for packet in PACKETS.values():
        if pair.switch.trace(packet, br_flow="in_port=1").verdict != "unsupported":
            pair.send(1, packet)
    pair.compare_counters("OpenFlow15")


TRACED = [name for name in LISTS if not name.startswith("track")]
"""Open vSwitch 3.1 does not survive the trace of a packet that it tracks without Ethernet."""


@pytest.mark.parametrize("name", TRACED)
def test_traces_are_those_of_open_vswitch(bridge: Bridge, name: str) -> None:
    """Up to where the datapath takes up the packet again, which ``ofproto/trace`` does not."""
    bridge.add_flows(LISTS[name])
    ports = {name: number for number, name in bridge.ports.items()}
    switch = Switch(parse_dump(bridge.dump_flows("OpenFlow15")).flows, ports)
    for packet in PACKETS.values():
        trace = switch.trace(packet, br_flow="in_port=1")
        if trace.verdict != "unsupported":
            ours = common_part(str(trace).replace("pop_vlan", "strip_vlan"))
            theirs = bridge.trace("in_port=1", packet).replace("pop_vlan", "strip_vlan")
            assert ours == common_part(theirs)


LOSES_TRACK = {
    "clone(encap(nsh)),output:2": "an encap without an output",
    "clone(resubmit(,1)),output:2": "an output after an encap or decap",
    "encap(mpls),CONTROLLER,encap(ethernet),output:2": "encap(mpls) without encap(ethernet)",
    "encap(mpls),decap()": "encap(mpls) without encap(ethernet)",
    "decap(),push_vlan:0x8100,CONTROLLER,output:2": "a VLAN tag on a packet without",
    "decap(),mod_vlan_vid:5,CONTROLLER": "a VLAN tag on a packet without",
    "encap(nsh),ct(commit),output:2": "ct after encap or decap",
    "decap(),output(port=2,max_len=20),output:3": "max_len on the output of a packet without",
}


@pytest.mark.parametrize("actions", LOSES_TRACK)
def test_where_open_vswitch_loses_track_is_not_supported(actions: str) -> None:
    """Or where it does not survive; the reason says which."""
    flows = f"ip actions={actions}\ntable=1 actions=encap(nsh),encap(ethernet),output:3"
    switch = Switch(parse_dump(flows).flows)
    trace = switch.trace(PACKETS["ip"], br_flow="in_port=1")
    assert trace.verdict == "unsupported"
    assert LOSES_TRACK[actions] in trace.reason


@pytest.mark.parametrize("seed", range(24))
def test_random_tables_agree(bridge: Bridge, seed: int) -> None:
    """Any actions, in random order and nesting."""
    rng = random.Random(seed)
    pair = Pair(bridge, accepted(bridge, table(rng)))
    for _ in range(12):
        packet = frame(rng)
        if pair.switch.trace(packet, br_flow="in_port=1").verdict != "unsupported":
            pair.send(1, packet)
    pair.compare_counters("OpenFlow15")


@pytest.mark.parametrize("seed", range(12))
def test_random_groups_agree(bridge: Bridge, seed: int) -> None:
    """A bucket fails or freezes for itself alone."""
    rng = random.Random(seed)
    bridge.add_groups(GROUPS)
    flows = accepted(bridge, table(rng, "1234567"))
    ports = {name: number for number, name in bridge.ports.items()}
    groups = [parse_group(line) for line in GROUPS.split("\n") if line]
    switch = Switch(parse_dump(flows).flows, ports, groups=groups)
    for _ in range(12):
        packet = frame(rng)
        if switch.trace(packet, br_flow="in_port=1").verdict == "unsupported":
            continue
        outcome = bridge.send(1, packet)
        emissions = switch.run(PacketBatch.of(Frames.of([packet]), 1, 0)).emissions
        ours = sorted(zip(emissions.port.tolist(), emissions.frames, strict=True))
        theirs = [(e.port, e.frame) for e in outcome]
        theirs += [(0xFFFD, told.frame) for told in bridge.packet_ins()]
        assert ours == sorted(theirs), f"{packet.hex()}\n{flows}"
