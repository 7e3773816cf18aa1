"""``controller(pause)`` against a running Open vSwitch: what leaves before, and what is told."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from flowvm.flow import ReservedPort
from flowvm.packet.batch import PacketBatch
from flowvm.packet.frames import Frames
from flowvm.pipeline.result import Verdict
from flowvm.switch import Switch
from flowvm.text.dump import parse_dump

from ..oracle import Bridge
from .ct_traffic import MACS
from .side_by_side import IN_PORT, MODERN, arrivals, assert_same

pytestmark = pytest.mark.oracle

FRAME = bytes(
    Ether(src=MACS[0], dst=MACS[1])
    / IP(src="10.0.0.1", dst="10.0.0.2")
    / UDP(sport=1, dport=2)
    / Raw(bytes(50))
)
GROUP = "group_id=1,type=all,bucket=resubmit(,3),bucket=output:5,bucket=resubmit(,4),output:6"

FLOWS = [
    "cookie=1,actions=output:2,controller(pause),output:3",
    "cookie=1,actions=controller(max_len=20,userdata=01.02,reason=invalid_ttl,pause),output:3",
    "cookie=1,actions=resubmit(,1),output:3\n"
    "cookie=2,table=1,actions=resubmit(,2),output:4\n"
    "cookie=3,table=2,ip,actions=dec_ttl,controller(pause),output:5",
    "cookie=1,actions=clone(output:4,controller(pause),output:5),output:3",
    "cookie=1,ip,actions=clone(ct(commit),controller(pause),output:5),output:3",
    "cookie=1,actions=write_actions(output:2),goto_table:1\n"
    "cookie=2,table=1,actions=controller(pause),output:3",
    "cookie=1,actions=resubmit(,1),resubmit(,1)\n"
    "cookie=2,table=1,actions=clone(resubmit(,2)),output:4\n"
    "cookie=3,table=2,actions=controller(pause)",
    "cookie=1,priority=0,actions=controller(pause)",
    "cookie=1,ip,actions=ct(table=1),output:4\ncookie=2,table=1,actions=controller(pause),output:3",
    "cookie=1,ip,actions=ct(table=1),output:4\n"
    "cookie=2,table=1,actions=resubmit(,2),output:3\n"
    "cookie=3,table=2,actions=controller(pause,userdata=07)",
    "cookie=1,actions=check_pkt_larger(60)->NXM_NX_REG0[0],resubmit(,1),output:5\n"
    "cookie=2,table=1,reg0=1,actions=controller(pause),output:3\n"
    "cookie=3,table=1,reg0=0,actions=output:4",
    "cookie=1,mpls,actions=output:3\ncookie=2,actions=push_mpls:0x8847,"
    "output:2,pop_mpls:0x800,controller(pause),output:3",
    "cookie=1,actions=resubmit(,1),controller(pause)\ncookie=2,table=1,actions=exit,output:3",
    "cookie=1,actions=learn(table=5,NXM_OF_ETH_SRC[]),controller(pause,userdata=09),output:3",
    "cookie=1,actions=controller(pause),resubmit(,0)",
]


@pytest.mark.parametrize("flows", FLOWS)
def test_a_paused_packet_goes_no_further(bridge: Bridge, flows: str) -> None:
    """Nothing of the lists it was in is done, nor the action set."""
    assert_same(bridge, flows, arrivals([FRAME]))


def test_a_paused_packet_is_at_the_controller(bridge: Bridge) -> None:
    """Whatever it would do when that resumes it."""
    result = assert_same(bridge, "actions=controller(pause),output:2", arrivals([FRAME]))
    assert result.verdict(0) is Verdict.CONTROLLER


@pytest.mark.parametrize("flows", [*FLOWS, f"cookie=1,actions=group:1,output:7\n{FLOWS[1]}"])
def test_the_controller_is_told_where_the_translation_ended(bridge: Bridge, flows: str) -> None:
    """Table 0, the cookie of the outermost flow, and that there is something to resume."""
    flows += "\ncookie=8,table=3,actions=controller(pause),output:8"
    flows += "\ncookie=9,table=4,actions=controller(pause),output:8"
    bridge.reset()
    bridge.add_groups(GROUP)
    bridge.add_flows(flows)
    dump = parse_dump(bridge.dump_flows(MODERN) + bridge.ofctl("dump-groups", "-O", MODERN))
    ports = {name: number for number, name in bridge.ports.items()}
    switch = Switch(dump.flows, ports, dump.groups)
    bridge.send(IN_PORT, FRAME)
    theirs = [
        (p.frame, p.table_id, p.cookie, int(p.reason), p.userdata, bool(p.continuation))
        for p in bridge.packet_ins()
    ]
    result = switch.run(PacketBatch.of(Frames.of([FRAME]), IN_PORT))
    emitted = result.emissions
    ours = []
    for entry in range(len(emitted)):
        if emitted.port[entry] == ReservedPort.CONTROLLER:
            options = result.packet_in(entry)
            told = (emitted.table, emitted.cookie, emitted.reason)
            numbers = [int(column[entry]) for column in told]
            ours.append(
                (emitted.frames[entry], *numbers, options.userdata, options.is_paused),
            )
    assert ours == theirs
