"""Frames made for headers, against those that Open vSwitch composes for the same text."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest

from flowvm.columns import Column
from flowvm.packet.compose import compose
from flowvm.packet.words import U64
from flowvm.text.br_flow import parse_br_flow
from tests.packet_keys import key

pytestmark = pytest.mark.oracle

MACS = "dl_src=02:00:00:00:00:01,dl_dst=02:00:00:00:00:02"
IPV4 = "nw_src=10.0.0.1,nw_dst=192.168.255.254,nw_ttl=64,nw_tos=184,nw_ecn=1"
IPV6 = "ipv6_src=2001:db8::1,ipv6_dst=fe80::2,ipv6_label=0x12345,nw_ttl=64,nw_tos=184,nw_ecn=1"

FLOWS = (
    "in_port=1",
    "dl_vlan=5,dl_vlan_pcp=3",
    "dl_type=0x5ff",
    "dl_type=0x1234",
    "dl_type=0x894f",
    "arp",
    "arp,arp_op=1,arp_spa=1.2.3.4,arp_tpa=2.3.4.5,arp_sha=02:00:00:00:00:01",
    "arp,arp_op=2,arp_spa=1.2.3.4,arp_tpa=2.3.4.5,arp_tha=02:00:00:00:00:01",
    "rarp,arp_op=3",
    "ip",
    f"ip,{IPV4},nw_proto=47,dl_vlan=7",
    f"tcp,{IPV4},tcp_src=80,tcp_dst=65535,tcp_flags=ack|psh",
    f"tcp,{IPV4},tcp_src=80,tcp_dst=65535,tcp_flags=syn",
    f"tcp,{IPV4},tcp_flags=fin|ack",
    f"udp,{IPV4},udp_src=67,udp_dst=68",
    f"udp,{IPV4},nw_frag=first,udp_src=67",
    f"udp,{IPV4},nw_frag=later",
    f"icmp,{IPV4},icmp_type=8",
    f"icmp,{IPV4},icmp_type=0,icmp_code=1",
    f"icmp,{IPV4},icmp_type=3,icmp_code=1",
    f"ip,{IPV4},nw_proto=2",
    f"ip,{IPV4},nw_proto=58",
    "ipv6",
    f"ipv6,{IPV6},nw_proto=59",
    f"tcp6,{IPV6},tcp_src=80,tcp_dst=65535,tcp_flags=ack",
    f"tcp6,{IPV6},tcp_flags=rst",
    f"udp6,{IPV6},udp_src=67,udp_dst=68",
    f"ipv6,{IPV6},nw_proto=1",
    f"icmp6,{IPV6},icmpv6_type=128",
    f"icmp6,{IPV6},icmpv6_type=1,icmpv6_code=4",
    f"icmp6,{IPV6},icmpv6_type=135,icmpv6_code=0,nd_target=fe80::5",
    f"icmp6,{IPV6},icmpv6_type=135,icmpv6_code=0,nd_target=fe80::5,nd_sll=02:00:00:00:00:07",
    f"icmp6,{IPV6},icmpv6_type=136,icmpv6_code=0,nd_target=fe80::5,nd_tll=02:00:00:00:00:07",
    "mpls,mpls_label=16,mpls_tc=5,mpls_bos=1,mpls_ttl=3",
    "mpls,mpls_label=16,mpls_bos=1,dl_vlan=9",
    "mplsm,mpls_label=16,mpls_ttl=3",
)


def composed_by_ovs(flow: str) -> bytes:
    """The bytes that `ovs-ofctl compose-packet` prints, as `ovs_hex_dump` lays them out."""
    command = ("ovs-ofctl", "compose-packet", flow)
    # It fails, after printing them, where the frame does not read as the flow that was given.
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.stdout, run.stderr
    lines = (line[10:57].replace("-", " ") for line in run.stdout.splitlines())
    return bytes.fromhex("".join(lines))


def key_of(flow: str) -> U64:
    columns = key({})
    for column, (value, _) in parse_br_flow(flow, {}).words({}).items():
        columns[column] = value
    tci = columns[Column.VLAN] >> np.uint64(32)
    columns[Column.VLAN] |= np.where(tci != 0, np.uint64(0x8100 << 48), np.uint64(0))
    return columns


@pytest.mark.parametrize("flow", FLOWS)
def test_compose_makes_the_frame_that_ovs_makes(flow: str) -> None:
    """Byte for byte: headers, lengths, checksums and payload."""
    text = f"{MACS},{flow}"
    assert compose(key_of(text))[0].hex() == composed_by_ovs(text).hex()


def test_compose_adds_a_checksum_to_the_sctp_of_ovs() -> None:
    """Open vSwitch leaves it zero; nothing else differs."""
    text = f"{MACS},sctp,{IPV4},sctp_src=7,sctp_dst=9"
    frame = compose(key_of(text))[0]
    assert frame[-4:] != bytes(4)
    assert frame[:-4] + bytes(4) == composed_by_ovs(text)
