"""The compiled form of a set of flows: immutable, and shared by every state that runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flowvm.columns import Column
from flowvm.flow import Flow, ReservedPort
from flowvm.names import Names
from flowvm.packet.encode import needed_to_rewrite
from flowvm.pipeline.bundles import Bundles
from flowvm.pipeline.conjunction import Conjunctions
from flowvm.pipeline.subtable import NO_ENTRY, KeyIndex, Mask
from flowvm.port_settings import BridgeSettings

if TYPE_CHECKING:
    from flowvm.actions.base import Operation
    from flowvm.pipeline.group_table import GroupTable
    from flowvm.text.meters import MeterConfig


@dataclass(frozen=True)
class Subtable:
    """Rules of one table that share a mask.

    ``heads[k]`` is the rule of highest priority that has key number ``k``; the others with that
    key follow by :attr:`Rules.next_with_key`.
    """

    mask: Mask
    index: KeyIndex
    heads: NDArray[np.int64]
    max_priority: int


@dataclass(frozen=True)
class Shape:
    """The operations that some rules have in common, and the operands in which they differ.

    ``operands[i]`` belongs to ``operations[i]``: shape (operands of that operation, rules).
    """

    operations: tuple[Operation, ...]
    operands: tuple[NDArray[np.uint64], ...]


@dataclass(frozen=True)
class Rules:
    """What the engine needs of each rule; every array has one entry a rule."""

    table: NDArray[np.int32]
    priority: NDArray[np.int32]
    shape: NDArray[np.int32]
    row: NDArray[np.int64]
    next_with_key: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.table)


@dataclass(frozen=True)
class Statistics:
    """What the dump says of each rule besides what it does; every array has one entry a rule.

    ``created``, ``modified`` and ``used`` are nanoseconds, negative: before the dump was taken.
    Timeouts are seconds, 0 for none. ``with_ages`` says whether the dump shows ages.
    """

    cookie: NDArray[np.uint64]
    n_packets: NDArray[np.int64]
    n_bytes: NDArray[np.int64]
    created: NDArray[np.int64]
    modified: NDArray[np.int64]
    used: NDArray[np.int64]
    idle_timeout: NDArray[np.int32]
    hard_timeout: NDArray[np.int32]
    is_table_miss: NDArray[np.bool_]
    with_ages: bool


@dataclass(frozen=True)
class Program:
    """Flows, compiled: rules by number, the subtables of each table, the shapes of the actions.

    ``flows`` has the flow of each rule; of a large dump, flows are made when they are looked at.
    """

    flows: Sequence[Flow]
    rules: Rules
    shapes: tuple[Shape, ...]
    tables: Mapping[int, tuple[Subtable, ...]]
    names: Names
    written: Mapping[int, int]
    """The bits that some action of the program (or of a flow it learns) can change."""

    key: Mask
    """The bits of a packet that can make a difference to what becomes of it."""

    learnable: Mapping[int, frozenset[int]]
    """The tables that flows can be learned into, and the columns those flows can match."""

    shortest_timeout: int | None
    """Seconds: no flow that the program learns expires sooner after its last use."""

    statistics: Statistics

    groups: GroupTable | None = None
    """The groups of the switch; ``None`` if nothing is known of them."""

    meters: tuple[MeterConfig, ...] | None = None
    """The meters of the switch; ``None`` if nothing is known of them."""

    bridge: BridgeSettings | None = None
    """What NORMAL goes by; ``None`` if nothing is known of it."""

    @cached_property
    def _by_priority(self) -> dict[int, tuple[Subtable, ...]]:
        return {
            table: tuple(sorted(subtables, key=lambda subtable: -subtable.max_priority))
            for table, subtables in self.tables.items()
        }

    def by_priority(self, table: int) -> tuple[Subtable, ...]:
        """The subtables of ``table``, those with rules of high priority first."""
        return self._by_priority.get(table, ())

    @cached_property
    def existing_ports(self) -> NDArray[np.int64]:
        """The numbers of the ports that have names, and of LOCAL, ascending."""
        return np.array(sorted({*self.names.ports.values(), ReservedPort.LOCAL}), np.int64)

    @cached_property
    def bundles(self) -> Bundles:
        """The ports that NORMAL knows."""
        assert self.bridge is not None
        return Bundles(self.bridge.ports, self.names.no_flood)

    @cached_property
    def conjunctions(self) -> Conjunctions:
        """The rules that are clauses of conjunctive matches."""
        return Conjunctions.of(self.shapes, self.rules)

    @cached_property
    def wanted(self) -> frozenset[Column]:
        """The columns of a packet that have to be known to run it and to write what leaves."""
        written = needed_to_rewrite([Column(column) for column in self.written])
        return written | {Column(column) for column in self.key.columns}

    @cached_property
    def learnable_columns(self) -> tuple[int, ...]:
        """All columns that learned flows can match."""
        return tuple(sorted(frozenset[int]().union(*self.learnable.values())))


__all__ = ["NO_ENTRY", "Program", "Rules", "Shape", "Statistics", "Subtable"]
