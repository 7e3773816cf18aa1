"""Frames to flow keys, field by field as Open vSwitch extracts them.

The rules are those of Open vSwitch 3.1's ``miniflow_extract`` and of ovs-fields(7). What is
malformed ends the extraction where it ends there: fields beyond that point stay zero.
"""

from __future__ import annotations

import mmap
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flowvm.arrays import all_of, any_of, distinct, nonzero
from flowvm.columns import N_COLUMNS, VLAN_CFI, Column
from flowvm.fields import (
    ETH_TYPE_ARP,
    ETH_TYPE_BITS,
    ETH_TYPE_IP,
    ETH_TYPE_IPV6,
    ETH_TYPE_MPLS,
    ETH_TYPE_MPLS_MCAST,
    ETH_TYPE_NSH,
    ETH_TYPE_QINQ,
    ETH_TYPE_RARP,
    ETH_TYPE_VLAN,
    INNER_TCI,
    INNER_TPID,
    OUTER_TCI,
    OUTER_TPID,
    PACKET_TYPE_BITS,
    Bits,
)
from flowvm.packet.extract_l3 import extract_arp, extract_ipv4, extract_ipv6, extract_nsh
from flowvm.packet.frames import Frames
from flowvm.packet.keys import MAX_MPLS_LABELS, MPLS_BOTTOM
from flowvm.packet.layout import Layout
from flowvm.packet.run import Run
from flowvm.packet.sink import Sink
from flowvm.packet.words import U64, Index

DEFAULT_VLAN_LIMIT = 1
"""How many tags Open vSwitch looks at unless told (ovs-vswitchd.conf.db(5), "vlan-limit")."""

ETH_HEADER = 14
ETH_TYPE_NONE = 0x05FF  # "not Ethernet II" (ovs-fields(7), "eth_type")
ETH_TYPE_MIN = 0x0600
SNAP_HEADER = 0xAAAA_0300_0000  # LLC 802.2 and SNAP with Ethernet's organisation code

_TAGS = ((OUTER_TPID, OUTER_TCI), (INNER_TPID, INNER_TCI))
_KNOWN_TYPES = (
    *(ETH_TYPE_IP, ETH_TYPE_IPV6, ETH_TYPE_ARP, ETH_TYPE_VLAN, ETH_TYPE_QINQ),
    *(ETH_TYPE_RARP, ETH_TYPE_MPLS, ETH_TYPE_MPLS_MCAST, ETH_TYPE_NSH),
)
_ALL = frozenset(Column)

_CHUNK = 1 << 14  # packets a pass: what their headers and key words need stays in cache


@dataclass(frozen=True, eq=False, slots=True)
class Decoded:
    """Flow keys and header offsets of N frames.

    ``columns`` is ``uint64`` of shape (N_COLUMNS, N), see :mod:`flowvm.columns`.
    """

    columns: U64
    layout: Layout


def decode(
    frames: Frames,
    in_port: NDArray[np.integer] | int,
    vlan_limit: NDArray[np.integer] | int = DEFAULT_VLAN_LIMIT,
    packet_types: NDArray[np.uint64] | None = None,
) -> Decoded:
    """The flow key of every frame, received on ``in_port`` (one for all, or one each).

    ``vlan_limit`` is the number of VLAN tags looked at, again one for all or one each; a tag
    beyond it is the frame's ``eth_type``. As in Open vSwitch, 0 means as many as a key holds: 2.
    Frames shorter than an Ethernet header have an all-zero key (real switches drop them).
    ``packet_types`` are those of ovs-fields(7), "packet_type"; by default all are Ethernet.
    """
    layout, columns = Layout.unset(len(frames)), blank_columns(len(frames))
    _extract_any(frames, in_port, vlan_limit, _ALL, layout, columns, packet_types)
    return Decoded(columns, layout)


def decode_columns(
    frames: Frames,
    in_port: NDArray[np.integer] | int,
    vlan_limit: NDArray[np.integer] | int = DEFAULT_VLAN_LIMIT,
    wanted: Collection[Column] | None = None,
    blank: U64 | None = None,
) -> U64:
    """The columns of :func:`decode` alone, of which only the ``wanted`` ones, by default all.

    The other rows are left zero, ``IN_PORT`` aside, and no header is looked at for their sake only.
    With ``blank`` columns, which are all zero, these are filled in.
    """
    columns = blank_columns(len(frames)) if blank is None else blank
    _extract(frames, in_port, vlan_limit, _ALL if wanted is None else wanted, None, columns)
    return columns


def find_layout(
    frames: Frames,
    vlan_limit: NDArray[np.integer] | int,
    packet_types: NDArray[np.uint64] | None = None,
) -> Layout:
    """The layout of :func:`decode` alone."""
    layout = Layout.unset(len(frames))
    columns = blank_columns(len(frames))
    _extract_any(frames, 0, vlan_limit, (), layout, columns, packet_types)
    return layout


def _extract(
    frames: Frames,
    in_port: NDArray[np.integer] | int,
    vlan_limit: NDArray[np.integer] | int,
    wanted: Collection[Column],
    layout: Layout | None,
    columns: U64,
) -> None:
    n = len(frames)
    columns[Column.IN_PORT] = in_port
    sink = Sink(columns, wanted, layout)
    words = frames.words()
    for start in range(0, n, _CHUNK):
        stop = min(start + _CHUNK, n)
        at = slice(start, stop)
        run = Run(words, frames.offsets[at], frames.lengths[at], slice(0, stop - start))
        part = sink.part(start, stop)
        if isinstance(vlan_limit, int):
            _extract_run(part, run, vlan_limit)
            continue
        limits = np.broadcast_to(vlan_limit, (n,))[at]
        for limit in distinct(limits):
            _extract_run(part, run.take(nonzero(limits == limit)), limit)


def _extract_any(
    frames: Frames,
    in_port: NDArray[np.integer] | int,
    vlan_limit: NDArray[np.integer] | int,
    wanted: Collection[Column],
    layout: Layout | None,
    columns: U64,
    packet_types: NDArray[np.uint64] | None,
) -> None:
    """As :func:`_extract`; packets that are not Ethernet begin with what their type says."""
    if packet_types is None or not any_of(packet_types):
        _extract(frames, in_port, vlan_limit, wanted, layout, columns)
        return
    columns[Column.IN_PORT] = in_port
    columns[PACKET_TYPE_BITS.column] = packet_types << np.uint64(PACKET_TYPE_BITS.shift)
    limits = np.broadcast_to(vlan_limit, len(frames))
    sink = Sink(columns, wanted, layout)
    words = frames.words()
    for kind in distinct(packet_types):
        who = nonzero(packet_types == kind)
        run = Run(words, frames.offsets[who], frames.lengths[who], who)
        if kind:
            _network(sink, run, kind & 0xFFFF, 0)
            continue
        for limit in distinct(limits[who]):
            _extract_run(sink, run.take(nonzero(limits[who] == limit)), limit)


def blank_columns(n: int) -> U64:
    """All-zero keys, shape (N_COLUMNS, n).

    Rows that stay zero should cost nothing, but ``np.zeros`` clears memory that was used before;
    fresh pages come cleared, and only when they are touched.
    """
    if n < _CHUNK or sys.platform == "win32":
        return np.zeros((N_COLUMNS, n), np.uint64)
    pages = mmap.mmap(-1, N_COLUMNS * n * 8, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(pages, np.uint64).reshape(N_COLUMNS, n)


def _extract_run(sink: Sink, run: Run, vlan_limit: int) -> None:
    whole = run.lengths >= ETH_HEADER
    if not all_of(whole):
        run = run.take(nonzero(whole))
    if not len(run):
        return
    if sink.wants(Column.ETH_DST):
        sink.put(Column.ETH_DST, run.who, run.u64(0) >> 16)
    if sink.wants(Column.ETH_SRC):
        sink.put(Column.ETH_SRC, run.who, run.u64(4) & 0xFFFF_FFFF_FFFF)
    if sink.typed:
        tags = _TAGS if vlan_limit <= 0 else _TAGS[:vlan_limit]
        _by_type(sink, run, run.u16(ETH_HEADER - 2), ETH_HEADER, tags)


def _by_type(
    sink: Sink, run: Run, kinds: U64, at: int, tags: tuple[tuple[Bits, Bits], ...]
) -> None:
    """Go on behind the EtherTypes ``kinds``, which end at ``at``; ``tags`` may yet be noted."""
    for kind, chosen in _groups(kinds):
        part = run if chosen is None else run.take(chosen)
        if tags and kind in (ETH_TYPE_VLAN, ETH_TYPE_QINQ):
            _tagged(sink, part, kind, at, tags)
        elif kind is not None:
            _network(sink, part, kind, at)
        else:
            rest = kinds if chosen is None else kinds[chosen]
            _other(sink, part, rest, at)


def _groups(kinds: U64) -> Iterator[tuple[int | None, Index | None]]:
    """The packets (``None`` for all) of each type; those of types not known share ``None``."""
    first = int(kinds[0])
    if kinds.min() == kinds.max() and first >= ETH_TYPE_MIN:
        yield first, None
        return
    left = kinds.size
    known = np.zeros(left, np.bool_)
    for kind in _KNOWN_TYPES:
        same = kinds == kind
        chosen = nonzero(same)
        if chosen.size:
            yield kind, chosen
            known |= same
            left -= chosen.size
            if not left:
                return
    yield None, nonzero(~known)


def _tagged(sink: Sink, run: Run, tpid: int, at: int, tags: tuple[tuple[Bits, Bits], ...]) -> None:
    # A tag counts only with the type that follows it.
    fits = run.lengths - at >= 4
    if not all_of(fits):
        _network(sink, run.take(nonzero(~fits)), tpid, at)
        run = run.take(nonzero(fits))
        if not len(run):
            return
    (tpid_bits, tci_bits), *others = tags
    if sink.wants(Column.VLAN):
        tci = run.u16(at) | VLAN_CFI
        sink.add(Column.VLAN, run.who, tci << tci_bits.shift | tpid << tpid_bits.shift)
    _by_type(sink, run, run.u16(at + 2), at + 4, tuple(others))


def _other(sink: Sink, run: Run, kinds: U64, at: int) -> None:
    """Packets with types that have no extractor, or with a length instead of a type."""
    short = kinds < ETH_TYPE_MIN
    if any_of(short):
        _untyped(sink, run.take(nonzero(short)), at)
        typed = nonzero(~short)
        run, kinds = run.take(typed), kinds[typed]
    sink.put(Column.NW, run.who, kinds << ETH_TYPE_BITS.shift)
    if sink.layout is not None:
        sink.layout.l3[run.who] = at


def _untyped(sink: Sink, run: Run, at: int) -> None:
    """Packets that have a type only if SNAP gives them one."""
    sink.put(Column.NW, run.who, ETH_TYPE_NONE << ETH_TYPE_BITS.shift)
    if sink.layout is not None:
        sink.layout.l3[run.who] = at
    long = nonzero(run.lengths - at >= 8)
    if not long.size:
        return
    run = run.take(long)
    header = run.u64(at)
    snap = nonzero(header >> 16 == SNAP_HEADER)
    if not snap.size:
        return
    run, kinds, at = run.take(snap), header[snap] & 0xFFFF, at + 8
    if sink.layout is not None:
        sink.layout.l3[run.who] = at
    typed = nonzero(kinds >= ETH_TYPE_MIN)
    if typed.size:
        _by_type(sink, run.take(typed), kinds[typed], at, ())


def _network(sink: Sink, run: Run, kind: int, at: int) -> None:
    """What is behind the EtherType ``kind``, at ``at``."""
    sink.put(Column.NW, run.who, kind << ETH_TYPE_BITS.shift)
    if kind in (ETH_TYPE_MPLS, ETH_TYPE_MPLS_MCAST):
        _mpls(sink, run, at)
        return
    if sink.layout is not None:
        sink.layout.l3[run.who] = at
    if kind == ETH_TYPE_NSH:
        extract_nsh(sink, run, at)
    elif not sink.network:
        return
    elif kind == ETH_TYPE_IP:
        extract_ipv4(sink, run, at)
    elif kind == ETH_TYPE_IPV6:
        extract_ipv6(sink, run, at)
    elif kind in (ETH_TYPE_ARP, ETH_TYPE_RARP):
        extract_arp(sink, run, at)


def _mpls(sink: Sink, run: Run, at: int) -> None:
    """Note the first labels, and that L3 is behind the whole stack."""
    after = np.full(len(run), at)
    chosen = np.arange(len(run))
    depth = 0
    while True:
        chosen = chosen[run.lengths[chosen] - after[chosen] >= 4]
        if not chosen.size:
            break
        part = run.take(chosen)
        label = part.u32(after[chosen])
        if depth < MAX_MPLS_LABELS:
            column = Column(Column.MPLS + depth // 2)
            sink.add(column, part.who, label << (0 if depth % 2 else 32))
        after[chosen] += 4
        depth += 1
        chosen = chosen[label & MPLS_BOTTOM == 0]
    if sink.layout is not None:
        sink.layout.l2_5[run.who] = at
        sink.layout.l3[run.who] = after
