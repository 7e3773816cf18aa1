"""The columns of a packet batch: which 64-bit word holds which header bits.

A batch of N packets is an array of ``uint64`` with one row per column. A value wider than 64 bits
takes consecutive columns, most significant word first. Fields that Open vSwitch keeps in one
member of its flow key (``nw_src`` and ``arp_spa``, ``arp_sha`` and ``nd_sll``, ``tp_src`` and
``icmp_type``) share their bits here too, so that reading one after writing the other agrees.
Fields that rules like to match together share a word, which keeps lookup keys short.
"""

from __future__ import annotations

from enum import IntEnum, auto

TUN_METADATA_WORDS = 32
"""Words for the values of tunnel options: as many bytes as Open vSwitch has room for."""


class Column(IntEnum):
    """One 64-bit word of a packet's key; the comments list its parts, most significant first."""

    _ignore_ = "_word"

    IN_PORT = 0
    METADATA = auto()
    TUN_ID = auto()
    TUN_IPV4 = auto()  # src 32, dst 32
    TUN_IPV6_SRC = auto()
    TUN_IPV6_SRC_LOW = auto()
    TUN_IPV6_DST = auto()
    TUN_IPV6_DST_LOW = auto()
    TUN = auto()  # flags 16, tos 8, ttl 8, gbp_id 16, gbp_flags 8, unused 8
    TUN_EXTRA = auto()  # erspan: idx 32, ver 8, dir 4, hwid 4 + gtpu: flags 8, msgtype 8
    TUN_METADATA_PRESENT = auto()  # bit N: the packet has tun_metadataN
    TUN_METADATA = auto()  # and the words after it: values, where a TLV map puts them
    for _word in range(1, TUN_METADATA_WORDS):
        vars()[f"TUN_METADATA_{_word}"] = auto()
    MARK = auto()  # skb_priority 32, pkt_mark 32
    RECIRC = auto()  # recirc_id 32, dp_hash 32
    PACKET_TYPE = auto()  # packet_type 32, conj_id 32
    ACTSET_OUTPUT = auto()
    CT = auto()  # ct_state 32, ct_zone 16, ct_nw_proto 8, unused 8
    CT_MARK = auto()
    CT_LABEL = auto()
    CT_LABEL_LOW = auto()
    CT_IPV4 = auto()  # src 32, dst 32
    CT_IPV6_SRC = auto()
    CT_IPV6_SRC_LOW = auto()
    CT_IPV6_DST = auto()
    CT_IPV6_DST_LOW = auto()
    CT_TP = auto()  # src 16, dst 16
    XREG0 = auto()  # reg0 32, reg1 32, and so on
    XREG1 = auto()
    XREG2 = auto()
    XREG3 = auto()
    XREG4 = auto()
    XREG5 = auto()
    XREG6 = auto()
    XREG7 = auto()
    ETH_SRC = auto()
    ETH_DST = auto()
    VLAN = auto()  # outer tag: TPID 16, TCI 16; inner tag: TPID 16, TCI 16
    # eth_type 16, nw_proto 8, nw_tos 8, nw_ttl 8, nw_frag 8, unused 7; then 1 if IPv6 extension
    # headers come between that nw_frag does not tell of, and the first next header 8
    NW = auto()
    IPV4 = auto()  # src 32, dst 32; ARP's addresses too
    IPV6_SRC = auto()
    IPV6_SRC_LOW = auto()
    IPV6_DST = auto()
    IPV6_DST_LOW = auto()
    FLOW_LABEL = auto()  # ipv6_label 32, IGMP group or nd_reserved 32
    TP = auto()  # unused 16, src 16, dst 16, tcp_flags 16
    ARP_SHA = auto()  # or the ND source link-layer address
    ARP_THA = auto()  # or the ND target link-layer address
    ND_TARGET = auto()
    ND_TARGET_LOW = auto()
    MPLS = auto()  # first label stack entry 32, second 32
    MPLS_2 = auto()  # third label stack entry 32, unused 32
    NSH = auto()  # flags 8, ttl 8, mdtype 8, np 8, spi 24, si 8
    NSH_C1_C2 = auto()
    NSH_C3_C4 = auto()
    # Not of the packet: the last encapsulation or decapsulation, see flowvm.pipeline.layers.
    LAYERS = auto()


N_COLUMNS = len(Column)

VLAN_CFI = 0x1000  # in a TCI: "a tag is present" (ovs-fields(7), "vlan_tci")
VLAN_VID_MASK = 0x0FFF
VLAN_PCP_MASK = 0xE000


FRAG_ANY = 1  # nw_frag: any fragment
FRAG_LATER = 2  # nw_frag: not the first
