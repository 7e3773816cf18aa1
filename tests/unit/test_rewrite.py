"""Frames after a change of their keys, against Scapy's frames with the new headers.

Whether rewriting agrees with Open vSwitch on random frames is tested in tests/conformance.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scapy.contrib.mpls import MPLS
from scapy.contrib.nsh import NSH
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrDestOpt,
)
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Packet

from flowvm.columns import Column
from flowvm.packet.decode import decode, decode_columns
from flowvm.packet.encode import needed_to_rewrite, rewrite
from flowvm.packet.frames import Frames
from flowvm.packet.words import U64
from tests.packet_keys import key

Build = Callable[..., Packet]
"""Makes a packet of a kind with the headers given, the others having some value of their own."""

DATA = b"payload of odd length"
A, B = "02:00:00:00:00:01", "02:00:00:00:00:02"
MAC = 0x02AABBCCDDEE
MAC_TEXT = "02:aa:bb:cc:dd:ee"


def ipv4(upper: Packet) -> Build:
    def build(**ip: object) -> Packet:
        return Ether(src=A, dst=B) / IP(**{"src": "10.0.0.1", "dst": "10.0.0.2", **ip}) / upper

    return build


def ipv6(upper: Packet) -> Build:
    def build(**ip: object) -> Packet:
        return Ether(src=A, dst=B) / IPv6(**{"src": "2001:db8::1", "dst": "fe80::2", **ip}) / upper

    return build


def over_ipv4(layer: type[Packet], **fixed: object) -> Build:
    return lambda **given: ipv4(layer(**{**fixed, **given}) / DATA)()


def over_ipv6(layer: type[Packet], **fixed: object) -> Build:
    return lambda **given: ipv6(layer(**{**fixed, **given}) / DATA)()


def mpls(**given: int) -> Packet:
    return (
        Ether(src=A, dst=B, type=0x8847) / MPLS(**{"label": 16, "s": 1, "ttl": 9, **given}) / IP()
    )


def arp(**given: object) -> Packet:
    return Ether(src=A, dst=B) / ARP(**{"hwsrc": A, "psrc": "1.2.3.4", "pdst": "5.6.7.8", **given})


def nsh(**given: object) -> Packet:
    return Ether(src=A, dst=B, type=0x894F) / NSH(**{"mdtype": 1, "ttl": 9, **given}) / DATA


def solicitation(target: str, address: str) -> Packet:
    return ipv6(ICMPv6ND_NS(tgt=target) / ICMPv6NDOptSrcLLAddr(lladdr=address))()


def advertisement(target: str, address: str) -> Packet:
    return ipv6(ICMPv6ND_NA(tgt=target) / ICMPv6NDOptDstLLAddr(lladdr=address))()


NEW_IP6 = 0x20010DB8_00010002_00030004_00050006
NEW_IP6_TEXT = "2001:db8:1:2:3:4:5:6"

CASES: dict[str, tuple[Packet, dict[str, int], Packet]] = {
    "Ethernet addresses": (
        Ether(src=A, dst=B) / IP() / UDP() / DATA,
        {"eth_src": MAC, "eth_dst": 1},
        Ether(src=MAC_TEXT, dst="00:00:00:00:00:01") / IP() / UDP() / DATA,
    ),
    "ARP": (
        arp(op=1),
        {"arp_op": 2, "arp_spa": 0x0A000001, "arp_tpa": 0x0A000002, "arp_sha": MAC, "arp_tha": 5},
        arp(op=2, psrc="10.0.0.1", pdst="10.0.0.2", hwsrc=MAC_TEXT, hwdst="00:00:00:00:00:05"),
    ),
    "MPLS label": (mpls(), {"mpls_label": 77, "mpls_ttl": 3}, mpls(label=77, ttl=3)),
    "NSH path": (
        nsh(),
        {"nsh_ttl": 8, "nsh_spi": 0x654321, "nsh_si": 7, "nsh_c2": 0x01020304},
        nsh(ttl=8, spi=0x654321, si=7, context_header=bytes((0, 0, 0, 0, 1, 2, 3, 4)) + bytes(8)),
    ),
    "TCP ports": (
        over_ipv4(TCP)(sport=1, dport=2),
        {"tcp_src": 0xFFFF, "tcp_dst": 0},
        over_ipv4(TCP)(sport=0xFFFF, dport=0),
    ),
    "UDP port to a checksum of zero": (
        ipv4(UDP(sport=1, dport=2))(),
        {"udp_src": 0xEBD9},
        ipv4(UDP(sport=0xEBD9, dport=2))(),
    ),
    "UDP port without a checksum": (
        over_ipv4(UDP, chksum=0)(sport=1),
        {"udp_src": 7},
        over_ipv4(UDP, chksum=0)(sport=7),
    ),
    "SCTP ports": (
        ipv4(SCTP(sport=1, dport=2, tag=99) / DATA)(),
        {"sctp_src": 0x1234, "sctp_dst": 3},
        ipv4(SCTP(sport=0x1234, dport=3, tag=99) / DATA)(),
    ),
    "ICMP type and code": (
        over_ipv4(ICMP)(type=8),
        {"icmp_type": 0, "icmp_code": 1},
        over_ipv4(ICMP)(type=0, code=1),
    ),
    "UDP ports over IPv6": (
        over_ipv6(UDP)(sport=1, dport=2),
        {"udp_src": 5, "udp_dst": 6},
        over_ipv6(UDP)(sport=5, dport=6),
    ),
    "addresses behind IPv6 options": (
        ipv6(IPv6ExtHdrDestOpt() / TCP() / DATA)(),
        {"ipv6_src": NEW_IP6, "ipv6_dst": 1},
        ipv6(IPv6ExtHdrDestOpt() / TCP() / DATA)(src=NEW_IP6_TEXT, dst="::1"),
    ),
    "solicited target": (
        solicitation("fe80::9", A),
        {"nd_target": NEW_IP6, "nd_sll": MAC},
        solicitation(NEW_IP6_TEXT, MAC_TEXT),
    ),
    "advertised target": (
        advertisement("fe80::9", A),
        {"nd_target": NEW_IP6, "nd_tll": MAC},
        advertisement(NEW_IP6_TEXT, MAC_TEXT),
    ),
}

for _name, _upper in {
    "TCP": TCP(sport=80) / DATA,
    "UDP": UDP(sport=80) / DATA,
    "ICMP": ICMP() / DATA,
    "GRE": bytes.fromhex("00000800"),
}.items():
    _proto = {"proto": 47} if _name == "GRE" else {}
    CASES[f"IPv4 header of {_name}"] = (
        ipv4(_upper)(tos=3, ttl=64, **_proto),
        {"nw_src": 0xFFFFFFFF, "nw_dst": 0xC0A80101, "ip_dscp": 0x2E, "nw_ecn": 0, "nw_ttl": 1},
        ipv4(_upper)(src="255.255.255.255", dst="192.168.1.1", tos=0xB8, ttl=1, **_proto),
    )
for _name, _upper in {
    "TCP": TCP(sport=80) / DATA,
    "UDP": UDP(sport=80) / DATA,
    "ICMPv6": ICMPv6EchoRequest(data=DATA),
}.items():
    CASES[f"IPv6 header of {_name}"] = (
        ipv6(_upper)(tc=3, hlim=64, fl=1),
        {
            "ipv6_src": NEW_IP6, "ipv6_dst": 1, "ip_dscp": 0x2E, "nw_ecn": 0, "nw_ttl": 1,
            "ipv6_label": 0xABCDE,
        },
        ipv6(_upper)(src=NEW_IP6_TEXT, dst="::1", tc=0xB8, hlim=1, fl=0xABCDE),
    )  # fmt: skip


def changed(before: U64, fields: dict[str, int]) -> U64:
    """``before`` with other values of ``fields``."""
    bits = key(dict.fromkeys(fields, -1))
    return before & ~bits | key(fields)


@pytest.mark.parametrize("name", CASES)
def test_a_rewritten_frame_is_what_scapy_builds(name: str) -> None:
    """Header bytes and checksums are those of a packet that had the new values from the start."""
    packet, fields, expected = CASES[name]
    frames = Frames.of([bytes(packet)])
    before = decode(frames, 1).columns
    assert rewrite(frames, before, changed(before, fields))[0].hex() == bytes(expected).hex()


def test_packets_of_a_batch_are_rewritten_each_for_itself() -> None:
    """All kinds at once, each with changes of its own, every second left alone."""
    frames = Frames.of([bytes(packet) for packet, _, _ in CASES.values()])
    before = decode(frames, 1).columns
    after = before.copy()
    expected = list(frames)
    for i, (_, fields, packet) in enumerate(CASES.values()):
        if i % 2:
            after[:, i] = changed(before[:, i : i + 1], fields)[:, 0]
            expected[i] = bytes(packet)
    assert list(rewrite(frames, before, after)) == expected
    assert list(frames) == [bytes(packet) for packet, _, _ in CASES.values()]


@pytest.mark.parametrize("name", CASES)
def test_the_columns_needed_to_rewrite_are_enough(name: str) -> None:
    """Decoding no more than these gives the same bytes."""
    packet, fields, expected = CASES[name]
    frames = Frames.of([bytes(packet)])
    written = {Column(int(i)) for i in np.flatnonzero(key(dict.fromkeys(fields, -1))[:, 0])}
    before = decode_columns(frames, 1, wanted=needed_to_rewrite(written))
    assert rewrite(frames, before, changed(before, fields))[0] == bytes(expected)


def test_frames_that_do_not_change_are_not_copied() -> None:
    """The same object comes back, also if only metadata changes."""
    frames = Frames.of([bytes(packet) for packet, _, _ in CASES.values()])
    before = decode(frames, 1).columns
    after = before.copy()
    after[Column.XREG0] = 7
    assert rewrite(frames, before, after) is frames


def test_a_udp_checksum_of_zero_is_sent_as_all_ones() -> None:
    """Zero would say that there is no checksum (RFC 768)."""
    packet, fields, _ = CASES["UDP port to a checksum of zero"]
    frames = Frames.of([bytes(packet)])
    before = decode(frames, 1).columns
    assert rewrite(frames, before, changed(before, fields))[0][-2:] == b"\xff\xff"


TAG, INNER = (0x8100, 0x6005), (0x8100, 7)


@pytest.mark.parametrize("old", [0, 1, 2])
@pytest.mark.parametrize("new", [0, 1, 2])
def test_tags_are_pushed_and_popped(old: int, new: int) -> None:
    """From any number of tags to any other, the rest of the frame staying as it is."""
    start = Ether(src=A, dst=B)
    stacks = [
        bytes(start / IP() / UDP() / DATA),
        bytes(start / Dot1Q(vlan=5, prio=3) / IP() / UDP() / DATA),
        bytes(start / Dot1AD(vlan=9) / Dot1Q(vlan=7) / IP() / UDP() / DATA),
    ]
    tags = [(), (TAG,), ((0x88A8, 9), INNER)]
    frames = Frames.of([stacks[old]])
    before = decode(frames, 1, vlan_limit=2).columns
    after = before.copy()
    after[Column.VLAN] = key({}, tags[new])[Column.VLAN]
    assert rewrite(frames, before, after)[0] == stacks[new]


def test_labels_are_pushed_and_popped() -> None:
    """A label comes between Ethernet and IP, behind a tag, and goes again."""
    start = Ether(src=A, dst=B) / Dot1Q(vlan=5, type=0x0800)
    plain = bytes(start / IP(ttl=9) / DATA)
    start.getlayer(Dot1Q).type = 0x8847
    labelled = bytes(start / MPLS(label=33, s=1, ttl=9) / IP(ttl=9) / DATA)
    without, with_label = Frames.of([plain]), Frames.of([labelled])
    unlabelled_key = decode(without, 1).columns
    labelled_key = decode(with_label, 1).columns
    assert rewrite(without, unlabelled_key, labelled_key)[0] == labelled
    # Open vSwitch knows nothing of the IP header below, so the key has its type only.
    below = changed(
        labelled_key, {"eth_type": 0x800, "mpls_label": 0, "mpls_bos": 0, "mpls_ttl": 0}
    )
    assert rewrite(with_label, labelled_key, below)[0] == plain
