"""Patch ports: bridges in the middle of each other's translation, as in Open vSwitch."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flowvm.network.journey import Fate
from tests.oracle import OpenVSwitch

from .network_pair import NetworkPair, network_pair

pytestmark = pytest.mark.oracle

PORTS = {"na": (1, 2), "nb": (1, 2), "nc": (1, 2)}
PATCHES = ((("na", 11), ("nb", 11)), (("nb", 12), ("nc", 12)), (("nc", 13), ("na", 13)))
FRAME = bytes.fromhex(
    "ffffffffffff 525400aa0001 08004500002e00000000 4011 66bd 0a000001 0a000002 04d2 0035 001a 0000"
) + bytes(range(18))

LEARN = "learn(table=5,priority=9,NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[])"

# Each case: the flows of na, nb and nc; a frame comes in by port 1 of na.
CASES = {
    "depth first": (
        "in_port=1 actions=1,output:11,output:2,output:IN_PORT\nin_port=13 actions=drop",
        "in_port=11 actions=output:1,output:12,output:2",
        "in_port=12 actions=output:2,output:1",
    ),
    "what a peer changes is undone": (
        "in_port=1,ip actions=mod_nw_src:10.9.9.9,output:11,output:2",
        "in_port=11,ip actions=mod_nw_dst:10.8.8.8,mod_vlan_vid:7,output:1,output:12,output:2",
        "in_port=12,dl_vlan=7 actions=strip_vlan,mod_dl_src:02:00:00:00:00:01,output:1",
    ),
    "registers, metadata and tunnels stay behind": (
        "in_port=1 actions=set_tunnel:5,load:0x77->OXM_OF_METADATA[],"
        "load:1->NXM_NX_REG0[],load:2->NXM_NX_XXREG3[],output:11,resubmit(,5)\n"
        "table=5,reg0=1,metadata=0x77,tun_id=5 actions=output:2",
        "priority=9,tun_id=5 actions=output:2\npriority=8,metadata=0x77 actions=output:2\n"
        "priority=7,reg0=1 actions=output:2\npriority=6,reg15=2 actions=output:2\n"
        "priority=1 actions=load:5->NXM_NX_REG0[],output:1",
        "actions=drop",
    ),
    "the mark goes on": (
        "in_port=1 actions=load:0x33->NXM_NX_PKT_MARK[],output:11",
        "pkt_mark=0x33 actions=load:0x44->NXM_NX_PKT_MARK[],output:12,output:1",
        "pkt_mark=0x44 actions=output:1",
    ),
    "action sets and stacks are each bridge's own": (
        "in_port=1 actions=push:NXM_OF_ETH_SRC[],output:11,write_actions(output:2)",
        "in_port=11 actions=pop:NXM_OF_ETH_DST[],output:2,"
        "write_actions(set_field:1->reg3,output:1)",
        "actions=drop",
    ),
    "an output to the patch port it came by": (
        "in_port=1 actions=output:11\nin_port=11 actions=output:2",
        "in_port=11 actions=output:11,output:1,in_port",
        "actions=drop",
    ),
    "learned flows of a bridge that is come to twice": (
        "in_port=1 actions=output:11,output:11,output:2",
        f"table=0 actions=resubmit(,5),{LEARN}\ntable=5,priority=1 actions=output:2",
        "actions=drop",
    ),
    "what is learned before an output is seen by who comes back": (
        f"priority=5,in_port=1 actions={LEARN},"
        "output:11,resubmit(,5)\npriority=4 actions=resubmit(,5)\n"
        "table=5,priority=1 actions=output:2",
        "in_port=11 actions=output:12",
        "in_port=12 actions=output:13",
    ),
    "a loop of three bridges": (
        "in_port=1 actions=output:11,output:2\nin_port=13 actions=output:11,output:2",
        "in_port=11 actions=output:12,output:1",
        "in_port=12 actions=output:13,output:1",
    ),
    "a loop that ends when the TTL does": (
        "in_port=1 actions=output:11,output:2\nin_port=13,ip actions=dec_ttl,output:11",
        "in_port=11,ip actions=mod_nw_ttl:9,output:1,output:12",
        "in_port=12,ip,nw_ttl=9 actions=output:13,output:1",
    ),
    "an error in a peer takes nothing back": (
        "in_port=1 actions=output:2,output:11,output:2",
        "in_port=11 actions=output:1,resubmit(,1),output:2\ntable=1 actions=resubmit(,1)",
        "actions=drop",
    ),
    "depth counts through patch ports": (
        "table=0,in_port=1 actions=resubmit(,60)\n"
        + "".join(f"table={n} actions=resubmit(,{n - 1}),output:2\n" for n in range(60, 30, -1))
        + "table=30 actions=output:11,output:1",
        "table=0 actions=resubmit(,60)\n"
        + "".join(f"table={n} actions=resubmit(,{n - 1})\n" for n in range(60, 5, -1))
        + "table=33 actions=output:2,resubmit(,32)\ntable=25 actions=output:1,resubmit(,24)\n"
        "table=5 actions=output:1",
        "actions=drop",
    ),
    "connection tracking in the peer": (
        "in_port=1 actions=output:2,output:11,output:2",
        "table=0,ip actions=output:2,ct(table=1),output:1\n"
        "table=1,ip,ct_state=+new+trk actions=ct(commit),output:1,output:12",
        "ct_state=+trk actions=output:2\npriority=1 actions=output:1",
    ),
    "connection tracking before the peer": (
        "table=0,ip,in_port=1 actions=ct(table=1,zone=4),output:2\n"
        "table=1,ip,ct_state=+trk actions=ct(commit,zone=4,exec(load:7->NXM_NX_CT_MARK[])),"
        "output:11",
        "priority=9,ct_state=+trk actions=output:2\npriority=9,ct_mark=7 actions=output:2\n"
        "priority=1 actions=output:1",
        "actions=drop",
    ),
    "a loop through connection tracking": (
        "table=0,ip,in_port=1 actions=output:2,ct(table=1)\n"
        "table=0,ip,in_port=13 actions=output:2,ct(table=1)\ntable=1,ip actions=output:11",
        "table=0,ip,in_port=11 actions=ct(table=1)\ntable=1,ip actions=output:12,output:1",
        "in_port=12 actions=output:13,output:1",
    ),
    "NAT without looking again": (
        "table=0,ip,in_port=1 actions=ct(commit,nat(src=10.5.5.5)),output:11,output:2",
        "ip,nw_src=10.5.5.5 actions=output:2\npriority=1,ip actions=mod_nw_dst:10.6.6.6,output:1",
        "actions=drop",
    ),
    "labels popped on the way": (
        "in_port=1 actions=push_mpls:0x8847,output:11,output:2",
        "mpls actions=pop_mpls:0x0800,output:12,output:1",
        "ip,nw_dst=10.0.0.2 actions=dec_ttl,output:1\npriority=1 actions=output:2",
    ),
    "a cut output does not go through": (
        "in_port=1 actions=output(port=11,max_len=20),output(port=2,max_len=20)",
        "actions=output:1",
        "actions=drop",
    ),
    "a group outputs to a patch port": (
        "in_port=1 actions=clone(mod_vlan_vid:5,output:11),output:2",
        "actions=clone(strip_vlan,output:12),output:1",
        "actions=output:1",
    ),
    "fragments stay fragments": (
        "in_port=1 actions=mod_nw_tos:32,output:11",
        "ip,nw_tos=32 actions=enqueue:1:5,enqueue:12:7",
        "actions=output:1",
    ),
}


@pytest.fixture(scope="module")
def pair(ovs: OpenVSwitch) -> Iterator[NetworkPair]:
    with network_pair(ovs, PORTS, PATCHES) as both:
        yield both


@pytest.mark.parametrize("case", CASES)
def test_the_same_leaves(pair: NetworkPair, case: str) -> None:
    """The same bytes leave the same ports of the same bridges in the same order."""
    pair.load(dict(zip(PORTS, CASES[case], strict=True)))
    for _ in range(2):
        pair.send("na", 1, FRAME)
    pair.compare_flows()


def test_loop_is_named(pair: NetworkPair) -> None:
    """A packet that goes round comes to an end at Open vSwitch's own depth, and that is told."""
    pair.load(dict(zip(PORTS, CASES["a loop of three bridges"], strict=True)))
    journey = pair.send("na", 1, FRAME)
    assert [end.fate for end in journey.ends()].count(Fate.LOOP) == 1
    assert [hop.number for hop in journey.hops() if hop.repeats is None][-1] == 4
