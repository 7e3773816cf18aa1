"""Parts of flow keys: fields of one column, VLAN tags, MPLS label stack entries."""

from __future__ import annotations

import numpy as np

from flowvm.columns import Column
from flowvm.fields import ETH_TYPE_MPLS, ETH_TYPE_MPLS_MCAST, Bits
from flowvm.packet.words import U64, Index

MAX_VLANS = 2
"""How many tags a key holds."""

MAX_MPLS_LABELS = 3
"""How many label stack entries a key holds."""

MPLS_BOTTOM = 0x100
"""In a label stack entry: this is the last one."""


def read(keys: U64, bits: Bits, who: Index | slice = slice(None)) -> U64:
    """A field of at most 64 bits of packets ``who``, by default all."""
    value: U64 = keys[bits.column][who] >> bits.shift & (1 << bits.width) - 1
    return value


def count_tags(vlan: U64) -> Index:
    """How many tags the VLAN columns ``vlan`` have: 0, 1 or 2."""
    outer = vlan >> 44 & 1
    return (outer + (outer & vlan >> 12)).astype(np.int64)


def tag(vlan: U64, index: Index | int) -> U64:
    """TPID 16 and TCI 16 of a tag of the VLAN columns ``vlan``, 0 being the outermost."""
    if isinstance(index, int):
        return vlan & 0xFFFF_FFFF if index else vlan >> 32
    return np.where(index == 0, vlan >> 32, vlan & 0xFFFF_FFFF)


def labels(keys: U64, who: Index | slice = slice(None)) -> U64:
    """The label stack entries of packets ``who``, outermost first, shape (3, n)."""
    first, second = keys[Column.MPLS, who], keys[Column.MPLS_2, who]
    return np.stack([first >> 32, first & 0xFFFF_FFFF, second >> 32])


def count_labels(eth_type: U64, stack: U64) -> Index:
    """How many labels keys have: up to the bottom of the stack, or those that are not zero."""
    is_mpls = (eth_type == ETH_TYPE_MPLS) | (eth_type == ETH_TYPE_MPLS_MCAST)
    count = (stack != 0).sum(axis=0).astype(np.int64)
    for i in reversed(range(MAX_MPLS_LABELS)):
        count = np.where(stack[i] & MPLS_BOTTOM != 0, i + 1, count)
    return np.where(is_mpls, count, 0)
