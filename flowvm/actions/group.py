"""``group``: to a group of the group table.

Semantics: ovs-actions(7), "group".
"""

from __future__ import annotations

from dataclasses import dataclass

from flowvm.actions.base import Action
from flowvm.text.tree import Item
from flowvm.text.values import parse_number


@dataclass(frozen=True)
class Group(Action):
    """``group:ID``."""

    group_id: int

    def __str__(self) -> str:
        return f"group:{self.group_id}"


def make_group(item: Item) -> Group:
    return Group(parse_number(item.argument("a group ID"), 32, "a group ID"))
