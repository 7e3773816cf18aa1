"""The network part of extraction: IPv4, IPv6, ARP, RARP and NSH, at one place in all packets."""

from __future__ import annotations

import numpy as np

from flowvm.arrays import all_of, any_of, nonzero
from flowvm.columns import FRAG_ANY, FRAG_LATER, Column
from flowvm.fields import (
    IPV6_EXTENDED_BITS,
    IPV6_NEXT_BITS,
    NW_FRAG_BITS,
    NW_PROTO_BITS,
    NW_TOS_BITS,
    NW_TTL_BITS,
)
from flowvm.packet.extract_l4 import extract_l4
from flowvm.packet.ipv6 import FRAGMENT, IPV6_HEADER, is_extension, walk_extensions
from flowvm.packet.run import At, Run
from flowvm.packet.sink import Sink
from flowvm.packet.words import U64, Bool, Index

IPV4_HEADER = 20

_ARP_SIZE = 28
_ARP_START = 0x0001_0800_0604  # Ethernet addresses of 6 bytes for IPv4 addresses of 4
_MAX_PAD = 0xFFFF


def extract_ipv4(sink: Sink, run: Run, at: int) -> None:
    """Fill in IPv4 and what it carries; nothing for packets whose header is not sane."""
    run = _keep(run, run.lengths - at >= IPV4_HEADER)
    if not len(run):
        return
    size = run.lengths - at
    first = run.u64(at)
    header = (first >> 54 & 0x3C).view(np.int64)
    total = (first >> 32 & 0xFFFF).view(np.int64)
    pad = size - total
    sane = (header >= IPV4_HEADER) & (header <= total) & (pad >= 0) & (pad <= _MAX_PAD)
    if not all_of(sane):
        extract_ipv4(sink, _keep(run, sane), at)
        return
    if sink.wants(Column.IPV4):
        sink.put(Column.IPV4, run.who, run.u64(at + 12))
    ttl_and_proto = run.u16(at + 8)
    proto = ttl_and_proto & 0xFF
    frag = _fragment(first & 0x3FFF, first & 0x1FFF)
    if sink.wants(Column.NW):
        tos = first >> 48 & 0xFF
        _put_nw(sink, run, proto, tos, ttl_and_proto >> 8, frag)
    behind: At = at + header
    if all_of(header == IPV4_HEADER):
        behind = at + IPV4_HEADER
    if sink.layout is not None:
        sink.layout.l2_pad[run.who] = pad
    _extract_upper(sink, run, behind, total - header, proto, frag)


def extract_ipv6(sink: Sink, run: Run, at: int) -> None:
    """Fill in IPv6 and what it carries; nothing for packets whose header is not sane."""
    run = _keep(run, run.lengths - at >= IPV6_HEADER)
    if not len(run):
        return
    first = run.u64(at)
    size = (first >> 16 & 0xFFFF).view(np.int64)
    pad = run.lengths - (at + IPV6_HEADER) - size
    sane = (pad >= 0) & (pad <= _MAX_PAD)
    if not all_of(sane):
        extract_ipv6(sink, _keep(run, sane), at)
        return
    following = first >> 8 & 0xFF
    extended = is_extension(following)
    if any_of(extended) and not all_of(extended):
        extract_ipv6(sink, _keep(run, ~extended), at)
        extract_ipv6(sink, _keep(run, extended), at)
        return
    if sink.layout is not None:
        sink.layout.l2_pad[run.who] = pad
    for i in range(4):
        column = Column(Column.IPV6_SRC + i)
        if sink.wants(column):
            sink.put(column, run.who, run.u64(at + 8 + 8 * i))
    if not any_of(extended):
        _put_ipv6(sink, run, first, following, None)
        _extract_upper(sink, run, at + IPV6_HEADER, size, following, None)
        return

    walk = walk_extensions(run.words, run.starts + (at + IPV6_HEADER), size, following)
    if not all_of(walk.good):
        following = following[walk.good]
        run, first, walk = _keep(run, walk.good), first[walk.good], walk.take(walk.good)
        if not len(run):
            return
    frag = _fragment(walk.fragment, walk.fragment & 0xFFF8)
    _put_ipv6(sink, run, first, walk.proto, frag)
    told = (following == FRAGMENT) & (walk.fragment != 0)
    extended_by = 1 << IPV6_EXTENDED_BITS.shift | following << IPV6_NEXT_BITS.shift
    sink.add(Column.NW, run.who, np.where(told, np.uint64(0), extended_by))
    _extract_upper(sink, run, walk.at - run.starts, walk.size, walk.proto, frag)


def _put_ipv6(sink: Sink, run: Run, first: U64, proto: U64, frag: U64 | None) -> None:
    if sink.wants(Column.NW):
        _put_nw(sink, run, proto, first >> 52 & 0xFF, first & 0xFF, frag)
    if sink.wants(Column.FLOW_LABEL):
        sink.put(Column.FLOW_LABEL, run.who, first & 0xFFFFF << 32)


def _put_nw(sink: Sink, run: Run, proto: U64, tos: U64, ttl: U64, frag: U64 | None) -> None:
    value = proto << NW_PROTO_BITS.shift
    value |= tos << NW_TOS_BITS.shift
    value |= ttl << NW_TTL_BITS.shift
    if frag is not None:
        value |= frag << NW_FRAG_BITS.shift
    sink.add(Column.NW, run.who, value)


def _extract_upper(sink: Sink, run: Run, at: At, size: Index, proto: U64, frag: U64 | None) -> None:
    """What IP carries: ``size`` bytes at ``at``."""
    if sink.layout is not None:
        sink.layout.l4[run.who] = at
    if not sink.transport:
        return
    if frag is not None:
        first = frag & FRAG_LATER == 0
        if not all_of(first):
            chosen = nonzero(first)
            run, size, proto = run.take(chosen), size[chosen], proto[chosen]
            at = at if isinstance(at, int) else at[chosen]
    if len(run):
        extract_l4(sink, run, at, size, proto)


def extract_arp(sink: Sink, run: Run, at: int) -> None:
    """Fill in ARP and RARP for Ethernet and IPv4."""
    run = _keep(run, run.lengths - at >= _ARP_SIZE)
    if not len(run):
        return
    first = run.u64(at)
    known = first >> 16 == _ARP_START
    if not all_of(known):
        extract_arp(sink, _keep(run, known), at)
        return
    # Only the lower 8 bits can be matched; a larger opcode reads as none.
    op = first & 0xFFFF
    op[op > 0xFF] = 0
    sink.add(Column.NW, run.who, op << NW_PROTO_BITS.shift)
    if sink.wants(Column.IPV4):
        sink.put(Column.IPV4, run.who, run.u32(at + 14) << 32 | run.u32(at + 24))
    for column, offset in ((Column.ARP_SHA, 8), (Column.ARP_THA, 18)):
        if sink.wants(column):
            sink.put(column, run.who, run.u64(at + offset) >> 16)


def extract_nsh(sink: Sink, run: Run, at: int) -> None:
    """Fill in NSH, with the context of metadata type 1."""
    run = _keep(run, run.lengths - at >= 8)
    if not len(run):
        return
    base = run.u64(at)
    length = (base >> 46 & 0xFC).view(np.int64)
    mdtype = base >> 40 & 0xFF
    sane = (length <= run.lengths - at) & (base >> 62 == 0)
    sane &= np.where(mdtype == 1, length == 24, (mdtype != 2) | (length >= 8))
    if not all_of(sane):
        extract_nsh(sink, _keep(run, sane), at)
        return
    flags, ttl = base >> 60 & 0x3, base >> 54 & 0x3F
    sink.put(Column.NSH, run.who, flags << 56 | ttl << 48 | base & 0xFFFF_FFFF_FFFF)
    run = _keep(run, mdtype == 1)
    for i in range(2):
        column = Column(Column.NSH_C1_C2 + i)
        if len(run) and sink.wants(column):
            sink.put(column, run.who, run.u64(at + 8 + 8 * i))


def _keep(run: Run, where: Bool) -> Run:
    """The packets of ``run`` for which it holds; ``run`` itself if it holds for all."""
    return run if all_of(where) else run.take(nonzero(where))


def _fragment(any_bits: U64, offset_bits: U64) -> U64 | None:
    """``nw_frag``: any fragment if ``any_bits``, a later one if ``offset_bits`` too.

    ``None`` if none of the packets is a fragment.
    """
    if not any_of(any_bits):
        return None
    frag: U64 = (any_bits != 0).astype(np.uint64) * FRAG_ANY
    frag |= (offset_bits != 0).astype(np.uint64) * FRAG_LATER
    return frag
