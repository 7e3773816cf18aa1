"""Flow keys to bytes: what a frame becomes when its key is changed.

This is what Open vSwitch 3.1's userspace datapath makes of a packet: the differences of two keys,
committed in its order (Ethernet, NSH, network, transport, MPLS, VLAN). Checksums are updated
incrementally. Differences it has no action for (``nw_proto`` of IP, metadata) change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np

from flowvm.arrays import all_of, any_of, nonzero
from flowvm.columns import VLAN_CFI, Column
from flowvm.fields import (
    ETH_TYPE_ARP,
    ETH_TYPE_BITS,
    ETH_TYPE_IP,
    ETH_TYPE_IPV6,
    ETH_TYPE_MPLS,
    ETH_TYPE_MPLS_MCAST,
    ETH_TYPE_NSH,
    ETH_TYPE_QINQ,
    ETH_TYPE_VLAN,
    IPV4_DST_BITS,
    IPV4_SRC_BITS,
    NW_PROTO_BITS,
    NW_TOS_BITS,
    NW_TTL_BITS,
    PACKET_TYPE_BITS,
    TP_DST_BITS,
    TP_SRC_BITS,
    Bits,
)
from flowvm.packet.decode import ETH_HEADER
from flowvm.packet.edit import Edit
from flowvm.packet.frames import Frames
from flowvm.packet.keys import MAX_MPLS_LABELS, count_labels, count_tags, labels, read, tag
from flowvm.packet.layers import Contexts, change_layers
from flowvm.packet.layout import NOWHERE, Layout
from flowvm.packet.offsets import find_offsets
from flowvm.packet.rewrite_l3 import (
    ARP_SHA_BITS,
    ARP_THA_BITS,
    IPV6_DST_BITS,
    IPV6_LABEL_BITS,
    IPV6_SRC_BITS,
    rewrite_arp,
    rewrite_ipv4,
    rewrite_ipv6,
    rewrite_nsh,
)
from flowvm.packet.rewrite_l4 import (
    ICMP_CODE_BITS,
    ICMP_TYPE_BITS,
    ND_OPTIONS_TYPE_BITS,
    ND_RESERVED_BITS,
    ND_TARGET_BITS,
    rewrite_icmp,
    rewrite_nd,
    rewrite_nd_extensions,
    rewrite_ports,
)
from flowvm.packet.words import U64, Bool, Index, ranges
from flowvm.protocols import ICMP, ICMPV6, SCTP, TCP, UDP

_ALL = frozenset(Column)
_ADDRESSES = frozenset((Column.ETH_SRC, Column.ETH_DST))
_TAGS = frozenset((Column.VLAN,))
_LAYERS = frozenset((Column.LAYERS,))
_DEEP = frozenset(c for c in Column if c >= Column.ETH_SRC) - _ADDRESSES - _TAGS - _LAYERS
"""Columns whose commit needs to know where the headers are."""

_WRITTEN_TOGETHER = (
    (Column.ETH_SRC, Column.ETH_DST),
    (Column.IPV6_SRC, Column.IPV6_SRC_LOW),
    (Column.IPV6_DST, Column.IPV6_DST_LOW),
    (Column.ND_TARGET, Column.ND_TARGET_LOW),
    (Column.MPLS, Column.MPLS_2),
    (Column.NSH, Column.NSH_C1_C2, Column.NSH_C3_C4),
)

_EVERYTHING = frozenset(c for c in Column if c >= Column.ETH_SRC) | {PACKET_TYPE_BITS.column}

_NETWORK = tuple(column for column in Column if Column.IPV4 <= column <= Column.ND_TARGET_LOW)


class _NoContexts:
    def __getitem__(self, number: int) -> bytes:
        raise KeyError(number)


_NO_CONTEXTS = _NoContexts()

Part = tuple[Index, tuple[Bits, ...], Callable[[Edit, Index], None]]
"""Packets, the fields of theirs that matter, and what writes these."""

_IPV4 = (IPV4_SRC_BITS, IPV4_DST_BITS, NW_TOS_BITS, NW_TTL_BITS)
_IPV6 = (IPV6_SRC_BITS, IPV6_DST_BITS, IPV6_LABEL_BITS, NW_TOS_BITS, NW_TTL_BITS)
_ARP = (NW_PROTO_BITS, IPV4_SRC_BITS, IPV4_DST_BITS, ARP_SHA_BITS, ARP_THA_BITS)
_ND_EXTENSIONS = (ND_RESERVED_BITS, ND_OPTIONS_TYPE_BITS)
_ND = (ND_TARGET_BITS, ARP_SHA_BITS, ARP_THA_BITS)
_PORTS = (TP_SRC_BITS, TP_DST_BITS)
_ICMP = (ICMP_TYPE_BITS, ICMP_CODE_BITS)
_NSH = (Bits(Column.NSH, 0, 64), Bits(Column.NSH_C1_C2, 0, 128))


def needed_to_rewrite(written: Collection[Column]) -> frozenset[Column]:
    """The columns that have to be decoded so that changes of ``written`` ones can be committed."""
    needed = {column for column in written if column >= Column.ETH_SRC}
    if Column.LAYERS in needed:
        return _EVERYTHING
    if not needed.isdisjoint(_DEEP):
        needed |= {Column.VLAN, Column.NW, Column.FLOW_LABEL, PACKET_TYPE_BITS.column}
    for group in _WRITTEN_TOGETHER:
        if not needed.isdisjoint(group):
            needed.update(group)
    return frozenset(needed)


def is_shallow(written: Collection[Column]) -> bool:
    """Whether changes of ``written`` columns are of addresses and tags only.

    Then :func:`rewrite` looks at the written columns alone, whatever else a key holds.
    """
    return _DEEP.isdisjoint(written)


def rewrite(
    frames: Frames,
    before: U64,
    after: U64,
    layout: Layout | None = None,
    written: Collection[Column] = _ALL,
    contexts: Contexts = _NO_CONTEXTS,
) -> Frames:
    """The frames after their keys change from ``before`` to ``after``, both (N_COLUMNS, N).

    ``before`` is what the bytes say now; ``layout`` is theirs too, and found out if not given. Only
    columns of ``written`` differ, and of others only those that are :func:`needed_to_rewrite` are
    looked at. Returns ``frames`` itself if no byte has to change, else frames in a new buffer.
    ``contexts`` are those of NSH headers of metadata type 2 that are pushed.

    Some changes have to be made in two calls, as in Open vSwitch: changes of L3 or L4 fields before
    the first MPLS label is pushed (pushing it clears those fields in the key), and those after the
    last label is popped (they are unknown until the packet is decoded again).
    """
    return _commit(frames, before, after, layout, written, contexts)[0]


def commit(frames: Frames, before: U64, after: U64, layout: Layout) -> tuple[Frames, Layout]:
    """As :func:`rewrite`, with the layout of the result, for changing the same packets again.

    Open vSwitch, too, keeps a packet's layout from change to change, without looking again.
    """
    result, moved = _commit(frames, before, after, layout, _ALL, _NO_CONTEXTS)
    return result, layout if moved is None else moved


def _commit(
    frames: Frames,
    before: U64,
    after: U64,
    layout: Layout | None,
    written: Collection[Column],
    contexts: Contexts,
) -> tuple[Frames, Layout | None]:
    whole = frames.lengths >= ETH_HEADER
    linkless: Bool | None = None
    if Column.LAYERS in written:
        linkless = read(after, PACKET_TYPE_BITS) != 0
        relayered = nonzero(before[Column.LAYERS] != after[Column.LAYERS])
        if relayered.size:
            frames, before = change_layers(frames, before, after, relayered, contexts)
            layout = None
        whole = (frames.lengths >= ETH_HEADER) | linkless
    linked, tagged, deep = (
        nonzero(whole & _any_differs(before, after, changing))
        if (changing := group & frozenset(written))
        else np.zeros(0, np.int64)
        for group in (_ADDRESSES, _TAGS, _DEEP)
    )
    if linkless is not None:
        linked = linked[~linkless[linked]]
    if not (linked.size or tagged.size or deep.size):
        return frames, layout

    result = frames.copy()
    starts = result.offsets
    words = result.words()
    for column, offset in ((Column.ETH_DST, 0), (Column.ETH_SRC, 6)):
        if linked.size:
            words.put48(starts[linked] + offset, after[column, linked])
    if deep.size:
        if layout is None:
            layout = find_offsets(frames, before, deep)
        bare = _loses_labels(before, after, deep)
        if any_of(bare):
            result, layout, before = _take_labels_off(result, layout, before, after, deep[bare])
        words, starts = result.words(), result.offsets
        edit = Edit(words, starts, starts + result.lengths, layout, before, after)
        _rewrite_in_place(edit, deep)
        result, layout = _rewrite_mpls(result, edit, deep[~bare])
    if tagged.size:
        result, shift = _rewrite_vlans(result, before, after, tagged, linkless)
        if layout is not None:
            layout = layout.shifted(tagged, -shift)
    return result, layout


def _any_differs(before: U64, after: U64, columns: Collection[Column]) -> Bool:
    if before.shape[1] == 1:
        rows = [*columns]
        return np.array([bool((before[rows] != after[rows]).any())])
    found = np.zeros(before.shape[1], np.bool_)
    for column in columns:
        found |= before[column] != after[column]
    return found


def _loses_labels(before: U64, after: U64, who: Index) -> Bool:
    """Which packets stop being MPLS and then have network headers that can change."""
    kinds = read(before, ETH_TYPE_BITS, who), read(after, ETH_TYPE_BITS, who)
    was, stays = ((kind == ETH_TYPE_MPLS) | (kind == ETH_TYPE_MPLS_MCAST) for kind in kinds)
    return np.asarray(was & ~stays & (read(after, NW_PROTO_BITS, who) != 0), np.bool_)


def _take_labels_off(
    frames: Frames, layout: Layout, before: U64, after: U64, who: Index
) -> tuple[Frames, Layout, U64]:
    """Take all labels off, and find what they hid. Returns the keys that the frames have then."""
    words, starts = frames.words(), frames.offsets
    edit = Edit(words, starts, starts + frames.lengths, layout, before, after)
    frames, layout = _rewrite_mpls(frames, edit, who)
    bare = before.copy()
    others = np.uint64(~ETH_TYPE_BITS.mask[Column.NW] & (1 << 64) - 1)
    bare[Column.NW, who] &= others
    bare[Column.NW, who] |= after[Column.NW, who] & ~others
    bare[Column.MPLS, who], bare[Column.MPLS_2, who] = (
        after[Column.MPLS, who],
        after[Column.MPLS_2, who],
    )
    found = find_offsets(frames, bare, who)
    for mine, theirs in (
        (layout.l2_5, found.l2_5),
        (layout.l3, found.l3),
        (layout.l4, found.l4),
        (layout.l2_pad, found.l2_pad),
    ):
        mine[who] = theirs[who]
    return frames, layout, bare


def keep_network(header: U64, base: U64) -> U64:
    """The keys ``header`` with the network headers of ``base`` where they have none.

    A label hides these headers, but Open vSwitch remembers them for a packet that is to be again
    what it was before.
    """
    hidden = read(header, NW_PROTO_BITS) == 0
    if not any_of(hidden):
        return header
    kept = header.copy()
    network = np.uint64((1 << ETH_TYPE_BITS.shift) - 1)
    kept[Column.NW, hidden] &= ~network
    kept[Column.NW, hidden] |= base[Column.NW, hidden] & network
    for column in _NETWORK:
        kept[column, hidden] = base[column, hidden]
    return kept


def _rewrite_in_place(edit: Edit, who: Index) -> None:
    """Change what keeps its length: NSH, IPv4, IPv6, ARP, transport."""
    kind = edit.old(ETH_TYPE_BITS, who)
    proto = edit.new(NW_PROTO_BITS, who)
    final = edit.new(ETH_TYPE_BITS, who)
    nsh = who[final == ETH_TYPE_NSH]
    arp = who[(kind == ETH_TYPE_ARP) & (proto != 0)]
    _apply(edit, (nsh, _NSH, rewrite_nsh), (arp, _ARP, rewrite_arp))

    ip = ((kind == ETH_TYPE_IP) | (kind == ETH_TYPE_IPV6)) & (proto != 0)
    ip &= edit.layout.l4[who] != NOWHERE
    who, kind, proto, final = who[ip], kind[ip], proto[ip], final[ip]
    is_ipv6 = kind == ETH_TYPE_IPV6
    icmpv6 = who[is_ipv6 & (edit.old(NW_PROTO_BITS, who) == ICMPV6)]
    ported = who[(proto == TCP) | (proto == UDP) | (proto == SCTP)]
    icmp = ((final == ETH_TYPE_IP) & (proto == ICMP)) | (
        (final == ETH_TYPE_IPV6) & (proto == ICMPV6)
    )
    _apply(
        edit,
        (who[~is_ipv6], _IPV4, rewrite_ipv4),
        (who[is_ipv6], _IPV6, rewrite_ipv6),
        (icmpv6, _ND_EXTENSIONS, rewrite_nd_extensions),
        (icmpv6, _ND, rewrite_nd),
        (ported, _PORTS, rewrite_ports),
        (who[icmp], _ICMP, rewrite_icmp),
    )


def _apply(edit: Edit, *parts: Part) -> None:
    for who, fields, change in parts:
        if not who.size:
            continue
        found = np.zeros(who.size, np.bool_)
        for bits in fields:
            found |= edit.differs(bits, who)
        chosen = who[found]
        if chosen.size:
            change(edit, chosen)


def _rewrite_mpls(frames: Frames, edit: Edit, who: Index) -> tuple[Frames, Layout]:
    """Replace the labels on top of those that both keys have at the bottom."""
    changed = edit.differs(Bits(Column.MPLS, 0, 64), who)
    changed |= edit.differs(Bits(Column.MPLS_2, 0, 64), who) | edit.differs(ETH_TYPE_BITS, who)
    who = who[changed & (edit.layout.l3[who] != NOWHERE)]
    if not who.size:
        return frames, edit.layout
    old, new = labels(edit.before, who), labels(edit.after, who)
    kinds = edit.old(ETH_TYPE_BITS, who), edit.new(ETH_TYPE_BITS, who)
    old_n, new_n = count_labels(kinds[0], old), count_labels(kinds[1], new)
    common = np.zeros(who.size, np.int64)
    same = np.ones(who.size, np.bool_)
    rows = np.arange(who.size)
    for i in range(1, MAX_MPLS_LABELS + 1):
        same &= (old_n >= i) & (new_n >= i) & (old[old_n - i, rows] == new[new_n - i, rows])
        common += same
    popped, pushed = old_n - common, new_n - common
    moves = (popped > 0) | (pushed > 0)
    who, popped, pushed, new = who[moves], popped[moves], pushed[moves], new[:, moves]
    emptied = (popped == old_n[moves]) & (pushed == 0)
    if not who.size:
        return frames, edit.layout

    words, start = edit.words, frames.offsets[who]
    stack = np.where(edit.layout.l2_5[who] == NOWHERE, edit.layout.l3[who], edit.layout.l2_5[who])
    # One label for another is a change of the label only; anything else sets the type, which is
    # behind the tags if there are any, else right behind the addresses.
    typed = (popped != 1) | (pushed != 1)
    first = words.u16(start + 12)
    behind = (first == ETH_TYPE_VLAN) | (first == ETH_TYPE_QINQ)
    at = start + np.where(behind, stack - 2, 12)
    words.put16(at[typed], edit.new(ETH_TYPE_BITS, who[typed]))

    shift = 4 * (popped - pushed)
    source = ranges(start, stack)
    front = words.u8(source)
    words.put8(source + np.repeat(shift, stack), front)
    for i in range(MAX_MPLS_LABELS):
        chosen = pushed > i
        words.put32((start + shift + stack)[chosen] + 4 * i, new[i, chosen])
    layout = edit.layout.shifted(who, -shift)
    layout.l2_5[who] = np.where(emptied, NOWHERE, stack)
    return _moved(frames, who, shift), layout


def _rewrite_vlans(
    frames: Frames, before: U64, after: U64, who: Index, linkless: Bool | None
) -> tuple[Frames, Index]:
    """Replace the tags outside of those that both keys have innermost.

    ``linkless`` are packets without an Ethernet header, if there may be any; then there may also be
    packets whose tags are not where their keys have them, but behind headers put before.
    Returns the frames and by how many bytes each of ``who`` becomes shorter.
    """
    old, new = before[Column.VLAN, who], after[Column.VLAN, who]
    alike = who.size > 1 and bool(all_of(old == old[0]) and all_of(new == new[0]))
    if alike:
        # Worked out once, it holds for all.
        old, new = old[:1], new[:1]
    old_n, new_n = count_tags(old), count_tags(new)
    innermost = (old_n > 0) & (new_n > 0) & (tag(old, old_n - 1) == tag(new, new_n - 1))
    both = innermost & (old_n > 1) & (new_n > 1) & (old == new)
    common = innermost.astype(np.int64) + both
    popped, pushed = old_n - common, new_n - common

    if linkless is not None:
        outermost = frames.words().u16(frames.offsets[who] + 12)
        tagged = (outermost == ETH_TYPE_VLAN) | (outermost == ETH_TYPE_QINQ)
        popped = np.where(tagged & ~linkless[who], popped, 0)
    # The "present" bit of a key is no part of a tag.
    tags = np.array([tag(new, i) & ~np.uint64(VLAN_CFI) for i in range(2)])
    shift = 4 * (popped - pushed)
    if alike:
        tags, pushed = np.broadcast_to(tags, (2, who.size)), np.broadcast_to(pushed, who.size)
        shift = np.broadcast_to(shift, who.size)
    frames.words().retag(frames.offsets[who], shift, pushed, tags)
    return _moved(frames, who, shift), shift


def _moved(frames: Frames, who: Index, shift: Index) -> Frames:
    """The same buffer, where the frames ``who`` begin ``shift`` bytes later."""
    offsets, lengths = frames.offsets.copy(), frames.lengths.copy()
    offsets[who] += shift
    lengths[who] -= shift
    return Frames(frames.buffer, offsets, lengths)
