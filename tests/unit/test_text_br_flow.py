"""The flow that ofproto/trace takes."""

from __future__ import annotations

import pytest

from flowvm.columns import Column
from flowvm.text.br_flow import parse_br_flow
from flowvm.text.errors import FlowSyntaxError


def test_every_value_is_exact() -> None:
    """Fields and protocol words become an exact match on what they name."""
    match = parse_br_flow("in_port=2,tun_id=0x1,udp,dl_src=00:00:00:00:00:01,nw_ttl=64")
    words = match.words({})
    assert words[Column.IN_PORT] == (2, 0xFFFF)
    assert words[Column.TUN_ID] == (1, 0xFFFF_FFFF_FFFF_FFFF)
    assert words[Column.ETH_SRC] == (1, 0xFFFF_FFFF_FFFF)
    eth_type_proto_ttl = 0x0800 << 48 | 17 << 40 | 64 << 24
    assert words[Column.NW] == (eth_type_proto_ttl, 0xFFFF << 48 | 0xFF << 40 | 0xFF << 24)


def test_ports_are_named() -> None:
    """A port's name is resolved if the ports are known, and kept if they are not."""
    assert parse_br_flow("in_port=eth0", {"eth0": 3}).words({})[Column.IN_PORT][0] == 3
    assert str(parse_br_flow("in_port=eth0")) == "in_port=eth0"
    with pytest.raises(FlowSyntaxError, match='no port "eth1"'):
        parse_br_flow("in_port=eth1", {"eth0": 3})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "in_port=1 tcp tcp_flags=syn",
        "in_port=1,dl_vlan=3,dl_vlan_pcp=2",
        "ip,nw_tos=184,nw_ecn=1,nw_ttl=64",
        "vlan_vid=4101,vlan_pcp=3",
        "ct_state=est|trk,ip",
        "ip,nw_frag=later",
        "icmp6,icmpv6_type=135,nd_target=::1,nd_sll=00:00:00:00:00:01",
        "ipv6,nw_proto=6,tcp_src=1",
        "packet_type=(1,0x800),nw_src=1.2.3.4",
        "mpls,mpls_label=3",
        "arp,arp_op=1,arp_spa=1.2.3.4",
        # Beyond OVS: fields in any order, and spellings that ovs-ofctl prints.
        "nw_src=1.2.3.4,ip",
        "udp,tp_src=53",
        "icmp6,icmp_type=135,nd_target=::1",
    ],
)
def test_what_ofproto_trace_takes_is_taken(text: str) -> None:
    """Flows with their prerequisites are accepted."""
    parse_br_flow(text)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("ip,tcp", "second time"),
        ("tcp,dl_type=0x800", "second time"),
        ("reg1=1,xreg0=2", "second time"),
        ("nw_src=1.2.3.4", "does not exist"),
        ("tcp6,nw_src=1.2.3.4", "does not exist"),
        ("arp,nw_src=1.2.3.4", "does not exist"),
        ("udp,tcp_src=3", "does not exist"),
        ("nw_ttl=64", "does not exist"),
        ("icmp6,nd_target=::1", "does not exist"),
        ("vlan_pcp=3", "does not exist"),
        ("packet_type=(1,0x800),dl_src=00:00:00:00:00:01", "does not exist"),
        ("ip,nw_src=1.2.3.4/8", "no masks"),
        ("ct_state=+trk,ip", "no masks"),
        ("ip,nw_frag=yes", "no masks"),
        ("in_prot=1", 'did you mean "in_port"'),
    ],
)
def test_what_ofproto_trace_refuses_is_refused(text: str, complaint: str) -> None:
    """Masks, contradictions and fields without their prerequisites are errors."""
    with pytest.raises(FlowSyntaxError, match=complaint):
        parse_br_flow(text)
