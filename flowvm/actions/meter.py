"""``meter``: the rate of a meter.

Semantics: ovs-actions(7), "meter".
"""

from __future__ import annotations

from dataclasses import dataclass

from flowvm.actions.base import Action
from flowvm.text.tree import Item
from flowvm.text.values import parse_number


@dataclass(frozen=True)
class Meter(Action):
    """``meter:ID``."""

    meter_id: int

    def __str__(self) -> str:
        return f"meter:{self.meter_id}"


def make_meter(item: Item) -> Meter:
    return Meter(parse_number(item.argument("a meter ID"), 32, "a meter ID"))
