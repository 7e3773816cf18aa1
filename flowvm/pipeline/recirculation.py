"""Recirculation: what the datapath does in the middle of a packet's way, and where it goes on.

As in Open vSwitch the pipeline only *translates* a packet into what the datapath is to do. What
depends on more than the packet's headers (connection tracking) is left to the datapath as a *step*,
in its place among the outputs. After a step a copy of the packet may be taken up again by a
translation of its own, in a table that the step names: the state to go on with is *frozen*, and its
number takes the place of ``recirc_id`` among the packet's columns, so that copies which agree on
all consulted bits share a path like packets that just came in. :mod:`flowvm.pipeline.travel`
executes the steps.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from flowvm.columns import Column
from flowvm.fields import Bits
from flowvm.pipeline.noted_hashes import NOT_RECEIVED
from flowvm.pipeline.ragged import Ragged

if TYPE_CHECKING:
    from flowvm.actions.base import Packets
    from flowvm.pipeline.engine import Run
    from flowvm.pipeline.freezing import Rest
    from flowvm.pipeline.travel import Traveller

RECIRC_ID_BITS = Bits(Column.RECIRC, 32, 32)
MAX_RECIRCULATIONS = 6
"""How deep recirculations can be nested (``MAX_RECIRC_DEPTH``)."""

TOO_DEEP = "Max recirculation depth exceeded"

N_VALUES = 7
"""How many numbers of 64 bits a step can depend on."""

NOT_FROZEN = 0

Value = TypeVar("Value", bound=Hashable)


class Numbered(Generic[Value]):
    """Distinct values, numbered from 1 in the order in which they are first met."""

    def __init__(self) -> None:
        self._values: list[Value] = []
        self._numbers: dict[Value, int] = {}

    def number(self, value: Value) -> int:
        """The number of ``value``."""
        found = self._numbers.get(value)
        if found is None:
            self._values.append(value)
            found = self._numbers[value] = len(self._values)
        return found

    def __getitem__(self, number: int) -> Value:
        return self._values[number - 1]

    def __iter__(self) -> Iterator[Value]:
        return iter(self._values)


@dataclass(frozen=True)
class Frozen:
    """With what a packet goes on after recirculation, beside its headers and metadata.

    ``stack`` has the words of each value, the bottom first. ``received`` is the hash with which the
    datapath received the packet, if that matters; ``rest`` is what it has yet to do before it is
    looked up, if anything. ``depth`` is how deep in recirculations it is then, 0 if no translation
    of the program goes deeper by itself.
    """

    table: int
    stack: tuple[tuple[int, ...], ...] = ()
    received: int = NOT_RECEIVED
    rest: Rest | None = None
    depth: int = 0


class DatapathStep(Hashable, Protocol):
    """Something that the datapath does to a packet."""

    def perform(self, traveller: Traveller, values: Sequence[int]) -> None:
        """Do it to the packet that ``traveller`` is; ``values`` are what the translation found."""


@dataclass(frozen=True)
class Condition:
    """A step that begins a branch: what is up to its end is done only if it :meth:`holds`.

    Branches may be nested.
    """

    def holds(self, traveller: Traveller, values: Sequence[int]) -> bool:
        """Whether it is true of the packet that ``traveller`` is."""
        raise NotImplementedError

    def perform(self, traveller: Traveller, values: Sequence[int]) -> None:
        if not self.holds(traveller, values):
            traveller.pass_over()


@dataclass(frozen=True)
class EndOfBranch:
    """Where the branch of a :class:`Condition` ends."""

    def perform(self, traveller: Traveller, values: Sequence[int]) -> None:
        """What has been passed over is at an end; nothing else comes of it."""


class DatapathLog:
    """The steps of the packets of one run, in the order in which they are to be done.

    ``metered`` tells which packets may be dropped on their way by a meter.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._counts = np.zeros(len(run.original[0]), np.int64)
        self.metered = np.zeros(len(run.original[0]), bool)
        self._packets: list[Packets] = []
        self._moments: list[int] = []
        self._commits: list[NDArray[np.int64]] = []
        self._steps: list[int] = []
        self._frozen: list[NDArray[np.int64]] = []
        self._values: list[NDArray[np.uint64]] = []

    def add(
        self,
        packets: Packets,
        step: DatapathStep,
        values: NDArray[np.uint64] | None = None,
        table: int | None = None,
    ) -> None:
        """Let ``packets`` do ``step``, and then, if there is a ``table``, let a copy go on there.

        ``values`` has shape (numbers that matter to the step, packets).
        """
        if table is None:
            self._add(packets, step, self._run.emissions.commit(packets), values, None)
        else:
            self.resume(packets, step, values, freeze(self._run, packets, table))

    def resume(
        self,
        packets: Packets,
        step: DatapathStep,
        values: NDArray[np.uint64] | None,
        frozen: NDArray[np.int64],
    ) -> None:
        """As :meth:`add`; ``frozen`` numbers what each copy goes on with."""
        self._add(packets, step, self._run.hashes.commit_copies(packets), values, frozen)

    def mark(
        self, packets: Packets, step: DatapathStep, values: NDArray[np.uint64] | None = None
    ) -> None:
        """As :meth:`add`, whatever headers the datapath's packet has by then."""
        self._add(packets, step, self._run.emissions.latest(packets), values, None)

    def _add(
        self,
        packets: Packets,
        step: DatapathStep,
        commits: NDArray[np.int64],
        values: NDArray[np.uint64] | None,
        frozen: NDArray[np.int64] | None,
    ) -> None:
        if not len(packets):
            return
        run = self._run
        room = np.zeros((N_VALUES, len(packets)), np.uint64)
        if values is not None:
            room[: len(values)] = values
        self._packets.append(packets)
        self._moments.append(run.emissions.moment)
        self._commits.append(commits)
        self._steps.append(run.state.steps.number(step))
        self._frozen.append(np.zeros(len(packets), np.int64) if frozen is None else frozen)
        self._values.append(room)
        self._counts[packets] += 1

    def counts(self, packets: Packets) -> NDArray[np.int64]:
        """How many steps each of ``packets`` has so far."""
        return self._counts[packets]

    def come_back(self, packets: Packets, counts: NDArray[np.int64]) -> None:
        """Let ``packets`` be again what they were in the datapath after so many steps."""
        changed = self._counts[packets] != counts
        self.mark(packets[changed], _COME_BACK, counts[changed][None].astype(np.uint64))

    def seal(self, failed: NDArray[np.bool_]) -> Ragged:
        """The steps of each packet; none of those that failed.

        Columns: ``position``, how many of the packet's emissions come before; ``commit``, what the
        packet is then; ``step``, the number of the step; ``frozen``, the number of what a copy goes
        on with, or 0; ``values``, shape (N_VALUES, steps).
        """
        n, emissions = len(failed), self._run.emissions
        none = np.zeros(0, np.int64)
        if not self._packets:
            values = np.zeros((N_VALUES, 0), np.uint64)
            empty = dict.fromkeys(("position", "commit", "step", "frozen"), none)
            return Ragged.of(none, n, **empty, values=values)
        own_numbers = emissions.own_numbers(n)
        sizes = [len(packets) for packets in self._packets]
        owners = np.concatenate(self._packets)
        moments = np.repeat(np.array(self._moments, np.int64), sizes)
        commits = np.concatenate(self._commits)
        stands = ~failed[owners]
        return Ragged.of(
            owners[stands],
            n,
            position=emissions.emitted_before(owners, moments)[stands],
            commit=own_numbers[commits][stands],
            step=np.repeat(np.array(self._steps, np.int64), sizes)[stands],
            frozen=np.concatenate(self._frozen)[stands],
            values=np.concatenate(self._values, axis=1)[:, stands],
        )


@dataclass(frozen=True)
class ComeBack:
    """The end of a branch whose copy of the packet the datapath throws away."""

    def perform(self, traveller: Traveller, values: Sequence[int]) -> None:
        traveller.come_back(values[0])


_COME_BACK = ComeBack()


def freeze(run: Run, packets: Packets, table: int) -> NDArray[np.int64]:
    """The number of what each of ``packets`` goes on with in ``table``."""
    frozen = run.state.frozen
    numbers = np.full(len(packets), frozen.number(Frozen(table)))
    for i, stack in run.stacks.contents(packets).items():
        numbers[i] = frozen.number(Frozen(table, stack))
    groups = run.state.program.groups
    if groups is None or not groups.by_datapath:
        return numbers
    received = np.full(len(packets), NOT_RECEIVED)
    if groups.by_reception:
        run.emissions.commit(packets)
        received = np.maximum(run.hashes.received_hashes(packets), NOT_RECEIVED)
    depths = run.reentries.depths(packets) + 1
    for i, (known, depth) in enumerate(zip(received.tolist(), depths.tolist(), strict=True)):
        one = replace(frozen[int(numbers[i])], received=known, depth=depth)
        numbers[i] = frozen.number(one)
    return numbers


def thaw(run: Run, packets: Packets, number: int) -> int:
    """Give ``packets`` what is frozen under ``number``; returns the table to go on in."""
    frozen = run.state.frozen[number]
    for words in frozen.stack:
        run.stacks.push(packets, [np.full(len(packets), word, np.uint64) for word in words])
    run.hashes.received[packets] = frozen.received
    run.reentries.began_at[packets] = frozen.depth
    return frozen.table
