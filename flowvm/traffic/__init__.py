"""Traffic made up for a program: packets that its own rules have something to say about.

Addresses, tags and tunnels come from the rules, so that most tables are reached; the rest of each
packet is random, so that flows are distinct. All is numpy, and the same for the same seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flowvm.packet.batch import PacketBatch
from flowvm.pipeline.program import Program
from flowvm.traffic.search import Search

__all__ = ["Traffic", "synthesise"]

SPACING = 1000
"""Nanoseconds from one packet to the next."""


@dataclass(frozen=True, eq=False)
class Traffic:
    """Packets of some flows.

    ``flows`` is a batch with one packet of each flow, ``sequence`` the flow of each packet in
    turn, shape (packets,).
    """

    flows: PacketBatch
    sequence: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.sequence)

    def times(self, start: int) -> NDArray[np.int64]:
        """When each packet arrives, the first at ``start``; nanoseconds."""
        return start + SPACING * np.arange(len(self), dtype=np.int64)


def synthesise(program: Program, packets: int, flows: int, seed: int = 0) -> Traffic:
    """``packets`` packets of up to ``flows`` flows, aimed at the rules of ``program``.

    A flow is what one sender sends: its packets are alike. Each flow sends a packet before any
    sends another, and from then on their order is random. Raises ValueError for numbers below 1.
    """
    if packets < 1 or flows < 1:
        raise ValueError("there is no traffic without packets and flows")
    random = np.random.default_rng(seed)
    some = Search(program, random).flows(min(flows, packets))
    more = random.integers(0, len(some), max(0, packets - len(some)))
    return Traffic(some, np.concatenate([np.arange(len(some)), more]))
