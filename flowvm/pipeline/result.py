"""What became of a batch of packets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flowvm.flow import Flow, ReservedPort
from flowvm.packet.batch import PacketBatch
from flowvm.packet.frames import Frames
from flowvm.pipeline.delivery import Delivery, Emissions
from flowvm.pipeline.emission import PLAIN, PacketInOptions
from flowvm.pipeline.reception import is_dropped_fragment
from flowvm.pipeline.state import State

if TYPE_CHECKING:
    from flowvm.pipeline.legs import Travels
    from flowvm.pipeline.paths import Paths

ETHERNET_HEADER = 14
FRAGMENT = "a fragment, which the bridge is configured to drop"
HELD = "held by connection tracking for the other fragments of its datagram"


class Verdict(IntEnum):
    """What became of a packet, in one word."""

    OUTPUT = 0
    DROP = 1
    CONTROLLER = 2
    UNSUPPORTED = 3
    ERROR = 4
    HELD = 5
    """It waits in connection tracking for the other fragments of its datagram."""

    def __str__(self) -> str:
        return self.name.lower()


_RANK = np.array([3, 0, 2, 5, 4, 1], np.int8)
"""How much each verdict on a part of a packet's way says about the whole."""


@dataclass(frozen=True, eq=False)
class Stretch:
    """Packets in a row, from ``first`` of the batch, and which of ``paths`` each one took."""

    first: int
    paths: Paths
    path_of: NDArray[np.int64]
    travels: Travels | None = None

    @cached_property
    def legs(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The packet, counted from the first of these, of each leg of their ways, and its path."""
        arrivals = np.arange(len(self.path_of))
        if self.travels is None:
            return arrivals, self.path_of
        return (
            np.concatenate([arrivals, self.travels.owners]),
            np.concatenate([self.path_of, self.travels.path_of]),
        )

    @property
    def translations(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """As ``legs``, but for those that did not come to their path by a translation."""
        owners, paths = self.legs
        if self.travels is None or not self.travels.joined.any():
            return owners, paths
        own = np.concatenate([np.ones(len(self.path_of), bool), ~self.travels.joined])
        return owners[own], paths[own]

    def last_paths(self) -> NDArray[np.int64]:
        """The path of the last leg of each packet."""
        owners, paths = self.translations
        last = np.empty(len(self.path_of), np.int64)
        last[owners] = paths
        return last

    def departures(self, travels: Travels) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The leg and the port of each packet that leaves."""
        emissions, paths = self.paths.emissions, self.legs[1]
        legs, entries = travels.emitted(emissions.counts[paths])
        return legs, emissions["port"][emissions.of_owners(paths)[0][entries]]

    def verdicts(self) -> NDArray[np.int8]:
        """A :class:`Verdict` for each packet: of those of its legs the one that matters most."""
        if self.travels is None:
            verdicts: NDArray[np.int8] = self.paths.verdict[self.path_of]
            return verdicts
        owners, paths = self.legs
        rank = np.zeros(len(self.path_of), np.int8)
        # What a path emits need not leave: a meter may be in its way.
        stopped_by = np.array([Verdict.UNSUPPORTED, Verdict.ERROR])
        of_leg = self.paths.verdict[paths]
        np.maximum.at(rank, owners, np.where(np.isin(of_leg, stopped_by), _RANK[of_leg], 0))
        legs, ports = self.departures(self.travels)
        left = np.where(ports == ReservedPort.CONTROLLER, Verdict.CONTROLLER, Verdict.OUTPUT)
        np.maximum.at(rank, owners[legs], _RANK[left])
        for stopped, verdict in (
            (self.travels.lost, Verdict.ERROR),
            (self.travels.unsupported, Verdict.UNSUPPORTED),
        ):
            where = np.array(list(stopped), np.int64)
            rank[where] = np.maximum(rank[where], _RANK[verdict])
        held = np.array(list(self.travels.held), np.int64)
        rank[held] = np.maximum(rank[held], _RANK[Verdict.HELD])
        return np.argsort(_RANK).astype(np.int8)[rank]


class Result:
    """The fates of the packets of ``batch``, worked out as far as someone asks."""

    def __init__(self, batch: PacketBatch, stretches: Sequence[Stretch], state: State) -> None:
        self.batch = batch
        self.stretches = tuple(stretches)
        self._program = state.program
        self._packet_ins = state.packet_ins
        self._contexts = state.contexts

    def __len__(self) -> int:
        return len(self.batch)

    @property
    def frames(self) -> Frames:
        """The packets as they came in."""
        return self.batch.frames

    @cached_property
    def verdicts(self) -> NDArray[np.int8]:
        """A :class:`Verdict` for each packet."""
        parts = [part.verdicts() for part in self.stretches]
        return np.concatenate([np.zeros(0, np.int8), *parts])

    @cached_property
    def last_table(self) -> NDArray[np.int32]:
        """The table in which each packet was looked up last."""
        parts = [part.paths.last_table[part.last_paths()] for part in self.stretches]
        return np.concatenate([np.zeros(0, np.int32), *parts])

    @cached_property
    def last_rule(self) -> NDArray[np.int64]:
        """The rule that each packet hit last, or -1 if it missed there."""
        parts = [part.paths.last_rule[part.last_paths()] for part in self.stretches]
        return np.concatenate([np.zeros(0, np.int64), *parts])

    @cached_property
    def emissions(self) -> Emissions:
        """All that leaves, ordered by packet and then by the order of emission."""
        program = self._program
        written = tuple((column, program.written[column]) for column in sorted(program.written))
        found = []
        for part in self.stretches:
            last = part.first + len(part.path_of)
            frames = self.batch.frames.take(np.arange(part.first, last))
            columns = self.batch.columns[:, part.first : last]
            owners, paths = part.legs
            if part.travels is not None:
                frames = Frames.concatenate([frames, part.travels.frames])
                columns = np.concatenate([columns, part.travels.columns], axis=1)
            delivery = Delivery(
                frames,
                columns,
                paths,
                part.paths.emissions,
                part.paths.commits,
                written,
                self._contexts,
            )
            emissions = delivery.emissions_of_all()
            if part.travels is not None:
                emissions = _in_order(emissions, part.travels, owners)
            found.append(emissions.shifted(part.first))
        return Emissions.concatenate(found) if found else Emissions.none()

    def packet_in(self, emission: int) -> PacketInOptions:
        """What a packet to the controller says besides: to which controllers, and their bytes."""
        number = int(self.emissions.options[emission])
        return self._packet_ins[number] if number else PLAIN

    def port_counts(self) -> dict[int, int]:
        """How many packets left by each port, without building a frame."""
        totals: dict[int, int] = {}
        for part in self.stretches:
            if part.travels is not None:
                ports, counts = np.unique(part.departures(part.travels)[1], return_counts=True)
            else:
                times = np.bincount(part.path_of, minlength=len(part.paths))
                ports, which = part.paths.ports
                repeats = np.repeat(times, part.paths.emissions.counts)
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
        """Why those packets stopped that did not come to an end of their own.

        What is not supported says more of a packet than how a copy of it failed.
        """
        failed: dict[int, str] = {}
        unsupported: dict[int, str] = {}
        for part in self.stretches:
            owners, paths = part.translations
            for path, why in part.paths.stopped.items():
                is_failure = part.paths.verdict[path] == Verdict.ERROR
                found = failed if is_failure else unsupported
                for packet in owners[paths == path].tolist():
                    found[part.first + packet] = why
            if part.travels is not None:
                for packet, why in part.travels.lost.items():
                    failed[part.first + packet] = why
                for packet, why in part.travels.unsupported.items():
                    unsupported[part.first + packet] = why
        return failed | unsupported

    def reason(self, packet: int) -> str:
        """Why, in words; ``""`` where the outputs say it all."""
        if packet in self.stopped:
            return self.stopped[packet]
        if self.verdict(packet) is Verdict.HELD:
            return HELD
        if self.verdict(packet) is not Verdict.DROP:
            return ""
        if self.batch.is_cut(packet):
            return "shorter than an Ethernet header"
        table, rule = int(self.last_table[packet]), int(self.last_rule[packet])
        if rule < 0:
            if is_dropped_fragment(self._program.names, list(self.batch.columns), packet):
                return FRAGMENT
            return f"no match in table {table}"
        return f"no output; last matched in table {table}"

    def learned_flows(self, state: State) -> Iterator[tuple[int, Flow]]:
        """The flows that learn actions made or made again: packet and flow, in packet order."""
        found: list[tuple[int, int, int, Flow]] = []
        for part in self.stretches:
            owners, paths = part.translations
            taken = set(paths.tolist())
            for events in part.paths.learned:
                operations = state.shapes[events.shape].operations
                for i, path in enumerate(events.packets.tolist()):
                    if path not in taken:
                        continue
                    flow = events.template.flow(
                        operations, events.keys[:, i].tolist(), events.operands[:, i].tolist()
                    )
                    order = int(events.order[i])
                    for leg in np.flatnonzero(paths == path).tolist():
                        found.append((part.first + int(owners[leg]), leg, order, flow))
        for packet, _, _, flow in sorted(found, key=lambda entry: entry[:3]):
            yield packet, flow


def _in_order(emissions: Emissions, travels: Travels, owners: NDArray[np.int64]) -> Emissions:
    """What legs emit, in the order in which it leaves; ``owners`` is the packet of each leg."""
    counts = np.bincount(emissions.packet, minlength=len(owners))
    legs, entries = travels.emitted(counts)
    taken = emissions.take(entries)
    frames = taken.frames
    if travels.replaced:
        starts = np.cumsum(counts) - counts
        place = {int(starts[leg]) + entry: n for n, (leg, entry) in enumerate(travels.replaced)}
        which = np.array([place.get(entry, -1) for entry in entries.tolist()], np.int64)
        where = np.where(which >= 0, len(frames) + which, np.arange(len(frames)))
        frames = Frames.concatenate([frames, Frames.of(travels.replaced.values())]).take(where)
    return replace(taken, packet=owners[legs], frames=frames)
