"""``meter``: the rate of a meter.

Semantics: ovs-actions(7), "meter".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flowvm.actions.base import (
    Action,
    Kept,
    Lowered,
    Operands,
    Operation,
    Packets,
    Resolver,
)
from flowvm.text.meters import VIRTUAL_METERS
from flowvm.text.tree import Item
from flowvm.text.values import parse_number

if TYPE_CHECKING:
    from flowvm.pipeline.engine import Run
    from flowvm.pipeline.travel import Traveller

CONTROLLER_METER = VIRTUAL_METERS["controller"]
"""The meter of all that goes to the controller and has none of its own."""


@dataclass(frozen=True)
class Meter(Action):
    """``meter:ID``."""

    meter_id: int

    def __str__(self) -> str:
        return f"meter:{self.meter_id}"

    def lower(self, resolver: Resolver) -> Lowered:  # noqa: ARG002
        return Lowered(PassMeter(), (self.meter_id,))

    @property
    def operand_limit(self) -> int:
        return 1 << 32


@dataclass(frozen=True)
class PassMeter(Operation):
    """Pass the meter in the operand, or be dropped."""

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:
        meet_meters(run, packets, operands[0])
        return None


@dataclass(frozen=True)
class ThroughMeter:
    """The datapath sends a packet through the meter in the value."""

    def perform(self, traveller: Traveller, values: Sequence[int]) -> None:
        traveller.meet_meter(values[0])


def meet_meters(run: Run, packets: Packets, meter_ids: NDArray[np.uint64]) -> None:
    """Send each of ``packets`` through a meter; those with one not known are unsupported."""
    meters = run.state.meters
    known = np.ones(len(packets), bool)
    for meter_id in np.unique(meter_ids).tolist():
        if meters is None or meter_id not in meters:
            unknown = meter_ids == meter_id
            known &= ~unknown
            run.stop_unsupported(packets[unknown], f"meter:{meter_id} without its rate")
    run.datapath.metered[packets[known]] = True
    run.datapath.mark(packets[known], ThroughMeter(), meter_ids[None, known])


def make_meter(item: Item) -> Meter:
    return Meter(parse_number(item.argument("a meter ID"), 32, "a meter ID"))
