"""The transport part of extraction: TCP, UDP, SCTP, ICMP, IGMP, ICMPv6 and neighbor discovery.

As in Open vSwitch, the IP version plays no part: ICMPv6 inside IPv4 is read as ICMPv6.
"""

from __future__ import annotations

import numpy as np

from flowvm.columns import Column
from flowvm.fields import TP_DST_BITS, TP_SRC_BITS
from flowvm.packet.words import U64, Index, Words

ICMP = 1
IGMP = 2
TCP = 6
UDP = 17
ICMPV6 = 58
SCTP = 132

TCP_HEADER = 20
UDP_HEADER = 8
SCTP_HEADER = 12
ICMP_HEADER = 8

ND_SOLICIT = 135
ND_ADVERT = 136
ND_HEADER = 24
ND_OPT_SOURCE = 1
ND_OPT_TARGET = 2


def decode_l4(words: Words, columns: U64, who: Index, at: Index, size: Index, proto: U64) -> None:
    """Fill the transport columns of packets ``who``, whose L4 of ``size`` bytes is at ``at``."""
    ported = (
        (TCP, TCP_HEADER),
        (UDP, UDP_HEADER),
        (SCTP, SCTP_HEADER),
    )
    for number, shortest in ported:
        chosen = np.flatnonzero((proto == number) & (size >= shortest))
        if not chosen.size:
            continue
        position = at[chosen]
        ports = words.u32(position) << TP_DST_BITS.shift
        if number == TCP:
            control = words.u16(position + 12)
            length = (control >> 12).astype(np.int64) * 4
            sane = (length >= TCP_HEADER) & (size[chosen] >= length)
            ports |= control & 0xFFF
            if not sane.all():
                chosen, ports = chosen[sane], ports[sane]
        columns[Column.TP, who[chosen]] = ports

    controls = (proto == ICMP) | (proto == IGMP) | (proto == ICMPV6)
    chosen = np.flatnonzero(controls & (size >= ICMP_HEADER))
    if not chosen.size:
        return
    who, at, size, proto = who[chosen], at[chosen], size[chosen], proto[chosen]
    header = words.u64(at)
    kind, code = header >> 56, header >> 48 & 0xFF
    columns[Column.TP, who] = kind << TP_SRC_BITS.shift | code << TP_DST_BITS.shift

    group = proto == IGMP
    if group.any():
        columns[Column.FLOW_LABEL, who[group]] |= header[group] & 0xFFFF_FFFF
    neighbor = (proto == ICMPV6) & (code == 0) & ((kind == ND_SOLICIT) | (kind == ND_ADVERT))
    if neighbor.any():
        who = who[neighbor]
        columns[Column.FLOW_LABEL, who] |= header[neighbor] & 0xFFFF_FFFF
        _neighbor_discovery(words, columns, who, at[neighbor] + 8, size[neighbor] - 8)


def _neighbor_discovery(words: Words, columns: U64, who: Index, at: Index, size: Index) -> None:
    """Target and options, ``at`` being the target."""
    keep = size >= 16
    who, at, size = who[keep], at[keep], size[keep]
    columns[Column.ND_TARGET, who] = words.u64(at)
    columns[Column.ND_TARGET_LOW, who] = words.u64(at + 8)
    at, left = at + 16, size - 16
    first_type = np.zeros(who.size, np.uint64)
    bad = np.zeros(who.size, np.bool_)
    active = np.flatnonzero(left >= 8)
    while active.size:
        option = words.u64(at[active])
        length = (option >> 48 & 0xFF).astype(np.int64) * 8
        fits = (length != 0) & (length <= left[active])
        active, option, length = active[fits], option[fits], length[fits]
        kind, address = option >> 56, option & 0xFFFF_FFFF_FFFF
        for wanted, column in ((ND_OPT_SOURCE, Column.ARP_SHA), (ND_OPT_TARGET, Column.ARP_THA)):
            found = np.flatnonzero((kind == wanted) & (length == 8))
            packets = active[found]
            # The same option twice spoils the message; one with a zero address does not count.
            twice = columns[column, who[packets]] != 0
            bad[packets[twice]] = True
            found, packets = found[~twice], packets[~twice]
            columns[column, who[packets]] = address[found]
            first_type[packets] = np.where(
                first_type[packets] == 0, np.uint64(wanted), first_type[packets]
            )
        at[active] += length
        left[active] -= length
        active = active[~bad[active] & (left[active] >= 8)]

    columns[Column.TP, who] |= first_type
    spoiled = who[bad]
    if spoiled.size:
        for column in (Column.ND_TARGET, Column.ND_TARGET_LOW, Column.ARP_SHA, Column.ARP_THA):
            columns[column, spoiled] = 0
