"""What every action is made of: the frozen dataclass a dump's text becomes, and its operation.

An action *lowers* to an operation and its operands. The operation is what all rules of one shape
share (``strip_vlan``; ``load`` into bits 0 to 11 of ``reg0``); the operands are the numbers in
which they differ. The engine executes an operation once for all packets that are about to do it,
with the operands as arrays gathered by rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from flowvm.fields import Field

if TYPE_CHECKING:
    from flowvm.pipeline.engine import Run

Packets = NDArray[np.int64]
"""Indices of packets in the batch, ascending within one call of an operation."""

Words = NDArray[np.uint64]
"""One operand (or column) value for each of some packets."""


class Resolver(Protocol):
    """Turns the names of a ``--names`` dump into numbers; KeyError for one it does not know."""

    def port(self, port: int | str) -> int: ...

    def table(self, table: int | str) -> int: ...

    @property
    def ports(self) -> Mapping[str, int]: ...


class Operation(Protocol):
    """A lowered action. Implementations are frozen dataclasses: equal ones share a shape."""

    def execute(self, run: Run, packets: Packets, operands: tuple[Words, ...]) -> Packets:
        """Do it to ``packets``; returns those that go on with the next action of the list."""


@dataclass(frozen=True)
class Lowered:
    """An operation and the 64-bit numbers in which this instance differs from its like."""

    operation: Operation
    operands: tuple[int, ...] = ()


@dataclass(frozen=True)
class Unsupported:
    """The operation of an action that is read and printed but not executed.

    It stops the packet with the verdict "unsupported": to go on without it would be to guess.
    """

    what: str

    def execute(self, run: Run, packets: Packets, operands: tuple[Words, ...]) -> Packets:
        run.stop_unsupported(packets, self.what)
        return packets[:0]


@dataclass(frozen=True)
class Action:
    """The base of all actions; ``str()`` gives ovs-ofctl's text."""

    def lower(self, resolver: Resolver) -> Lowered:
        """The operation that does this; by default one that says it is not supported."""
        return Lowered(Unsupported(str(self)))


@dataclass(frozen=True)
class Subfield:
    """Bits ``start`` to ``end``, inclusive, of a field: ``NXM_NX_REG0[3..7]``.

    ``spelling`` is the name the text used for the field. All its bits are written ``NAME[]``.
    """

    field: Field
    start: int
    end: int
    spelling: str

    @property
    def width(self) -> int:
        return self.end - self.start + 1

    def __str__(self) -> str:
        if self.start == 0 and self.end == self.field.width - 1:
            return f"{self.spelling}[]"
        if self.start == self.end:
            return f"{self.spelling}[{self.start}]"
        return f"{self.spelling}[{self.start}..{self.end}]"
