"""What the parts of a rewrite work on: bytes, where headers are, and keys before and after."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flowvm.columns import Column
from flowvm.fields import Bits
from flowvm.packet.keys import read
from flowvm.packet.layout import NOWHERE, Layout
from flowvm.packet.words import U64, Bool, Index, Words


@dataclass(frozen=True, eq=False, slots=True)
class Edit:
    """N packets whose bytes are changed in place through ``words``.

    ``starts`` and ``ends`` are positions of the frames in the buffer, ``before`` and ``after`` the
    keys, shape (N_COLUMNS, N). Parts of a rewrite choose packets by index arrays named ``who``.
    """

    words: Words
    starts: Index
    ends: Index
    layout: Layout
    before: U64
    after: U64

    def old(self, bits: Bits, who: Index) -> U64:
        """The value of a field of at most 64 bits before the rewrite."""
        return read(self.before, bits, who)

    def new(self, bits: Bits, who: Index) -> U64:
        """The value of a field of at most 64 bits after the rewrite."""
        return read(self.after, bits, who)

    def differs(self, bits: Bits, who: Index) -> Bool:
        """Where the field changes."""
        found = np.zeros(who.size, np.bool_)
        for i in range((bits.width + 63) // 64):
            column = Column(bits.column + i)
            mask = ((1 << min(bits.width, 64)) - 1) << bits.shift
            found |= (self.before[column, who] ^ self.after[column, who]) & mask != 0
        return found

    def l3(self, who: Index) -> Index:
        """Positions of the L3 headers."""
        return self.starts[who] + self.layout.l3[who]

    def l4(self, who: Index) -> Index:
        """Positions of the L4 headers."""
        return self.starts[who] + self.layout.l4[who]

    def l4_size(self, who: Index) -> Index:
        """Bytes of L4 header and payload, padding not counted; 0 where there is no L4."""
        size = self.ends[who] - self.l4(who) - self.layout.l2_pad[who]
        return np.where(self.layout.l4[who] == NOWHERE, 0, size)

    def put_clipped(self, at: Index, value: U64, size: int, who: Index) -> None:
        """Write ``size`` bytes, leaving out those behind the frame's end."""
        for i in range(size):
            inside = np.flatnonzero(at + i < self.ends[who])
            self.words.put8(at[inside] + i, value[inside] >> 8 * (size - 1 - i))
