"""Rewriting IPv4, IPv6, ARP and NSH headers in place.

What is written, in which order, and which checksums follow is Open vSwitch 3.1's
(``commit_odp_actions``, ``odp_execute_actions``): a header is rewritten only if the protocol number
is not zero, and a transport checksum is updated wherever the transport header would be, in later
fragments of IPv4 too.
"""

from __future__ import annotations

import numpy as np

from flowvm.columns import Column
from flowvm.fields import (
    IPV4_DST_BITS,
    IPV4_SRC_BITS,
    NW_PROTO_BITS,
    NW_TOS_BITS,
    NW_TTL_BITS,
    Bits,
)
from flowvm.packet.checksum import update, update16
from flowvm.packet.edit import Edit
from flowvm.packet.extract_l4 import TCP_HEADER, UDP_HEADER
from flowvm.packet.ipv6 import FRAGMENT, ROUTING, extension_length, is_extension
from flowvm.packet.words import U64, Bool, Index
from flowvm.protocols import ICMPV6, TCP, UDP

IPV6_LABEL_BITS = Bits(Column.FLOW_LABEL, 32, 20)
IPV6_SRC_BITS = Bits(Column.IPV6_SRC, 0, 128)
IPV6_DST_BITS = Bits(Column.IPV6_DST, 0, 128)
ARP_SHA_BITS = Bits(Column.ARP_SHA, 0, 48)
ARP_THA_BITS = Bits(Column.ARP_THA, 0, 48)

_ICMPV6_CHECKSUM_END = 4


def rewrite_ipv4(edit: Edit, who: Index) -> None:
    """Write addresses, TOS and TTL of IPv4 packets ``who``."""
    for bits, offset in ((IPV4_SRC_BITS, 12), (IPV4_DST_BITS, 16)):
        chosen = who[edit.differs(bits, who)]
        if chosen.size:
            _ipv4_address(edit, chosen, offset, edit.new(bits, chosen))
    words = edit.words
    for bits, offset, shift in ((NW_TOS_BITS, 1, 0), (NW_TTL_BITS, 8, 8)):
        chosen = who[edit.differs(bits, who)]
        if chosen.size:
            at = edit.l3(chosen)
            old, new = words.u8(at + offset), edit.new(bits, chosen)
            words.put16(at + 10, update16(words.u16(at + 10), old << shift, new << shift))
            words.put8(at + offset, new)


def _ipv4_address(edit: Edit, who: Index, offset: int, new: U64) -> None:
    words, at = edit.words, edit.l3(who)
    old = words.u32(at + offset)
    _update_transport(edit, who, words.u8(at + 9), [(old, new, 32)], icmpv6=False)
    words.put16(at + 10, update(words.u16(at + 10), old, new, 32))
    words.put32(at + offset, new)


def _update_transport(
    edit: Edit, who: Index, proto: U64, changes: list[tuple[U64, U64, int]], *, icmpv6: bool
) -> None:
    """Let transport checksums follow changes (old, new, width in bits) of the pseudo-header."""
    size = edit.l4_size(who)
    places = [(TCP, TCP_HEADER, 16), (UDP, UDP_HEADER, 6)]
    if icmpv6:
        places.append((ICMPV6, _ICMPV6_CHECKSUM_END, 2))
    for number, header, offset in places:
        chosen = np.flatnonzero((proto == number) & (size >= header))
        if not chosen.size:
            continue
        at = edit.l4(who[chosen]) + offset
        checksum = edit.words.u16(at)
        if number == UDP:  # zero says there is none
            used = checksum != 0
            chosen, at, checksum = chosen[used], at[used], checksum[used]
        for old, new, width in changes:
            checksum = update(checksum, old[chosen], new[chosen], width)
        if number == UDP:
            checksum = np.where(checksum == 0, np.uint64(0xFFFF), checksum)
        edit.words.put16(at, checksum)


def rewrite_ipv6(edit: Edit, who: Index) -> None:
    """Write addresses, traffic class, flow label and hop limit of IPv6 packets ``who``."""
    moved = edit.differs(IPV6_SRC_BITS, who) | edit.differs(IPV6_DST_BITS, who)
    if moved.any():
        _ipv6_addresses(edit, who[moved])
    words = edit.words
    at = edit.l3(who)
    first = words.u32(at)
    first = first & 0xF00F_FFFF | edit.new(NW_TOS_BITS, who) << 20
    first = first & 0xFFF0_0000 | edit.new(IPV6_LABEL_BITS, who)
    words.put32(at, first)
    words.put8(at + 7, edit.new(NW_TTL_BITS, who))


def _ipv6_addresses(edit: Edit, who: Index) -> None:
    proto, routed, checked = _find_upper(edit, who)
    for bits, offset, covered in (
        (IPV6_SRC_BITS, 8, checked),
        # A routing header with segments left holds the destination that the checksum covers.
        (IPV6_DST_BITS, 24, checked & ~routed),
    ):
        changed = edit.differs(bits, who)
        chosen = who[changed]
        if not chosen.size:
            continue
        at = edit.l3(chosen) + offset
        changes = []
        for i in range(2):
            new = edit.after[Column(bits.column + i), chosen]
            changes.append((edit.words.u64(at + 8 * i), new, 64))
        at_covered = covered[changed]
        picked = [(old[at_covered], new[at_covered], width) for old, new, width in changes]
        upper = proto[changed][at_covered]
        _update_transport(edit, chosen[at_covered], upper, picked, icmpv6=True)
        for i, (_, new, _) in enumerate(changes):
            edit.words.put64(at + 8 * i, new)


def _find_upper(edit: Edit, who: Index) -> tuple[U64, Bool, Bool]:
    """The upper-layer protocol, whether a routing header is pending, whether checksums apply.

    The protocol is :data:`ROUTING` where a routing header is pending. Checksums do not apply where
    the last fragment header is not a first fragment's: it has an offset, or no more to come.
    """
    at = edit.l3(who) + 40
    left = edit.l4(who) - at
    proto = edit.words.u8(at - 34)
    routed = np.zeros(who.size, np.bool_)
    checked = np.ones(who.size, np.bool_)
    active = np.flatnonzero(is_extension(proto) & (left >= 8))
    while active.size:
        header, kind = edit.words.u64(at[active]), proto[active]
        pieces = kind == FRAGMENT
        flags = header[pieces] >> 32 & 0xFFFF
        checked[active[pieces]] = (flags & 0xFFF8 == 0) & (flags & 1 != 0)
        pending = (kind == ROUTING) & (header >> 32 & 0xFF != 0)
        routed[active[pending]] = True
        active, header, kind = active[~pending], header[~pending], kind[~pending]
        proto[active] = header >> 56
        length = extension_length(kind, header)
        fits = left[active] >= length
        active, length = active[fits], length[fits]
        at[active] += length
        left[active] -= length
        active = active[is_extension(proto[active]) & (left[active] >= 8)]
    return proto, routed, checked


def rewrite_arp(edit: Edit, who: Index) -> None:
    """Write the opcode and addresses of ARP packets ``who``."""
    op = edit.new(NW_PROTO_BITS, who)
    # The key's 255 stands for any larger opcode; Open vSwitch writes all ones for it.
    op = np.where(op == 0xFF, np.uint64(0xFFFF), op)
    for bits, offset, size in (
        (NW_PROTO_BITS, 6, 2),
        (ARP_SHA_BITS, 8, 6),
        (IPV4_SRC_BITS, 14, 4),
        (ARP_THA_BITS, 18, 6),
        (IPV4_DST_BITS, 24, 4),
    ):
        changed = edit.differs(bits, who)
        chosen = who[changed]
        if chosen.size:
            value = op[changed] if bits is NW_PROTO_BITS else edit.new(bits, chosen)
            edit.put_clipped(edit.l3(chosen) + offset, value, size, chosen)


def rewrite_nsh(edit: Edit, who: Index) -> None:
    """Write flags, TTL, path and the context of metadata type 1 of NSH packets ``who``."""
    words = edit.words
    who = who[edit.ends[who] - edit.l3(who) >= 8]
    at = edit.l3(who)
    key = edit.after[Column.NSH, who]
    words.put16(at, words.u16(at) & 0xC03F | (key >> 56 & 0x3) << 12 | (key >> 48 & 0x3F) << 6)
    words.put32(at + 4, key)
    with_context = (words.u8(at + 2) & 0xF == 1) & (edit.ends[who] - at >= 24)
    who, at = who[with_context], at[with_context]
    for i in range(4):
        bits = Bits(Column(Column.NSH_C1_C2 + i // 2), 0 if i % 2 else 32, 32)
        changed = edit.differs(bits, who)
        words.put32(at[changed] + 8 + 4 * i, edit.new(bits, who[changed]))
