"""Protocols as numbers, and as the words that a match has for them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

ETH_TYPE_IP = 0x0800
ETH_TYPE_ARP = 0x0806
ETH_TYPE_RARP = 0x8035
ETH_TYPE_IPV6 = 0x86DD
ETH_TYPE_MPLS = 0x8847
ETH_TYPE_MPLS_MCAST = 0x8848
ETH_TYPE_NSH = 0x894F
ETH_TYPE_VLAN = 0x8100
ETH_TYPE_QINQ = 0x88A8

SHORTHANDS: Mapping[str, tuple[tuple[str, int], ...]] = MappingProxyType(
    {
        "eth": (("packet_type", 0),),
        "ip": (("eth_type", ETH_TYPE_IP),),
        "icmp": (("eth_type", ETH_TYPE_IP), ("nw_proto", 1)),
        "tcp": (("eth_type", ETH_TYPE_IP), ("nw_proto", 6)),
        "udp": (("eth_type", ETH_TYPE_IP), ("nw_proto", 17)),
        "sctp": (("eth_type", ETH_TYPE_IP), ("nw_proto", 132)),
        "ipv6": (("eth_type", ETH_TYPE_IPV6),),
        "icmp6": (("eth_type", ETH_TYPE_IPV6), ("nw_proto", 58)),
        "tcp6": (("eth_type", ETH_TYPE_IPV6), ("nw_proto", 6)),
        "udp6": (("eth_type", ETH_TYPE_IPV6), ("nw_proto", 17)),
        "sctp6": (("eth_type", ETH_TYPE_IPV6), ("nw_proto", 132)),
        "ipv4": (("eth_type", ETH_TYPE_IP),),
        "ip4": (("eth_type", ETH_TYPE_IP),),
        "ip6": (("eth_type", ETH_TYPE_IPV6),),
        "arp": (("eth_type", ETH_TYPE_ARP),),
        "rarp": (("eth_type", ETH_TYPE_RARP),),
        "mpls": (("eth_type", ETH_TYPE_MPLS),),
        "mplsm": (("eth_type", ETH_TYPE_MPLS_MCAST),),
    }
)
"""Protocol words of a match and what each stands for (ovs-ofctl(8), "Flow Syntax")."""
