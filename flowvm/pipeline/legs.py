"""Legs: the parts of a packet's way through the datapath, and how they are noted down."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from flowvm.columns import N_COLUMNS
from flowvm.conntrack.nat import NatRequest
from flowvm.conntrack.request import Tracking
from flowvm.fields import PACKET_TYPE_BITS
from flowvm.packet.decode import DEFAULT_VLAN_LIMIT, find_layout
from flowvm.packet.frames import Frames
from flowvm.pipeline.ragged import ranges

Offsets = tuple[int, int, int]
"""Where a frame's L3 and L4 headers begin (-1: there are none), and the padding at its end."""


def packet_types_of(columns: Iterable[NDArray[np.uint64]]) -> NDArray[np.uint64]:
    """The packet type in each of ``columns``, those of a packet each."""
    words = np.array([some[PACKET_TYPE_BITS.column] for some in columns], np.uint64)
    return words >> np.uint64(PACKET_TYPE_BITS.shift)


def offsets_of(frames: Frames, packet_types: NDArray[np.uint64]) -> list[Offsets]:
    """The offsets in each frame."""
    layout = find_layout(frames, DEFAULT_VLAN_LIMIT, packet_types)
    return list(zip(layout.l3.tolist(), layout.l4.tolist(), layout.l2_pad.tolist(), strict=True))


@dataclass(frozen=True)
class Resumption:
    """How a leg goes on after recirculation.

    ``state`` is its ct_state if that is for connection tracking, ``by_default`` if nobody said so.
    ``nat`` is what a pretended translation was to do; ``before`` and ``after`` the columns that it
    changed.
    """

    state: int | None
    by_default: bool = False
    nat: NatRequest | None = None
    before: NDArray[np.uint64] | None = None
    after: NDArray[np.uint64] | None = None


@dataclass(eq=False)
class Leg:
    """A packet as one translation sees it, and the path that it takes.

    ``number`` tells legs of a stretch apart; those that arrive have the lowest ones. ``place`` puts
    legs in the order in which they are executed. ``offsets`` are where the headers of ``frame``
    are, if that is known. ``resumed`` is ``None`` for an arrival. ``joins`` marks a fragment that
    goes on in the middle of the path of another packet.
    """

    number: int
    packet: int
    columns: NDArray[np.uint64]
    frame: bytes
    tracking: Tracking
    place: tuple[int, ...]
    depth: int = 0
    path: int = -1
    offsets: Offsets | None = None
    resumed: Resumption | None = None
    joins: bool = False


@dataclass(frozen=True, eq=False)
class Travels:
    """What became of packets in a row some of which recirculated.

    ``owners`` is the packet of each leg that did not arrive, and ``path_of`` its path; ``columns``
    (columns, legs) and ``frames`` are what it began with, ``depths`` after how many recirculations,
    one within the other. ``segments`` are runs of emissions in
    their order: leg, first and last + 1 of its path's; ``replaced`` are the bytes of those that
    are not what the headers say; ``unsupported`` and ``lost`` why packets did not come to an end
    of their own; ``held`` are those that wait, and ``joined`` tells which legs are fragments that
    went on in the middle of another packet's path.
    """

    owners: NDArray[np.int64]
    path_of: NDArray[np.int64]
    columns: NDArray[np.uint64]
    frames: Frames
    segments: NDArray[np.int64]
    replaced: dict[tuple[int, int], bytes]
    unsupported: dict[int, str]
    lost: dict[int, str]
    held: frozenset[int]
    joined: NDArray[np.bool_]
    depths: NDArray[np.int64]

    def emitted(self, counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The legs and the entries of all that leaves, in order.

        ``counts`` is how many emissions the path of each leg has; entries count through all legs.
        """
        legs, first, last = self.segments.T
        starts = np.cumsum(counts) - counts
        return np.repeat(legs, last - first), ranges(starts[legs] + first, last - first)


@dataclass(eq=False)
class Journal:
    """Travels, as they are noted down; ``n`` packets arrive."""

    n: int
    legs: list[Leg] = field(default_factory=list)
    segments: list[tuple[tuple[int, ...], int, int, int]] = field(default_factory=list)
    replaced: dict[tuple[int, int], bytes] = field(default_factory=dict)
    unsupported: dict[int, str] = field(default_factory=dict)
    lost: dict[int, str] = field(default_factory=dict)
    held: set[int] = field(default_factory=set)

    def finish(self, arrived: int) -> Travels:
        """All of it, if so many packets arrived in fact."""
        order = sorted(self.segments, key=lambda segment: segment[0])
        missing = self.n - arrived
        columns = [leg.columns for leg in self.legs]
        segments = np.array([segment[1:] for segment in order], np.int64).reshape(-1, 3)
        segments[segments[:, 0] >= self.n, 0] -= missing
        replaced = {
            (leg - missing if leg >= self.n else leg, entry): frame
            for (leg, entry), frame in self.replaced.items()
        }
        return Travels(
            np.array([leg.packet for leg in self.legs], np.int64),
            np.array([leg.path for leg in self.legs], np.int64),
            np.array(columns, np.uint64).reshape(-1, N_COLUMNS).T,
            Frames.of([leg.frame for leg in self.legs]),
            segments,
            replaced,
            self.unsupported,
            self.lost,
            frozenset(self.held),
            np.array([leg.joins for leg in self.legs], bool),
            np.array([leg.depth for leg in self.legs], np.int64),
        )
