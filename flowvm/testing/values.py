"""Values for fields: few enough that rules and packets meet, odd enough to find the edges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from flowvm.columns import VLAN_CFI
from flowvm.fields import FIELDS, Bits, Field, Format, field
from flowvm.testing.choices import Choices
from flowvm.text.values import format_prefix
from flowvm.tlv_map import TlvMap, TlvOption

MACS = (
    0x0200_0000_0001,
    0x0200_0000_0002,
    0x0200_0000_0003,
    0x0100_5E00_0001,
    0x3333_0000_0001,
    0xFFFF_FFFF_FFFF,
    0,
)
IPV4S = (0x0A00_0001, 0x0A00_0002, 0x0A00_0101, 0xC0A8_0101, 0xE000_0001, 0xFFFF_FFFF, 0)
IPV6S = (
    0xFE80 << 112 | 1,
    0xFE80 << 112 | 2,
    0x2001_0DB8 << 96 | 1,
    0xFF02 << 112 | 1,
    (1 << 128) - 1,
    0,
)
ETH_TYPES = (0x0800, 0x0806, 0x86DD, 0x8847, 0x8848, 0x8035, 0x894F, 0x88CC, 0x0600, 0x05FF, 0x1234)
IP_PROTOCOLS = (6, 17, 1, 132, 58, 2, 47, 0, 255)
_NUMBERS = (1, 2, 3, 5, 0)

_OF_FORMAT: Mapping[Format, Sequence[int]] = MappingProxyType(
    {Format.ETHERNET: MACS, Format.IPV4: IPV4S, Format.IPV6: IPV6S}
)
_OF_NAME: Mapping[str, Sequence[int]] = MappingProxyType(
    {
        "eth_type": ETH_TYPES,
        "nw_proto": IP_PROTOCOLS,
        "nw_ttl": (64, 1, 2, 0, 255),
        "mpls_ttl": (64, 1, 2, 0, 255),
        "nw_tos": (0, 32, 184, 252),
        "arp_op": (1, 2, 3, 0),
        "icmp_type": (8, 0, 3),
        "icmp_code": (0, 1),
        "icmpv6_type": (135, 136, 128, 133),
        "icmpv6_code": (0, 1),
        "vlan_tci": (0x1000, 0x1001, 0x1005, 0x2001, 0xF005, 0),
        "ip_frag": (0, 1, 3),
        "tcp_flags": (0x02, 0x12, 0x10, 0x01, 0x04, 0),
        "tun_flags": (0, 1),
        "nsh_ttl": (63, 1, 2, 0),
        "nsh_flags": (0, 1, 3),
        "nsh_mdtype": (1,),
        "nsh_np": (1, 3, 4, 2),
    }
)
FEW = ("nw_tos", "arp_op", "tun_flags", "nsh_ttl", "nsh_flags")
"""Fields of which Open vSwitch takes no other values than those of a few bits."""

_PORTS = (1, 53, 80, 443, 0x8000, 0xFFFF, 0)
_TRANSPORT = ("tcp_", "udp_", "sctp_")

VALUE_WIDTHS: Mapping[str, int] = MappingProxyType(
    dict.fromkeys(("icmp_type", "icmp_code", "icmpv6_type", "icmpv6_code", "nd_options_type"), 8)
)
"""Fields whose values have fewer bits than the place that holds them."""


def value_width(row: Field) -> int:
    """How many bits a value of the field can have."""
    return VALUE_WIDTHS.get(row.name, row.bits.width if row.bits else row.width)


def value_of(choose: Choices, row: Field, ports: Sequence[int]) -> int:
    """A value for the whole field; ``ports`` are the ports of the bridge."""
    if row.format is Format.PORT:
        return choose.one(ports)
    if row.name in FEW:
        return choose.one(_OF_NAME[row.name])
    width = value_width(row)
    # Of the values of nw_frag, one means nothing.
    if row.format is not Format.FRAG and choose.percent(12):
        value = choose.bits(width)
    elif row.name.startswith(_TRANSPORT) and row.name != "tcp_flags":
        value = choose.one(_PORTS)
    else:
        pool = _OF_NAME.get(row.name) or _OF_FORMAT.get(row.format) or _NUMBERS
        value = choose.one(pool) & ((1 << width) - 1)
    # A VLAN ID of OpenFlow 1.2 and later says with a bit of its own that there is a tag.
    return value | VLAN_CFI if row.name == "vlan_vid" else value


_SHOWN_WHOLE = ("tun_flags", "tun_gbp_flags", "tun_gtpu", "tun_erspan_ver")
"""Fields of which Open vSwitch's dumps do not show masks."""


def mask_for(choose: Choices, row: Field) -> int:
    """A mask for the field: mostly all of it, else a prefix, a run of bits, or any bits."""
    width = value_width(row)
    full = row.full_mask
    if row.format is Format.FRAG:
        return choose.one((3, 1, 2))
    whole = not row.maskable or width == 1 or row.name.startswith(_SHOWN_WHOLE)
    if whole or not choose.percent(30):
        return full
    match choose.number(0, 2):
        case 0:
            mask = full & ~((1 << choose.number(1, width - 1)) - 1)
        case 1:
            start = choose.number(0, width - 1)
            mask = ((1 << choose.number(1, width - start)) - 1) << start
        case _:
            mask = choose.bits(width) or full
    if row.format is Format.IPV6 and format_prefix(mask, width) is None:
        # ovs-ofctl takes a mask that begins with a decimal digit for the length of a prefix.
        mask |= 0xF << 124
    if row.presence is not None and _fills_bytes(mask):
        # Open vSwitch dumps such a match on an option as an exact one.
        return full
    return mask | VLAN_CFI if row.name == "vlan_vid" else mask


def _fills_bytes(mask: int) -> bool:
    return not mask & mask + 1 and not mask.bit_length() % 8


TLV_MAP = TlvMap(
    (TlvOption(0, 4, 0x102, 0x80), TlvOption(1, 8, 0x103, 1), TlvOption(5, 20, 0xFFFF, 0)),
    inferred=False,
)
"""The tunnel options that generated tables use; a switch that is given one has to have them."""


def unplaced(row: Field) -> Field:
    """The field as flows name it, of a row that may have its place from :data:`TLV_MAP`."""
    return field(row.name)


_NOT_SHOWN = ("tun_erspan", "nsh_c")  # unless the version, or nsh_mdtype, is matched too
_NEVER_MATCHED = ("dp_hash", "recirc_id", "packet_type", "conj_id", "in_port_oxm")
_WITHOUT_CODE = ("dl_vlan", "dl_vlan_pcp")  # matched by way of other fields


def _has_code(row: Field) -> bool:
    return row.nxm is not None or row.oxm is not None


_KNOWN: tuple[Field, ...] = (
    *(
        row
        for row in FIELDS
        if row.bits is not None
        and (_has_code(row) or row.name in _WITHOUT_CODE)
        and row.name not in _NEVER_MATCHED
    ),
    *TLV_MAP.rows.values(),
)

_OF_PACKETS = tuple(row for row in _KNOWN if not row.name.startswith("ct_"))

MATCHABLE: tuple[Field, ...] = tuple(
    row for row in _OF_PACKETS if not row.name.startswith(_NOT_SHOWN)
)
"""The fields that generated matches use, but for those that only connection tracking sets; options
with their places by :data:`TLV_MAP`."""

READABLE: tuple[Field, ...] = (
    *(row for row in _OF_PACKETS if _has_code(row)),
    field("in_port_oxm"),
)
"""The fields that generated actions read."""

WRITABLE: tuple[Field, ...] = tuple(row for row in READABLE if row.writable)
"""The fields that generated actions write."""


def standard(rows: Sequence[Field]) -> tuple[Field, ...]:
    """Those of ``rows`` that have a name outside of experimenters' classes.

    Some actions, such as learn, have no room for the others.
    """
    return tuple(row for row in rows if row.nxm or (row.oxm or "").startswith("OXM_OF_"))


TRACKED: tuple[Field, ...] = tuple(row for row in _KNOWN if row.name.startswith("ct_"))
"""The fields that connection tracking sets."""


def overlap(one: Bits, other: Bits) -> bool:
    """Whether two places share bits."""
    # Values over 64 bits take whole columns from the first on, so that one scale fits all.
    first, second = (64 * place.column + place.shift for place in (one, other))
    return first < second + other.width and second < first + one.width
