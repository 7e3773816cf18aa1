"""Where in a packet's columns the bits of fields are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from flowvm.columns import Column


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


def half(column: Column, number: int) -> Bits:
    """The 32 bits of that number, from ``column`` on; the upper half of a column goes first."""
    return Bits(Column(column + number // 2), 0 if number % 2 else 32, 32)


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
MPLS_TTL_BITS = Bits(Column.MPLS, 32, 8)
NSH_TTL_BITS = Bits(Column.NSH, 48, 8)
PACKET_TYPE_BITS = Bits(Column.PACKET_TYPE, 32, 32)

DSCP_MASK = 0xFC
