"""The tunnel metadata that a packet has, as text."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from flowvm.columns import N_COLUMNS, Column
from flowvm.fields import FIELDS, packet_field
from flowvm.text.values import format_hex, format_value
from flowvm.tlv_map import TlvMap

_OF_THEIR_OWN = ("tun_id", "tun_src", "tun_dst")
_SHOWN = tuple(
    (row.aliases[0] if row.name.startswith("tun_gtpu") else row.name, packet_field(row.name))
    for row in FIELDS
    if row.bits is not None and Column.TUN_ID <= row.bits.column < Column.MARK
)


def tunnel_fields(
    columns: Mapping[Column, NDArray[np.uint64]], packet: int, tlv_map: TlvMap
) -> dict[str, str]:
    """The tunnel fields of a packet that are not zero, and its options, by name.

    Others than ``columns`` are zero. ``geneve`` are the options as a datapath is told them, if the
    TLV map says what they are.
    """
    found: dict[str, str] = {}
    if not columns:
        return found
    key = [0] * N_COLUMNS
    for column, words in columns.items():
        key[column] = int(words[packet])
    for name, row in _SHOWN:
        assert row.bits is not None
        value = row.bits.value(key)
        if value:
            found[name] = format_value(row, value, row.full_mask)
    options = []
    for option, value in tlv_map.present(key):
        found[option.name] = format_hex(value)
        if not tlv_map.inferred:
            assert option.option_class is not None
            assert option.option_type is not None
            data = f",{format_hex(value)}" if option.length else ""
            kind = f"class={format_hex(option.option_class)},type={format_hex(option.option_type)}"
            options.append(f"{{{kind},len={option.length}{data}}}")
    if options:
        found["geneve"] = "".join(options)
    return found


def further_tunnel(fields: Mapping[str, str]) -> dict[str, str]:
    """Those of the fields that have no place of their own in JSON."""
    return {name: value for name, value in fields.items() if name not in _OF_THEIR_OWN}
