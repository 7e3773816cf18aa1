"""Where headers begin in frames of which more is known than their bytes."""

from __future__ import annotations

import numpy as np

from flowvm.columns import Column
from flowvm.fields import ETH_TYPE_BITS, ETH_TYPE_QINQ, ETH_TYPE_VLAN, PACKET_TYPE_BITS
from flowvm.packet.decode import ETH_HEADER, find_layout
from flowvm.packet.frames import Frames
from flowvm.packet.keys import count_tags, read
from flowvm.packet.layout import NOWHERE, Layout
from flowvm.packet.words import U64, Index


def find_offsets(frames: Frames, keys: U64, who: Index) -> Layout:
    """The layout of packets ``who``, unset for others; tags are looked at as in their ``keys``."""
    layout = Layout.unset(len(frames))
    tags = np.maximum(count_tags(keys[Column.VLAN, who]), 1)
    types = read(keys, PACKET_TYPE_BITS, who)
    found = find_layout(frames.take(who), tags, types)
    layout.l2_5[who], layout.l3[who] = found.l2_5, found.l3
    layout.l4[who], layout.l2_pad[who] = found.l4, found.l2_pad
    # A tag that the key does not count, the one outside of it gone, is what the type says.
    bare = who[(count_tags(keys[Column.VLAN, who]) == 0) & (types == 0)]
    untagged = bare[np.isin(read(keys, ETH_TYPE_BITS, bare), (ETH_TYPE_VLAN, ETH_TYPE_QINQ))]
    layout.l2_5[untagged] = layout.l4[untagged] = NOWHERE
    layout.l3[untagged], layout.l2_pad[untagged] = ETH_HEADER, 0
    return layout
