"""Frames for flow keys: what a packet with given headers looks like.

The frames are those that Open vSwitch 3.1 composes (``ofproto/trace --generate``, ``ovs-ofctl
compose-packet``), byte for byte, save where its frame lacks headers that it was made for. Those are
kept here: NSH, fragments of IPv6, a tag on a frame without a type, the addresses of ARP that is
neither request nor reply, and SCTP's checksum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from flowvm.arrays import distinct, nonzero
from flowvm.columns import FRAG_LATER, VLAN_CFI, Column
from flowvm.fields import (
    ETH_TYPE_ARP,
    ETH_TYPE_BITS,
    ETH_TYPE_IP,
    ETH_TYPE_IPV6,
    ETH_TYPE_MPLS,
    ETH_TYPE_MPLS_MCAST,
    ETH_TYPE_NSH,
    ETH_TYPE_RARP,
    FIELDS,
    NW_FRAG_BITS,
    NW_PROTO_BITS,
    NW_TOS_BITS,
    NW_TTL_BITS,
    PACKET_TYPE_BITS,
    Bits,
)
from flowvm.packet.checksum import finish, sum_value
from flowvm.packet.compose_l4 import l4_sizes, options_type, put_l4
from flowvm.packet.decode import ETH_HEADER, ETH_TYPE_NONE, decode
from flowvm.packet.frames import Frames
from flowvm.packet.ipv6 import FRAGMENT, IPV6_HEADER
from flowvm.packet.keys import (
    MAX_MPLS_LABELS,
    MAX_VLANS,
    MPLS_BOTTOM,
    count_tags,
    labels,
    read,
    tag,
)
from flowvm.packet.words import U64, Bool, Index, Words

_IPV4_HEADER = 20
_FRAGMENT_HEADER = 8
_ARP_SIZE = 28
_NSH_BASE = 8
_NSH_CONTEXT = 16
_NSH_MDTYPE = Bits(Column.NSH, 40, 8)
_IPV6_LABEL = Bits(Column.FLOW_LABEL, 32, 32)
_IPV4_MORE_FRAGMENTS = 0x2000
_IPV6_MORE_FRAGMENTS = 1
_LATER_OFFSET = 100  # in units of 8 bytes, as in Open vSwitch
_NO_NEXT_HEADER = 59


def compose(columns: U64, *, exact: bool = True) -> Frames:
    """A frame for every key of ``columns``, ``uint64`` of shape (N_COLUMNS, N).

    Lengths and checksums are right. Where a payload can follow, 64 bytes do: 0, 1, 2 and so on.
    ``decode(frames, in_port, vlan_limit=2)`` gives the headers of ``columns`` again, but for what
    a frame cannot leave open: an ``eth_type`` of 0 reads as 0x05ff; IPv6 with an ``nw_proto`` of 0
    has no complete headers to read (a later fragment has 44 there); and an ``nd_options_type`` of
    0 reads as that of the first link-layer address.

    A packet that is not Ethernet (``packet_type``) begins with the header that its type names.

    Raises ValueError for headers that no frame has. If not ``exact``, they are left out where they
    have no place.
    """
    draft = _Draft.of(columns)
    draft.write()
    if exact:
        _check(draft)
    return draft.frames


@dataclass(frozen=True, eq=False, slots=True)
class _Draft:
    """Frames to be filled, and what decides where; arrays have shape (N,).

    ``l3`` and ``l4`` are offsets from a frame's start; ``l4_size``, and ``payload`` which is part
    of it, are in bytes.
    """

    columns: U64
    kind: U64
    proto: U64
    frag: U64
    tags: Index
    l3: Index
    l4: Index
    l4_size: Index
    payload: Index
    frames: Frames

    @classmethod
    def of(cls, columns: U64) -> _Draft:
        kind = read(columns, ETH_TYPE_BITS)
        frag = read(columns, NW_FRAG_BITS)
        tags = count_tags(columns[Column.VLAN])
        l3 = np.where(read(columns, PACKET_TYPE_BITS) == 0, ETH_HEADER + 4 * tags, 0)
        header = np.zeros(kind.size, np.int64)
        for number in distinct(kind):
            who = nonzero(kind == number)
            header[who] = _l3_size(number, columns[:, who])
        size, payload = l4_sizes(columns)
        # A later fragment's transport header is in the first.
        inside = ((kind == ETH_TYPE_IP) | (kind == ETH_TYPE_IPV6)) & (frag & FRAG_LATER == 0)
        size, payload = size * inside, payload * inside
        frames = Frames.blank(l3 + header + size)
        proto = read(columns, NW_PROTO_BITS)
        return cls(columns, kind, proto, frag, tags, l3, l3 + header, size, payload, frames)

    def write(self) -> None:
        """Fill the frames."""
        words, starts = self.frames.words(), self.frames.offsets
        self._put_ethernet(words, nonzero(self.l3 > 0))
        writers: Mapping[int, Callable[[Words, Index, Index], None]] = {
            ETH_TYPE_IP: self._put_ipv4,
            ETH_TYPE_IPV6: self._put_ipv6,
            ETH_TYPE_ARP: self._put_arp,
            ETH_TYPE_RARP: self._put_arp,
            ETH_TYPE_MPLS: self._put_mpls,
            ETH_TYPE_MPLS_MCAST: self._put_mpls,
            ETH_TYPE_NSH: self._put_nsh,
        }
        for number in distinct(self.kind):
            if number in writers:
                who = nonzero(self.kind == number)
                writers[number](words, who, starts[who] + self.l3[who])

    def _put_ethernet(self, words: Words, who: Index) -> None:
        columns, starts = self.columns, self.frames.offsets[who]
        words.put48(starts, columns[Column.ETH_DST][who])
        words.put48(starts + 6, columns[Column.ETH_SRC][who])
        for i in range(MAX_VLANS):
            tagged = nonzero(self.tags[who] > i)
            if tagged.size:
                value = tag(columns[Column.VLAN][who[tagged]], i) & ~np.uint64(VLAN_CFI)
                words.put32(starts[tagged] + 12 + 4 * i, value)
        # A frame without a type has its length there.
        length, kind = self.frames.lengths[who].astype(np.uint64), self.kind[who]
        words.put16(starts + self.l3[who] - 2, np.where(kind == ETH_TYPE_NONE, length, kind))

    def _put_ipv4(self, words: Words, who: Index, at: Index) -> None:
        columns, frag = self.columns, self.frag[who]
        length = (self.frames.lengths - self.l3)[who].astype(np.uint64)
        offset = np.where(frag == 0, np.uint64(0), np.uint64(_IPV4_MORE_FRAGMENTS))
        offset |= np.where(frag & FRAG_LATER == 0, np.uint64(0), np.uint64(_LATER_OFFSET))
        tos, ttl = read(columns, NW_TOS_BITS, who), read(columns, NW_TTL_BITS, who)
        first = 0x45 << 56 | tos << 48 | length << 32 | offset
        second = ttl << 24 | self.proto[who] << 16
        addresses = columns[Column.IPV4][who]
        sum_of_addresses = sum_value(addresses)
        words.put64(at, first)
        words.put32(
            at + 8, second | finish(sum_value(first) + sum_value(second) + sum_of_addresses)
        )
        words.put64(at + 12, addresses)
        self._put_l4(words, who, sum_of_addresses)

    def _put_ipv6(self, words: Words, who: Index, at: Index) -> None:
        columns, frag, proto = self.columns, self.frag[who], self.proto[who]
        length = (self.frames.lengths - self.l3)[who].astype(np.uint64) - IPV6_HEADER
        following = np.where(frag == 0, proto, np.uint64(FRAGMENT))
        first = 6 << 28 | read(columns, NW_TOS_BITS, who) << 20 | read(columns, _IPV6_LABEL, who)
        words.put32(at, first)
        words.put32(at + 4, length << 16 | following << 8 | read(columns, NW_TTL_BITS, who))
        addresses = columns[Column.IPV6_SRC : Column.IPV6_DST_LOW + 1, who]
        for i, part in enumerate(addresses):
            words.put64(at + 8 + 8 * i, part)

        later = frag & FRAG_LATER != 0
        # What a later fragment is part of is not in its key.
        inner = np.where(later, np.uint64(_NO_NEXT_HEADER), proto)
        offset = np.where(later, np.uint64(_LATER_OFFSET << 3), np.uint64(0))
        header = inner << 56 | (offset | _IPV6_MORE_FRAGMENTS) << 32
        pieces = nonzero(frag)
        words.put64(at[pieces] + IPV6_HEADER, header[pieces])
        self._put_l4(words, who, sum_value(addresses).sum(axis=0))

    def _put_l4(self, words: Words, who: Index, sum_of_addresses: U64) -> None:
        filled = nonzero(self.l4_size[who])
        if filled.size:
            who = who[filled]
            at = self.frames.offsets[who] + self.l4[who]
            size, payload = self.l4_size[who], self.payload[who]
            put_l4(words, self.columns[:, who], at, size, payload, sum_of_addresses[filled])

    def _put_arp(self, words: Words, who: Index, at: Index) -> None:
        addresses = self.columns[Column.IPV4][who]
        words.put64(at, 0x0001_0800_0604_0000 | self.proto[who])
        words.put48(at + 8, self.columns[Column.ARP_SHA][who])
        words.put32(at + 14, addresses >> 32)
        words.put48(at + 18, self.columns[Column.ARP_THA][who])
        words.put32(at + 24, addresses)

    def _put_mpls(self, words: Words, who: Index, at: Index) -> None:
        entries = labels(self.columns, who)
        count = _count_labels(self.columns[:, who])
        for i in range(MAX_MPLS_LABELS):
            chosen = nonzero(count > i)
            words.put32(at[chosen] + 4 * i, entries[i, chosen])

    def _put_nsh(self, words: Words, who: Index, at: Index) -> None:
        size = (self.frames.lengths - self.l3)[who].astype(np.uint64)
        chosen = nonzero(size)
        who, at, size = who[chosen], at[chosen], size[chosen]
        key = self.columns[Column.NSH][who]
        flags, ttl = key >> 56 & 0x3, key >> 48 & 0x3F
        words.put16(at, flags << 12 | ttl << 6 | size >> 2)
        words.put48(at + 2, key)
        chosen = nonzero(size > _NSH_BASE)
        for i in range(2):
            context = self.columns[Column.NSH_C1_C2 + i, who[chosen]]
            words.put64(at[chosen] + _NSH_BASE + 8 * i, context)


def _l3_size(kind: int, columns: U64) -> Index | int:
    """Bytes of network header that packets of a type have."""
    if kind == ETH_TYPE_IP:
        return _IPV4_HEADER
    if kind == ETH_TYPE_IPV6:
        whole = read(columns, NW_FRAG_BITS) == 0
        return np.where(whole, IPV6_HEADER, IPV6_HEADER + _FRAGMENT_HEADER)
    if kind in (ETH_TYPE_ARP, ETH_TYPE_RARP):
        return _ARP_SIZE
    if kind in (ETH_TYPE_MPLS, ETH_TYPE_MPLS_MCAST):
        return 4 * _count_labels(columns)
    if kind == ETH_TYPE_NSH:
        size = np.where(_has_context(columns), _NSH_BASE + _NSH_CONTEXT, _NSH_BASE)
        return np.where(columns[Column.NSH] != 0, size, 0)
    return 0


def _count_labels(columns: U64) -> Index:
    """How many labels a stack has: up to its bottom, or as many as a key holds."""
    first, second, _ = labels(columns) & MPLS_BOTTOM
    return np.where(first != 0, 1, np.where(second != 0, 2, MAX_MPLS_LABELS))


def _has_context(columns: U64) -> Bool:
    found: Bool = read(columns, _NSH_MDTYPE) == 1
    return found


def _check(draft: _Draft) -> None:
    """Raise ValueError if a frame does not read as the key it was made for."""
    first = Column.ETH_SRC  # the columns before it hold what no frame carries
    types = read(draft.columns, PACKET_TYPE_BITS)
    found = decode(draft.frames, 0, MAX_VLANS, types).columns[first:]
    wrong = found != _readable(draft)[first:]
    bad = nonzero(wrong.any(axis=0))
    if bad.size:
        packet = bad[:1]
        column = Column(first + int(nonzero(wrong[:, packet[0]])[0]))
        raise ValueError(_complaint(draft.columns, packet, column, found[column - first, packet]))


def _readable(draft: _Draft) -> U64:
    """The keys, without what they leave open and a frame cannot."""
    keys = draft.columns.copy()
    untyped = (draft.kind == 0) & (draft.l3 > 0)
    keys[Column.NW, untyped] |= np.uint64(ETH_TYPE_NONE << ETH_TYPE_BITS.shift)
    open_end = (draft.kind == ETH_TYPE_IPV6) & (draft.proto == 0)
    later = open_end & (draft.frag & FRAG_LATER != 0)
    keys[Column.NW, later] |= np.uint64(FRAGMENT << NW_PROTO_BITS.shift)
    open_end &= ~later
    keys[Column.NW, open_end] = ETH_TYPE_IPV6 << ETH_TYPE_BITS.shift
    keys[Column.FLOW_LABEL, open_end] = 0
    keys[Column.TP] |= np.where(draft.l4_size > 0, options_type(keys), np.uint64(0))
    return keys


def _complaint(columns: U64, packet: Index, column: Column, found: U64) -> str:
    """What is wrong with a packet in ``column``, of which its frame would read as ``found``."""
    from flowvm.pipeline.prerequisites import holds

    for row in FIELDS:
        if row.bits is None or row.bits.column != column or row.bits.width > 64:
            continue
        mask = (1 << row.bits.width) - 1
        asked = int(read(columns, row.bits, packet)[0])
        got = int(found[0]) >> row.bits.shift & mask
        if asked != got and holds(row.prerequisite, list(columns), packet) is None:
            return f"no frame with these headers has {row.name}={asked:#x}: it would be {got:#x}"
    asked = int(columns[column, packet[0]])
    return f"no frame has these headers: {column.name} {asked:#x} would be {int(found[0]):#x}"
