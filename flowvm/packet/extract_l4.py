"""The transport part of extraction: TCP, UDP, SCTP, ICMP, IGMP, ICMPv6 and neighbor discovery.

As in Open vSwitch, the IP version plays no part: ICMPv6 inside IPv4 is read as ICMPv6.
"""

from __future__ import annotations

import numpy as np

from flowvm.arrays import all_of, any_of, nonzero
from flowvm.columns import Column
from flowvm.fields import TP_DST_BITS, TP_SRC_BITS
from flowvm.packet.run import At, Run
from flowvm.packet.sink import Sink
from flowvm.packet.words import U64, Index
from flowvm.protocols import ICMP, ICMPV6, IGMP, SCTP, TCP, UDP

TCP_HEADER = 20
UDP_HEADER = 8
SCTP_HEADER = 12
ICMP_HEADER = 8

ND_SOLICIT = 135
ND_ADVERT = 136
ND_HEADER = 24
ND_OPT_SOURCE = 1
ND_OPT_TARGET = 2


_TRANSPORTS = ((TCP, TCP_HEADER), (UDP, UDP_HEADER), (SCTP, SCTP_HEADER))
_CONTROLS = (ICMP, IGMP, ICMPV6)


def extract_l4(sink: Sink, run: Run, at: At, size: Index, proto: U64) -> None:
    """Fill in what IP of protocols ``proto`` carries: ``size`` bytes at ``at``."""
    alike = proto.min() == proto.max()
    for number, shortest in _TRANSPORTS:
        if alike and proto[0] != number:
            continue
        chosen = (proto == number) & (size >= shortest)
        if all_of(chosen):
            _ports(sink, run, at, size, tcp=number == TCP)
        elif any_of(chosen):
            who = nonzero(chosen)
            _ports(sink, run.take(who), _pick(at, who), size[who], tcp=number == TCP)
    if not alike or proto[0] in _CONTROLS:
        controls = (proto == ICMP) | (proto == IGMP) | (proto == ICMPV6)
        who = nonzero(controls & (size >= ICMP_HEADER))
        if who.size:
            _control(sink, run.take(who), _pick(at, who), size[who], proto[who])


def _pick(at: At, chosen: Index) -> At:
    return at if isinstance(at, int) else at[chosen]


def _ports(sink: Sink, run: Run, at: At, size: Index, *, tcp: bool) -> None:
    if not sink.wants(Column.TP):
        return
    value = run.u32(at) << TP_DST_BITS.shift
    if tcp:
        control = run.u16(at + 12)
        value |= control & 0xFFF
        length = (control >> 10 & 0x3C).view(np.int64)
        sane = (length >= TCP_HEADER) & (size >= length)
        if not all_of(sane):
            value[~sane] = 0
    sink.put(Column.TP, run.who, value)


def _control(sink: Sink, run: Run, at: At, size: Index, proto: U64) -> None:
    """ICMP, IGMP, ICMPv6, and neighbor discovery in it."""
    header = run.u64(at)
    kind, code = header >> 56, header >> 48 & 0xFF
    sink.put(Column.TP, run.who, kind << TP_SRC_BITS.shift | code << TP_DST_BITS.shift)
    neighbor = (proto == ICMPV6) & (code == 0) & ((kind == ND_SOLICIT) | (kind == ND_ADVERT))
    worded = nonzero(neighbor | (proto == IGMP))
    if worded.size:
        who = run.take(worded).who
        sink.add(Column.FLOW_LABEL, who, header[worded] & 0xFFFF_FFFF)
    # What is left of it has to hold the target.
    chosen = nonzero(neighbor & (size >= ND_HEADER))
    if chosen.size:
        run = run.take(chosen)
        message = run.starts + _pick(at, chosen)
        _neighbor_discovery(sink, run, message + ICMP_HEADER, size[chosen] - ICMP_HEADER)


def _neighbor_discovery(sink: Sink, run: Run, at: Index, size: Index) -> None:
    """Target and options; ``at`` is the target's position in the buffer."""
    words, n = run.words, len(run)
    target = words.u64(at), words.u64(at + 8)
    at, left = at + 16, size - 16
    addresses = {ND_OPT_SOURCE: np.zeros(n, np.uint64), ND_OPT_TARGET: np.zeros(n, np.uint64)}
    first_type = np.zeros(n, np.uint64)
    good = np.ones(n, np.bool_)
    active = nonzero(left >= 8)
    while active.size:
        option = words.u64(at[active])
        length = (option >> 48 & 0xFF).view(np.int64) * 8
        fits = (length != 0) & (length <= left[active])
        active, option, length = active[fits], option[fits], length[fits]
        kind, address = option >> 56, option & 0xFFFF_FFFF_FFFF
        for wanted, noted in addresses.items():
            found = nonzero((kind == wanted) & (length == 8))
            packets = active[found]
            # The same option twice spoils the message; one with a zero address does not count.
            twice = noted[packets] != 0
            good[packets[twice]] = False
            found, packets = found[~twice], packets[~twice]
            noted[packets] = address[found]
            first_type[packets] = np.where(
                first_type[packets] == 0, np.uint64(wanted), first_type[packets]
            )
        at[active] += length
        left[active] -= length
        active = active[good[active] & (left[active] >= 8)]

    sink.add(Column.TP, run.who, first_type)
    for column, value in (
        (Column.ND_TARGET, target[0]),
        (Column.ND_TARGET_LOW, target[1]),
        (Column.ARP_SHA, addresses[ND_OPT_SOURCE]),
        (Column.ARP_THA, addresses[ND_OPT_TARGET]),
    ):
        sink.put(column, run.who, np.where(good, value, np.uint64(0)))
