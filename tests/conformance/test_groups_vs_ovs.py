"""Groups do what they do in Open vSwitch: frames, packets to the controller, counters, traces."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    PadN,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from flowvm.flow import ReservedPort
from flowvm.packet.batch import PacketBatch
from flowvm.packet.frames import Frames
from flowvm.pipeline.result import Verdict
from flowvm.switch import Switch
from flowvm.text.dump import parse_dump
from flowvm.text.show import parse_show
from tests.oracle import Bridge, OpenVSwitch, OracleRefusedError

from .group_cases import Cases
from .test_trace_text import FRAMES, common_part, ether, ipv4

pytestmark = pytest.mark.oracle

BY_DATAPATH = "the datapath's hash"
"""What a trace of ours goes on from; Open vSwitch's ends there."""

SEVERAL_TAGS = "recirculation of a packet with several VLAN tags"


@dataclass
class Both:
    """flowvm and Open vSwitch with the same flows and groups."""

    bridge: Bridge
    switch: Switch

    @classmethod
    def load(cls, bridge: Bridge, groups: str, flows: str) -> Both:
        bridge.add_groups(groups)
        bridge.add_flows(flows)
        dump = parse_dump(
            "".join(
                bridge.ofctl(command, "-O", "OpenFlow15")
                for command in ("dump-flows", "dump-groups", "dump-group-stats")
            )
        )
        ports = parse_show(bridge.ofctl("show"))
        return cls(bridge, Switch(dump.flows, ports, dump.groups))

    def trace(self, port: int, frame: bytes) -> str:
        """A trace, which is the same on both as far as Open vSwitch's goes."""
        ours = str(self.switch.trace(frame, in_port=port))
        if BY_DATAPATH not in ours:
            theirs = self.bridge.trace(f"in_port={port}", frame)
            assert common_part(ours) == common_part(theirs)
        return ours

    def supports(self, port: int, frame: bytes) -> bool:
        """Whether the packet is supported: one with a tag may get another and then be hashed."""
        trace = self.switch.trace(frame, in_port=port)
        supported = trace.verdict != "unsupported"
        assert supported or trace.reason == SEVERAL_TAGS
        return supported

    def send(self, port: int, frame: bytes) -> tuple[int, ...]:
        """The ports that a frame leaves by, in order, which are the same on both; all of it is."""
        self.bridge.packet_ins()
        outcome = self.bridge.send(port, frame)
        theirs = [(emission.port, emission.frame) for emission in outcome]
        told = [(int(p.reason), p.cookie, p.frame) for p in self.bridge.packet_ins()]
        result = self.switch.run(PacketBatch.of(Frames.of([frame]), port, self.switch.now))
        assert result.verdict(0) is not Verdict.UNSUPPORTED, result.reason(0)
        found = result.emissions
        ports = found.port.tolist()
        ours, tells = [], []
        for number, (left_by, left) in enumerate(zip(ports, found.frames, strict=True)):
            if left_by == ReservedPort.CONTROLLER:
                tells.append((int(found.reason[number]), int(found.cookie[number]), left))
            else:
                ours.append((left_by, left))
        if not outcome.ordered:
            ours.sort(key=lambda emission: emission[0])
        assert ours == theirs
        assert tells == told
        return tuple(left_by for left_by, _ in ours)

    def compare_counters(self) -> None:
        """Flows and groups have counted the same."""
        ours = sorted(map(_timeless, map(str, self.switch.flows())))
        theirs = self.bridge.dump_flows("OpenFlow15").splitlines()[1:]
        assert ours == sorted(map(_timeless, theirs))
        stats = self.bridge.ofctl("dump-group-stats", "-O", "OpenFlow15").splitlines()[1:]
        counted = (re.sub(r"ref_count=\d+,", "", line) for line in filter(str.strip, stats))
        ours = sorted(map(str, self.switch.group_stats()))
        assert ours == sorted(map(_timeless, counted))


def _timeless(line: str) -> str:
    return re.sub(r"duration=[\d.]+s?, ?", "", line)


GROUPS = """
group_id=1,type=all,bucket=actions=output:2,set_field:5->nw_ttl,bucket=actions=group:2
group_id=2,type=indirect,bucket=actions=resubmit(,1)
group_id=3,type=select,bucket=output:3,bucket=bucket_id:9,weight:2,actions=output:4
group_id=4,type=select,selection_method=hash,fields(ip_src,vlan_vid,tcp_src=0xff),\
bucket=output:3,bucket=bucket_id:9,weight:2,actions=output:4
group_id=5,type=select,selection_method=dp_hash,selection_method_param=5,\
bucket=output:3,bucket=bucket_id:9,weight:2,actions=output:4
group_id=6,type=select,selection_method=dp_hash,bucket=output:3,bucket=weight:2000,actions=output:4
group_id=7,type=ff,bucket=watch_port:1,actions=output:1,bucket=watch_port:2,actions=output:2
group_id=8,type=select,bucket=weight:0,output:3
group_id=9,type=all
group_id=10,type=select,selection_method=hash,bucket=output:3,bucket=bucket_id:7,weight:2,output:4
group_id=11,type=all,bucket=actions=push_vlan:0x8100,group:3,bucket=actions=group:5,\
bucket=actions=CONTROLLER:65535,bucket=actions=group:77,bucket=actions=output:5,output:6,pop_vlan
group_id=12,type=ff,bucket=watch_group:8,actions=output:2,bucket=watch_group:7,actions=output:3
group_id=13,type=all,bucket=actions=output:2,bucket=actions=group:13
"""
TABLES = """
table=1,priority=0,importance=1 actions=output:5,mod_dl_src:00:00:00:00:00:05,output:6
table=2,priority=0,importance=1 actions=push:NXM_NX_REG0[],exit,write_actions(output:4,group:3)
"""


@pytest.mark.parametrize("number", range(1, 14))
def test_every_kind_of_group_does_what_it_does_in_open_vswitch(bridge: Bridge, number: int) -> None:
    """One group, followed by an output of the packet as it was, for every kind of packet."""
    flows = f"{TABLES}priority=1,importance=1 actions=group:{number},output:8"
    both = Both.load(bridge, GROUPS, flows)
    frames = {kind: bytes(packet) for kind, packet in FRAMES.items()}
    supported = [frame for frame in frames.values() if both.supports(1, frame)]
    assert len(supported) >= len(frames) - 3  # those that have a tag
    for frame in supported:
        both.trace(1, frame)
        both.send(1, frame)
    both.compare_counters()


ACTIONS = (
    "group:1,group:1,output:7",
    "clone(group:3,output:6),output:7",
    "group:11,mod_nw_src:9.9.9.9,group:11,output:7",
    "set_field:1->reg0,write_actions(output:7,group:4),goto_table:1",
    "set_field:1->reg0,output:2,write_actions(group:4,output:7)",
    "group:13,output:7",
    "group:2,resubmit(,2),output:7",
    "mod_vlan_vid:7,group:3,resubmit(,1)",
)


@pytest.mark.parametrize("actions", ACTIONS)
def test_groups_among_other_actions(bridge: Bridge, actions: str) -> None:
    """What comes before and after a group, in lists, clones and action sets."""
    match = "ip,dl_vlan=2" if "mod_vlan" in actions else "tcp"
    frame = bytes(FRAMES["tagged" if "mod_vlan" in actions else "tcp"])
    both = Both.load(bridge, GROUPS, f"{TABLES}priority=1,{match},importance=1 actions={actions}")
    both.trace(1, frame)
    both.send(1, frame)
    both.send(3, frame)
    both.compare_counters()


DOWN = (2, 5)


@pytest.fixture(scope="module")
def bridge_with_ports_down(ovs: OpenVSwitch) -> Iterator[Bridge]:
    """A bridge of its own: one does not flood as before once its ports have been down."""
    bridge = ovs.add_bridge("br-groups", {f"g{number}": number for number in range(1, 9)})
    for port in DOWN:
        ovs.ctl.call("netdev-dummy/set-admin-state", f"g{port}", "down")
    yield bridge
    ovs.remove_bridge(bridge.name)


@pytest.fixture
def with_ports_down(bridge_with_ports_down: Bridge) -> Bridge:
    """A bridge whose ports ``DOWN`` are down, empty."""
    bridge_with_ports_down.reset()
    return bridge_with_ports_down


@pytest.mark.parametrize(
    ("groups", "left_by"),
    [
        ("group_id=1,type=ff,bucket=watch_port:2,output:2,bucket=watch_port:3,output:3", (3,)),
        ("group_id=1,type=ff,bucket=watch_port:2,output:2,bucket=watch_port:99,output:3", ()),
        ("group_id=1,type=ff,bucket=watch_port:2,watch_group:2,output:6", ()),
        (
            "group_id=1,type=ff,bucket=watch_port:2,watch_group:2,actions=output:6\n"
            "group_id=2,type=ff,bucket=watch_port:5,actions=drop,bucket=watch_port:7,actions=drop",
            (6,),
        ),
        (
            "group_id=1,type=ff,bucket=watch_group:2,output:6,bucket=watch_group:1,output:7\n"
            "group_id=2,type=ff,bucket=watch_port:5,actions=drop,bucket=watch_group:2,actions=drop",
            (),
        ),
        (
            "group_id=1,type=select,selection_method=hash,bucket=weight:9,watch_port:2,output:2,"
            "bucket=watch_port:4,output:4",
            (4,),
        ),
        (
            "group_id=1,type=select,bucket=weight:9,watch_port:2,output:2,"
            "bucket=watch_port:5,output:5,bucket=watch_port:4,output:4",
            (4,),
        ),
    ],
)
def test_buckets_without_a_link_are_passed_over(
    with_ports_down: Bridge, groups: str, left_by: tuple[int, ...]
) -> None:
    """Ports that are down, or not there, and groups without a live bucket."""
    both = Both.load(with_ports_down, groups, "priority=1 actions=group:1")
    assert both.switch.names.down == set(DOWN)
    frame = bytes(FRAMES["tcp"])
    assert both.send(1, frame) == left_by
    both.trace(1, frame)


def extended(*headers: Packet) -> Packet:
    packet = ether() / IPv6(src="fe80::a", dst="fe80::b")
    for header in headers:
        packet /= header
    return packet


HOP_BY_HOP = IPv6ExtHdrHopByHop(options=[PadN(optdata=b"0000")])
DESTINATION = IPv6ExtHdrDestOpt(options=[PadN(optdata=b"0000")])
SEGMENT = TCP(sport=7, dport=9)

RECEIVED = {
    **FRAMES,
    "hop by hop": extended(HOP_BY_HOP, SEGMENT),
    "destination": extended(DESTINATION, UDP(sport=5, dport=6)),
    "two extensions": extended(HOP_BY_HOP, DESTINATION, SEGMENT),
    "first IPv6": extended(IPv6ExtHdrFragment(m=1, id=5), SEGMENT, Raw(bytes(8))),
    "atomic": extended(IPv6ExtHdrFragment(id=5), SEGMENT),
    "later IPv6": extended(IPv6ExtHdrFragment(offset=10, nh=6, id=5), Raw(bytes(64))),
    "extended first": extended(HOP_BY_HOP, IPv6ExtHdrFragment(m=1, id=5), SEGMENT, Raw(bytes(8))),
    "extended ICMP": extended(DESTINATION, ICMPv6EchoRequest()),
    "short TCP": ether() / ipv4(proto=6) / Raw(b"\0\7\0\x09abcdef"),
}


@pytest.mark.parametrize("parameter", [None, 0, 77, 1 << 32, (1 << 32) + 9])
def test_the_hash_of_the_userspace_datapath_is_told(bridge: Bridge, parameter: int | None) -> None:
    """It stands in the datapath's flows, which match on some of its bits."""
    method = (
        "" if parameter is None else f"selection_method=dp_hash,selection_method_param={parameter},"
    )
    groups = f"group_id=1,type=select,{method}bucket=output:3,bucket=weight:5,output:4"
    both = Both.load(bridge, groups, "priority=1 actions=group:1")
    for kind, packet in RECEIVED.items():
        frame = bytes(packet)
        outcome = bridge.send(1, frame)
        found = re.search(r"dp_hash\((0x[0-9a-f]+)", outcome.datapath)
        assert found, kind
        trace = str(both.switch.trace(frame, in_port=1))
        assert f"{BY_DATAPATH} is {found[1]}\n" in trace, kind


def test_the_datapath_hashes_what_the_packet_has_become_or_what_it_was(bridge: Bridge) -> None:
    """Symmetrically the former; by "l4", the latter, also after connection tracking with NAT."""
    groups = "\n".join(
        f"group_id={number},type=select,{method}bucket=weight:3,actions={a},bucket=actions={b}"
        for number, method, a, b in (
            (1, "", "output:3", "output:4"),
            (2, "selection_method=dp_hash,", "output:3", "output:4"),
            (
                3,
                "selection_method=dp_hash,",
                "ct(commit,table=2,nat(dst=10.0.0.9))",
                "resubmit(,2)",
            ),
            (4, "", "ct(commit,table=3)", "ct(commit,table=2,zone=4)"),
        )
    )
    rng = random.Random(1)
    for number in (1, 2, 3, 4):
        bridge.reset()
        both = Both.load(
            bridge,
            groups,
            f"""table=0,priority=1,ip,in_port=1 actions=ct(table=1,nat)
            table=0,priority=1,tcp,in_port=2 actions=mod_nw_dst:9.9.9.9,mod_tp_dst:5,group:{number}
            table=1,priority=1,ip actions=group:{number},output:8
            table=2,priority=1,ip actions=output:6,group:2,group:1
            table=3,priority=1,ip actions=mod_nw_src:1.1.1.1,output:7,group:2""",
        )
        for _ in range(12):
            segment = rng.choice((TCP, UDP))(sport=rng.randint(1, 9), dport=2)
            source = f"10.0.0.{rng.randint(1, 9)}"
            frame = bytes(Ether(src="52:54:00:00:00:0a") / IP(src=source, dst="10.0.0.2") / segment)
            both.send(rng.randint(1, 2), frame)


@pytest.mark.parametrize("seed", range(20))
def test_random_groups(with_ports_down: Bridge, seed: int) -> None:
    """Groups of all kinds that lead to each other and to tables, with some ports down."""
    rng = random.Random(f"groups {seed}")
    compared = 0
    while compared < 3:
        cases = Cases(rng)
        with_ports_down.reset()
        try:
            both = Both.load(with_ports_down, cases.groups(), cases.flows())
        except OracleRefusedError:
            continue
        compared += 1
        for kind in rng.sample([*FRAMES], 4):
            port, frame = rng.randint(1, 3), bytes(FRAMES[kind])
            if both.supports(port, frame):
                both.trace(port, frame)
                both.send(port, frame)
        both.compare_counters()
