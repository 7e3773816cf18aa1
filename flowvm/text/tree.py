"""The shape that all of OVS's flow text has: nested lists of items.

Matches, actions, ``learn`` specs, group buckets: all are lists of ``key``, ``key=value``,
``key:value`` and ``key(list)``, some followed by ``->destination``. The grammar reads a line into
these; what an item means is said by the field or the action it names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowvm.text.errors import WordError

if TYPE_CHECKING:
    from flowvm.actions.base import Action

Word = str
"""A piece of the line. As the parser makes it, it also knows where it stood (a lark ``Token``)."""


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a list.

    ``value`` is what follows ``=`` or ``:``; ``items`` is what stands in parentheses; ``target`` is
    what follows ``->``. Each is ``None`` if absent. Between commas with nothing there is no item:
    the list holds ``None`` in its place.
    """

    key: Word
    value: Word | None = None
    items: tuple[Item | None, ...] | None = None
    target: Word | None = None

    @property
    def name(self) -> str:
        return self.key.lower()

    @property
    def last(self) -> Word:
        """The last word of the item, to point at when something is missing after it."""
        return self.target or self.value or self.key

    def parts(self) -> tuple[Item, ...]:
        """What is in the parentheses, empty items left out; of ``key:value``, the value."""
        if self.items is not None:
            return tuple(item for item in self.items if item is not None)
        return () if self.value is None else (Item(self.value),)

    def argument(self, expected: str) -> Word:
        """The only argument, however it is given: ``group:5`` or ``group(5)``."""
        if self.value is not None:
            return self.value
        if self.items is not None and len(self.items) == 1:
            (only,) = self.items
            if only is not None and only.value is None and only.items is None:
                return only.key
        raise WordError(self.key, f'"{self.key}" needs an argument', expected)

    def destination(self) -> Word:
        """What follows ``->``."""
        if self.target is None:
            raise WordError(self.last, f'"{self.key}" has no destination', '"->" and a field')
        return self.target

    def no_argument(self) -> None:
        """Raise WordError if the item is more than its key."""
        if self.value or self.items or self.target:
            raise WordError(self.key, f'"{self.key}" takes no argument')


Items = Sequence[Item | None]

MakeActions = Callable[[Items], "tuple[Action, ...]"]
"""What turns the items of a nested list into actions."""
