"""What became of a batch of packets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from flowvm.flow import Flow, ReservedPort
from flowvm.packet.frames import Frames
from flowvm.pipeline.emission import Emissions
from flowvm.pipeline.learning import LearnEvents
from flowvm.pipeline.state import State

ETHERNET_HEADER = 14


class Verdict(IntEnum):
    """What became of a packet, in one word."""

    OUTPUT = 0
    DROP = 1
    CONTROLLER = 2
    UNSUPPORTED = 3
    ERROR = 4

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class Result:
    """The fates of N packets.

    ``verdicts`` holds a :class:`Verdict` a packet; ``last_table`` and ``last_rule`` where each
    was looked up last (-1: it missed there); ``stopped`` why those stopped that did not come to
    an end of their own: an error, or something unsupported.
    """

    frames: Frames
    emissions: Emissions
    verdicts: NDArray[np.int8]
    last_table: NDArray[np.int32]
    last_rule: NDArray[np.int64]
    stopped: dict[int, str]
    learned: tuple[tuple[int, LearnEvents], ...]
    """What learn actions asked for: the number of the first packet of a run, and its events."""

    def __len__(self) -> int:
        return len(self.verdicts)

    def verdict(self, packet: int) -> Verdict:
        """What became of that packet."""
        return Verdict(int(self.verdicts[packet]))

    def reason(self, packet: int) -> str:
        """Why, in words; ``""`` where the outputs say it all."""
        if packet in self.stopped:
            return self.stopped[packet]
        if self.verdict(packet) is not Verdict.DROP:
            return ""
        if self.frames.lengths[packet] < ETHERNET_HEADER:
            return "shorter than an Ethernet header"
        table, rule = int(self.last_table[packet]), int(self.last_rule[packet])
        if rule < 0:
            return f"no match in table {table}"
        return f"no output; last matched in table {table}"

    def learned_flows(self, state: State) -> Iterator[tuple[int, Flow]]:
        """The flows that learn actions made or made again: packet and flow, in packet order."""
        found: list[tuple[int, Flow]] = []
        for first, events in self.learned:
            operations = state.shapes[events.shape].operations
            for i, packet in enumerate(events.packets.tolist()):
                flow = events.template.flow(
                    operations, events.keys[:, i].tolist(), events.operands[:, i].tolist()
                )
                found.append((first + packet, flow))
        yield from sorted(found, key=lambda entry: entry[0])


def verdicts_of(n: int, emissions: Emissions) -> NDArray[np.int8]:
    """The verdicts of ``n`` packets whose pipelines came to their end."""
    verdicts = np.full(n, Verdict.DROP, np.int8)
    to_controller = emissions.port == ReservedPort.CONTROLLER
    verdicts[emissions.packet[to_controller]] = Verdict.CONTROLLER
    verdicts[emissions.packet[~to_controller]] = Verdict.OUTPUT
    return verdicts
