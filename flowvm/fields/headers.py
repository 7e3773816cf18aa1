"""The fields that are in the headers of a frame."""

from __future__ import annotations

from flowvm.columns import VLAN_CFI
from flowvm.columns import Column as Col
from flowvm.fields.bits import (
    ETH_TYPE_BITS,
    IPV4_DST_BITS,
    IPV4_SRC_BITS,
    MPLS_TTL_BITS,
    NSH_TTL_BITS,
    NW_FRAG_BITS,
    NW_PROTO_BITS,
    NW_TTL_BITS,
    OUTER_TCI,
    TCP_FLAGS_BITS,
    TP_DST_BITS,
    TP_SRC_BITS,
    Bits,
    half,
)
from flowvm.fields.row import Field, Format
from flowvm.fields.row import Prerequisite as Need

DEC, HEX = Format.DECIMAL, Format.HEXADECIMAL
MAC, IP4, IP6 = Format.ETHERNET, Format.IPV4, Format.IPV6

# fmt: off
# A table: a field is a line or two.

ETHERNET = (
    Field("eth_src", 48, Bits(Col.ETH_SRC, 0, 48), MAC, Need.ETHERNET, ("dl_src",),
          nxm="NXM_OF_ETH_SRC", oxm="OXM_OF_ETH_SRC"),
    Field("eth_dst", 48, Bits(Col.ETH_DST, 0, 48), MAC, Need.ETHERNET, ("dl_dst",),
          nxm="NXM_OF_ETH_DST", oxm="OXM_OF_ETH_DST"),
    Field("eth_type", 16, ETH_TYPE_BITS, HEX, Need.ETHERNET, ("dl_type",),
          nxm="NXM_OF_ETH_TYPE", oxm="OXM_OF_ETH_TYPE", maskable=False, writable=False),
)

PRESENT = VLAN_CFI << OUTER_TCI.shift
VLAN = (
    Field("vlan_tci", 16, OUTER_TCI, HEX, Need.ETHERNET, nxm="NXM_OF_VLAN_TCI"),
    Field("dl_vlan", 12, Bits(Col.VLAN, 32, 12), DEC, Need.ETHERNET,
          maskable=False, implied=PRESENT),
    Field("vlan_vid", 12, Bits(Col.VLAN, 32, 13), DEC, Need.ETHERNET, oxm="OXM_OF_VLAN_VID"),
    Field("dl_vlan_pcp", 3, Bits(Col.VLAN, 45, 3), DEC, Need.ETHERNET,
          maskable=False, implied=PRESENT),
    Field("vlan_pcp", 3, Bits(Col.VLAN, 45, 3), DEC, Need.VLAN_VID,
          oxm="OXM_OF_VLAN_PCP", maskable=False, implied=PRESENT),
)

MPLS = (
    Field("mpls_label", 20, Bits(Col.MPLS, 44, 20), DEC, Need.MPLS,
          oxm="OXM_OF_MPLS_LABEL", maskable=False),
    Field("mpls_tc", 3, Bits(Col.MPLS, 41, 3), DEC, Need.MPLS,
          oxm="OXM_OF_MPLS_TC", maskable=False),
    Field("mpls_bos", 1, Bits(Col.MPLS, 40, 1), DEC, Need.MPLS,
          oxm="OXM_OF_MPLS_BOS", maskable=False, writable=False),
    Field("mpls_ttl", 8, MPLS_TTL_BITS, DEC, Need.MPLS,
          nxm="NXM_NX_MPLS_TTL", maskable=False),
)

IP = (
    Field("ip_src", 32, IPV4_SRC_BITS, IP4, Need.IPV4, ("nw_src",),
          nxm="NXM_OF_IP_SRC", oxm="OXM_OF_IPV4_SRC"),
    Field("ip_dst", 32, IPV4_DST_BITS, IP4, Need.IPV4, ("nw_dst",),
          nxm="NXM_OF_IP_DST", oxm="OXM_OF_IPV4_DST"),
    Field("ipv6_src", 128, Bits(Col.IPV6_SRC, 0, 128), IP6, Need.IPV6,
          nxm="NXM_NX_IPV6_SRC", oxm="OXM_OF_IPV6_SRC"),
    Field("ipv6_dst", 128, Bits(Col.IPV6_DST, 0, 128), IP6, Need.IPV6,
          nxm="NXM_NX_IPV6_DST", oxm="OXM_OF_IPV6_DST"),
    Field("ipv6_label", 20, Bits(Col.FLOW_LABEL, 32, 20), HEX, Need.IPV6,
          nxm="NXM_NX_IPV6_LABEL", oxm="OXM_OF_IPV6_FLABEL"),
    Field("nw_proto", 8, NW_PROTO_BITS, DEC, Need.IP, ("ip_proto",),
          nxm="NXM_OF_IP_PROTO", oxm="OXM_OF_IP_PROTO", maskable=False, writable=False),
    # The two low bits of nw_tos belong to nw_ecn (ovs-fields(7), "nw_tos").
    Field("nw_tos", 8, Bits(Col.NW, 32, 8, unused=2), DEC, Need.IP,
          nxm="NXM_OF_IP_TOS", maskable=False),
    Field("ip_dscp", 6, Bits(Col.NW, 34, 6), DEC, Need.IP, oxm="OXM_OF_IP_DSCP", maskable=False),
    Field("nw_ecn", 2, Bits(Col.NW, 32, 2), DEC, Need.IP, ("ip_ecn",),
          nxm="NXM_NX_IP_ECN", oxm="OXM_OF_IP_ECN", maskable=False),
    Field("nw_ttl", 8, NW_TTL_BITS, DEC, Need.IP, nxm="NXM_NX_IP_TTL", maskable=False),
    Field("ip_frag", 2, NW_FRAG_BITS, Format.FRAG, Need.IP, ("nw_frag",),
          nxm="NXM_NX_IP_FRAG", writable=False),
)

ARP = (
    Field("arp_op", 16, NW_PROTO_BITS, DEC, Need.ARP,
          nxm="NXM_OF_ARP_OP", oxm="OXM_OF_ARP_OP", maskable=False),
    Field("arp_spa", 32, IPV4_SRC_BITS, IP4, Need.ARP, nxm="NXM_OF_ARP_SPA", oxm="OXM_OF_ARP_SPA"),
    Field("arp_tpa", 32, IPV4_DST_BITS, IP4, Need.ARP, nxm="NXM_OF_ARP_TPA", oxm="OXM_OF_ARP_TPA"),
    Field("arp_sha", 48, Bits(Col.ARP_SHA, 0, 48), MAC, Need.ARP,
          nxm="NXM_NX_ARP_SHA", oxm="OXM_OF_ARP_SHA"),
    Field("arp_tha", 48, Bits(Col.ARP_THA, 0, 48), MAC, Need.ARP,
          nxm="NXM_NX_ARP_THA", oxm="OXM_OF_ARP_THA"),
)

TRANSPORT = (
    *(
        Field(f"{name}_{side}", 16, place, DEC, need, (f"tp_{side}",) if name == "tcp" else (),
              nxm=None if name == "sctp" else f"NXM_OF_{name}_{side}".upper(),
              oxm=f"OXM_OF_{name}_{side}".upper())
        for name, need in (("tcp", Need.TCP), ("udp", Need.UDP), ("sctp", Need.SCTP))
        for side, place in (("src", TP_SRC_BITS), ("dst", TP_DST_BITS))
    ),
    Field("tcp_flags", 12, Bits(Col.TP, 0, 12), Format.TCP_FLAGS, Need.TCP,
          ("OXM_OF_TCP_FLAGS",), nxm="NXM_NX_TCP_FLAGS", oxm="ONFOXM_ET_TCP_FLAGS",
          writable=False),
    Field("icmp_type", 8, TP_SRC_BITS, DEC, Need.ICMPV4,
          nxm="NXM_OF_ICMP_TYPE", oxm="OXM_OF_ICMPV4_TYPE", maskable=False),
    Field("icmp_code", 8, TP_DST_BITS, DEC, Need.ICMPV4,
          nxm="NXM_OF_ICMP_CODE", oxm="OXM_OF_ICMPV4_CODE", maskable=False),
    Field("icmpv6_type", 8, TP_SRC_BITS, DEC, Need.ICMPV6,
          nxm="NXM_NX_ICMPV6_TYPE", oxm="OXM_OF_ICMPV6_TYPE", maskable=False),
    Field("icmpv6_code", 8, TP_DST_BITS, DEC, Need.ICMPV6,
          nxm="NXM_NX_ICMPV6_CODE", oxm="OXM_OF_ICMPV6_CODE", maskable=False),
)

NEIGHBOR_DISCOVERY = (
    Field("nd_target", 128, Bits(Col.ND_TARGET, 0, 128), IP6, Need.ND,
          nxm="NXM_NX_ND_TARGET", oxm="OXM_OF_IPV6_ND_TARGET"),
    Field("nd_sll", 48, Bits(Col.ARP_SHA, 0, 48), MAC, Need.ND_SOLICIT,
          nxm="NXM_NX_ND_SLL", oxm="OXM_OF_IPV6_ND_SLL"),
    Field("nd_tll", 48, Bits(Col.ARP_THA, 0, 48), MAC, Need.ND_ADVERT,
          nxm="NXM_NX_ND_TLL", oxm="OXM_OF_IPV6_ND_TLL"),
    Field("nd_reserved", 32, Bits(Col.FLOW_LABEL, 0, 32), DEC, Need.ND,
          oxm="ERICOXM_OF_ICMPV6_ND_RESERVED", maskable=False),
    Field("nd_options_type", 8, TCP_FLAGS_BITS, DEC, Need.ND,
          oxm="ERICOXM_OF_ICMPV6_ND_OPTIONS_TYPE", maskable=False),
)

NSH = (
    Field("nsh_flags", 8, Bits(Col.NSH, 56, 8), DEC, Need.NSH, oxm="NXOXM_NSH_FLAGS"),
    Field("nsh_mdtype", 8, Bits(Col.NSH, 40, 8), DEC, Need.NSH,
          oxm="NXOXM_NSH_MDTYPE", maskable=False, writable=False),
    Field("nsh_np", 8, Bits(Col.NSH, 32, 8), DEC, Need.NSH,
          oxm="NXOXM_NSH_NP", maskable=False, writable=False),
    Field("nsh_spi", 24, Bits(Col.NSH, 8, 24), HEX, Need.NSH, ("nsp",),
          oxm="NXOXM_NSH_SPI", maskable=False),
    Field("nsh_si", 8, Bits(Col.NSH, 0, 8), DEC, Need.NSH, ("nsi",),
          oxm="NXOXM_NSH_SI", maskable=False),
    *(
        Field(f"nsh_c{i + 1}", 32, half(Col.NSH_C1_C2, i), HEX, Need.NSH, (f"nshc{i + 1}",),
              oxm=f"NXOXM_NSH_C{i + 1}")
        for i in range(4)
    ),
    Field("nsh_ttl", 8, NSH_TTL_BITS, DEC, Need.NSH, oxm="NXOXM_NSH_TTL", maskable=False),
)

ROWS = (*ETHERNET, *VLAN, *MPLS, *IP, *ARP, *TRANSPORT, *NEIGHBOR_DISCOVERY, *NSH)
