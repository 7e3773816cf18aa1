"""Flow keys as the tests of packets write and read them: by the names of fields."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from flowvm.columns import N_COLUMNS, Column
from flowvm.fields import field
from flowvm.packet.words import U64

VLAN_PRESENT = 0x1000


def key(fields: Mapping[str, int], tags: tuple[tuple[int, int], ...] = ()) -> U64:
    """One key, shape (N_COLUMNS, 1), of ``fields`` and of (TPID, TCI) ``tags``, outermost first."""
    columns = np.zeros((N_COLUMNS, 1), np.uint64)
    for name, value in fields.items():
        row = field(name)
        assert row.bits is not None
        for column, word in row.bits.words(value):
            columns[column] |= np.uint64(word)
    for i, (tpid, tci) in enumerate(tags):
        tag = tpid << 16 | tci | VLAN_PRESENT
        columns[Column.VLAN] |= np.uint64(tag << (0 if i else 32))
    return columns


def read(columns: U64, name: str, packet: int = 0) -> int:
    """A field of one packet."""
    row = field(name)
    assert row.bits is not None
    value = 0
    for column, mask in row.bits.words((1 << row.bits.width) - 1):
        part = int(columns[column, packet]) & mask
        value = value << 64 | part if row.bits.width > 64 else part >> row.bits.shift
    return value
