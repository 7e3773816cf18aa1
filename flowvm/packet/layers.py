"""Headers that are put before a packet, or taken off it: Ethernet, NSH, MPLS.

What becomes of the bytes is what Open vSwitch 3.1's userspace datapath makes of them (``push_eth``,
``pop_eth``, ``push_nsh``, ``pop_nsh``, ``add_mpls`` and ``pop_mpls`` in lib/packets.c).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import Protocol

import numpy as np

from flowvm.columns import Column
from flowvm.fields import ETH_TYPE_BITS, PACKET_TYPE_BITS, Bits
from flowvm.packet.frames import Frames
from flowvm.packet.keys import count_labels, labels, read
from flowvm.packet.layout import NOWHERE
from flowvm.packet.offsets import find_offsets
from flowvm.packet.words import U64, Index

NSH_BASE = 8
NSH_TYPE_1 = 1
_ETH_TYPE_AT = 12
_LABEL = 4

LAYER_BITS = Bits(Column.LAYERS, 60, 4)
CONTEXT_BITS = Bits(Column.LAYERS, 44, 16)
BEFORE_BITS = Bits(Column.LAYERS, 22, 22)
SERIAL_BITS = Bits(Column.LAYERS, 0, 22)
"""What was done last, the number of the NSH context that it brought, and its own number in a run,
after that of what was done before."""


class Layer(IntEnum):
    """What is done to the headers in front."""

    POP_ETHERNET = 1
    PUSH_ETHERNET = 2
    POP_NSH = 3
    PUSH_NSH = 4
    POP_MPLS = 5
    PUSH_MPLS = 6
    PUSH_MPLS_AFRESH = 7
    """Before an Ethernet header; labels of before do not count any more."""


class Contexts(Protocol):
    """NSH contexts of metadata type 2, by number."""

    def __getitem__(self, number: int, /) -> bytes: ...


class _Change:
    """One packet and its keys before and after, shape (N_COLUMNS,) each."""

    def __init__(self, frame: bytes, before: U64, after: U64, contexts: Contexts) -> None:
        self.frame = frame
        self.before = before[:, None]
        self.after = after[:, None]
        self._contexts = contexts

    def context(self) -> bytes:
        """The NSH context that comes with the header, as it is in the packet."""
        number = int(read(self.after, CONTEXT_BITS)[0])
        if int(read(self.after, Bits(Column.NSH, 40, 8))[0]) == NSH_TYPE_1:
            words = self.after[Column.NSH_C1_C2 : Column.NSH_C3_C4 + 1, 0]
            return words.astype(">u8").tobytes()
        return self._contexts[number] if number else b""

    def begin(self) -> int:
        """Where the packet goes on behind Ethernet and its tags."""
        layout = find_offsets(Frames.of([self.frame]), self.before, np.zeros(1, np.int64))
        at = int(layout.l2_5[0])
        return int(layout.l3[0]) if at == NOWHERE else at


def _pop_ethernet(change: _Change) -> bytes:
    return change.frame[change.begin() :]


def _push_ethernet(change: _Change) -> bytes:
    addresses = (change.after[column, 0] for column in (Column.ETH_DST, Column.ETH_SRC))
    front = b"".join(int(address).to_bytes(6, "big") for address in addresses)
    kind = int(read(change.before, PACKET_TYPE_BITS)[0]) & 0xFFFF
    return front + kind.to_bytes(2, "big") + change.frame


def _pop_nsh(change: _Change) -> bytes:
    words = int.from_bytes(change.frame[:2], "big") & 0x3F
    return change.frame[4 * words :]


def _push_nsh(change: _Change) -> bytes:
    key = int(change.after[Column.NSH, 0])
    flags, ttl = key >> 56 & 0x3, key >> 48 & 0x3F
    context = change.context()
    size = (NSH_BASE + len(context)) // 4
    first = flags << 12 | ttl << 6 | size
    return (
        first.to_bytes(2, "big")
        + (key & 0xFFFF_FFFF_FFFF).to_bytes(6, "big")
        + context
        + (change.frame)
    )


def _stacks(change: _Change) -> tuple[list[int], list[int]]:
    """The labels before and after, innermost first."""
    found = []
    for keys in (change.before, change.after):
        stack = labels(keys)
        count = int(count_labels(read(keys, ETH_TYPE_BITS), stack)[0])
        found.append([int(entry) for entry in stack[:count, 0]][::-1])
    return found[0], found[1]


def _pop_mpls(change: _Change) -> bytes:
    old, new = _stacks(change)
    return change.frame[_LABEL * (len(old) - len(new)) :]


def _push_mpls(change: _Change) -> bytes:
    old, new = _stacks(change)
    return _put_labels(change.frame, old, new)


def _push_mpls_afresh(change: _Change) -> bytes:
    return _put_labels(change.frame, [], _stacks(change)[1])


def _put_labels(frame: bytes, old: list[int], new: list[int]) -> bytes:
    """Add those of ``new`` that ``old`` does not have."""
    for entry in new[len(old) :]:
        frame = entry.to_bytes(_LABEL, "big") + frame
    return frame


_CHANGES: Mapping[Layer, Callable[[_Change], bytes]] = MappingProxyType(
    {
        Layer.POP_ETHERNET: _pop_ethernet,
        Layer.PUSH_ETHERNET: _push_ethernet,
        Layer.POP_NSH: _pop_nsh,
        Layer.PUSH_NSH: _push_nsh,
        Layer.POP_MPLS: _pop_mpls,
        Layer.PUSH_MPLS: _push_mpls,
        Layer.PUSH_MPLS_AFRESH: _push_mpls_afresh,
    }
)


_LINK = (PACKET_TYPE_BITS.column, Column.ETH_SRC, Column.ETH_DST, Column.LAYERS)
_SETTLED: Mapping[Layer, tuple[Column, ...]] = MappingProxyType(
    {
        Layer.POP_ETHERNET: _LINK,
        Layer.PUSH_ETHERNET: _LINK,
        Layer.PUSH_MPLS: (*_LINK, Column.NW, Column.MPLS, Column.MPLS_2),
        Layer.PUSH_MPLS_AFRESH: (*_LINK, Column.NW, Column.MPLS, Column.MPLS_2),
    }
)
"""What there is no more to do about then; by default that is all."""


def change_layers(
    frames: Frames, before: U64, after: U64, who: Index, contexts: Contexts
) -> tuple[Frames, U64]:
    """The frames with the headers of packets ``who`` put before or taken off.

    Also returns the keys that the frames have then: of what was put before, those of ``after``.
    """
    some, settled = [], before.copy()
    for i in who.tolist():
        layer = Layer(int(read(after, LAYER_BITS, np.array([i]))[0]))
        some.append(_CHANGES[layer](_Change(frames[i], before[:, i], after[:, i], contexts)))
        columns = list(_SETTLED.get(layer, Column))
        settled[columns, i] = after[columns, i]
    where = np.arange(len(frames))
    where[who] = len(frames) + np.arange(len(some))
    return Frames.concatenate([frames, Frames.of(some)]).take(where), settled
