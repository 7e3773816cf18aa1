"""Watching packets go through a program: where they are looked up, as what, and what they hit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flowvm.packet.batch import PacketBatch
from flowvm.packet.words import U64
from flowvm.pipeline.bits import Columns
from flowvm.pipeline.engine import Run
from flowvm.pipeline.program import Program
from flowvm.pipeline.state import State


@dataclass(frozen=True, eq=False)
class Sighting:
    """Packets that are looked up in a table.

    ``columns`` are theirs at that moment, those of the program's key only: shape (columns of the
    key, packets). ``rules`` is what they hit, -1 for a miss.
    """

    table: int
    packets: NDArray[np.int64]
    columns: U64
    rules: NDArray[np.int64]


class _WatchedState(State):
    """A state that notes its lookups."""

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self.sightings: list[Sighting] = []

    def lookup(self, table: int, columns: Columns, packets: NDArray[np.int64]) -> NDArray[np.int64]:
        rules = super().lookup(table, columns, packets)
        seen = np.array([columns[column][packets] for column in self.program.key.columns])
        self.sightings.append(
            Sighting(table, packets.copy(), seen.reshape(-1, len(packets)), rules)
        )
        return rules


def watch(program: Program, batch: PacketBatch) -> list[Sighting]:
    """The lookups of packets that come, each alone, to the switch as the dump has it.

    Those after a packet was handed to the datapath and taken up again (``ct``) are not among them.
    """
    state = _WatchedState(program)
    Run(state, list(batch.columns)).run()
    return state.sightings
