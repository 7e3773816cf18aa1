"""Fragments in connection tracking against a running Open vSwitch."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP, fragment
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrFragment
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from flowvm.pipeline.result import Verdict

from ..oracle import Bridge
from .ct_pair import Pair
from .ct_traffic import MACS

pytestmark = pytest.mark.oracle

CLIENT, SERVER = "10.0.0.1", "10.0.0.2"
PROBE = bytes(Ether(src=MACS[0], dst=MACS[1]) / IP(src="10.9.9.9", dst="10.9.9.8") / ICMP(type=9))
"""A packet that is invalid."""

FLOWS = """
table=0,priority=10,ip actions=ct(table=1,zone=5)
table=0,priority=10,ipv6 actions=ct(table=1,zone=5)
table=1,priority=30,ct_state=-trk actions=output:8
table=1,priority=20,ct_state=+trk+inv actions=output:7
table=1,priority=10,in_port=1,ct_state=+trk+new,ip actions=ct(commit,zone=5),output:2
table=1,priority=10,in_port=1,ct_state=+trk+new,ipv6 actions=ct(commit,zone=5),output:2
table=1,priority=11,ct_state=+trk+est,nw_frag=first,ip actions=output:3,output:4
table=1,priority=10,ct_state=+trk+est actions=output:4,output:3
"""


@pytest.fixture
def bridge(bridge: Bridge) -> Iterator[Bridge]:
    """A bridge that holds no fragments, before and after."""
    yield bridge
    bridge.reset()
    bridge.add_flows("ip,actions=ct(zone=9)")
    bridge.warp(30_000)
    for _ in range(50):
        if "num frag: 0" in bridge.appctl("dpctl/ipf-get-status"):
            break
        bridge.send(1, PROBE)


def pieces(packet: Packet, size: int = 1480, end: int = 0, **ip: object) -> list[bytes]:
    """An IPv4 packet in fragments of ``size`` bytes of data, from one end to the other."""
    ends = (CLIENT, SERVER)[:: -1 if end else 1]
    addresses = {"src": ends[0], "dst": ends[1]} | ip
    ether = Ether(src=MACS[end], dst=MACS[1 - end])
    return [bytes(ether / part) for part in fragment(IP(**addresses) / packet, size)]


def pieces6(packet: Packet, size: int = 1480, ident: int = 1, end: int = 0) -> list[bytes]:
    """The same for IPv6."""
    ends = ("fd00::1", "fd00::2")[:: -1 if end else 1]
    whole = bytes(IPv6(src=ends[0], dst=ends[1]) / packet)
    data = whole[40:]
    found = []
    for at in range(0, len(data), size):
        head = IPv6(src=ends[0], dst=ends[1], nh=44)
        more = at + size < len(data)
        part = IPv6ExtHdrFragment(nh=whole[6], offset=at // 8, m=int(more), id=ident)
        body = Raw(data[at : at + size])
        found.append(bytes(Ether(src=MACS[end], dst=MACS[1 - end]) / head / part / body))
    return found


def udp(length: int, sport: int = 1000, dport: int = 53, fill: int = 0) -> Packet:
    data = bytes((i + fill) % 251 for i in range(length))
    return UDP(sport=sport, dport=dport) / Raw(data)


def send_all(pair: Pair, frames: list[bytes], port: int = 1) -> list[list[int]]:
    """The ports by which packets leave when each of ``frames`` comes in."""
    return [[out for out, _ in pair.send(port, frame)] for frame in frames]


def verdict(pair: Pair) -> Verdict:
    assert pair.last is not None
    return pair.last.verdict(0)


def test_fragments_wait_for_each_other(bridge: Bridge) -> None:
    """Nothing leaves before the last one is there; then all do, one after the other."""
    pair = Pair(bridge, FLOWS)
    first, second, third = pieces(udp(3000))
    assert send_all(pair, [first]) == [[]]
    assert verdict(pair) is Verdict.HELD
    assert pair.last is not None
    assert "fragments" in pair.last.reason(0)
    assert send_all(pair, [second]) == [[]]
    assert [frame for _, frame in pair.send(1, third)] == [first, second, third]
    assert verdict(pair) is Verdict.OUTPUT
    assert send_all(pair, pieces(udp(3000, 53, 1000), end=1), 2)[-1] == [3, 4, 4, 3, 4, 3]
    assert verdict(pair) is Verdict.OUTPUT
    pair.compare_counters()


def test_fragments_go_on_in_the_order_of_their_data(bridge: Bridge) -> None:
    """In whatever order they come."""
    pair = Pair(bridge, FLOWS)
    frames = pieces(udp(5000))
    frames = [frames[n] for n in (2, 0, 3, 1)]
    assert send_all(pair, frames) == [[], [], [], [2] * 4]
    pair.compare_counters()


def test_fragments_of_other_datagrams_are_no_help(bridge: Bridge) -> None:
    """Addresses, protocol, identification and zone tell datagrams apart; ports do not."""
    pair = Pair(bridge, FLOWS)
    one, other = pieces(udp(2000), id=1), pieces(udp(2000), id=2)
    assert send_all(pair, [one[0], other[1]]) == [[], []]
    assert send_all(pair, [pieces(udp(2000), id=1, src="10.0.0.9")[1]]) == [[]]
    assert send_all(pair, [one[1]]) == [[2, 2]]
    assert send_all(pair, [other[0]]) == [[2, 2]]


def test_incomplete_datagrams_go_on_as_invalid_after_15_seconds(bridge: Bridge) -> None:
    """With the next packet that is tracked, whatever it is; one datagram a packet."""
    pair = Pair(bridge, FLOWS)
    send_all(pair, pieces(udp(5000), id=1)[:2] + pieces(udp(3000), id=2)[1:])
    pair.wait(15_000)
    assert send_all(pair, [PROBE]) == [[7]]
    pair.wait(1)
    assert send_all(pair, [PROBE]) == [[7, 8, 8]]
    assert send_all(pair, [PROBE]) == [[7, 8, 8]]
    assert send_all(pair, [PROBE]) == [[7]]


def test_a_late_fragment_completes_its_datagram(bridge: Bridge) -> None:
    """As long as nothing else was tracked since its time was over."""
    pair = Pair(bridge, FLOWS)
    frames = pieces(udp(2000), id=1)
    send_all(pair, frames[:1])
    pair.wait(20_000)
    assert send_all(pair, frames[1:]) == [[2, 2]]
    frames = pieces(udp(5000), id=2)
    send_all(pair, frames[:1])
    pair.wait(20_000)
    assert send_all(pair, frames[1:2]) == [[8, 8]]
    assert send_all(pair, frames[2:]) == [[], []]


def test_after_25_seconds_fragments_are_thrown_away(bridge: Bridge) -> None:
    """The next packet does not set them free."""
    pair = Pair(bridge, FLOWS)
    send_all(pair, pieces(udp(5000))[:2])
    pair.wait(25_000)
    pair.wait(1)
    assert send_all(pair, [PROBE, PROBE]) == [[7], [7]]


@pytest.mark.parametrize(
    "frames",
    [
        pieces(udp(3000), 1168),
        pieces(udp(3000), 1184),
        pieces(udp(40), 8),
        pieces(udp(3000))[:1] * 2 + pieces(udp(3000))[1:],
        pieces(udp(3000))[:2] + pieces(udp(3000), 1400)[1:],
        pieces(udp(3000), 1400)[:2] + pieces(udp(3000))[1:],
        pieces(udp(3000), chksum=7),
        pieces(UDP(sport=1, dport=2, chksum=7) / Raw(bytes(2000))),
        pieces(UDP(sport=1, dport=2, chksum=0) / Raw(bytes(2000))),
        pieces(udp(2000))[1:] + pieces(udp(2000))[:1] + pieces(udp(2000)),
        pieces(TCP(sport=1, dport=2, flags="S") / Raw(bytes(2000))),
        pieces(TCP(sport=1, dport=2, flags="SA") / Raw(bytes(2000))),
        pieces(ICMP(type=8) / Raw(bytes(3000))),
        pieces(ICMP(type=3) / IP(src=SERVER, dst=CLIENT) / udp(1800)),
        pieces(Raw(bytes(3000)), proto=47),
        pieces(udp(3000), options=[IPOption_NOP()] * 4),
        [frame + bytes(9) for frame in pieces(udp(3000))],
        [frame[:-3] for frame in pieces(udp(3000))],
        pieces(udp(60_000)),
        pieces(udp(60_000), 1184),
        pieces6(udp(3000)),
        pieces6(udp(3000))[::-1],
        pieces6(udp(3000), 1200),
        pieces6(udp(3000), 1232),
        pieces6(ICMPv6EchoRequest(data=bytes(2000))),
        pieces6(TCP(sport=1, dport=2, flags="S") / Raw(bytes(2000))),
        [frame + bytes(9) for frame in pieces6(udp(3000))],
        [frame[:-3] for frame in pieces6(udp(3000))],
        pieces6(udp(60_000)),
        pieces6(udp(3000))[:1] * 2 + pieces6(udp(3000))[1:],
    ],
)
def test_what_fragments_can_be_like(bridge: Bridge, frames: list[bytes]) -> None:
    """Sizes, overlaps, checksums, protocols, padding, more than a batch of them."""
    pair = Pair(bridge, FLOWS)
    send_all(pair, frames)
    send_all(pair, [PROBE])
    pair.wait(15_001)
    send_all(pair, [PROBE, PROBE])
    pair.compare_counters()


NATTED = """
table=0,priority=10,in_port=1,ip actions=ct(commit,table=1,zone=5,nat(src=10.1.1.1:5000))
table=0,priority=10,in_port=2,ip actions=ct(table=1,zone=5,nat)
table=0,priority=10,in_port=3,ip actions=ct(commit,table=1,zone=6,nat(dst=10.1.1.7:99))
table=0,priority=10,in_port=1,ipv6 actions=ct(commit,table=1,zone=5,nat(src=[fd00::9]:5000))
table=0,priority=10,in_port=2,ipv6 actions=ct(table=1,zone=5,nat)
table=1,priority=20,ct_state=+inv actions=output:7
table=1,priority=10,ct_state=+dnat actions=output:3
table=1,priority=10,ct_state=+snat actions=output:4
table=1,priority=9,ip,nw_frag=first,udp,tp_src=5000 actions=output:5
table=1,priority=0 actions=output:6
"""


def test_fragments_are_translated(bridge: Bridge) -> None:
    """All get the addresses; ports and checksum are in the first."""
    pair = Pair(bridge, NATTED)
    send_all(pair, pieces(udp(3000)))
    send_all(pair, pieces(udp(3000, 53, 5000), src=SERVER, dst="10.1.1.1"), 2)
    send_all(pair, pieces(udp(3000), id=3), 3)
    send_all(pair, pieces(TCP(sport=9, dport=8, flags="S") / Raw(bytes(2500)), id=4))
    send_all(pair, pieces(ICMP(type=8, id=9) / Raw(bytes(2500)), id=5))
    error = ICMP(type=3) / IP(src="10.1.1.1", dst=SERVER) / udp(1800, 5000)
    send_all(pair, pieces(error, src=SERVER, dst="10.1.1.1"), 2)
    send_all(pair, pieces6(udp(3000)))


@pytest.mark.parametrize(
    "actions",
    [
        "output:2,ct(commit,zone=5),output:3,output:4",
        "ct(commit,zone=5),ct(commit,zone=6),output:3",
        "ct(zone=5,table=1),output:3",
        "ct(zone=5,table=2),output:3",
        "ct(zone=5,table=3),output:4",
        "clone(ct(commit,zone=5),output:3),output:4",
        "ct(commit,zone=5),clone(ct(commit,zone=6),output:3),output:4",
        "ct(commit,zone=5),dec_ttl,output:3,output:4",
        "mod_nw_ttl:9,ct(commit,zone=5),mod_nw_ttl:8,output:3",
        "mod_vlan_vid:4,ct(commit,zone=5,table=1),mod_vlan_vid:5,output:3",
        "ct(commit,zone=5),mod_dl_src:52:54:00:00:00:99,output:3",
        "ct(commit,zone=5),mod_dl_src:0:0:0:0:0:1,output:3,mod_dl_src:0:0:0:0:0:2,output:3",
        "ct(commit,zone=5,exec(load:7->NXM_NX_CT_MARK[],load:9->NXM_NX_CT_LABEL[]),table=1)",
        "load:6->NXM_NX_REG1[],ct(zone=NXM_NX_REG1[0..15],table=1)",
        "ct_clear,ct(commit,zone=5,nat(src=10.1.1.1:7)),output:3,mod_nw_tos:8,output:4",
        "ct(commit,zone=5),CONTROLLER:128",
        "ct(commit,zone=5),CONTROLLER,output:3",
        "ct(zone=5)",
        "learn(table=9,NXM_OF_ETH_SRC[]),ct(commit,zone=5),output:3",
    ],
)
def test_fragments_take_the_rest_of_the_path(bridge: Bridge, actions: str) -> None:
    """That of the packet that set them free, and the tables after it on their own."""
    flows = f"""
    table=0,priority=9,ip actions={actions}
    table=1,priority=9,ip,ct_state=+new actions=output:5,ct(commit,zone=5),output:6
    table=1,priority=8 actions=output:7
    table=2,priority=9,ip actions=ct(zone=7,table=1),output:2
    table=3,priority=9,ip,nw_frag=first actions=mod_nw_ttl:7,ct(zone=7,table=1),output:2
    table=3,priority=8,ip actions=mod_nw_ttl:7,ct(zone=7,table=1),output:8
    """
    pair = Pair(bridge, flows)
    for ident in (1, 2):
        send_all(pair, pieces(udp(4000), id=ident))
    send_all(pair, pieces(udp(5000), id=3)[:2])
    pair.wait(15_001)
    if "output" in actions and "mod" not in actions and "dec" not in actions:
        send_all(pair, [PROBE])
    pair.compare_counters()


@pytest.mark.parametrize("seed", range(12))
def test_random_fragments(bridge: Bridge, seed: int) -> None:
    """Datagrams from both ends, in any order, some broken, with time going by."""
    rng = random.Random(seed)
    flows = rng.choice((FLOWS, NATTED))
    pair = Pair(bridge, flows)
    waiting: list[tuple[int, bytes]] = []
    age = 0
    for number in range(25):
        end = rng.choice((0, 0, 1))
        length = rng.choice((1400, 2000, 3000, 5000))
        ports = (1000, 53)[:: -1 if end else 1]
        size = rng.choice((1480, 1480, 1480, 1200, 1184, 1000))
        ident = rng.choice((number, 7))
        if rng.random() < 0.3:
            frames = pieces6(udp(length, *ports), size, ident, end)
        else:
            to = {"dst": "10.1.1.1"} if end and flows is NATTED else {}
            if to:
                ports = (53, 5000)
            frames = pieces(udp(length, *ports), size, end, id=ident, **to)
        waiting += [(1 + end, frame) for frame in frames]
        if rng.random() < 0.3:
            rng.shuffle(waiting)
        for _ in range(rng.randint(0, 4)):
            if waiting:
                port, frame = waiting.pop(0)
                if rng.random() < 0.05:
                    at = rng.randrange(14, len(frame))
                    frame = frame[:at] + bytes([frame[at] ^ 1]) + frame[at + 1 :]
                if rng.random() < 0.9:
                    pair.send(port, frame)
        if rng.random() < 0.1 and age < 20_000:
            step = rng.choice((1000, 14_000, 2001))
            age += step
            if age < 24_000:
                pair.wait(step)
    pair.compare_counters()
