"""What every action is made of: the frozen dataclass a dump's text becomes, and its operation.

An action *lowers* to an operation and its operands. The operation is what all rules of one shape
share (``strip_vlan``; ``load`` into bits 0 to 11 of ``reg0``); the operands are the numbers in
which they differ. The engine executes an operation once for all packets that are about to do it,
with the operands as arrays gathered by rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from flowvm.fields import Field
from flowvm.pipeline.original_tuple import ORIGINAL_TUPLE_READS

if TYPE_CHECKING:
    from flowvm.pipeline.engine import Run

Packets = NDArray[np.int64]
"""Indices of packets in the batch, ascending within one call of an operation."""

Operands = NDArray[np.uint64]
"""Operand values, shape (operands of the operation, packets)."""


class Resolver(Protocol):
    """Turns the names of a ``--names`` dump into numbers; KeyError for one it does not know."""

    def port(self, port: int | str) -> int: ...

    def table(self, table: int | str) -> int: ...

    @property
    def ports(self) -> Mapping[str, int]: ...


ColumnBits = Mapping[int, int]
"""Bits of a packet's key: column -> mask of some of its 64 bits."""

Kept = NDArray[np.bool_] | None
"""Which packets go on with the next action of the list; ``None`` for all of them."""


@dataclass(frozen=True)
class Operation:
    """A lowered action. Equal operations make equal shapes."""

    @property
    def reads(self) -> ColumnBits:
        """The bits of a packet that decide what it does."""
        return {}

    @property
    def writes(self) -> ColumnBits:
        """The bits of a packet that it may change."""
        return {}

    @property
    def resets(self) -> ColumnBits:
        """The bits, of none that a frame carries, that it may clear whatever they were."""
        return {}

    @property
    def inner(self) -> tuple[Operation, ...]:
        """The operations that it may cause to be executed."""
        return ()

    @property
    def owns(self) -> tuple[int, int] | None:
        """(table, cookie) of flows that must go with the last rule that has this operation."""
        return None

    @property
    def needs_headers(self) -> bool:
        """Whether OVS has a packet looked at before that has lost its last MPLS label."""
        return True

    @property
    def is_done_once(self) -> bool:
        """Whether a packet that it freezes goes on behind it, whatever became of it."""
        return False

    @property
    def is_frozen(self) -> bool:
        """Whether OVS remembers to do it if a packet is looked at before."""
        return True

    @property
    def needs_rule(self) -> bool:
        """Whether OVS remembers with it what rule it is of, and in which table that is.

        It does where a controller may be told of that, or the same table be looked up again.
        """
        return False

    @property
    def may_choose_normal(self) -> bool:
        """Whether it outputs to ports that packets tell, which can be NORMAL."""
        return False

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:
        """Do it to ``packets``; ``operands`` has shape (operands of the operation, packets)."""
        raise NotImplementedError


@dataclass(frozen=True)
class Forerunner(Operation):
    """An operation that executes what comes after it in its list itself."""

    def execute_with_rest(
        self,
        run: Run,
        packets: Packets,
        operands: Operands,
        rest: tuple[Operation, ...],
        rest_operands: tuple[Operands, ...],
    ) -> None:
        """Do it to ``packets``, and then the ``rest`` of the list."""
        raise NotImplementedError


@dataclass(frozen=True)
class TableCall(Operation):
    """The operation of ``resubmit`` and ``goto_table``: look up again, come back, go on.

    The engine itself executes it, since what comes last in an action list needs no coming back.
    ``table`` is ``None`` for "the table that the rule is in". The operand is the port to look up
    with, ``IN_PORT`` for the packet's own. ``by_output`` tells ``output:TABLE`` from the others.
    """

    table: int | None
    swap_conntrack: bool = False
    by_output: bool = False

    @property
    def reads(self) -> ColumnBits:
        return ORIGINAL_TUPLE_READS if self.swap_conntrack else {}

    @property
    def needs_headers(self) -> bool:
        return not self.by_output

    @property
    def needs_rule(self) -> bool:
        return self.table is None

    @property
    def is_done_once(self) -> bool:
        return not self.by_output


@dataclass(frozen=True)
class Lowered:
    """An operation and the 64-bit numbers in which this instance differs from its like."""

    operation: Operation
    operands: tuple[int, ...] = ()


@dataclass(frozen=True)
class Unsupported(Operation):
    """The operation of an action that is read and printed but not executed.

    It stops the packet with the verdict "unsupported": to go on without it would be to guess.
    """

    what: str

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:  # noqa: ARG002
        run.stop_unsupported(packets, self.what)
        return None


@dataclass(frozen=True)
class Action:
    """The base of all actions; ``str()`` gives ovs-ofctl's text."""

    def lower(self, resolver: Resolver) -> Lowered:  # noqa: ARG002
        """The operation that does this; by default one that says it is not supported."""
        return Lowered(Unsupported(str(self)))

    @property
    def operand_limit(self) -> int:
        """Below what the number in the action's text may be another with the operation the same.

        Any such number, written as it is now (both decimal, or both an address), becomes the first
        operand, and the others are 0. The limit is 0 for an action of which that is not true.
        """
        return 0


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


NO_ACTIONS = "drop"
"""What ovs-ofctl writes for an empty list of actions."""


def format_actions(actions: Sequence[Action]) -> str:
    """A list of actions as ovs-ofctl writes it: ``drop`` if there are none."""
    return ",".join(map(str, actions)) or NO_ACTIONS
