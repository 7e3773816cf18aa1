"""Frames made for headers, against Scapy's for the same headers."""

from __future__ import annotations

import numpy as np
import pytest
from scapy.contrib.mpls import MPLS
from scapy.contrib.nsh import NSH
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrFragment,
)
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Packet

from flowvm.packet.compose import compose
from flowvm.packet.decode import decode
from tests.packet_keys import key

PAYLOAD = bytes(range(64))
MACS = {"eth_src": 0x020000000001, "eth_dst": 0x020000000002}
IPV4 = {
    "eth_type": 0x800, "nw_src": 0x0A000001, "nw_dst": 0x0A0000FE, "nw_ttl": 64, "ip_dscp": 10,
    "nw_ecn": 2,
}  # fmt: skip
IPV6 = {
    "eth_type": 0x86DD, "ipv6_src": 0x20010DB8 << 96 | 1, "ipv6_dst": 0x20010DB8 << 96 | 2,
    "nw_ttl": 5, "ip_dscp": 10, "nw_ecn": 2, "ipv6_label": 0xABCDE,
}  # fmt: skip


def ether(**given: int) -> Packet:
    return Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02", **given)


def ip(**given: object) -> Packet:
    # Open vSwitch's have an identification of zero.
    return IP(src="10.0.0.1", dst="10.0.0.254", ttl=64, tos=42, id=0, **given)


def ip6(**given: object) -> Packet:
    return IPv6(src="2001:db8::1", dst="2001:db8::2", hlim=5, tc=42, fl=0xABCDE, **given)


def tcp(flags: int, sport: int = 1, dport: int = 2) -> Packet:
    return TCP(sport=sport, dport=dport, flags=flags, window=0)


CASES: dict[str, tuple[dict[str, int], Packet]] = {
    "no L3": ({"eth_type": 0x88CC}, ether(type=0x88CC)),
    "TCP with data": (
        {**IPV4, "nw_proto": 6, "tcp_src": 1, "tcp_dst": 2, "tcp_flags": 0x110},
        ether() / ip() / tcp(0x110) / PAYLOAD,
    ),
    "TCP SYN": (
        {**IPV4, "nw_proto": 6, "tcp_src": 1, "tcp_dst": 2, "tcp_flags": 2},
        ether() / ip() / tcp(2),
    ),
    "UDP": (
        {**IPV4, "nw_proto": 17, "udp_src": 1, "udp_dst": 2},
        ether() / ip() / UDP(sport=1, dport=2) / PAYLOAD,
    ),
    "UDP whose checksum adds up to zero": (
        {**IPV4, "nw_proto": 17, "udp_src": 0xFFFF, "udp_dst": 0x065C},
        ether() / ip() / UDP(sport=0xFFFF, dport=0x065C) / PAYLOAD,
    ),
    "SCTP": (
        {**IPV4, "nw_proto": 132, "sctp_src": 7, "sctp_dst": 0xFFFF},
        ether() / ip(proto=132) / SCTP(sport=7, dport=0xFFFF, tag=0),
    ),
    "ping": (
        {**IPV4, "nw_proto": 1, "icmp_type": 8},
        ether() / ip() / ICMP(type=8, id=0, seq=0) / PAYLOAD,
    ),
    "unreachable": (
        {**IPV4, "nw_proto": 1, "icmp_type": 3, "icmp_code": 1},
        ether() / ip() / ICMP(type=3, code=1),
    ),
    "IGMP": (
        {**IPV4, "nw_proto": 2, "tp_src": 0x16},
        ether() / ip(proto=2) / bytes.fromhex("1600 e9ff 00000000"),
    ),
    "other protocol": ({**IPV4, "nw_proto": 47}, ether() / ip(proto=47)),
    "first fragment": (
        {**IPV4, "nw_proto": 17, "udp_dst": 2, "nw_frag": 1},
        ether() / ip(flags="MF") / UDP(sport=0, dport=2) / PAYLOAD,
    ),
    "later fragment": (
        {**IPV4, "nw_proto": 17, "nw_frag": 3},
        ether() / ip(flags="MF", frag=100, proto=17),
    ),
    "TCP over IPv6": (
        {**IPV6, "nw_proto": 6, "tcp_src": 1, "tcp_dst": 2, "tcp_flags": 0x18},
        ether() / ip6() / tcp(0x18) / PAYLOAD,
    ),
    "UDP over IPv6": (
        {**IPV6, "nw_proto": 17, "udp_src": 1, "udp_dst": 2},
        ether() / ip6() / UDP(sport=1, dport=2) / PAYLOAD,
    ),
    "ping over IPv6": (
        {**IPV6, "nw_proto": 58, "icmpv6_type": 128},
        ether() / ip6() / ICMPv6EchoRequest(data=PAYLOAD),
    ),
    "unreachable over IPv6": (
        {**IPV6, "nw_proto": 58, "icmpv6_type": 1, "icmpv6_code": 4},
        ether() / ip6() / ICMPv6DestUnreach(code=4),
    ),
    "neighbor solicitation": (
        {**IPV6, "nw_proto": 58, "icmpv6_type": 135, "nd_target": 9, "nd_sll": 0x020000000001},
        ether()
        / ip6()
        / ICMPv6ND_NS(tgt="::9")
        / ICMPv6NDOptSrcLLAddr(lladdr="02:00:00:00:00:01"),
    ),
    "neighbor advertisement": (
        {
            **IPV6, "nw_proto": 58, "icmpv6_type": 136, "nd_target": 9, "nd_reserved": 0x60000000,
            "nd_tll": 0x020000000001, "nd_sll": 0x020000000003, "nd_options_type": 2,
        },
        ether()
        / ip6()
        / ICMPv6ND_NA(tgt="::9", R=0, S=1, O=1)
        / ICMPv6NDOptDstLLAddr(lladdr="02:00:00:00:00:01")
        / ICMPv6NDOptSrcLLAddr(lladdr="02:00:00:00:00:03"),
    ),
    "first fragment of IPv6": (
        {**IPV6, "nw_proto": 17, "udp_dst": 2, "nw_frag": 1},
        ether() / ip6() / IPv6ExtHdrFragment(m=1) / UDP(sport=0, dport=2) / PAYLOAD,
    ),
    "later fragment of IPv6": (
        {**IPV6, "nw_proto": 44, "nw_frag": 3},
        ether() / ip6() / IPv6ExtHdrFragment(m=1, offset=100, nh=59),
    ),
    "ARP": (
        {
            "eth_type": 0x806, "arp_op": 1, "arp_spa": 0x0A000001, "arp_tpa": 0x0A000002,
            "arp_sha": 0x020000000001,
        },
        ether()
        / ARP(hwsrc="02:00:00:00:00:01", hwdst=bytes(6), psrc="10.0.0.1", pdst="10.0.0.2"),
    ),
    "RARP reply": (
        {"eth_type": 0x8035, "arp_op": 4, "arp_tpa": 0x0A000002, "arp_tha": 0x020000000001},
        ether(type=0x8035)
        / ARP(op=4, hwsrc=bytes(6), hwdst="02:00:00:00:00:01", psrc="0.0.0.0", pdst="10.0.0.2"),
    ),
    "MPLS": (
        {"eth_type": 0x8847, "mpls_label": 16, "mpls_tc": 5, "mpls_bos": 1, "mpls_ttl": 3},
        ether(type=0x8847) / MPLS(label=16, cos=5, s=1, ttl=3),
    ),
    "NSH with context": (
        {
            "eth_type": 0x894F, "nsh_ttl": 63, "nsh_mdtype": 1, "nsh_np": 3, "nsh_spi": 0x123456,
            "nsh_si": 254, "nsh_c1": 1, "nsh_c4": 4,
        },
        ether(type=0x894F)
        / NSH(ttl=63, mdtype=1, nextproto=3, spi=0x123456, si=254,
              context_header=bytes((0, 0, 0, 1)) + bytes(11) + b"\4"),
    ),
    "NSH without context": (
        {"eth_type": 0x894F, "nsh_ttl": 1, "nsh_mdtype": 2, "nsh_np": 1, "nsh_si": 1},
        ether(type=0x894F) / NSH(ttl=1, mdtype=2, nextproto=1, si=1),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_compose_makes_what_scapy_makes_of_the_same_headers(name: str) -> None:
    """Byte for byte, lengths and checksums among them."""
    fields, packet = CASES[name]
    assert compose(key({**MACS, **fields}))[0].hex() == bytes(packet).hex()


def test_a_udp_checksum_of_zero_is_sent_as_all_ones() -> None:
    """Zero would say that there is no checksum (RFC 768)."""
    fields, _ = CASES["UDP whose checksum adds up to zero"]
    assert compose(key({**MACS, **fields}))[0][40:42] == b"\xff\xff"


def test_compose_stacks_tags() -> None:
    """One tag or two, with the TPIDs of the key."""
    fields = {**MACS, **IPV4, "nw_proto": 47}
    one = ether() / Dot1Q(vlan=5, prio=3) / ip(proto=47)
    two = ether() / Dot1AD(vlan=7) / Dot1Q(vlan=5, prio=3) / ip(proto=47)
    tag = 0x8100, 0x6005
    assert compose(key(fields, (tag,)))[0] == bytes(one)
    assert compose(key(fields, ((0x88A8, 7), tag)))[0] == bytes(two)


def test_compose_makes_a_batch_of_all_kinds_at_once() -> None:
    """Each frame of a batch is what it is alone, and decodes to the key it was made for."""
    keys = np.concatenate([key({**MACS, **fields}) for fields, _ in CASES.values()] * 2, axis=1)
    frames = compose(keys)
    assert list(frames) == [bytes(packet) for _, packet in CASES.values()] * 2
    again = decode(frames, 0, vlan_limit=2).columns
    names = list(CASES)
    # The key leaves open of which type the first option is; a frame cannot.
    open_end = names.index("neighbor solicitation")
    for i in range(2 * len(names)):
        if i % len(names) != open_end:
            assert (again[:, i] == keys[:, i]).all(), names[i % len(names)]


def test_compose_makes_frames_of_keys_that_leave_the_type_open() -> None:
    """Without an EtherType, or an IPv6 protocol, the frame has zero there."""
    assert compose(key(MACS))[0] == bytes(ether(type=0))
    assert compose(key({**MACS, **IPV6}))[0] == bytes(ether() / ip6(nh=0))
    assert compose(key({**MACS, **IPV6, "nw_frag": 3}))[0][20] == 44


def test_compose_gives_an_untyped_frame_its_length() -> None:
    """0x05ff stands for a frame with a length; it can be tagged."""
    assert compose(key({"eth_type": 0x5FF}))[0] == bytes(12) + b"\0\x0e"
    tagged = compose(key({"eth_type": 0x5FF}, ((0x8100, 5),)))[0]
    assert tagged == bytes(12) + bytes.fromhex("8100 0005 0012")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"eth_type": 0x100}, "eth_type=0x100"),
        ({"vlan_tci": 5}, "vlan_tci=0x5"),
        ({"eth_type": 0x800, "nw_frag": 2}, "ip_frag=0x2"),
        ({"eth_type": 0x800, "nw_proto": 17, "udp_dst": 7, "nw_frag": 3}, "TP 0x70000"),
        ({"eth_type": 0x86DD, "nw_proto": 17, "nw_frag": 3}, "nw_proto=0x11"),
        ({"eth_type": 0x86DD, "nw_proto": 43}, "nw_proto=0x2b"),
        ({"eth_type": 0x800, "nw_proto": 1, "icmp_type": 256}, "icmp_type=0x100"),
        ({"eth_type": 0x894F, "nsh_ttl": 64}, "nsh_ttl=0x40"),
        ({"eth_type": 0x894F, "nsh_mdtype": 2, "nsh_c1": 1}, "nsh_c1=0x1"),
        ({"eth_type": 0x806, "nw_ttl": 64}, "NW 0x"),
        ({"packet_type": 0x1_894F, "eth_type": 0x894F, "nsh_ttl": 64}, "nsh_ttl=0x40"),
    ],
)
def test_compose_refuses_headers_that_no_frame_has(fields: dict[str, int], message: str) -> None:
    """The message names the field, or the part of the key, that would be lost."""
    with pytest.raises(ValueError, match=message):
        compose(key(fields))


def test_compose_refuses_a_batch_for_one_packet_of_it() -> None:
    """A sound packet before the wrong one does not hide it."""
    keys = np.concatenate([key(MACS), key({"eth_type": 0x100})], axis=1)
    with pytest.raises(ValueError, match="eth_type=0x100"):
        compose(keys)
