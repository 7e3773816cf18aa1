"""MPLS labels: frames, packets-in and counters are those of Open vSwitch."""

from __future__ import annotations

import random

import pytest
from scapy.contrib.mpls import MPLS
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Dot1Q, Ether

from flowvm.packet.batch import PacketBatch
from flowvm.packet.frames import Frames
from flowvm.switch import Switch
from flowvm.text.dump import parse_dump
from flowvm.text.groups import parse_group

from ..oracle import Bridge, OracleRefusedError
from .ct_pair import Pair
from .label_cases import MACS, frame, table
from .test_trace_text import common_part

pytestmark = pytest.mark.oracle

ETHER = Ether(src=MACS[0], dst=MACS[1])
PAYLOAD = IP(src="10.0.0.1", dst="10.0.0.2", ttl=64, tos=0x48) / UDP(sport=1, dport=2) / b"data"
PACKETS = {
    "ip": ETHER / PAYLOAD,
    "tagged": ETHER / Dot1Q(vlan=5, prio=3) / PAYLOAD,
    "two tags": ETHER / Dot1Q(vlan=5, prio=3) / Dot1Q(vlan=6) / PAYLOAD,
    "three tags": ETHER / Dot1Q(vlan=5) / Dot1Q(vlan=6) / Dot1Q(vlan=7) / PAYLOAD,
    "one": ETHER / MPLS(label=7, cos=1, ttl=9, s=1) / PAYLOAD,
    "tagged one": ETHER / Dot1Q(vlan=5) / MPLS(label=7, ttl=1, s=1) / PAYLOAD,
    "two": ETHER / MPLS(label=7, ttl=9, s=0) / MPLS(label=8, ttl=3, s=1) / PAYLOAD,
    "three": ETHER / MPLS(label=7, s=0) / MPLS(label=8, s=0) / MPLS(label=9, s=1) / PAYLOAD,
    "four": ETHER
    / MPLS(label=7, s=0)
    / MPLS(label=8, s=0)
    / MPLS(label=9, s=0)
    / MPLS(label=1, s=1)
    / PAYLOAD,
}
LISTS = {
    "push": "actions=push_mpls:0x8847,output:2",
    "push and set": "actions=push_mpls:0x8847,set_mpls_label(5),set_mpls_tc(3),"
    "set_mpls_ttl(7),output:2",
    "push three": "actions=push_mpls:0x8847,push_mpls:0x8848,push_mpls:0x8847,output:2",
    "push four": "actions=output:3," + "push_mpls:0x8847," * 4 + "output:2",
    "pop": "mpls actions=pop_mpls:0x0800,output:2",
    "pop two": "mpls actions=pop_mpls:0x8847,pop_mpls:0x0800,output:2",
    "pop and count down": "mpls actions=pop_mpls:0x0800,dec_ttl,output:2",
    "pop and look up": "mpls actions=pop_mpls:0x0800,resubmit(,1),output:5\n"
    "table=1,ip,nw_dst=10.0.0.2 actions=output:2\ntable=1,priority=0 actions=output:3",
    "pop below": "mpls actions=resubmit(,1),mod_nw_dst:1.1.1.1,output:5\n"
    "table=1 actions=pop_mpls:0x0800,output:2",
    "pop to the table": "mpls actions=pop_mpls:0x0800,output:TABLE\nip actions=output:2",
    "pop and note": "mpls actions=pop_mpls:0x0800,note:01\nip actions=output:2",
    "pop below and note": "mpls actions=resubmit(,1),output:3\n"
    "table=1,mpls actions=pop_mpls:0x0800,note:01\n"
    "table=1,ip actions=output:4",
    "pop below at the end": "mpls actions=resubmit(,1)\n"
    "table=1,mpls actions=pop_mpls:0x0800,note:01\n"
    "table=1,ip actions=output:4",
    "controller with a reason": "mpls actions=pop_mpls:0x0800,controller(reason=no_match),output:2",
    "pop in the set": "mpls actions=write_actions(pop_mpls:0x0800,dec_ttl,output:2)",
    "pop in a clone": "mpls actions=clone(pop_mpls:0x0800,dec_ttl,output:2),output:3",
    "pop in a copy": "mpls,mpls_bos=1 "
    "actions=clone(pop_mpls:0x0800,dec_ttl,ct(commit),output:2),output:3",
    "pop and track": "mpls actions=pop_mpls:0x0800,ct(commit,table=1),output:3\n"
    "table=1,ct_state=+new,udp actions=mod_tp_dst:9,output:2",
    "push and pop": "actions=push_mpls:0x8847,pop_mpls:0x0800,dec_ttl,output:2",
    "push a tag too": "actions=push_mpls:0x8847,push_vlan:0x8100,output:2,strip_vlan,output:3",
    "push and pop tags": "actions=push_mpls:0x8847,push_mpls:0x8847,strip_vlan,output:2",
    "push behind a new tag": "actions=push_vlan:0x88a8,push_mpls:0x8847,output:2,output:3",
    "push without the outer tag": "actions=strip_vlan,push_mpls:0x8847,output:2",
    "count down": "actions=output:3,dec_mpls_ttl,output:2",
    "to the controller": "mpls,cookie=9 actions=pop_mpls:0x0800,CONTROLLER:65535",
    "metadata": "mpls actions=move:OXM_OF_MPLS_LABEL[]->NXM_NX_REG1[0..19],set_field:5->reg0,"
    "pop_mpls:0x0800,set_field:3->metadata,goto_table:1\n"
    "table=1,metadata=3,reg0=5,reg1=7,udp actions=output:2",
}


@pytest.mark.parametrize("name", LISTS)
def test_labels_are_handled_as_in_open_vswitch(bridge: Bridge, name: str) -> None:
    """Packets with no label and with one to four."""
    pair = Pair(bridge, LISTS[name])
    for packet in PACKETS.values():
        pair.send(1, bytes(packet))
    pair.compare_counters()


def test_a_filled_action_set_is_not_taken_along(bridge: Bridge) -> None:
    """Open vSwitch 3.1 ends when it goes on with one, so that is explicitly not supported."""
    flows = (
        "mpls actions=write_actions(output:2),goto_table:1\n"
        "table=1,mpls actions=pop_mpls:0x0800,goto_table:2"
    )
    pair = Pair(bridge, flows)
    assert pair.switch.trace(bytes(PACKETS["one"]), br_flow="in_port=1").verdict == "unsupported"
    pair.send(1, bytes(PACKETS["ip"]))


def test_recirculation_looks_at_one_tag(bridge: Bridge) -> None:
    """Of several the outermost is known then, and nothing of what is behind the others."""
    flows = (
        "priority=5,ip actions=push_vlan:0x8100,ct(commit,table=1),output:5\n"
        "table=1,priority=5,ip actions=output:2\n"
        "table=1,priority=4,dl_vlan=5 actions=output:3\n"
        "table=1,priority=3,dl_vlan=0 actions=strip_vlan,output:4"
    )
    pair = Pair(bridge, flows)
    for name in ("ip", "tagged", "two tags"):
        pair.send(1, bytes(PACKETS[name]))
    pair.compare_counters()


@pytest.mark.parametrize(
    "actions", ["mod_nw_src:9.9.9.9", "strip_vlan,dec_ttl", "push_mpls:0x8847", "ct(commit)"]
)
def test_headers_behind_two_tags_are_lost_to_the_controller(bridge: Bridge, actions: str) -> None:
    """The datapath looks anew at what it sends there; then Open vSwitch writes in wrong places."""
    flows = f"ip actions=push_vlan:0x8100,CONTROLLER,{actions},output:2"
    pair = Pair(bridge, flows)
    trace = pair.switch.trace(bytes(PACKETS["tagged"]), br_flow="in_port=1")
    assert trace.verdict == "unsupported"
    assert "two VLAN tags after CONTROLLER" in trace.reason


BEHIND_A_LABEL = {
    "track": "ct(commit,table=1)",
    "an address": "mod_nw_src:1.2.3.4,output:3",
    "a port": "mod_tp_dst:7,output:3",
}


@pytest.mark.parametrize("name", BEHIND_A_LABEL)
def test_what_a_label_hides_from_a_controller_is_not_guessed(name: str) -> None:
    """The datapath has lost the transport header by then, and does none of it as it should."""
    actions = f"clone(push_mpls:0x8847,CONTROLLER:65535),{BEHIND_A_LABEL[name]}"
    trace = Switch(parse_dump(f"table=0, tcp actions={actions}").flows).trace(
        bytes(Ether() / IP() / TCP()), br_flow="in_port=1"
    )
    assert trace.verdict == "unsupported"
    assert "behind a label that has been popped after CONTROLLER" in trace.reason


def test_what_a_label_does_not_hide_goes_on(bridge: Bridge) -> None:
    """A label that stays, Ethernet, and what is in the network header alone."""
    flows = (
        "tcp actions=clone(push_mpls:0x8847,CONTROLLER:65535),dec_ttl,mod_nw_tos:4,"
        "mod_dl_src:00:00:00:00:00:01,output:3,push_mpls:0x8847,output:4"
    )
    pair = Pair(bridge, flows)
    pair.send(1, bytes(Ether() / IP(ttl=9) / TCP() / b"data"))
    pair.compare_counters("OpenFlow15")
    pair.send(1, bytes(PACKETS["ip"]))


GROUPS = """
group_id=1,type=all,bucket=actions=pop_mpls:0x0800,output:2,bucket=actions=output:3
group_id=2,type=indirect,bucket=actions=pop_mpls:0x0800,dec_ttl,output:2
group_id=3,type=select,bucket=weight:1,actions=output:4,bucket=weight:1,actions=output:5
"""


@pytest.mark.parametrize(
    "actions",
    [
        "group:1",
        "group:2",
        "pop_mpls:0x0800,group:1",
        "pop_mpls:0x0800,group:2,output:6",
        "pop_mpls:0x0800,group:3,output:6",
        "pop_mpls:0x0800,group:3",
    ],
)
def test_groups_do_it_to_a_copy(bridge: Bridge, actions: str) -> None:
    """Buckets that pop labels, and groups that have to see what is behind one."""
    flows = f"mpls actions={actions}\nip actions=output:7"
    bridge.reset()
    bridge.add_groups(GROUPS)
    bridge.add_flows(flows)
    ports = {name: number for number, name in bridge.ports.items()}
    switch = Switch(
        parse_dump(flows).flows, ports, groups=[parse_group(line) for line in GROUPS.split()]
    )
    for name in ("one", "tagged one", "two"):
        frame = bytes(PACKETS[name])
        outcome = bridge.send(1, frame)
        emissions = switch.run(PacketBatch.of(Frames.of([frame]), 1, 0)).emissions
        ours = sorted(zip(emissions.port.tolist(), emissions.frames, strict=True))
        assert ours == sorted((e.port, e.frame) for e in outcome), name


@pytest.mark.parametrize("name", LISTS)
def test_traces_are_those_of_open_vswitch(bridge: Bridge, name: str) -> None:
    """Up to where the datapath takes up the packet again, which ``ofproto/trace`` does not."""
    flows = LISTS[name]
    bridge.add_flows(flows)
    ports = {name: number for number, name in bridge.ports.items()}
    switch = Switch(parse_dump(flows).flows, ports)
    for packet in PACKETS.values():
        ours = str(switch.trace(bytes(packet), br_flow="in_port=1"))
        theirs = bridge.trace("in_port=1", bytes(packet))
        shown = [common_part(text.replace("pop_vlan", "strip_vlan")) for text in (ours, theirs)]
        assert shown[0] == shown[1]


def accepted(bridge: Bridge, flows: str) -> str:
    """Those of the flows that some version of OpenFlow can say."""
    found = []
    for line in flows.splitlines():
        try:
            bridge.add_flows(line)
        except OracleRefusedError:
            continue
        found.append(line)
    return "\n".join(found)


@pytest.mark.parametrize("seed", range(60))
def test_random_tables_agree(bridge: Bridge, seed: int) -> None:
    """Any actions around labels, in random order and nesting."""
    rng = random.Random(seed)
    flows = accepted(bridge, table(rng))
    pair = Pair(bridge, flows)
    # Open vSwitch ends when it cannot pop a label in what the datapath does to a copy.
    copies = "clone" in flows or "check_pkt_larger" in flows
    for _ in range(12):
        packet = frame(rng, 3 if copies else 4)
        # Nor does it survive action sets of packets that it takes up again.
        if pair.switch.trace(packet, br_flow="in_port=1").verdict != "unsupported":
            pair.send(1, packet)
    pair.compare_counters()
