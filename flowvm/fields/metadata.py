"""The fields that come with a packet, or that its way through the tables gives it."""

from __future__ import annotations

from flowvm.columns import Column as Col
from flowvm.fields.bits import DP_HASH_BITS, PACKET_TYPE_BITS, SKB_PRIORITY_BITS, Bits, half
from flowvm.fields.row import Field, Format
from flowvm.fields.row import Prerequisite as Need

N_REGS = 16
N_TUN_METADATA = 64
TUN_METADATA_WIDTH = 124 * 8

DEC, HEX, PORT = Format.DECIMAL, Format.HEXADECIMAL, Format.PORT
IP4, IP6 = Format.IPV4, Format.IPV6

# fmt: off
# A table: a field is a line or two.

LOOKUP = (
    Field("dp_hash", 32, DP_HASH_BITS, HEX,
          nxm="NXM_NX_DP_HASH", oxm="NXOXM_ET_DP_HASH", writable=False),
    Field("recirc_id", 32, Bits(Col.RECIRC, 32, 32), DEC,
          nxm="NXM_NX_RECIRC_ID", maskable=False, writable=False),
    Field("packet_type", 32, PACKET_TYPE_BITS, Format.PACKET_TYPE,
          oxm="OXM_OF_PACKET_TYPE", maskable=False, writable=False),
    Field("conj_id", 32, Bits(Col.PACKET_TYPE, 0, 32), DEC,
          nxm="NXM_NX_CONJ_ID", maskable=False, writable=False),
)

TUNNEL = (
    Field("tun_id", 64, Bits(Col.TUN_ID, 0, 64), HEX, aliases=("tunnel_id",),
          nxm="NXM_NX_TUN_ID", oxm="OXM_OF_TUNNEL_ID"),
    Field("tun_src", 32, Bits(Col.TUN_IPV4, 32, 32), IP4, nxm="NXM_NX_TUN_IPV4_SRC"),
    Field("tun_dst", 32, Bits(Col.TUN_IPV4, 0, 32), IP4, nxm="NXM_NX_TUN_IPV4_DST"),
    Field("tun_ipv6_src", 128, Bits(Col.TUN_IPV6_SRC, 0, 128), IP6, nxm="NXM_NX_TUN_IPV6_SRC"),
    Field("tun_ipv6_dst", 128, Bits(Col.TUN_IPV6_DST, 0, 128), IP6, nxm="NXM_NX_TUN_IPV6_DST"),
    Field("tun_flags", 1, Bits(Col.TUN, 48, 1), Format.TUN_FLAGS, nxm="NXM_NX_TUN_FLAGS"),
    Field("tun_ttl", 8, Bits(Col.TUN, 32, 8), DEC, writable=False),
    Field("tun_tos", 8, Bits(Col.TUN, 40, 8), DEC, writable=False),
    Field("tun_gbp_id", 16, Bits(Col.TUN, 16, 16), DEC, nxm="NXM_NX_TUN_GBP_ID"),
    Field("tun_gbp_flags", 8, Bits(Col.TUN, 8, 8), HEX, nxm="NXM_NX_TUN_GBP_FLAGS"),
    Field("tun_erspan_idx", 20, Bits(Col.TUN_EXTRA, 32, 20), HEX, oxm="NXOXM_ET_ERSPAN_IDX"),
    Field("tun_erspan_ver", 4, Bits(Col.TUN_EXTRA, 24, 4), DEC, oxm="NXOXM_ET_ERSPAN_VER"),
    Field("tun_erspan_dir", 1, Bits(Col.TUN_EXTRA, 22, 1), DEC, oxm="NXOXM_ET_ERSPAN_DIR"),
    Field("tun_erspan_hwid", 6, Bits(Col.TUN_EXTRA, 16, 6), HEX, oxm="NXOXM_ET_ERSPAN_HWID"),
    # The aliases of these two are what ovs-ofctl prints.
    Field("tun_gtpu_flags", 8, Bits(Col.TUN_EXTRA, 8, 8), HEX, aliases=("gtpu_flags",),
          oxm="NXOXM_ET_GTPU_FLAGS", writable=False),
    Field("tun_gtpu_msgtype", 8, Bits(Col.TUN_EXTRA, 0, 8), DEC, aliases=("gtpu_msgtype",),
          oxm="NXOXM_ET_GTPU_MSGTYPE", writable=False),
    *(
        Field(f"tun_metadata{i}", TUN_METADATA_WIDTH, None, HEX, nxm=f"NXM_NX_TUN_METADATA{i}")
        for i in range(N_TUN_METADATA)
    ),
)

METADATA = (
    Field("metadata", 64, Bits(Col.METADATA, 0, 64), HEX, oxm="OXM_OF_METADATA"),
    Field("in_port", 16, Bits(Col.IN_PORT, 0, 16), PORT, nxm="NXM_OF_IN_PORT", maskable=False),
    Field("in_port_oxm", 32, Bits(Col.IN_PORT, 0, 16), PORT, oxm="OXM_OF_IN_PORT", maskable=False),
    Field("actset_output", 32, Bits(Col.ACTSET_OUTPUT, 0, 16), PORT,
          aliases=("OXM_OF_ACTSET_OUTPUT",), oxm="ONFOXM_ET_ACTSET_OUTPUT",
          maskable=False, writable=False),
    Field("skb_priority", 32, SKB_PRIORITY_BITS, HEX, maskable=False, writable=False),
    Field("pkt_mark", 32, Bits(Col.MARK, 0, 32), HEX, nxm="NXM_NX_PKT_MARK"),
)

CONNECTION_TRACKING = (
    Field("ct_state", 32, Bits(Col.CT, 32, 32), Format.CT_STATE,
          nxm="NXM_NX_CT_STATE", writable=False),
    Field("ct_zone", 16, Bits(Col.CT, 16, 16), HEX,
          nxm="NXM_NX_CT_ZONE", maskable=False, writable=False),
    Field("ct_mark", 32, Bits(Col.CT_MARK, 0, 32), HEX, nxm="NXM_NX_CT_MARK"),
    Field("ct_label", 128, Bits(Col.CT_LABEL, 0, 128), HEX, nxm="NXM_NX_CT_LABEL"),
    Field("ct_nw_proto", 8, Bits(Col.CT, 8, 8), DEC, Need.CT,
          nxm="NXM_NX_CT_NW_PROTO", maskable=False, writable=False),
    Field("ct_nw_src", 32, Bits(Col.CT_IPV4, 32, 32), IP4, Need.CT,
          nxm="NXM_NX_CT_NW_SRC", writable=False),
    Field("ct_nw_dst", 32, Bits(Col.CT_IPV4, 0, 32), IP4, Need.CT,
          nxm="NXM_NX_CT_NW_DST", writable=False),
    Field("ct_ipv6_src", 128, Bits(Col.CT_IPV6_SRC, 0, 128), IP6, Need.CT,
          nxm="NXM_NX_CT_IPV6_SRC", writable=False),
    Field("ct_ipv6_dst", 128, Bits(Col.CT_IPV6_DST, 0, 128), IP6, Need.CT,
          nxm="NXM_NX_CT_IPV6_DST", writable=False),
    Field("ct_tp_src", 16, Bits(Col.CT_TP, 16, 16), DEC, Need.CT,
          nxm="NXM_NX_CT_TP_SRC", writable=False),
    Field("ct_tp_dst", 16, Bits(Col.CT_TP, 0, 16), DEC, Need.CT,
          nxm="NXM_NX_CT_TP_DST", writable=False),
)

REGISTERS = (
    *(Field(f"reg{i}", 32, half(Col.XREG0, i), HEX, nxm=f"NXM_NX_REG{i}") for i in range(N_REGS)),
    *(
        Field(f"xreg{i}", 64, Bits(Col(Col.XREG0 + i), 0, 64), HEX, oxm=f"OXM_OF_PKT_REG{i}")
        for i in range(N_REGS // 2)
    ),
    *(
        Field(f"xxreg{i}", 128, Bits(Col(Col.XREG0 + 2 * i), 0, 128), HEX, nxm=f"NXM_NX_XXREG{i}")
        for i in range(N_REGS // 4)
    ),
)

ROWS = (*LOOKUP, *TUNNEL, *METADATA, *CONNECTION_TRACKING, *REGISTERS)
