"""``group``: to a group of the group table.

Semantics: ovs-actions(7), "group".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from flowvm.actions.base import (
    Action,
    Kept,
    Lowered,
    Operands,
    Operation,
    Packets,
    Resolver,
)
from flowvm.pipeline.group_run import enter_groups
from flowvm.text.tree import Item
from flowvm.text.values import parse_number

if TYPE_CHECKING:
    from flowvm.pipeline.engine import Run


@dataclass(frozen=True)
class Group(Action):
    """``group:ID``."""

    group_id: int

    def __str__(self) -> str:
        return f"group:{self.group_id}"

    def lower(self, resolver: Resolver) -> Lowered:  # noqa: ARG002
        return Lowered(ToGroup(), (self.group_id,))

    @property
    def operand_limit(self) -> int:
        return 1 << 32


@dataclass(frozen=True)
class ToGroup(Operation):
    """Go through the group in the operand, if there is one; else leave the action list.

    What the group does to a packet it does to a copy. What it reads and can write is the program's.
    """

    @property
    def needs_headers(self) -> bool:
        return False

    @property
    def needs_rule(self) -> bool:
        return True

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:
        return enter_groups(run, packets, operands[0].astype(np.int64))


def make_group(item: Item) -> Group:
    return Group(parse_number(item.argument("a group ID"), 32, "a group ID"))
