"""Output queues: ``set_queue`` and ``pop_queue``.

Semantics: ovs-actions(7), "set_queue" and "pop_queue".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flowvm.actions.base import (
    Action,
    ColumnBits,
    Kept,
    Lowered,
    Operands,
    Operation,
    Packets,
    Resolver,
)
from flowvm.fields import SKB_PRIORITY_BITS
from flowvm.pipeline.prerequisites import value
from flowvm.text.tree import Item
from flowvm.text.values import parse_number

if TYPE_CHECKING:
    from flowvm.pipeline.engine import Run


@dataclass(frozen=True)
class SetQueue(Action):
    """``set_queue:QUEUE``."""

    queue: int

    def __str__(self) -> str:
        return f"set_queue:{self.queue}"

    def lower(self, resolver: Resolver) -> Lowered:  # noqa: ARG002
        return Lowered(SetPriority(), (self.queue,))

    @property
    def operand_limit(self) -> int:
        return 1 << 32


@dataclass(frozen=True)
class PopQueue(Action):
    """``pop_queue``."""

    def __str__(self) -> str:
        return "pop_queue"

    def lower(self, resolver: Resolver) -> Lowered:  # noqa: ARG002
        return Lowered(RestorePriority())


@dataclass(frozen=True)
class SetPriority(Operation):
    """Set ``skb_priority`` to the queue in the operand, as the userspace datapath numbers them."""

    @property
    def needs_headers(self) -> bool:
        return False

    @property
    def writes(self) -> ColumnBits:
        return SKB_PRIORITY_BITS.mask

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:
        store_priority(run, packets, operands[0])
        return None


@dataclass(frozen=True)
class RestorePriority(Operation):
    """Let ``skb_priority`` be what it was when the packet came."""

    @property
    def reads(self) -> ColumnBits:
        return SKB_PRIORITY_BITS.mask

    @property
    def writes(self) -> ColumnBits:
        return SKB_PRIORITY_BITS.mask

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:  # noqa: ARG002
        before = value(run.original, packets, SKB_PRIORITY_BITS)
        if run.recorder and value(run.columns, packets, SKB_PRIORITY_BITS)[0] != before[0]:
            run.recorder.detail(f"queue = {before[0]:#x}" if before[0] else "queue = 0")
        store_priority(run, packets, before)
        return None


def store_priority(run: Run, packets: Packets, priority: NDArray[np.uint64]) -> None:
    """Set ``skb_priority`` of ``packets``."""
    column = run.columns[SKB_PRIORITY_BITS.column]
    below = np.uint64((1 << SKB_PRIORITY_BITS.shift) - 1)
    column[packets] = (column[packets] & below) | (priority << np.uint64(SKB_PRIORITY_BITS.shift))
    run.emissions.touch(packets)


def make_set_queue(item: Item) -> SetQueue:
    return SetQueue(parse_number(item.argument("a queue"), 32, "a queue"))


def make_pop_queue(item: Item) -> PopQueue:
    item.no_argument()
    return PopQueue()
