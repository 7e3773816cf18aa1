"""Actions that Open vSwitch keeps for its own tests and traces.

ovs-actions(7) leaves them out; they are read and printed like the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

from flowvm.actions.base import Action
from flowvm.flow import Table
from flowvm.text.errors import WordError
from flowvm.text.tree import Item
from flowvm.text.values import format_table, parse_number, parse_table


@dataclass(frozen=True)
class DebugRecirc(Action):
    """``debug_recirc``."""

    def __str__(self) -> str:
        return "debug_recirc"


@dataclass(frozen=True)
class DebugSlow(Action):
    """``debug_slow``."""

    def __str__(self) -> str:
        return "debug_slow"


@dataclass(frozen=True)
class UnrollXlate(Action):
    """``unroll_xlate(table=T, cookie=C)``: internal to Open vSwitch, shown in traces."""

    table: Table
    cookie: int

    def __str__(self) -> str:
        return f"unroll_xlate(table={format_table(self.table)}, cookie={self.cookie})"


def make_debug_recirc(item: Item) -> DebugRecirc:
    item.no_argument()
    return DebugRecirc()


def make_debug_slow(item: Item) -> DebugSlow:
    item.no_argument()
    return DebugSlow()


def make_unroll_xlate(item: Item) -> UnrollXlate:
    values = {part.key: part.argument("a number") for part in item.parts()}
    if set(values) != {"table", "cookie"}:
        raise WordError(item.key, "unroll_xlate takes table= and cookie=")
    return UnrollXlate(parse_table(values["table"]), parse_number(values["cookie"]))
