"""Actions that hold actions, and the action set.

Semantics: ovs-actions(7), "clone"; "clear_actions" and "write_actions" under "Instructions".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from flowvm.actions.base import (
    Action,
    ColumnBits,
    Kept,
    Lowered,
    Operands,
    Operation,
    Packets,
    Resolver,
    Unsupported,
    format_actions,
)
from flowvm.actions.controller import Controller
from flowvm.actions.ct import Ct, CtClear
from flowvm.actions.encap import Decap, Encap
from flowvm.actions.group import Group
from flowvm.actions.meter import Meter
from flowvm.actions.mod import ModField
from flowvm.actions.mpls import DecMplsTtl, PopMpls, PushMpls, SetMplsLabel, SetMplsTc, SetMplsTtl
from flowvm.actions.output import Output, OutputTrunc
from flowvm.actions.queue import SetQueue
from flowvm.actions.resubmit import Resubmit
from flowvm.actions.set_field import Load, Move, SetField, SetTunnel
from flowvm.actions.ttl import DecNshTtl, DecTtl
from flowvm.actions.vlan import ModVlanPcp, ModVlanVid, PushVlan, StripVlan
from flowvm.columns import Column
from flowvm.flow import ReservedPort
from flowvm.pipeline.actionset import Slot, Written
from flowvm.pipeline.bits import ONES
from flowvm.pipeline.branch import Branch
from flowvm.text.errors import WordError
from flowvm.text.tree import Item, MakeActions

if TYPE_CHECKING:
    from flowvm.pipeline.engine import Run


@dataclass(frozen=True)
class Clone(Action):
    """``clone(ACTION,...)``."""

    actions: tuple[Action, ...]

    def __str__(self) -> str:
        return f"clone({format_actions(self.actions)})"

    def lower(self, resolver: Resolver) -> Lowered:
        operations, widths, operands = lower_list(self.actions, resolver)
        return Lowered(CloneList(operations, widths, _is_reversible(self.actions)), operands)


@dataclass(frozen=True)
class WriteActions(Action):
    """``write_actions(ACTION,...)``."""

    actions: tuple[Action, ...]

    def __str__(self) -> str:
        return f"write_actions({format_actions(self.actions)})"

    def lower(self, resolver: Resolver) -> Lowered:
        lowered = [action.lower(resolver) for action in self.actions]
        written = []
        actset_output: int | None = None
        for action, step in zip(self.actions, lowered, strict=True):
            slot = slot_of(action)
            if slot is None or isinstance(step.operation, Unsupported):
                return Lowered(Unsupported(str(self)))
            written.append(Written(slot, step.operation, len(step.operands)))
            if slot is Slot.GROUP:
                actset_output = ReservedPort.UNSET
            elif slot is Slot.OUTPUT and not any(some.slot is Slot.GROUP for some in written):
                actset_output = _output_port(action, resolver)
        operands = tuple(number for step in lowered for number in step.operands)
        return Lowered(WriteToSet(tuple(written), actset_output), operands)


@dataclass(frozen=True)
class ApplyActions(Action):
    """``apply_actions(ACTION,...)``: OpenFlow's name for what a list of actions is anyway.

    ovs-ofctl never prints it and does not read it; other switches' dumps have it.
    """

    actions: tuple[Action, ...]

    def __str__(self) -> str:
        return f"apply_actions({format_actions(self.actions)})"

    def lower(self, resolver: Resolver) -> Lowered:
        operations, widths, operands = lower_list(self.actions, resolver)
        return Lowered(ApplyList(operations, widths), operands)


@dataclass(frozen=True)
class ClearActions(Action):
    """``clear_actions``."""

    def __str__(self) -> str:
        return "clear_actions"

    def lower(self, resolver: Resolver) -> Lowered:  # noqa: ARG002
        return Lowered(ClearSet())


def _output_port(action: Action, resolver: Resolver) -> int:
    """What ``actset_output`` is for an output in the set."""
    return resolver.port(action.port) if isinstance(action, Output) else ReservedPort.CONTROLLER


def slot_of(action: Action) -> Slot | None:
    """Where ``action`` stands in an action set; ``None`` if it cannot be in one."""
    if isinstance(action, Controller):
        return Slot.OUTPUT if str(action).startswith("CONTROLLER") else None
    for kinds, slot in _SLOTS.items():
        if isinstance(action, kinds):
            return slot
    return None


_SLOTS: Mapping[tuple[type[Action], ...], Slot] = MappingProxyType(
    {
        (StripVlan,): Slot.STRIP_VLAN,
        (PopMpls,): Slot.POP_MPLS,
        (Decap,): Slot.DECAP,
        (Encap,): Slot.ENCAP,
        (PushMpls,): Slot.PUSH_MPLS,
        (PushVlan,): Slot.PUSH_VLAN,
        (DecTtl,): Slot.DEC_TTL,
        (DecMplsTtl,): Slot.DEC_MPLS_TTL,
        (DecNshTtl,): Slot.DEC_NSH_TTL,
        (Load, SetField, Move, ModField, ModVlanVid, ModVlanPcp, SetTunnel): Slot.SET_OR_MOVE,
        (SetMplsLabel, SetMplsTc, SetMplsTtl, SetQueue): Slot.SET_OR_MOVE,
        (Ct,): Slot.CT,
        (CtClear,): Slot.CT_CLEAR,
        (Resubmit,): Slot.RESUBMIT,
        (Output,): Slot.OUTPUT,
        (Group,): Slot.GROUP,
    }
)


def _is_reversible(actions: Sequence[Action]) -> bool:
    """Whether OVS undoes such a clone by rewriting the packet, not by a copy in the datapath.

    As ``reversible_actions`` it does not look into actions of actions.
    """
    return not any(isinstance(action, _IRREVERSIBLE) for action in actions)


_IRREVERSIBLE = (Ct, Meter, OutputTrunc, Encap, Decap, DecNshTtl)


@dataclass(frozen=True)
class CloneList(Operation):
    """Execute a list of actions and go on as if it had not been executed.

    ``widths`` is how many operands each of them has. ``exit`` in the list holds beyond it.
    """

    operations: tuple[Operation, ...]
    widths: tuple[int, ...]
    reversible: bool

    @property
    def inner(self) -> tuple[Operation, ...]:
        return self.operations

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:
        # What the datapath has of the packet matters to the bytes of its next output.
        copied = np.full(len(packets), not self.reversible)
        if run.at_end:
            copied &= run.action_sets.filled(packets)
        for some, rewind in ((~copied, False), (copied, True)):
            if some.any():
                self._execute(run, packets[some], operands[:, some], rewind=rewind)
        return None

    def _execute(self, run: Run, packets: Packets, operands: Operands, *, rewind: bool) -> None:
        if rewind:
            run.emissions.commit(packets)
        branch = Branch.begin(run, packets)
        if run.recorder:
            run.recorder.nest()
        at_end = run.at_end
        run.at_end = at_end or rewind
        in_copy, run.freezer.in_copy = run.freezer.in_copy, run.freezer.in_copy or rewind
        run.execute_inner(self.operations, split_operands(operands, self.widths), packets)
        run.execute_action_sets(packets)
        run.freezer.in_copy = in_copy
        run.at_end = at_end
        if run.recorder:
            run.recorder.unnest()
        branch.end(run, rewind=rewind)


@dataclass(frozen=True)
class WriteToSet(Operation):
    """Write actions into the action set; ``actset_output`` is what that makes of the field."""

    actions: tuple[Written, ...]
    actset_output: int | None

    @property
    def writes(self) -> ColumnBits:
        return {Column.ACTSET_OUTPUT: ONES}

    @property
    def inner(self) -> tuple[Operation, ...]:
        return tuple(action.operation for action in self.actions)

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:
        if self.actset_output is not None:
            # With a group in the set it does not matter what else is.
            free = packets[~run.action_sets.have(packets, Slot.GROUP)]
            run.columns[Column.ACTSET_OUTPUT][free] = self.actset_output
        parts = split_operands(operands, [action.n_operands for action in self.actions])
        run.action_sets.write(packets, self.actions, parts)
        run.report_action_set(packets, "is")
        return None


@dataclass(frozen=True)
class ClearSet(Operation):
    """Empty the action set."""

    @property
    def writes(self) -> ColumnBits:
        return {Column.ACTSET_OUTPUT: ONES}

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:  # noqa: ARG002
        run.report_action_set(packets, "was")
        run.action_sets.clear(packets)
        run.columns[Column.ACTSET_OUTPUT][packets] = ReservedPort.UNSET
        return None


@dataclass(frozen=True)
class ApplyList(Operation):
    """Execute a list of actions in its place; ``widths`` is how many operands each of them has."""

    operations: tuple[Operation, ...]
    widths: tuple[int, ...]

    @property
    def inner(self) -> tuple[Operation, ...]:
        return self.operations

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:
        run.execute(self.operations, split_operands(operands, self.widths), packets)
        return None


def lower_list(
    actions: Sequence[Action], resolver: Resolver
) -> tuple[tuple[Operation, ...], tuple[int, ...], tuple[int, ...]]:
    """The operations of a list of actions, how many operands each has, and all of those."""
    lowered = [action.lower(resolver) for action in actions]
    return (
        tuple(step.operation for step in lowered),
        tuple(len(step.operands) for step in lowered),
        tuple(number for step in lowered for number in step.operands),
    )


def split_operands(operands: Operands, widths: Sequence[int]) -> tuple[Operands, ...]:
    """The operands of a list of actions, one array an action."""
    ends = np.cumsum(widths)
    return tuple(operands[end - n : end] for end, n in zip(ends, widths, strict=True))


def _nested(item: Item, make_actions: MakeActions) -> tuple[Action, ...]:
    if item.items is None:
        raise WordError(item.last, f"{item.key} needs actions", f"{item.key}(action,...)")
    return make_actions(item.items)


def make_clone(item: Item, make_actions: MakeActions) -> Clone:
    return Clone(_nested(item, make_actions))


def make_write_actions(item: Item, make_actions: MakeActions) -> WriteActions:
    return WriteActions(_nested(item, make_actions))


def make_apply_actions(item: Item, make_actions: MakeActions) -> ApplyActions:
    return ApplyActions(_nested(item, make_actions))


def make_clear_actions(item: Item) -> ClearActions:
    item.no_argument()
    return ClearActions()
