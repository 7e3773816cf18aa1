"""NAT to ranges against a running Open vSwitch, whose secret the tests find out.

What it picks depends on a random number of 32 bits. If it may pick any address at all, the address
is the whole hash; and every step of the hash can be undone.
"""

from __future__ import annotations

import random
import struct

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from ..oracle import Bridge
from .ct_pair import Pair
from .ct_traffic import MACS

pytestmark = pytest.mark.oracle

WORD = 1 << 32
PROBE = IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1000, dport=53) / b"?"


def frame(packet: Packet) -> bytes:
    return bytes(Ether(src=MACS[0], dst=MACS[1]) / packet)


def secret_of(bridge: Bridge) -> int:
    """The number by which the datapath picks."""
    bridge.reset()
    bridge.add_flows("ip,actions=ct(commit,nat(src=0.0.0.1-255.255.255.255)),output:2")
    (sent,) = bridge.send(1, frame(PROBE))
    # 2**32 - 1 addresses: what is chosen is the hash, but for one of its values.
    hashed = Ether(sent.frame)[IP].src.split(".")
    number = int.from_bytes(bytes(map(int, hashed)), "big") - 1
    ends = [
        bytes([10, 0, 0, last]) + bytes(12) + struct.pack("!HH", port, 0)
        for last, port in ((1, 1000), (2, 53))
    ]
    data = bytes([0, 0, 0, 1]) + bytes(12) + bytes([255] * 4) + bytes(12)
    data += bytes(4) + ends[0] + ends[1] + b"\x08\x00\x00\x00"
    words = [*struct.unpack(f"<{len(data) // 4}I", data), 17, 0]
    return _undone(number, words)


def _undone(number: int, words: list[int]) -> int:
    number ^= number >> 16
    number = number * pow(0xC2B2AE35, -1, WORD) % WORD
    number ^= number >> 13 ^ number >> 26
    number = number * pow(0x85EBCA6B, -1, WORD) % WORD
    number ^= number >> 16
    for word in reversed(words):
        mixed = word * 0xCC9E2D51 % WORD
        mixed = (mixed << 15 | mixed >> 17) * 0x1B873593 % WORD
        number = (number - 0xE6546B64) * pow(5, -1, WORD) % WORD
        number = (number >> 13 | number << 19) % WORD ^ mixed
    return number


@pytest.fixture
def secret(bridge: Bridge) -> int:
    """What flowvm is told."""
    return secret_of(bridge)


@pytest.mark.parametrize(
    "nat",
    [
        "src=10.1.1.1-10.1.1.200",
        "src=10.1.1.1-10.1.1.200:5000",
        "src=10.1.1.1-10.1.1.7:5000-5003",
        "src=10.1.1.1:5000-5010,random",
        "src=10.1.1.1-10.1.1.2,persistent,hash",
        "dst=10.1.1.1-10.1.1.200",
        "dst=10.1.1.1-10.1.1.5:80-90",
        "dst=10.1.1.1:80-81",
        "src=10.1.1.1:70-72",
    ],
)
def test_addresses_and_ports_are_picked(bridge: Bridge, secret: int, nat: str) -> None:
    """Of all kinds of packets, until there are no more to pick, and replies find back."""
    pair = Pair(
        bridge,
        f"""
        table=0,in_port=1,ip actions=ct(commit,zone=7,nat({nat}),table=1)
        table=0,in_port=2,ip actions=ct(zone=7,nat,table=1)
        table=1,in_port=1,ct_state=+dnat actions=output:3
        table=1,in_port=1,priority=9 actions=output:2
        table=1,in_port=2,ct_state=+inv actions=output:5
        table=1,in_port=2,priority=9 actions=output:1
        """,
    )
    pair.switch.nat_basis = secret
    rng = random.Random(nat)
    for _ in range(40):
        client = f"10.0.0.{rng.randint(1, 4)}"
        sport, dport = rng.choice((1, 300, 550, 1000, 2000, 2001, 65535)), rng.choice((53, 80, 81))
        kind = rng.choice(
            (
                UDP(sport=sport, dport=dport) / b"?",
                TCP(sport=sport, dport=dport, flags="S"),
                ICMP(type=8, id=rng.randint(1, 3)) / b"ping",
            )
        )
        sent = pair.send(1, frame(IP(src=client, dst="10.0.0.2") / kind))
        if sent and rng.random() < 0.3 and ICMP not in kind:
            there = Ether(sent[0][1])[IP]
            upper = there.payload
            answer = UDP(sport=upper.dport, dport=upper.sport) / b"!"
            if TCP in kind:
                answer = TCP(sport=upper.dport, dport=upper.sport, flags="SA", ack=1)
            pair.send(2, frame(IP(src=there.dst, dst=there.src) / answer))


@pytest.mark.parametrize(
    "nat",
    [
        "src=fd00::10-fd00::99",
        "src=[fd00::10]-[fd00::99]:5000-5010",
        "src=fd00::ffff:ffff:ffff:fff0-fd00:0:0:1::20",
        "dst=fd00::1-fe00::1",
    ],
)
def test_ipv6_addresses_are_picked(bridge: Bridge, secret: int, nat: str) -> None:
    """Of ranges with up to 2**32 - 1 addresses, over the half of an address too."""
    pair = Pair(bridge, f"ipv6 actions=ct(commit,zone=9,nat({nat})),output:2")
    pair.switch.nat_basis = secret
    for last in range(1, 9):
        for kind in (UDP(sport=9, dport=53) / b"?", ICMPv6EchoRequest(id=7)):
            pair.send(1, frame(IPv6(src=f"fd00::{last}", dst="fd00::ff") / kind))


def test_ports_run_out(bridge: Bridge, secret: int) -> None:
    """Then the packet goes on untranslated, and is no connection."""
    pair = Pair(bridge, "ip actions=ct(commit,nat(src=10.1.1.1:80-85)),output:2")
    pair.switch.nat_basis = secret
    for last in range(1, 9):
        packet = IP(src=f"10.0.0.{last}", dst="10.0.0.99") / UDP(sport=9, dport=53) / b"?"
        pair.send(1, frame(packet))
    assert len(list(pair.connections())) == 6
