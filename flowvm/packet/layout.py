"""Where the headers of a frame begin, as Open vSwitch keeps it beside a packet (dp-packet)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from flowvm.packet.words import Index

NOWHERE = -1
"""An offset that Open vSwitch leaves unset."""


@dataclass(frozen=True, eq=False, slots=True)
class Layout:
    """Offsets in bytes from a frame's first byte, ``int64`` of shape (N,); ``NOWHERE`` if unset.

    ``l2_5`` is the first MPLS label; ``l3`` what follows Ethernet, tags and labels; ``l4`` what
    follows a sane IPv4 or IPv6 header with its extensions. ``l2_pad`` counts the bytes after the
    IP datagram.
    """

    l2_5: Index
    l3: Index
    l4: Index
    l2_pad: Index

    @classmethod
    def unset(cls, n: int) -> Layout:
        """The layout of N packets nothing is known of."""
        nowhere = np.full((3, n), NOWHERE, np.int64)
        return cls(nowhere[0], nowhere[1], nowhere[2], np.zeros(n, np.int64))

    def take(self, indices: Index) -> Layout:
        """The layout of the packets at ``indices``."""
        return Layout(self.l2_5[indices], self.l3[indices], self.l4[indices], self.l2_pad[indices])

    def part(self, start: int, stop: int) -> Layout:
        """A view of packets ``start`` to ``stop``; writing to it writes here."""
        at = slice(start, stop)
        return Layout(self.l2_5[at], self.l3[at], self.l4[at], self.l2_pad[at])

    def shifted(self, who: Index, by: Index) -> Layout:
        """A copy in which the headers of packets ``who`` begin ``by`` bytes later."""

        def moved(given: Index) -> Index:
            result = given.copy()
            result[who] += np.where(given[who] == NOWHERE, 0, by)
            return result

        return Layout(moved(self.l2_5), moved(self.l3), moved(self.l4), self.l2_pad)
