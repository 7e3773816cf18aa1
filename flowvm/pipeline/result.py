"""What became of a batch of packets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flowvm.flow import Flow
from flowvm.packet.batch import PacketBatch
from flowvm.packet.frames import Frames
from flowvm.pipeline.delivery import Delivery, Emissions
from flowvm.pipeline.state import State

if TYPE_CHECKING:
    from flowvm.pipeline.paths import Paths

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


@dataclass(frozen=True, eq=False)
class Stretch:
    """Packets in a row, from ``first`` of the batch, and which of ``paths`` each one took."""

    first: int
    paths: Paths
    path_of: NDArray[np.int64]


class Result:
    """The fates of the packets of ``batch``, worked out as far as someone asks."""

    def __init__(self, batch: PacketBatch, stretches: Sequence[Stretch], state: State) -> None:
        self.batch = batch
        self.stretches = tuple(stretches)
        self._program = state.program

    def __len__(self) -> int:
        return len(self.batch)

    @property
    def frames(self) -> Frames:
        """The packets as they came in."""
        return self.batch.frames

    @cached_property
    def verdicts(self) -> NDArray[np.int8]:
        """A :class:`Verdict` for each packet."""
        parts = [part.paths.verdict[part.path_of] for part in self.stretches]
        return np.concatenate([np.zeros(0, np.int8), *parts])

    @cached_property
    def last_table(self) -> NDArray[np.int32]:
        """The table in which each packet was looked up last."""
        parts = [part.paths.last_table[part.path_of] for part in self.stretches]
        return np.concatenate([np.zeros(0, np.int32), *parts])

    @cached_property
    def last_rule(self) -> NDArray[np.int64]:
        """The rule that each packet hit last, or -1 if it missed there."""
        parts = [part.paths.last_rule[part.path_of] for part in self.stretches]
        return np.concatenate([np.zeros(0, np.int64), *parts])

    @cached_property
    def emissions(self) -> Emissions:
        """All that leaves, ordered by packet and then by the order of emission."""
        program = self._program
        written = tuple((column, program.written[column]) for column in sorted(program.written))
        found = []
        for part in self.stretches:
            last = part.first + len(part.path_of)
            delivery = Delivery(
                self.batch.frames.take(np.arange(part.first, last)),
                self.batch.columns[:, part.first : last],
                part.path_of,
                part.paths.emissions,
                part.paths.commits,
                written,
            )
            found.append(delivery.emissions_of_all().shifted(part.first))
        return Emissions.concatenate(found) if found else Emissions.none()

    def port_counts(self) -> dict[int, int]:
        """How many packets left by each port, without building a frame."""
        totals: dict[int, int] = {}
        for part in self.stretches:
            emissions = part.paths.emissions
            times = np.bincount(part.path_of, minlength=len(part.paths))
            ports, which = np.unique(emissions["port"], return_inverse=True)
            repeats = np.repeat(times, emissions.counts)
            counts = np.bincount(which, weights=repeats, minlength=len(ports))
            for port, count in zip(ports.tolist(), counts.tolist(), strict=True):
                if count:
                    totals[port] = totals.get(port, 0) + int(count)
        return totals

    def verdict(self, packet: int) -> Verdict:
        """What became of that packet."""
        return Verdict(int(self.verdicts[packet]))

    @cached_property
    def stopped(self) -> dict[int, str]:
        """Why those packets stopped that did not come to an end of their own."""
        found = {}
        for part in self.stretches:
            if part.paths.stopped:
                for path, why in part.paths.stopped.items():
                    for packet in np.flatnonzero(part.path_of == path).tolist():
                        found[part.first + packet] = why
        return found

    def reason(self, packet: int) -> str:
        """Why, in words; ``""`` where the outputs say it all."""
        if packet in self.stopped:
            return self.stopped[packet]
        if self.verdict(packet) is not Verdict.DROP:
            return ""
        if self.batch.frames.lengths[packet] < ETHERNET_HEADER:
            return "shorter than an Ethernet header"
        table, rule = int(self.last_table[packet]), int(self.last_rule[packet])
        if rule < 0:
            return f"no match in table {table}"
        return f"no output; last matched in table {table}"

    def learned_flows(self, state: State) -> Iterator[tuple[int, Flow]]:
        """The flows that learn actions made or made again: packet and flow, in packet order."""
        found: list[tuple[int, int, Flow]] = []
        for part in self.stretches:
            for events in part.paths.learned:
                operations = state.shapes[events.shape].operations
                flows = {
                    i: events.template.flow(
                        operations, events.keys[:, i].tolist(), events.operands[:, i].tolist()
                    )
                    for i in np.flatnonzero(np.isin(events.packets, part.path_of)).tolist()
                }
                for i, flow in flows.items():
                    order = int(events.order[i])
                    members = np.flatnonzero(part.path_of == events.packets[i])
                    found += [(part.first + p, order, flow) for p in members.tolist()]
        for packet, _, flow in sorted(found, key=lambda entry: entry[:2]):
            yield packet, flow
