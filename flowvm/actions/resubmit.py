"""Going to another table: ``resubmit`` and ``goto_table``.

Semantics: ovs-actions(7), "resubmit" and "goto_table".
"""

from __future__ import annotations

from dataclasses import dataclass

from flowvm.actions.base import Action, Lowered, Resolver, TableCall
from flowvm.flow import Port, ReservedPort, Table
from flowvm.text.errors import WordError
from flowvm.text.tree import Item
from flowvm.text.values import TABLE_NONE, format_port, format_table, parse_port, parse_table


@dataclass(frozen=True)
class Resubmit(Action):
    """``resubmit:PORT``, ``resubmit([PORT],[TABLE][,ct])``.

    ``in_port`` of ``None`` keeps the packet's port; ``table`` of ``None`` is the flow's own table.
    """

    in_port: Port | None = None
    table: Table | None = None
    ct: bool = False

    def __str__(self) -> str:
        port = "" if self.in_port is None else format_port(self.in_port)
        if port and self.table is None:
            return f"resubmit:{port}"
        table = "" if self.table is None else format_table(self.table)
        return f"resubmit({port},{table}{',ct' if self.ct else ''})"

    def lower(self, resolver: Resolver) -> Lowered:
        table = None if self.table is None else resolver.table(self.table)
        port = ReservedPort.IN_PORT if self.in_port is None else resolver.port(self.in_port)
        return Lowered(TableCall(table, self.ct), (port,))

    @property
    def operand_limit(self) -> int:
        return ReservedPort.MAX if isinstance(self.in_port, int) else 0


@dataclass(frozen=True)
class GotoTable(Action):
    """``goto_table:TABLE``."""

    table: Table

    def __str__(self) -> str:
        return f"goto_table:{format_table(self.table)}"

    def lower(self, resolver: Resolver) -> Lowered:
        return Lowered(TableCall(resolver.table(self.table)), (ReservedPort.IN_PORT,))


def make_resubmit(item: Item) -> Resubmit:
    words = [None if part is None else part.key for part in item.items or ()]
    if item.value is not None:
        words = [item.value]
    in_port, table, ct, *rest = (*words, None, None, None)
    if ct is not None and ct != "ct":
        raise WordError(ct, f'unknown parameter "{ct}"', "ct")
    if any(rest):
        raise WordError(
            item.key, "resubmit has too many parameters", "resubmit([port],[table][,ct])"
        )
    port = parse_port(in_port) if in_port else None
    number = parse_table(table) if table else None
    result = Resubmit(
        None if port == ReservedPort.IN_PORT else port,
        None if number == TABLE_NONE else number,
        ct is not None,
    )
    if result.in_port is None and result.table is None:
        raise WordError(item.last, "resubmit needs a port or a table", "resubmit([port],[table])")
    return result


def make_goto_table(item: Item) -> GotoTable:
    return GotoTable(parse_table(item.argument("a table")))
