"""The terms of a match to text: what ``match_format`` writes for one field.

A match writes some numbers otherwise than ``set_field`` or ``learn`` do; the facts are those of
Open vSwitch 3.1's lib/match.c.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from flowvm.fields import Field, Format
from flowvm.flow import MatchTerm, ProtocolMatch
from flowvm.text.values import (
    TUN_FLAGS,
    format_flags,
    format_hex,
    format_ipv4,
    format_ipv6,
    format_mac,
    format_signed_flags,
    format_value,
)

_PLAIN_HEX = "{:#x}", "{:#x}/{:#x}"

_STYLES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "vlan_tci": ("{:#06x}", "{:#06x}/{:#06x}"),
        "eth_type": ("{:#06x}", "{:#06x}/{:#06x}"),
        "ipv6_label": ("{:#07x}", "{:#07x}/{:#07x}"),
        "ct_zone": ("{}", "{:#x}/{:#x}"),
        "nsh_flags": ("{}", "{:#04x}/{:#04x}"),
        "nsh_spi": _PLAIN_HEX,
        "nsh_c1": _PLAIN_HEX,
        "nsh_c2": _PLAIN_HEX,
        "nsh_c3": _PLAIN_HEX,
        "nsh_c4": _PLAIN_HEX,
    }
)
"""How a match writes numbers, exact and masked, where it is not as ``set_field`` does."""

ALL_TUN_FLAGS = sum(TUN_FLAGS.values())

_MASKED_DECIMAL = "{:#x}/{:#x}"


def format_term(term: MatchTerm) -> str:
    """One term of a match."""
    if isinstance(term, ProtocolMatch):
        return term.spelling
    if not term.mask and (term.field.bits is None or term.field.presence is not None):
        return term.spelling
    return f"{term.spelling}={_match_value(term.field, term.value, term.mask)}"


def _match_value(row: Field, value: int | str, mask: int) -> str:
    exact = mask == row.full_mask
    if isinstance(value, int):
        if row.name in _STYLES:
            style = _STYLES[row.name]
            return style[0].format(value) if exact else style[1].format(value, mask)
        if row.name == "recirc_id":
            return format_hex(value)
        if row.format is Format.TUN_FLAGS:
            whole = mask & ALL_TUN_FLAGS == ALL_TUN_FLAGS
            if whole:
                return format_flags(row, value, row.full_mask)
            return format_signed_flags(row, value, mask)
        if row.format is Format.DECIMAL and not exact:
            return _MASKED_DECIMAL.format(value, mask)
        if not mask:
            return _match_anything(row)
    return format_value(row, value, mask)


def _match_anything(row: Field) -> str:
    """A mask of 0, which only hand-written text has."""
    match row.format:
        case Format.IPV4:
            return f"{format_ipv4(0)}/0"
        case Format.IPV6:
            return f"{format_ipv6(0)}/0"
        case Format.ETHERNET:
            return f"{format_mac(0)}/{format_mac(0)}"
        case Format.HEXADECIMAL | Format.CT_STATE | Format.TCP_FLAGS | Format.TUN_FLAGS:
            return "0/0"
    return "*"
