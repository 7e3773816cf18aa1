"""Devices of Linux, from "ip addr", "ip netns", "brctl show" and "bridge link"."""

from __future__ import annotations

import pytest

from flowvm.text.errors import FlowSyntaxError
from flowvm.text.ip_addr import Device, parse_brctl, parse_ip_addr, parse_netns

IP_ADDR = """\
1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN group default qlen 1000
    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00 promiscuity 0 allmulti 0
    inet 127.0.0.1/8 scope host lo
       valid_lft forever preferred_lft forever
    inet6 ::1/128 scope host noprefixroute
       valid_lft forever preferred_lft forever
2: eth0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc fq_codel state UP group default qlen 1000
    link/ether 52:54:00:12:34:56 brd ff:ff:ff:ff:ff:ff
    altname enp0s3
    inet 10.0.0.11/24 brd 10.0.0.255 scope global dynamic eth0
       valid_lft 86022sec preferred_lft 86022sec
    inet 10.0.0.12/24 scope global secondary eth0
    inet6 2001:db8::11/64 scope global
    inet6 fe80::5054:ff:fe12:3456/64 scope link
7: qvo1@qvb1: <BROADCAST,UP> mtu 1500 qdisc noqueue master ovs-system state UP qlen 1000
    link/ether 66:9c:83:a4:25:6b brd ff:ff:ff:ff:ff:ff
8: qvb1@qvo1: <BROADCAST,UP> mtu 1500 qdisc noqueue master qbr1 state UP qlen 1000
    link/ether e2:d0:16:ed:92:24 brd ff:ff:ff:ff:ff:ff
9: eth1@if4: <BROADCAST,UP> mtu 1500 qdisc noqueue state UP
    link/ether e2:d0:16:ed:92:25 brd ff:ff:ff:ff:ff:ff link-netnsid 0
10: tun0: <POINTOPOINT,UP> mtu 1500 qdisc fq state UNKNOWN
    link/none
    inet 192.0.2.1 peer 192.0.2.2/32 scope global tun0
"""
ONE_LINE = """\
1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever preferred_lft forever
2: eth0    inet 10.0.0.11/24 brd 10.0.0.255 scope global eth0\\       valid_lft forever
2: eth0    inet6 fe80::5054:ff:fe12:3456/64 scope link \\       valid_lft forever
"""
BRIDGE_LINK = """\
8: qvb1@qvo1: <BROADCAST,UP> mtu 1500 master qbr1 state forwarding priority 32 cost 2
    hairpin off guard off root_block off fastleave off learning on flood on
9: tap1: <BROADCAST,UP> mtu 1500 master qbr1 state forwarding priority 32 cost 2
"""
BRCTL = """\
bridge name\tbridge id\t\tSTP enabled\tinterfaces
qbr1\t\t8000.e2d016ed9224\tno\t\tqvb1
\t\t\t\t\t\t\ttap1
virbr0\t\t8000.525400d2ab5c\tyes\t\t
"""


def test_devices_have_addresses_peers_and_masters() -> None:
    """Addresses of the machine alone and of one link alone are left out."""
    assert parse_ip_addr(IP_ADDR) == {
        "lo": Device("lo", mac=0),
        "eth0": Device(
            "eth0",
            mac=0x525400123456,
            addresses=("10.0.0.11/24", "10.0.0.12/24", "2001:db8::11/64"),
        ),
        "qvo1": Device("qvo1", "qvb1", "ovs-system", 0x669C83A4256B),
        "qvb1": Device("qvb1", "qvo1", "qbr1", 0xE2D016ED9224),
        "eth1": Device("eth1", mac=0xE2D016ED9225),
        "tun0": Device("tun0", addresses=("192.0.2.1/32",)),
    }


def test_one_line_an_address_is_read_as_well() -> None:
    """``ip -o addr`` has a device once for each of its addresses."""
    assert parse_ip_addr(ONE_LINE) == {
        "lo": Device("lo"),
        "eth0": Device("eth0", addresses=("10.0.0.11/24",)),
    }


def test_bridge_link_tells_masters() -> None:
    """In the same format."""
    masters = {name: device.master for name, device in parse_ip_addr(BRIDGE_LINK).items()}
    assert masters == {"qvb1": "qbr1", "tap1": "qbr1"}


def test_brctl_tells_masters() -> None:
    """A bridge's first device is on its line, the others follow."""
    assert parse_brctl(BRCTL) == {"qvb1": "qbr1", "tap1": "qbr1"}


def test_namespaces_may_have_ids() -> None:
    """They are no part of the name."""
    assert parse_netns("qdhcp-1 (id: 0)\nqrouter-2\n") == ("qdhcp-1", "qrouter-2")


def test_other_text_is_refused() -> None:
    """With the line that cannot be read."""
    with pytest.raises(FlowSyntaxError, match="f:1:1: no device is described here"):
        parse_ip_addr("cookie=0x0, actions=drop\n", file="f")
    with pytest.raises(FlowSyntaxError, match="f:2:3: this is no namespace"):
        parse_netns("qdhcp-1\n  what is this\n", file="f")
    with pytest.raises(FlowSyntaxError, match="f:1:1: this is neither"):
        parse_brctl("what is this\n", file="f")
    assert parse_ip_addr("\n") == {}
