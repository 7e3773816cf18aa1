"""Frames to flow keys, field by field as Open vSwitch extracts them.

The rules are those of Open vSwitch 3.1's ``miniflow_extract`` and of ovs-fields(7). What is
malformed ends the extraction where it ends there: fields beyond that point stay zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flowvm.columns import FRAG_ANY, FRAG_LATER, N_COLUMNS, VLAN_CFI, Column
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
    NW_FRAG_BITS,
    NW_PROTO_BITS,
    NW_TOS_BITS,
    NW_TTL_BITS,
    OUTER_TCI,
    OUTER_TPID,
)
from flowvm.packet.extract_l4 import decode_l4
from flowvm.packet.frames import Frames
from flowvm.packet.ipv6 import walk_extensions
from flowvm.packet.layout import Layout
from flowvm.packet.words import U64, Bool, Index, Words

DEFAULT_VLAN_LIMIT = 1
"""How many tags Open vSwitch looks at unless told (ovs-vswitchd.conf.db(5), "vlan-limit")."""

MAX_VLANS = 2
MAX_MPLS_LABELS = 3
ETH_HEADER = 14
ETH_TYPE_NONE = 0x05FF  # "not Ethernet II" (ovs-fields(7), "eth_type")
ETH_TYPE_MIN = 0x0600
SNAP_HEADER = 0xAAAA_0300_0000  # LLC 802.2 and SNAP with Ethernet's organisation code
IPV6_HEADER = 40

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
) -> Decoded:
    """The flow key of every frame, received on ``in_port`` (one for all, or one each).

    ``vlan_limit`` is the number of VLAN tags looked at, again one for all or one each; a tag
    beyond it is the frame's ``eth_type``. As in Open vSwitch, 0 means as many as a key holds: 2.
    Frames shorter than an Ethernet header have an all-zero key (real switches drop them).
    """
    n = len(frames)
    columns = np.zeros((N_COLUMNS, n), np.uint64)
    layout = Layout.unset(n)
    columns[Column.IN_PORT] = in_port
    limit = np.broadcast_to(np.asarray(vlan_limit, np.int64), (n,))
    words = frames.words()
    for start in range(0, n, _CHUNK):
        stop = min(start + _CHUNK, n)
        part = _Extraction(
            words,
            frames.offsets[start:stop],
            frames.lengths[start:stop],
            columns[:, start:stop],
            layout.part(start, stop),
        )
        part.run(limit[start:stop])
    return Decoded(columns, layout)


class _Extraction:
    """The extraction of a run of packets; ``columns`` and ``layout`` are views it fills."""

    def __init__(
        self, words: Words, starts: Index, lengths: Index, columns: U64, layout: Layout
    ) -> None:
        self.words = words
        self.starts = starts
        self.ends = starts + lengths
        self.columns = columns
        self.layout = layout

    def run(self, vlan_limit: Index) -> None:
        whole = np.flatnonzero(self.ends - self.starts >= ETH_HEADER)
        if not whole.size:
            return
        at = self.starts[whole]
        first = self.words.u64(at)
        second = self.words.u64(at + 6)
        self.columns[Column.ETH_DST, whole] = first >> 16
        self.columns[Column.ETH_SRC, whole] = second >> 16
        at = at + 12
        kind = second & 0xFFFF
        at, kind = self._vlans(whole, at, kind, vlan_limit[whole])
        at, kind = self._ethertype(at + 2, self.ends[whole], kind)
        nw = kind << ETH_TYPE_BITS.shift
        self.columns[Column.NW, whole] = nw

        labelled = np.flatnonzero((kind == ETH_TYPE_MPLS) | (kind == ETH_TYPE_MPLS_MCAST))
        if labelled.size:
            at[labelled] = self._mpls(whole[labelled], at[labelled])
        self.layout.l3[whole] = at - self.starts[whole]

        for types, extract in (
            ((ETH_TYPE_IP,), self._ipv4),
            ((ETH_TYPE_IPV6,), self._ipv6),
            ((ETH_TYPE_ARP, ETH_TYPE_RARP), self._arp),
            ((ETH_TYPE_NSH,), self._nsh),
        ):
            of_type = kind == types[0]
            for other in types[1:]:
                of_type |= kind == other
            chosen = np.flatnonzero(of_type)
            if chosen.size:
                extract(whole[chosen], at[chosen])

    def _vlans(self, who: Index, at: Index, kind: U64, limit: Index) -> tuple[Index, U64]:
        limit = np.where(limit <= 0, MAX_VLANS, limit)
        for n, (tpid, tci) in enumerate(((OUTER_TPID, OUTER_TCI), (INNER_TPID, INNER_TCI))):
            tagged = (kind == ETH_TYPE_VLAN) | (kind == ETH_TYPE_QINQ)
            # A tag counts only with the type that follows it.
            chosen = np.flatnonzero(tagged & (limit > n) & (self.ends[who] - at >= 6))
            if not chosen.size:
                break
            tag = self.words.u64(at[chosen])
            value = (tag >> 48) << tpid.shift | ((tag >> 32) & 0xFFFF | VLAN_CFI) << tci.shift
            self.columns[Column.VLAN, who[chosen]] |= value
            at[chosen] += 4
            kind[chosen] = (tag >> 16) & 0xFFFF
            # Only packets with a tag at this depth can have one at the next.
            limit[~_member(who.size, chosen)] = 0
        return at, kind

    def _ethertype(self, at: Index, ends: Index, kind: U64) -> tuple[Index, U64]:
        """The type at ``at - 2``: Ethernet II's, SNAP's, or none."""
        chosen = np.flatnonzero(kind < ETH_TYPE_MIN)
        if chosen.size:
            snap = chosen[ends[chosen] - at[chosen] >= 8]
            kind[chosen] = ETH_TYPE_NONE
            header = self.words.u64(at[snap])
            is_snap = header >> 16 == SNAP_HEADER
            snap, inner = snap[is_snap], header[is_snap] & 0xFFFF
            at[snap] += 8
            kind[snap] = np.where(inner < ETH_TYPE_MIN, ETH_TYPE_NONE, inner)
        return at, kind

    def _mpls(self, who: Index, at: Index) -> Index:
        """Note the first labels; returns the positions behind the whole stack."""
        self.layout.l2_5[who] = at - self.starts[who]
        after = at.copy()
        chosen = np.arange(who.size)
        depth = 0
        while True:
            chosen = chosen[self.ends[who[chosen]] - after[chosen] >= 4]
            if not chosen.size:
                return after
            label = self.words.u32(after[chosen])
            if depth < MAX_MPLS_LABELS:
                column = Column.MPLS + depth // 2
                self.columns[column, who[chosen]] |= label << (0 if depth % 2 else 32)
            after[chosen] += 4
            depth += 1
            chosen = chosen[label & 0x100 == 0]

    def _ipv4(self, who: Index, at: Index) -> None:
        size = self.ends[who] - at
        long_enough = size >= 20
        if not long_enough.all():
            who, at, size = who[long_enough], at[long_enough], size[long_enough]
        first = self.words.u64(at)
        header = ((first >> 56 & 0xF) * 4).astype(np.int64)
        total = (first >> 32 & 0xFFFF).astype(np.int64)
        sane = (header >= 20) & (total <= size) & (header <= total) & (size - total <= 0xFFFF)
        if not sane.all():
            who, at, size = who[sane], at[sane], size[sane]
            first, header, total = first[sane], header[sane], total[sane]
        if not who.size:
            return
        second = self.words.u64(at + 8)
        self.columns[Column.IPV4, who] = self.words.u64(at + 12)
        proto = second >> 48 & 0xFF
        frag = _fragment(first & 0x3FFF, first & 0x1FFF)
        self.columns[Column.NW, who] |= (
            proto << NW_PROTO_BITS.shift
            | (first >> 48 & 0xFF) << NW_TOS_BITS.shift
            | (second >> 56) << NW_TTL_BITS.shift
            | frag << NW_FRAG_BITS.shift
        )
        self.layout.l2_pad[who] = size - total
        self._l4(who, at + header, total - header, proto, frag)

    def _ipv6(self, who: Index, at: Index) -> None:
        size = self.ends[who] - at - IPV6_HEADER
        keep = size >= 0
        who, at, size = who[keep], at[keep], size[keep]
        first = self.words.u64(at)
        payload = (first >> 16 & 0xFFFF).astype(np.int64)
        sane = (payload <= size) & (size - payload <= 0xFFFF)
        who, at, first = who[sane], at[sane], first[sane]
        size, payload = size[sane], payload[sane]
        if not who.size:
            return
        self.layout.l2_pad[who] = size - payload
        for i in range(4):
            self.columns[Column.IPV6_SRC + i, who] = self.words.u64(at + 8 + 8 * i)

        walk = walk_extensions(self.words, at + IPV6_HEADER, payload, first >> 8 & 0xFF)
        good = walk.good
        if not good.all():
            who, first = who[good], first[good]
            walk = walk.take(good)
        if not who.size:
            return
        frag = _fragment(walk.fragment, walk.fragment & 0xFFF8)
        self.columns[Column.NW, who] |= (
            walk.proto << NW_PROTO_BITS.shift
            | (first >> 52 & 0xFF) << NW_TOS_BITS.shift
            | (first & 0xFF) << NW_TTL_BITS.shift
            | frag << NW_FRAG_BITS.shift
        )
        self.columns[Column.FLOW_LABEL, who] = (first >> 32 & 0xFFFFF) << 32
        self._l4(who, walk.at, walk.size, walk.proto, frag)

    def _l4(self, who: Index, at: Index, size: Index, proto: U64, frag: U64) -> None:
        self.layout.l4[who] = at - self.starts[who]
        first = frag & FRAG_LATER == 0
        if not first.all():
            who, at, size, proto = who[first], at[first], size[first], proto[first]
        decode_l4(self.words, self.columns, who, at, size, proto)

    def _arp(self, who: Index, at: Index) -> None:
        keep = self.ends[who] - at >= 28
        who, at = who[keep], at[keep]
        first = self.words.u64(at)
        # Ethernet hardware addresses of 6 bytes for IPv4 addresses of 4.
        known = first >> 16 == 0x0001_0800_0604
        who, at, op = who[known], at[known], first[known] & 0xFFFF
        if not who.size:
            return
        # Only the lower 8 bits can be matched; a larger opcode reads as none.
        self.columns[Column.NW, who] |= np.where(op <= 0xFF, op, 0) << NW_PROTO_BITS.shift
        self.columns[Column.IPV4, who] = self.words.u32(at + 14) << 32 | self.words.u32(at + 24)
        self.columns[Column.ARP_SHA, who] = self.words.u48(at + 8)
        self.columns[Column.ARP_THA, who] = self.words.u48(at + 18)

    def _nsh(self, who: Index, at: Index) -> None:
        size = self.ends[who] - at
        keep = size >= 8
        who, at, size = who[keep], at[keep], size[keep]
        base = self.words.u64(at)
        length = ((base >> 48 & 0x3F) * 4).astype(np.int64)
        mdtype = base >> 40 & 0xFF
        sane = (length <= size) & (base >> 62 == 0)
        sane &= np.where(mdtype == 1, length == 24, (mdtype != 2) | (length >= 8))
        who, at, base, mdtype = who[sane], at[sane], base[sane], mdtype[sane]
        self.columns[Column.NSH, who] = (
            (base >> 60 & 0x3) << 56 | (base >> 54 & 0x3F) << 48 | base & 0xFFFF_FFFF_FFFF
        )
        contexts = mdtype == 1
        who, at = who[contexts], at[contexts]
        for i in range(2):
            self.columns[Column.NSH_C1_C2 + i, who] = self.words.u64(at + 8 + 8 * i)


def _fragment(any_bits: U64, offset_bits: U64) -> U64:
    """``nw_frag``: any fragment if ``any_bits``, a later one if ``offset_bits`` too."""
    frag: U64 = (any_bits != 0).astype(np.uint64) * FRAG_ANY
    frag |= (offset_bits != 0).astype(np.uint64) * FRAG_LATER
    return frag


def _member(n: int, chosen: Index) -> Bool:
    flags = np.zeros(n, np.bool_)
    flags[chosen] = True
    return flags
