"""``check_pkt_larger``: the length of a packet as a bit.

Semantics: ovs-actions(7), "check_pkt_larger".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flowvm.actions.base import (
    Action,
    ColumnBits,
    Forerunner,
    Lowered,
    Operands,
    Operation,
    Packets,
    Resolver,
    Subfield,
)
from flowvm.actions.write import write_subfield
from flowvm.pipeline.branch import Branch
from flowvm.pipeline.recirculation import Condition, EndOfBranch
from flowvm.text.errors import WordError
from flowvm.text.tree import Item
from flowvm.text.values import parse_number, parse_subfield

if TYPE_CHECKING:
    from flowvm.pipeline.engine import Run
    from flowvm.pipeline.travel import Traveller


@dataclass(frozen=True)
class CheckPktLarger(Action):
    """``check_pkt_larger(BYTES)->BIT``."""

    length: int
    destination: Subfield

    def __str__(self) -> str:
        return f"check_pkt_larger({self.length})->{self.destination}"

    def lower(self, resolver: Resolver) -> Lowered:
        if self.destination.field.bits is None:
            return super().lower(resolver)
        return Lowered(CheckLength(self.destination), (self.length,))


@dataclass(frozen=True)
class CheckLength(Forerunner):
    """Do the rest of the list, and the action set, with a bit that says if the packet is larger.

    As OVS leaves the length to the datapath, both ways are translated: rules on either are hit,
    and flows learned. The packet takes one, and is after it what it was before, the bit included.
    The branch for smaller packets comes second, and is left with what the other makes of the stack
    and with an action set that has been executed (``xlate_check_pkt_larger``).
    """

    destination: Subfield

    @property
    def writes(self) -> ColumnBits:
        return write_subfield(self.destination).writes

    def execute_with_rest(
        self,
        run: Run,
        packets: Packets,
        operands: Operands,
        rest: tuple[Operation, ...],
        rest_operands: tuple[Operands, ...],
    ) -> None:
        layered = run.layers.have_changed(packets)
        if layered.any():
            run.stop_unsupported(packets[layered], "check_pkt_larger after encap or decap")
            kept = ~layered
            packets, operands = packets[kept], operands[:, kept]
            rest_operands = tuple(some[:, kept] for some in rest_operands)
            if not len(packets):
                return
        run.emissions.commit(packets)
        at_end, run.at_end = run.at_end, True
        in_copy, run.freezer.in_copy = run.freezer.in_copy, True
        in_branch, run.reentries.in_branch = run.reentries.in_branch, True
        larger, exits = self._branch(run, packets, operands, rest, rest_operands, larger=True)
        self._branch(run, packets, operands, rest, rest_operands, larger=False)
        larger.bring_back_stacks(run)
        # It is the first of the two branches whose "exit" holds.
        run.halt(packets[exits])
        run.freezer.exited[packets[exits]] = True
        if run.recorder:
            run.recorder.unnest()
        run.freezer.in_copy = in_copy
        run.reentries.in_branch = in_branch
        run.at_end = at_end

    def _branch(
        self,
        run: Run,
        packets: Packets,
        operands: Operands,
        rest: tuple[Operation, ...],
        rest_operands: tuple[Operands, ...],
        *,
        larger: bool,
    ) -> tuple[Branch, NDArray[np.bool_]]:
        branch = Branch.begin(run, packets)
        run.datapath.add(packets, IfLarger(larger), operands)
        bit = np.full((1, len(packets)), larger, np.uint64)
        write_subfield(self.destination).store(run, packets, bit)
        if run.recorder and larger:
            run.recorder.nest(run.recorder.rest())
        elif run.recorder:
            run.recorder.repeat()
        run.execute_inner(rest, rest_operands, packets)
        run.execute_action_sets(packets)
        run.datapath.mark(packets, EndOfBranch())
        froze = branch.froze(run)
        exits = run.halted[packets] | froze
        branch.bring_back_headers(run, rewind=True)
        run.revive(packets, froze)
        return branch, exits


@dataclass(frozen=True)
class IfLarger(Condition):
    """Whether the packet is larger than the value, or, if not ``larger``, not larger."""

    larger: bool

    def holds(self, traveller: Traveller, values: Sequence[int]) -> bool:
        return (traveller.length > values[0]) is self.larger


def make_check_pkt_larger(item: Item) -> CheckPktLarger:
    length = parse_number(item.argument("a number of bytes"), 16, "a number of bytes")
    word = item.destination()
    destination = parse_subfield(word)
    if destination.width != 1:
        raise WordError(word, "the result must go to a single bit", "FIELD[bit]")
    return CheckPktLarger(length, destination)
