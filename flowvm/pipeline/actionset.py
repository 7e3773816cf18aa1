"""Action sets: what ``write_actions`` collects, executed once the pipeline is done.

Packets whose sets were written by the same actions in the same order have the same *history*; the
order of execution (ovs-actions(7), "write_actions") is worked out once for each history, and only
the operands differ from packet to packet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, auto
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flowvm.arrays import distinct

if TYPE_CHECKING:
    from flowvm.actions.base import Operands, Operation, Packets


class Slot(IntEnum):
    """Where an action stands in the order in which an action set is executed."""

    STRIP_VLAN = 0
    POP_MPLS = auto()
    DECAP = auto()
    ENCAP = auto()
    PUSH_MPLS = auto()
    PUSH_VLAN = auto()
    DEC_TTL = auto()
    DEC_MPLS_TTL = auto()
    DEC_NSH_TTL = auto()
    SET_OR_MOVE = auto()
    CT = auto()
    CT_CLEAR = auto()
    RESUBMIT = auto()
    OUTPUT = auto()
    GROUP = auto()


@dataclass(frozen=True)
class Written:
    """An action as it is written into sets: where it stands, and what it does."""

    slot: Slot
    operation: Operation
    n_operands: int


@dataclass(frozen=True, eq=False)
class SavedSets:
    """The action sets of some packets: histories, and operands by position and width."""

    histories: NDArray[np.int64]
    operands: list[dict[int, Operands]]


class ActionSets:
    """The action sets of ``n`` packets."""

    def __init__(self, n: int) -> None:
        self._n = n
        self._history = np.zeros(n, np.int64)
        self._entries: list[tuple[Written, ...]] = [()]
        self._numbers: dict[tuple[int, tuple[Written, ...]], int] = {}
        self._operands: list[dict[int, Operands]] = []

    def clear(self, packets: Packets) -> None:
        """Empty the sets of ``packets``."""
        self._history[packets] = 0

    def filled(self, packets: Packets) -> NDArray[np.bool_]:
        """Which of ``packets`` have something in their sets."""
        return self._history[packets] > 0

    def have(self, packets: Packets, slot: Slot) -> NDArray[np.bool_]:
        """Which of ``packets`` have something in that slot of their sets."""
        having = [any(entry.slot is slot for entry in entries) for entries in self._entries]
        return np.array(having)[self._history[packets]]

    def save(self, packets: Packets) -> SavedSets:
        """The sets of ``packets`` as they are now."""
        operands = [
            {width: values[:, packets] for width, values in by_width.items()}
            for by_width in self._operands
        ]
        return SavedSets(self._history[packets], operands)

    def restore(self, packets: Packets, saved: SavedSets) -> None:
        """Let the sets of ``packets`` be again what they were."""
        self._history[packets] = saved.histories
        for by_width, kept in zip(self._operands, saved.operands, strict=False):
            for width, values in kept.items():
                by_width[width][:, packets] = values

    def write(
        self, packets: Packets, actions: tuple[Written, ...], operands: tuple[Operands, ...]
    ) -> None:
        """Add ``actions`` to the sets of ``packets``; ``operands[i]`` is for ``actions[i]``."""
        histories = self._history[packets]
        for history in distinct(histories):
            mine = histories == history
            before = self._entries[history]
            key = (history, actions)
            if key not in self._numbers:
                self._numbers[key] = len(self._entries)
                self._entries.append(before + actions)
            self._history[packets[mine]] = self._numbers[key]
            for position, values in enumerate(operands, len(before)):
                self._store(position, packets[mine], values[:, mine])

    def _store(self, position: int, packets: Packets, values: Operands) -> None:
        while len(self._operands) <= position:
            self._operands.append({})
        # Sets of other packets may have an action with fewer or more operands in this place.
        by_width = self._operands[position]
        if len(values) not in by_width:
            by_width[len(values)] = np.zeros((len(values), self._n), np.uint64)
        by_width[len(values)][:, packets] = values

    def execution(
        self, packets: Packets
    ) -> Iterator[tuple[tuple[Operation, ...], tuple[Operands, ...], Packets]]:
        """Yield, for each history among ``packets``, the list to execute and on which of them."""
        histories = self._history[packets]
        for history in distinct(histories[histories > 0]):
            some = packets[histories == history]
            entries = self._entries[history]
            order = execution_order([entry.slot for entry in entries])
            operations = tuple(entries[i].operation for i in order)
            operands = tuple(self._operands[i][entries[i].n_operands][:, some] for i in order)
            if operations:
                yield operations, operands, some


def execution_order(slots: list[Slot]) -> list[int]:
    """Which of the written actions are executed, in order (``ofpacts_execute_action_set``).

    Of one slot the last counts, of sets and moves each. Only one of those from ``CT`` on is
    executed, and without any of them nothing is.
    """
    last = {slot: number for number, slot in enumerate(slots)}
    final = max((slot for slot in last if slot >= Slot.CT), default=None)
    if final is None:
        return []
    fixed = [last[slot] for slot in Slot if slot < Slot.SET_OR_MOVE and slot in last]
    sets = [number for number, slot in enumerate(slots) if slot is Slot.SET_OR_MOVE]
    return [*fixed, *sets, last[final]]
