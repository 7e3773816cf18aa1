"""Output queues: ``set_queue`` and ``pop_queue``.

Semantics: ovs-actions(7), "set_queue" and "pop_queue".
"""

from __future__ import annotations

from dataclasses import dataclass

from flowvm.actions.base import Action
from flowvm.text.tree import Item
from flowvm.text.values import parse_number


@dataclass(frozen=True)
class SetQueue(Action):
    """``set_queue:QUEUE``."""

    queue: int

    def __str__(self) -> str:
        return f"set_queue:{self.queue}"


@dataclass(frozen=True)
class PopQueue(Action):
    """``pop_queue``."""

    def __str__(self) -> str:
        return "pop_queue"


def make_set_queue(item: Item) -> SetQueue:
    return SetQueue(parse_number(item.argument("a queue"), 32, "a queue"))


def make_pop_queue(item: Item) -> PopQueue:
    item.no_argument()
    return PopQueue()
