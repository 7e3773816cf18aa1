"""Lookups by the addresses that a packet's connection began with: ``resubmit(,TABLE,ct)``.

For the lookup, and for no longer, protocol, addresses and ports change places with those in the ct
fields (``tuple_swap_flow`` in ofproto/ofproto-dpif-xlate.c).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flowvm.columns import Column
from flowvm.fields import (
    ETH_TYPE_IP,
    ETH_TYPE_IPV6,
    NW_PROTO_BITS,
    TP_DST_BITS,
    TP_SRC_BITS,
    Bits,
    Prerequisite,
)
from flowvm.pipeline.bits import ONES, Columns
from flowvm.pipeline.prerequisites import (
    CT_PROTOCOL_BITS,
    has_eth_type,
    is_ip,
    needs,
    union,
    value,
)

if TYPE_CHECKING:
    from flowvm.actions.base import ColumnBits, Packets

_OF_ALL = (
    (NW_PROTO_BITS, CT_PROTOCOL_BITS),
    (TP_SRC_BITS, Bits(Column.CT_TP, 16, 16)),
    (TP_DST_BITS, Bits(Column.CT_TP, 0, 16)),
)
_OF_IPV4 = ((Bits(Column.IPV4, 0, 64), Bits(Column.CT_IPV4, 0, 64)),)
_OF_IPV6 = tuple(
    (Bits(Column(Column.IPV6_SRC + i), 0, 64), Bits(Column(Column.CT_IPV6_SRC + i), 0, 64))
    for i in range(4)
)

ORIGINAL_TUPLE_READS: ColumnBits = union(
    needs(Prerequisite.IP),
    *(bits.mask for pair in (*_OF_ALL, *_OF_IPV4, *_OF_IPV6) for bits in pair),
)
"""The bits that such a lookup depends on."""


def have_original(columns: Columns, packets: Packets) -> NDArray[np.bool_]:
    """Which of ``packets`` know how their connection began."""
    tracked = value(columns, packets, CT_PROTOCOL_BITS) != 0
    return np.asarray(tracked & is_ip(columns, packets), bool)


def swapped(columns: Columns, packets: Packets) -> Columns:
    """The columns as such a lookup of ``packets`` sees them."""
    result = list(columns)
    for eth_type, pairs in (
        (ETH_TYPE_IP, (*_OF_ALL, *_OF_IPV4)),
        (ETH_TYPE_IPV6, (*_OF_ALL, *_OF_IPV6)),
    ):
        some = packets[has_eth_type(columns, packets, eth_type)]
        for own, original in pairs if len(some) else ():
            _store(result, columns, own, some, value(columns, some, original))
            _store(result, columns, original, some, value(columns, some, own))
    return result


def _store(
    result: list[NDArray[np.uint64]],
    columns: Columns,
    bits: Bits,
    packets: Packets,
    values: NDArray[np.uint64],
) -> None:
    if result[bits.column] is columns[bits.column]:
        result[bits.column] = columns[bits.column].copy()
    mask = bits.mask[bits.column]
    column = result[bits.column]
    kept = column[packets] & np.uint64(~mask & ONES)
    column[packets] = kept | values << np.uint64(bits.shift)
