"""From bytes to columns: ``pytest bench/test_decode.py``."""

from __future__ import annotations

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr, IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether

from bench.sizes import sized
from flowvm.packet.decode import decode_columns
from flowvm.packet.frames import Frames

PACKETS = sized(1_000, 100_000, 1_000_000)

_ETHER = Ether(src="52:54:00:00:00:01", dst="52:54:00:00:00:02")
KINDS = {
    "udp": [_ETHER / IP() / UDP() / bytes(18)],
    "tcp": [_ETHER / IP() / TCP() / bytes(6)],
    "tagged": [_ETHER / Dot1Q(vlan=2) / IP() / UDP() / bytes(18)],
    "tcp6": [_ETHER / IPv6() / TCP()],
    "arp": [_ETHER / ARP()],
}
KINDS["mixed"] = [
    *(packet for packets in KINDS.values() for packet in packets),
    _ETHER / IP() / ICMP(),
    _ETHER / IPv6() / ICMPv6ND_NS() / ICMPv6NDOptSrcLLAddr(),
    _ETHER / IP(options=b"\1\1\1\1") / UDP(),
    _ETHER / IP(flags="MF") / UDP() / bytes(16),
]


@pytest.mark.parametrize("kind", KINDS)
def test_decode(benchmark: BenchmarkFixture, kind: str) -> None:
    """All columns of packets of one kind, or of many kinds in turn."""
    packets = [bytes(packet) for packet in KINDS[kind]]
    frames = Frames.of(packets).take(np.arange(PACKETS) % len(packets)).copy()
    benchmark.extra_info["packets"] = PACKETS
    columns = benchmark(lambda: decode_columns(frames, 1))
    assert columns.shape[1] == PACKETS
