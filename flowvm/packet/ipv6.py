"""IPv6 extension headers (RFC 8200), as far as Open vSwitch follows them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flowvm.packet.words import U64, Bool, Index, Words

IPV6_HEADER = 40

HOP_BY_HOP = 0
ROUTING = 43
FRAGMENT = 44
AUTHENTICATION = 51
DESTINATION = 60


@dataclass(frozen=True, eq=False, slots=True)
class Walk:
    """Where following the extension headers of N packets ended.

    ``at`` is the position behind them, ``size`` the bytes left, ``proto`` the next header there.
    ``good`` is false if a header did not fit. ``fragment`` is the offset-and-flags word of the
    last fragment header that had any of its bits set, else 0.
    """

    at: Index
    size: Index
    proto: U64
    fragment: U64
    good: Bool

    def take(self, keep: Bool) -> Walk:
        """The walks of the packets where ``keep`` holds."""
        return Walk(
            self.at[keep],
            self.size[keep],
            self.proto[keep],
            self.fragment[keep],
            self.good[keep],
        )


def is_extension(proto: U64) -> Bool:
    """Whether the next header is one that is followed."""
    found: Bool = proto == HOP_BY_HOP
    for other in (ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION):
        found |= proto == other
    return found


def extension_length(proto: U64, header: U64) -> Index:
    """Bytes of extensions of type ``proto`` whose first 8 bytes are ``header``."""
    length = (header >> 48 & 0xFF).astype(np.int64)
    generic = (length + 1) * 8
    in_words = np.where(proto == AUTHENTICATION, (length + 2) * 4, generic)
    return np.where(proto == FRAGMENT, 8, in_words)


def walk_extensions(words: Words, at: Index, size: Index, proto: U64) -> Walk:
    """Follow the extension headers at ``at``, at most ``size`` bytes, the first being ``proto``.

    A later fragment ends the walk with ``proto`` :data:`FRAGMENT`.
    """
    at, size, proto = at.copy(), size.copy(), proto.copy()
    fragment = np.zeros_like(proto)
    good = np.ones(at.size, np.bool_)
    active = np.flatnonzero(is_extension(proto))
    while active.size:
        fits = size[active] >= 8
        good[active[~fits]] = False
        active = active[fits]
        kind = proto[active]
        header = words.u64(at[active])
        length = extension_length(kind, header)
        proto[active] = header >> 56
        fits = size[active] >= length
        good[active[~fits]] = False
        active, kind, header, length = active[fits], kind[fits], header[fits], length[fits]
        at[active] += length
        size[active] -= length

        pieces = kind == FRAGMENT
        flags = header >> 32 & 0xFFFF
        marked = active[pieces & (flags != 0)]
        fragment[marked] = flags[pieces & (flags != 0)]
        later = pieces & (flags & 0xFFF8 != 0)
        proto[active[later]] = FRAGMENT
        active = active[~later]
        active = active[is_extension(proto[active])]
    return Walk(at, size, proto, fragment, good)
