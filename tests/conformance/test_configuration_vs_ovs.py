"""Ports configured by ``mod-port``, and ``set-frags``, against a running Open vSwitch."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment
from scapy.layers.l2 import LLC, STP, Dot3, Ether
from scapy.packet import Packet, Raw

from flowvm.flow import ReservedPort
from flowvm.packet.batch import PacketBatch
from flowvm.packet.frames import Frames
from flowvm.switch import Switch
from flowvm.text.dump import parse_dump
from flowvm.text.show import parse_show

from ..oracle import Bridge
from .ct_traffic import MACS
from .test_trace_text import common_part

pytestmark = pytest.mark.oracle


def frame(packet: Packet) -> bytes:
    return bytes(Ether(src=MACS[0], dst=MACS[1]) / packet)


IPV4 = {"src": "10.0.0.1", "dst": "10.0.0.2"}
PLAIN = frame(IP(**IPV4) / UDP(sport=1, dport=2) / Raw(bytes(40)))
FIRST = frame(IP(**IPV4, flags="MF") / UDP(sport=1, dport=2) / Raw(bytes(40)))
LATER = frame(IP(**IPV4, frag=9) / UDP(sport=1, dport=2) / Raw(bytes(40)))
FIRST6 = frame(IPv6() / IPv6ExtHdrFragment(m=1, nh=6) / TCP(sport=1, dport=2) / Raw(bytes(40)))
BPDU = bytes(Dot3(src=MACS[0], dst="01:80:c2:00:00:00") / LLC() / STP())
FRAMES = (PLAIN, FIRST, LATER, FIRST6, BPDU)

FLOWS = """
table=0,priority=9,dl_type=0x05ff actions=output:2,output:3
table=0,priority=8,udp,tp_src=1 actions=output:2,resubmit(,1),output:4
table=0,priority=8,tcp6,tp_dst=2 actions=output:3,resubmit(,1),output:4
table=0,priority=7,ip actions=output:5,resubmit(,1)
table=0,priority=6,ipv6 actions=output:6,resubmit(,1)
table=1,priority=9,udp,tp_dst=2 actions=FLOOD
table=1,priority=8,in_port=1 actions=ALL,IN_PORT,learn(table=2,NXM_OF_IN_PORT[]),resubmit(,2)
table=2,priority=0 actions=CONTROLLER,LOCAL
"""


@pytest.fixture
def bridge(bridge: Bridge) -> Iterator[Bridge]:
    """A bridge that is configured as before in the end."""
    yield bridge
    bridge.ofctl("set-frags", "normal")
    for port in ("p1", "p2", "p4", "br0"):
        for flag in ("receive", "receive-stp", "forward", "packet-in", "flood"):
            bridge.ofctl("mod-port", port, flag)


@pytest.mark.parametrize("handling", ["normal", "drop", "nx-match"])
@pytest.mark.parametrize(
    "ports",
    [
        (),
        (("p1", "no-receive"),),
        (("p1", "no-receive-stp"),),
        (("p1", "no-receive"), ("p1", "no-receive-stp")),
        (("p2", "no-forward"), ("p4", "no-forward")),
        (("p1", "no-forward"), ("p2", "no-flood"), ("br0", "no-forward")),
        (("p1", "no-packet-in"), ("p2", "no-receive")),
    ],
)
def test_a_bridge_is_configured(
    bridge: Bridge, ports: tuple[tuple[str, str], ...], handling: str
) -> None:
    """Frames, packets-in, traces and counters are the same, by what ``show`` says."""
    bridge.reset()
    bridge.add_flows(FLOWS)
    bridge.ofctl("set-frags", handling)
    for port, flag in ports:
        bridge.ofctl("mod-port", port, flag)
    shown = parse_show(bridge.ofctl("show"))
    for data in FRAMES:
        bridge.reset()
        bridge.add_flows(FLOWS)
        traced = common_part(str(Switch(parse_dump(FLOWS).flows, shown).trace(data, in_port=1)))
        assert traced == common_part(bridge.trace("in_port=1", data))
        bridge.reset()
        bridge.add_flows(FLOWS)
        outcome = bridge.send(1, data)
        tables = Switch(parse_dump(FLOWS).flows, shown)
        emitted = tables.run(PacketBatch.of(Frames.of([data]), 1)).emissions
        left = list(zip(emitted.port.tolist(), emitted.frames, strict=True))
        told = [frame for port, frame in left if port == ReservedPort.CONTROLLER]
        assert told == [packet.frame for packet in bridge.packet_ins()]
        sent = [one for one in left if one[0] != ReservedPort.CONTROLLER]
        assert sorted(sent) == sorted((one.port, one.frame) for one in outcome)
        counts = sorted((flow.table, flow.n_packets) for flow in tables.flows())
        dumped = parse_dump(bridge.dump_flows()).flows
        assert counts == sorted((flow.table, flow.n_packets) for flow in dumped)
