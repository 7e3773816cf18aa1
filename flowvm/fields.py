"""The registry of match fields: one row per field of ovs-fields(7).

Everything that needs to know a field (parser, formatter, matcher, ``load``/``move``/``learn``
subfields, strategies) reads this table. A row says how the field is spelled, how wide it is, how
its values are written, what must hold before it exists in a packet, and where its bits live.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from types import MappingProxyType

from flowvm.columns import VLAN_CFI, Column

ETH_TYPE_IP = 0x0800
ETH_TYPE_ARP = 0x0806
ETH_TYPE_RARP = 0x8035
ETH_TYPE_IPV6 = 0x86DD
ETH_TYPE_MPLS = 0x8847
ETH_TYPE_MPLS_MCAST = 0x8848
ETH_TYPE_NSH = 0x894F
ETH_TYPE_VLAN = 0x8100
ETH_TYPE_QINQ = 0x88A8

DSCP_MASK = 0xFC


class Format(Enum):
    """How ovs-ofctl writes a field's values (ovs-fields(7), the "Format" rows)."""

    DECIMAL = "decimal"
    HEXADECIMAL = "hexadecimal"
    ETHERNET = "Ethernet"
    IPV4 = "IPv4"
    IPV6 = "IPv6"
    PORT = "OpenFlow port"
    FRAG = "frag"
    CT_STATE = "ct state"
    TCP_FLAGS = "TCP flags"
    TUN_FLAGS = "tunnel flags"
    PACKET_TYPE = "packet type"


class Prerequisite(Enum):
    """What a packet must be for a field to exist in it (ovs-fields(7), "Prerequisites")."""

    NONE = "none"
    ETHERNET = "Ethernet"
    VLAN_VID = "VLAN VID"
    ARP = "ARP"
    IPV4 = "IPv4"
    IPV6 = "IPv6"
    IP = "IPv4/IPv6"
    MPLS = "MPLS"
    TCP = "TCP"
    UDP = "UDP"
    SCTP = "SCTP"
    ICMPV4 = "ICMPv4"
    ICMPV6 = "ICMPv6"
    ND = "ND"
    ND_SOLICIT = "ND solicit"
    ND_ADVERT = "ND advert"
    NSH = "NSH"
    CT = "CT"


@dataclass(frozen=True, slots=True)
class Bits:
    """Where a value lies: ``width`` bits from bit ``shift`` of ``column`` on.

    One that is too wide for the column goes on in those after it: ``shift`` is then of the last of
    them, which has its lowest bits. Its ``unused`` lowest bits are not of the value; another field
    may be there.
    """

    column: Column
    shift: int
    width: int
    unused: int = 0

    @property
    def mask(self) -> dict[int, int]:
        """The bits as a mask of their column; for values that are in one column."""
        return {self.column: ((1 << self.width) - (1 << self.unused)) << self.shift}

    @property
    def n_columns(self) -> int:
        """How many columns the value is in."""
        return (self.shift + self.width + 63) // 64 if self.width else 0

    def words(self, value: int) -> Iterator[tuple[Column, int]]:
        """Split ``value`` into (column, word) pairs, most significant first."""
        placed = (value & ((1 << self.width) - 1)) << self.shift
        last = self.n_columns - 1
        if not last:
            yield self.column, placed
            return
        for i in range(last + 1):
            yield Column(self.column + i), placed >> 64 * (last - i) & 0xFFFF_FFFF_FFFF_FFFF

    def value(self, key: Sequence[int]) -> int:
        """The value in ``key``, which has one word a column."""
        placed = key[self.column]
        for i in range(1, self.n_columns):
            placed = placed << 64 | key[self.column + i]
        return placed >> self.shift & (1 << self.width) - 1


@dataclass(frozen=True, slots=True)
class Field:
    """One row of the registry.

    ``width`` is in bits, as subfields count them. ``bits`` is ``None`` for a field whose place
    depends on something outside the registry (``tun_metadata``: a TLV map, which makes of the row
    one with ``bits`` and ``presence``, see :class:`flowvm.tlv_map.TlvMap`).
    """

    name: str
    width: int
    bits: Bits | None
    format: Format
    prerequisite: Prerequisite = Prerequisite.NONE
    aliases: tuple[str, ...] = ()
    nxm: str | None = None
    oxm: str | None = None
    maskable: bool = True
    writable: bool = True
    implied: int = 0
    """Bits of the column (before the shift) that a match on the field demands besides its own."""
    presence: Bits | None = None
    """A bit that says whether a packet has the field: matches demand it, writing sets it."""

    @property
    def full_mask(self) -> int:
        """The mask of a match on the whole field: every bit that is stored for it.

        Not always ``width`` bits: ``vlan_vid`` (12, as subfields count) is matched and set as 13,
        CFI included; ``icmp_type`` (8) occupies a 16-bit member; ``arp_op`` (16) keeps 8.
        """
        return (1 << (self.bits.width if self.bits else self.width)) - 1

    def placed(self, width: int, bits: Bits, presence: Bits) -> Field:
        """This field where it has ``width`` bits, which are there."""
        return replace(self, width=width, bits=bits, presence=presence)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<Field {self.name}>"

    def __hash__(self) -> int:
        # Operations are looked up by the fields that they have to do with.
        return hash(self.name)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        if self.presence is not None:
            return field(self.name).placed, (self.width, self.bits, self.presence)
        return field, (self.name,)

    def match_words(self, value: int, mask: int) -> Iterator[tuple[Column, int, int]]:
        """Yield (column, value, mask) words that a match of ``value`` under ``mask`` compares.

        Raises ValueError for a field without a place in the columns.
        """
        if self.bits is None:
            raise ValueError(f"{self.name} has no place in a packet's columns")
        if self.name in ("dl_vlan", "vlan_vid") and value == 0xFFFF:
            # "No tag at all" (ovs-fields(7), "dl_vlan").
            yield Column.VLAN, 0, 0xFFFF << OUTER_TCI.shift
            return
        mask &= -1 << self.bits.unused
        for (column, v), (_, m) in zip(
            self.bits.words(value & mask), self.bits.words(mask), strict=True
        ):
            yield column, v | self.implied, m | self.implied
        if self.presence is not None:
            for column, bit in self.presence.words(1):
                yield column, bit, bit


DP_HASH_BITS = Bits(Column.RECIRC, 0, 32)
OUTER_TPID = Bits(Column.VLAN, 48, 16)
OUTER_TCI = Bits(Column.VLAN, 32, 16)
INNER_TPID = Bits(Column.VLAN, 16, 16)
INNER_TCI = Bits(Column.VLAN, 0, 16)
SKB_PRIORITY_BITS = Bits(Column.MARK, 32, 32)
ETH_TYPE_BITS = Bits(Column.NW, 48, 16)
NW_PROTO_BITS = Bits(Column.NW, 40, 8)
NW_TOS_BITS = Bits(Column.NW, 32, 8)
NW_TTL_BITS = Bits(Column.NW, 24, 8)
NW_FRAG_BITS = Bits(Column.NW, 16, 8)
IPV6_EXTENDED_BITS = Bits(Column.NW, 8, 1)
IPV6_NEXT_BITS = Bits(Column.NW, 0, 8)
TP_SRC_BITS = Bits(Column.TP, 32, 16)
TP_DST_BITS = Bits(Column.TP, 16, 16)
TCP_FLAGS_BITS = Bits(Column.TP, 0, 16)
IPV4_SRC_BITS = Bits(Column.IPV4, 32, 32)
IPV4_DST_BITS = Bits(Column.IPV4, 0, 32)
NSH_TTL_BITS = Bits(Column.NSH, 48, 8)
PACKET_TYPE_BITS = Bits(Column.PACKET_TYPE, 32, 32)

N_REGS = 16
N_TUN_METADATA = 64
TUN_METADATA_WIDTH = 124 * 8


def _registers() -> Iterator[Field]:
    hexadecimal = Format.HEXADECIMAL
    for i in range(N_REGS):
        place = Bits(Column(Column.XREG0 + i // 2), 0 if i % 2 else 32, 32)
        yield Field(f"reg{i}", 32, place, hexadecimal, nxm=f"NXM_NX_REG{i}")
    for i in range(N_REGS // 2):
        place = Bits(Column(Column.XREG0 + i), 0, 64)
        yield Field(f"xreg{i}", 64, place, hexadecimal, oxm=f"OXM_OF_PKT_REG{i}")
    for i in range(N_REGS // 4):
        place = Bits(Column(Column.XREG0 + 2 * i), 0, 128)
        yield Field(f"xxreg{i}", 128, place, hexadecimal, nxm=f"NXM_NX_XXREG{i}")


def _tunnel_metadata() -> Iterator[Field]:
    for i in range(N_TUN_METADATA):
        yield Field(
            f"tun_metadata{i}",
            TUN_METADATA_WIDTH,
            None,
            Format.HEXADECIMAL,
            nxm=f"NXM_NX_TUN_METADATA{i}",
        )


def _nsh_context() -> Iterator[Field]:
    for i in range(4):
        place = Bits(Column(Column.NSH_C1_C2 + i // 2), 0 if i % 2 else 32, 32)
        yield Field(
            f"nsh_c{i + 1}",
            32,
            place,
            Format.HEXADECIMAL,
            Prerequisite.NSH,
            (f"nshc{i + 1}",),
            oxm=f"NXOXM_NSH_C{i + 1}",
        )


def _rows() -> Iterator[Field]:
    dec, hexa, port = Format.DECIMAL, Format.HEXADECIMAL, Format.PORT
    mac, ip4, ip6 = Format.ETHERNET, Format.IPV4, Format.IPV6
    need = Prerequisite
    col = Column

    # Conjunctive match, recirculation, packet type.
    yield Field(
        "dp_hash",
        32,
        Bits(col.RECIRC, 0, 32),
        hexa,
        nxm="NXM_NX_DP_HASH",
        oxm="NXOXM_ET_DP_HASH",
        writable=False,
    )
    yield Field(
        "recirc_id",
        32,
        Bits(col.RECIRC, 32, 32),
        dec,
        nxm="NXM_NX_RECIRC_ID",
        maskable=False,
        writable=False,
    )
    yield Field(
        "packet_type",
        32,
        PACKET_TYPE_BITS,
        Format.PACKET_TYPE,
        oxm="OXM_OF_PACKET_TYPE",
        maskable=False,
        writable=False,
    )
    yield Field(
        "conj_id",
        32,
        Bits(col.PACKET_TYPE, 0, 32),
        dec,
        nxm="NXM_NX_CONJ_ID",
        maskable=False,
        writable=False,
    )

    # Tunnel.
    yield Field(
        "tun_id",
        64,
        Bits(col.TUN_ID, 0, 64),
        hexa,
        aliases=("tunnel_id",),
        nxm="NXM_NX_TUN_ID",
        oxm="OXM_OF_TUNNEL_ID",
    )
    yield Field("tun_src", 32, Bits(col.TUN_IPV4, 32, 32), ip4, nxm="NXM_NX_TUN_IPV4_SRC")
    yield Field("tun_dst", 32, Bits(col.TUN_IPV4, 0, 32), ip4, nxm="NXM_NX_TUN_IPV4_DST")
    yield Field("tun_ipv6_src", 128, Bits(col.TUN_IPV6_SRC, 0, 128), ip6, nxm="NXM_NX_TUN_IPV6_SRC")
    yield Field("tun_ipv6_dst", 128, Bits(col.TUN_IPV6_DST, 0, 128), ip6, nxm="NXM_NX_TUN_IPV6_DST")
    yield Field("tun_flags", 1, Bits(col.TUN, 48, 1), Format.TUN_FLAGS, nxm="NXM_NX_TUN_FLAGS")
    yield Field("tun_ttl", 8, Bits(col.TUN, 32, 8), dec, writable=False)
    yield Field("tun_tos", 8, Bits(col.TUN, 40, 8), dec, writable=False)
    yield Field("tun_gbp_id", 16, Bits(col.TUN, 16, 16), dec, nxm="NXM_NX_TUN_GBP_ID")
    yield Field("tun_gbp_flags", 8, Bits(col.TUN, 8, 8), hexa, nxm="NXM_NX_TUN_GBP_FLAGS")
    yield Field("tun_erspan_idx", 20, Bits(col.TUN_EXTRA, 32, 20), hexa, oxm="NXOXM_ET_ERSPAN_IDX")
    yield Field("tun_erspan_ver", 4, Bits(col.TUN_EXTRA, 24, 4), dec, oxm="NXOXM_ET_ERSPAN_VER")
    yield Field("tun_erspan_dir", 1, Bits(col.TUN_EXTRA, 22, 1), dec, oxm="NXOXM_ET_ERSPAN_DIR")
    yield Field("tun_erspan_hwid", 6, Bits(col.TUN_EXTRA, 16, 6), hexa, oxm="NXOXM_ET_ERSPAN_HWID")
    yield Field(
        "tun_gtpu_flags",
        8,
        Bits(col.TUN_EXTRA, 8, 8),
        hexa,
        aliases=("gtpu_flags",),  # as ovs-ofctl prints it
        oxm="NXOXM_ET_GTPU_FLAGS",
        writable=False,
    )
    yield Field(
        "tun_gtpu_msgtype",
        8,
        Bits(col.TUN_EXTRA, 0, 8),
        dec,
        aliases=("gtpu_msgtype",),
        oxm="NXOXM_ET_GTPU_MSGTYPE",
        writable=False,
    )
    yield from _tunnel_metadata()

    # Metadata.
    yield Field("metadata", 64, Bits(col.METADATA, 0, 64), hexa, oxm="OXM_OF_METADATA")
    yield Field("in_port", 16, Bits(col.IN_PORT, 0, 16), port, nxm="NXM_OF_IN_PORT", maskable=False)
    yield Field(
        "in_port_oxm", 32, Bits(col.IN_PORT, 0, 16), port, oxm="OXM_OF_IN_PORT", maskable=False
    )
    yield Field(
        "actset_output",
        32,
        Bits(col.ACTSET_OUTPUT, 0, 32),
        port,
        aliases=("OXM_OF_ACTSET_OUTPUT",),
        oxm="ONFOXM_ET_ACTSET_OUTPUT",
        maskable=False,
        writable=False,
    )
    yield Field("skb_priority", 32, SKB_PRIORITY_BITS, hexa, maskable=False, writable=False)
    yield Field("pkt_mark", 32, Bits(col.MARK, 0, 32), hexa, nxm="NXM_NX_PKT_MARK")

    # Connection tracking.
    yield Field(
        "ct_state", 32, Bits(col.CT, 32, 32), Format.CT_STATE, nxm="NXM_NX_CT_STATE", writable=False
    )
    yield Field(
        "ct_zone",
        16,
        Bits(col.CT, 16, 16),
        hexa,
        nxm="NXM_NX_CT_ZONE",
        maskable=False,
        writable=False,
    )
    yield Field("ct_mark", 32, Bits(col.CT_MARK, 0, 32), hexa, nxm="NXM_NX_CT_MARK")
    yield Field("ct_label", 128, Bits(col.CT_LABEL, 0, 128), hexa, nxm="NXM_NX_CT_LABEL")
    yield Field(
        "ct_nw_proto",
        8,
        Bits(col.CT, 8, 8),
        dec,
        need.CT,
        nxm="NXM_NX_CT_NW_PROTO",
        maskable=False,
        writable=False,
    )
    yield Field(
        "ct_nw_src",
        32,
        Bits(col.CT_IPV4, 32, 32),
        ip4,
        need.CT,
        nxm="NXM_NX_CT_NW_SRC",
        writable=False,
    )
    yield Field(
        "ct_nw_dst",
        32,
        Bits(col.CT_IPV4, 0, 32),
        ip4,
        need.CT,
        nxm="NXM_NX_CT_NW_DST",
        writable=False,
    )
    yield Field(
        "ct_ipv6_src",
        128,
        Bits(col.CT_IPV6_SRC, 0, 128),
        ip6,
        need.CT,
        nxm="NXM_NX_CT_IPV6_SRC",
        writable=False,
    )
    yield Field(
        "ct_ipv6_dst",
        128,
        Bits(col.CT_IPV6_DST, 0, 128),
        ip6,
        need.CT,
        nxm="NXM_NX_CT_IPV6_DST",
        writable=False,
    )
    yield Field(
        "ct_tp_src",
        16,
        Bits(col.CT_TP, 16, 16),
        dec,
        need.CT,
        nxm="NXM_NX_CT_TP_SRC",
        writable=False,
    )
    yield Field(
        "ct_tp_dst",
        16,
        Bits(col.CT_TP, 0, 16),
        dec,
        need.CT,
        nxm="NXM_NX_CT_TP_DST",
        writable=False,
    )

    yield from _registers()

    # Ethernet and VLAN.
    yield Field(
        "eth_src",
        48,
        Bits(col.ETH_SRC, 0, 48),
        mac,
        need.ETHERNET,
        ("dl_src",),
        nxm="NXM_OF_ETH_SRC",
        oxm="OXM_OF_ETH_SRC",
    )
    yield Field(
        "eth_dst",
        48,
        Bits(col.ETH_DST, 0, 48),
        mac,
        need.ETHERNET,
        ("dl_dst",),
        nxm="NXM_OF_ETH_DST",
        oxm="OXM_OF_ETH_DST",
    )
    yield Field(
        "eth_type",
        16,
        ETH_TYPE_BITS,
        hexa,
        need.ETHERNET,
        ("dl_type",),
        nxm="NXM_OF_ETH_TYPE",
        oxm="OXM_OF_ETH_TYPE",
        maskable=False,
        writable=False,
    )
    yield Field("vlan_tci", 16, OUTER_TCI, hexa, need.ETHERNET, nxm="NXM_OF_VLAN_TCI")
    present = VLAN_CFI << OUTER_TCI.shift
    yield Field(
        "dl_vlan", 12, Bits(col.VLAN, 32, 12), dec, need.ETHERNET, maskable=False, implied=present
    )
    yield Field("vlan_vid", 12, Bits(col.VLAN, 32, 13), dec, need.ETHERNET, oxm="OXM_OF_VLAN_VID")
    yield Field(
        "dl_vlan_pcp", 3, Bits(col.VLAN, 45, 3), dec, need.ETHERNET, maskable=False, implied=present
    )
    yield Field(
        "vlan_pcp",
        3,
        Bits(col.VLAN, 45, 3),
        dec,
        need.VLAN_VID,
        oxm="OXM_OF_VLAN_PCP",
        maskable=False,
        implied=present,
    )

    # MPLS.
    yield Field(
        "mpls_label",
        20,
        Bits(col.MPLS, 44, 20),
        dec,
        need.MPLS,
        oxm="OXM_OF_MPLS_LABEL",
        maskable=False,
    )
    yield Field(
        "mpls_tc", 3, Bits(col.MPLS, 41, 3), dec, need.MPLS, oxm="OXM_OF_MPLS_TC", maskable=False
    )
    yield Field(
        "mpls_bos",
        1,
        Bits(col.MPLS, 40, 1),
        dec,
        need.MPLS,
        oxm="OXM_OF_MPLS_BOS",
        maskable=False,
        writable=False,
    )
    yield Field(
        "mpls_ttl", 8, Bits(col.MPLS, 32, 8), dec, need.MPLS, nxm="NXM_NX_MPLS_TTL", maskable=False
    )

    # IP.
    yield Field(
        "ip_src",
        32,
        IPV4_SRC_BITS,
        ip4,
        need.IPV4,
        ("nw_src",),
        nxm="NXM_OF_IP_SRC",
        oxm="OXM_OF_IPV4_SRC",
    )
    yield Field(
        "ip_dst",
        32,
        IPV4_DST_BITS,
        ip4,
        need.IPV4,
        ("nw_dst",),
        nxm="NXM_OF_IP_DST",
        oxm="OXM_OF_IPV4_DST",
    )
    yield Field(
        "ipv6_src",
        128,
        Bits(col.IPV6_SRC, 0, 128),
        ip6,
        need.IPV6,
        nxm="NXM_NX_IPV6_SRC",
        oxm="OXM_OF_IPV6_SRC",
    )
    yield Field(
        "ipv6_dst",
        128,
        Bits(col.IPV6_DST, 0, 128),
        ip6,
        need.IPV6,
        nxm="NXM_NX_IPV6_DST",
        oxm="OXM_OF_IPV6_DST",
    )
    yield Field(
        "ipv6_label",
        20,
        Bits(col.FLOW_LABEL, 32, 20),
        hexa,
        need.IPV6,
        nxm="NXM_NX_IPV6_LABEL",
        oxm="OXM_OF_IPV6_FLABEL",
    )
    yield Field(
        "nw_proto",
        8,
        NW_PROTO_BITS,
        dec,
        need.IP,
        ("ip_proto",),
        nxm="NXM_OF_IP_PROTO",
        oxm="OXM_OF_IP_PROTO",
        maskable=False,
        writable=False,
    )
    # The two low bits of nw_tos belong to nw_ecn (ovs-fields(7), "nw_tos").
    dscp = Bits(col.NW, 32, 8, unused=2)
    yield Field("nw_tos", 8, dscp, dec, need.IP, nxm="NXM_OF_IP_TOS", maskable=False)
    yield Field(
        "ip_dscp", 6, Bits(col.NW, 34, 6), dec, need.IP, oxm="OXM_OF_IP_DSCP", maskable=False
    )
    yield Field(
        "nw_ecn",
        2,
        Bits(col.NW, 32, 2),
        dec,
        need.IP,
        ("ip_ecn",),
        nxm="NXM_NX_IP_ECN",
        oxm="OXM_OF_IP_ECN",
        maskable=False,
    )
    yield Field("nw_ttl", 8, NW_TTL_BITS, dec, need.IP, nxm="NXM_NX_IP_TTL", maskable=False)
    yield Field(
        "ip_frag",
        2,
        NW_FRAG_BITS,
        Format.FRAG,
        need.IP,
        ("nw_frag",),
        nxm="NXM_NX_IP_FRAG",
        writable=False,
    )

    # ARP.
    yield Field(
        "arp_op",
        16,
        NW_PROTO_BITS,
        dec,
        need.ARP,
        nxm="NXM_OF_ARP_OP",
        oxm="OXM_OF_ARP_OP",
        maskable=False,
    )
    yield Field(
        "arp_spa", 32, IPV4_SRC_BITS, ip4, need.ARP, nxm="NXM_OF_ARP_SPA", oxm="OXM_OF_ARP_SPA"
    )
    yield Field(
        "arp_tpa", 32, IPV4_DST_BITS, ip4, need.ARP, nxm="NXM_OF_ARP_TPA", oxm="OXM_OF_ARP_TPA"
    )
    yield Field(
        "arp_sha",
        48,
        Bits(col.ARP_SHA, 0, 48),
        mac,
        need.ARP,
        nxm="NXM_NX_ARP_SHA",
        oxm="OXM_OF_ARP_SHA",
    )
    yield Field(
        "arp_tha",
        48,
        Bits(col.ARP_THA, 0, 48),
        mac,
        need.ARP,
        nxm="NXM_NX_ARP_THA",
        oxm="OXM_OF_ARP_THA",
    )

    # Transport.
    for name, number in (("tcp", need.TCP), ("udp", need.UDP), ("sctp", need.SCTP)):
        upper = name.upper()
        for side, place in (("src", TP_SRC_BITS), ("dst", TP_DST_BITS)):
            yield Field(
                f"{name}_{side}",
                16,
                place,
                dec,
                number,
                (f"tp_{side}",) if name == "tcp" else (),
                nxm=None if name == "sctp" else f"NXM_OF_{upper}_{side.upper()}",
                oxm=f"OXM_OF_{upper}_{side.upper()}",
            )
    yield Field(
        "tcp_flags",
        12,
        Bits(col.TP, 0, 12),
        Format.TCP_FLAGS,
        need.TCP,
        aliases=("OXM_OF_TCP_FLAGS",),
        nxm="NXM_NX_TCP_FLAGS",
        oxm="ONFOXM_ET_TCP_FLAGS",
        writable=False,
    )
    yield Field(
        "icmp_type",
        8,
        TP_SRC_BITS,
        dec,
        need.ICMPV4,
        nxm="NXM_OF_ICMP_TYPE",
        oxm="OXM_OF_ICMPV4_TYPE",
        maskable=False,
    )
    yield Field(
        "icmp_code",
        8,
        TP_DST_BITS,
        dec,
        need.ICMPV4,
        nxm="NXM_OF_ICMP_CODE",
        oxm="OXM_OF_ICMPV4_CODE",
        maskable=False,
    )
    yield Field(
        "icmpv6_type",
        8,
        TP_SRC_BITS,
        dec,
        need.ICMPV6,
        nxm="NXM_NX_ICMPV6_TYPE",
        oxm="OXM_OF_ICMPV6_TYPE",
        maskable=False,
    )
    yield Field(
        "icmpv6_code",
        8,
        TP_DST_BITS,
        dec,
        need.ICMPV6,
        nxm="NXM_NX_ICMPV6_CODE",
        oxm="OXM_OF_ICMPV6_CODE",
        maskable=False,
    )

    # Neighbor discovery.
    yield Field(
        "nd_target",
        128,
        Bits(col.ND_TARGET, 0, 128),
        ip6,
        need.ND,
        nxm="NXM_NX_ND_TARGET",
        oxm="OXM_OF_IPV6_ND_TARGET",
    )
    yield Field(
        "nd_sll",
        48,
        Bits(col.ARP_SHA, 0, 48),
        mac,
        need.ND_SOLICIT,
        nxm="NXM_NX_ND_SLL",
        oxm="OXM_OF_IPV6_ND_SLL",
    )
    yield Field(
        "nd_tll",
        48,
        Bits(col.ARP_THA, 0, 48),
        mac,
        need.ND_ADVERT,
        nxm="NXM_NX_ND_TLL",
        oxm="OXM_OF_IPV6_ND_TLL",
    )
    yield Field(
        "nd_reserved",
        32,
        Bits(col.FLOW_LABEL, 0, 32),
        dec,
        need.ND,
        oxm="ERICOXM_OF_ICMPV6_ND_RESERVED",
        maskable=False,
    )
    yield Field(
        "nd_options_type",
        8,
        TCP_FLAGS_BITS,
        dec,
        need.ND,
        oxm="ERICOXM_OF_ICMPV6_ND_OPTIONS_TYPE",
        maskable=False,
    )

    # Network service header.
    yield Field("nsh_flags", 8, Bits(col.NSH, 56, 8), dec, need.NSH, oxm="NXOXM_NSH_FLAGS")
    yield Field(
        "nsh_mdtype",
        8,
        Bits(col.NSH, 40, 8),
        dec,
        need.NSH,
        oxm="NXOXM_NSH_MDTYPE",
        maskable=False,
        writable=False,
    )
    yield Field(
        "nsh_np",
        8,
        Bits(col.NSH, 32, 8),
        dec,
        need.NSH,
        oxm="NXOXM_NSH_NP",
        maskable=False,
        writable=False,
    )
    yield Field(
        "nsh_spi",
        24,
        Bits(col.NSH, 8, 24),
        hexa,
        need.NSH,
        ("nsp",),
        oxm="NXOXM_NSH_SPI",
        maskable=False,
    )
    yield Field(
        "nsh_si",
        8,
        Bits(col.NSH, 0, 8),
        dec,
        need.NSH,
        ("nsi",),
        oxm="NXOXM_NSH_SI",
        maskable=False,
    )
    yield from _nsh_context()
    yield Field("nsh_ttl", 8, NSH_TTL_BITS, dec, need.NSH, oxm="NXOXM_NSH_TTL", maskable=False)


def _by_name() -> dict[str, Field]:
    names: dict[str, Field] = {}
    for row in FIELDS:
        for name in (row.name, *row.aliases, row.nxm, row.oxm):
            if name is not None:
                names.setdefault(name.lower(), row)
    return names


FIELDS: tuple[Field, ...] = tuple(_rows())
"""All rows. Of fields that one packet can have at once, in the order in which OVS hashes them."""
_BY_NAME = _by_name()


_PACKET_TUN_FLAGS = replace(_BY_NAME["tun_flags"], width=16, bits=Bits(Column.TUN, 48, 16))


def field(name: str) -> Field:
    """The field of that name, alias, NXM or OXM name, in any case; KeyError if there is none."""
    return _BY_NAME[name.lower()]


def packet_field(name: str) -> Field:
    """As :func:`field`, but with the bits that a packet has of it besides (``tun_flags``)."""
    row = field(name)
    return _PACKET_TUN_FLAGS if row.name == "tun_flags" else row


def field_names() -> Mapping[str, Field]:
    """Every spelling in lower case (names, aliases, NXM, OXM) and its field; read-only."""
    return MappingProxyType(_BY_NAME)


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
