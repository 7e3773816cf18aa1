"""Rewriting TCP, UDP, SCTP, ICMP, ICMPv6 and neighbor discovery messages in place.

What is written and which checksums follow is Open vSwitch 3.1's (``odp_execute_actions``).
"""

from __future__ import annotations

import numpy as np

from flowvm.columns import Column
from flowvm.fields import NW_PROTO_BITS, TCP_FLAGS_BITS, TP_DST_BITS, TP_SRC_BITS, Bits
from flowvm.packet.checksum import crc32c_change, finish, sum_bytes, update, update16
from flowvm.packet.edit import Edit
from flowvm.packet.extract_l4 import (
    ICMP_HEADER,
    ND_HEADER,
    ND_OPT_SOURCE,
    ND_OPT_TARGET,
    SCTP_HEADER,
    TCP_HEADER,
    UDP_HEADER,
)
from flowvm.packet.rewrite_l3 import ARP_SHA_BITS, ARP_THA_BITS
from flowvm.packet.words import Index
from flowvm.protocols import SCTP, TCP, UDP

ND_TARGET_BITS = Bits(Column.ND_TARGET, 0, 128)
ND_RESERVED_BITS = Bits(Column.FLOW_LABEL, 0, 32)
ND_OPTIONS_TYPE_BITS = Bits(Column.TP, TCP_FLAGS_BITS.shift, 8)
ICMP_TYPE_BITS = Bits(Column.TP, TP_SRC_BITS.shift, 8)
ICMP_CODE_BITS = Bits(Column.TP, TP_DST_BITS.shift, 8)

_TRANSPORTS = ((TCP, TCP_HEADER), (UDP, UDP_HEADER), (SCTP, SCTP_HEADER))


def rewrite_ports(edit: Edit, who: Index) -> None:
    """Write the ports of packets ``who`` that have a whole TCP, UDP or SCTP header."""
    proto = edit.new(NW_PROTO_BITS, who)
    size = edit.l4_size(who)
    for number, header in _TRANSPORTS:
        chosen = who[(proto == number) & (size >= header)]
        if not chosen.size:
            continue
        if number == TCP:
            length = (edit.words.u8(edit.l4(chosen) + 12) >> 4).astype(np.int64) * 4
            chosen = chosen[(length >= TCP_HEADER) & (length <= edit.l4_size(chosen))]
        if number == SCTP:
            _sctp_ports(edit, chosen)
        else:
            _tcp_or_udp_ports(edit, chosen, udp=number == UDP)


def _tcp_or_udp_ports(edit: Edit, who: Index, *, udp: bool) -> None:
    words, at = edit.words, edit.l4(who)
    where = at + (6 if udp else 16)
    given = checksum = words.u16(where)
    for bits, offset in ((TP_SRC_BITS, 0), (TP_DST_BITS, 2)):
        old = words.u16(at + offset)
        new = np.where(edit.differs(bits, who), edit.new(bits, who), old)
        checksum = np.where(old == new, checksum, update16(checksum, old, new))
        words.put16(at + offset, new)
    if udp:  # zero says there is none, so a computed zero is sent as all ones
        checksum = np.where(checksum == 0, np.uint64(0xFFFF), checksum)
        checksum = np.where(given == 0, given, checksum)
    words.put16(where, checksum)


def _sctp_ports(edit: Edit, who: Index) -> None:
    words, at = edit.words, edit.l4(who)
    old = words.u32(at)
    new = old
    for bits, shift in ((TP_SRC_BITS, 16), (TP_DST_BITS, 0)):
        value = new & (0xFFFF_FFFF ^ 0xFFFF << shift) | edit.new(bits, who) << shift
        new = np.where(edit.differs(bits, who), value, new)
    change = crc32c_change(old ^ new, edit.l4_size(who) - 4)
    words.put32(at, new)
    words.put32(at + 8, words.u32(at + 8) ^ change)


def rewrite_icmp(edit: Edit, who: Index) -> None:
    """Write type and code of ICMP and ICMPv6 packets ``who``."""
    who = who[edit.l4_size(who) >= ICMP_HEADER]
    words, at = edit.words, edit.l4(who)
    old = words.u16(at)
    new = edit.new(ICMP_TYPE_BITS, who) << 8 | edit.new(ICMP_CODE_BITS, who)
    changed = old != new
    at, old, new = at[changed], old[changed], new[changed]
    words.put16(at + 2, update16(words.u16(at + 2), old, new))
    words.put16(at, new)


def rewrite_nd_extensions(edit: Edit, who: Index) -> None:
    """Write the reserved word and the first option's type; the checksum is computed anew."""
    who = who[edit.l4_size(who) >= ND_HEADER]
    words, at, size = edit.words, edit.l4(who), edit.l4_size(who)
    changed = edit.differs(ND_RESERVED_BITS, who)
    words.put32(at[changed] + 4, edit.new(ND_RESERVED_BITS, who[changed]))
    # The type is written where an option would be, whether or not there is one.
    changed = edit.differs(ND_OPTIONS_TYPE_BITS, who)
    chosen = who[changed]
    edit.put_clipped(at[changed] + ND_HEADER, edit.new(ND_OPTIONS_TYPE_BITS, chosen), 1, chosen)
    ip = edit.l3(who)
    pseudo = sum_bytes(words, ip + 8, np.full(who.size, 32, np.int64))
    pseudo += words.u8(ip + 6) + words.u16(ip + 4)
    words.put16(at + 2, np.zeros(who.size, np.uint64))
    words.put16(at + 2, finish(pseudo + sum_bytes(words, at, size)))


def rewrite_nd(edit: Edit, who: Index) -> None:
    """Write the target and the link-layer address of the first option that has one."""
    who = who[edit.l4_size(who) >= ND_HEADER]
    words, at = edit.words, edit.l4(who)

    old = [words.u64(at + 8 + 8 * i) for i in range(2)]
    new = [edit.after[Column(ND_TARGET_BITS.column + i), who] for i in range(2)]
    changed = edit.differs(ND_TARGET_BITS, who) & ((old[0] != new[0]) | (old[1] != new[1]))
    target = at[changed]
    checksum = words.u16(target + 2)
    for i in range(2):
        checksum = update(checksum, old[i][changed], new[i][changed], 64)
        words.put64(target + 8 + 8 * i, new[i][changed])
    words.put16(target + 2, checksum)

    found, position = _link_layer_option(edit, who)
    who, at = who[found], at[found]
    kind = words.u8(position)
    for wanted, bits in ((ND_OPT_SOURCE, ARP_SHA_BITS), (ND_OPT_TARGET, ARP_THA_BITS)):
        given, address = words.u48(position + 2), edit.new(bits, who)
        chosen = (kind == wanted) & edit.differs(bits, who) & (given != address)
        given, address, message = given[chosen], address[chosen], at[chosen]
        words.put16(message + 2, update(words.u16(message + 2), given, address, 48))
        edit.put_clipped(position[chosen] + 2, address, 6, who[chosen])


def _link_layer_option(edit: Edit, who: Index) -> tuple[Index, Index]:
    """Which packets have a link-layer address option that Open vSwitch finds, and where."""
    words = edit.words
    at = edit.l4(who) + ND_HEADER
    left = edit.l4_size(who) - ND_HEADER
    ends = edit.ends[who]
    found = np.zeros(who.size, np.bool_)
    active = np.flatnonzero(left >= 8)
    while active.size:
        header = words.u16(at[active])
        kind, length = header >> 8, (header & 0xFF).astype(np.int64)
        hit = (length == 1) & ((kind == ND_OPT_SOURCE) | (kind == ND_OPT_TARGET))
        found[active[hit]] = True
        going = ~hit & (length != 0)
        active, length = active[going], length[going]
        at[active] += 8 * length
        active = active[at[active] + 2 <= ends[active]]
        # What is counted off is the length of the option that comes next, as in Open vSwitch.
        left[active] -= 8 * words.u8(at[active] + 1).astype(np.int64)
        active = active[left[active] >= 8]
    hits = np.flatnonzero(found)
    return hits, at[hits]
