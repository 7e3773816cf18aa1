"""Tables of flows for people to read: one table after the other, high priorities first."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flowvm.fields import Field, field_names
from flowvm.flow import Flow
from flowvm.text.format import format_actions, format_match
from flowvm.text.values import format_table

Wanted = Callable[[Flow], bool]
"""Whether a flow is to be shown."""

_STYLES = (
    # Not the pairs of digits of an address.
    (r"(?<![\w:=/.])[A-Za-z_][\w.]*(?=[=:(\[])", "cyan"),
    (r"\b[A-Z][A-Z0-9_]*(?=\[)", "cyan"),
    (r"\b(?:resubmit|goto_table|learn|ct|group|clone)\b", "magenta"),
    (r"\b(?:output|CONTROLLER|LOCAL|IN_PORT|FLOOD|ALL|NORMAL)\b", "green"),
    (r"\bdrop\b", "bold red"),
)

_AFTER_WORD = re.compile(r"(?<=[^(]),")

ROOMY = 110
"""Columns of a screen that has room for more than priority, match and actions."""

PLAIN_WIDTH = 1_000_000
"""Columns a plain listing may take: what a program reads has one line a flow."""


def print_tables(flows: Iterable[Flow], console: Console, *, plain: bool = False) -> None:
    """Print the flows, by table and priority. ``plain``: one line a flow, without frames."""
    tables: dict[int | str, list[Flow]] = {}
    for flow in flows:
        tables.setdefault(flow.table or 0, []).append(flow)
    for number in sorted(tables, key=lambda table: (isinstance(table, str), table)):
        rows = sorted(tables[number], key=lambda flow: -flow.priority)
        count = f"{len(rows)} flow{'' if len(rows) == 1 else 's'}"
        console.print(Text(f"Table {format_table(number)}: {count}", style="bold"))
        console.print(_table(rows, plain=plain, roomy=console.width >= ROOMY))
        console.print()


def _table(flows: Sequence[Flow], *, plain: bool, roomy: bool) -> Table:
    table = Table(
        box=None, pad_edge=False, show_header=True, header_style="dim", padding=(0, 2, 0, 2)
    )
    table.add_column("priority", justify="right", no_wrap=True)
    table.add_column("match", overflow="fold", ratio=None if plain else 2)
    table.add_column("actions", overflow="fold", ratio=None if plain else 3)
    extra = [column for column in _EXTRAS if roomy and any(column[1](flow) for flow in flows)]
    for heading, _ in extra:
        table.add_column(heading, justify="right", no_wrap=True)
    for flow in flows:
        table.add_row(
            str(flow.priority),
            _words(format_match(flow.match) or "any", plain=plain),
            _words(format_actions(flow.actions), plain=plain),
            *(read(flow) for _, read in extra),
        )
    return table


def _words(text: str, *, plain: bool) -> Text:
    """Match or actions, coloured; on a screen with places where a long line may break."""
    shown = Text(text if plain else _AFTER_WORD.sub(", ", text))
    for pattern, style in _STYLES:
        shown.highlight_regex(pattern, style)
    return shown


def _count(number: int | None) -> str:
    return "" if number is None else str(number)


def _timeouts(flow: Flow) -> str:
    named = (("idle", flow.idle_timeout), ("hard", flow.hard_timeout))
    return " ".join(f"{name}={seconds}s" for name, seconds in named if seconds)


_EXTRAS: tuple[tuple[str, Callable[[Flow], str]], ...] = (
    ("packets", lambda flow: _count(flow.n_packets)),
    ("timeouts", _timeouts),
    ("cookie", lambda flow: f"{flow.cookie:#x}" if flow.cookie else ""),
)


def in_table(table: int | str) -> Wanted:
    """The flows of one table, by number or name."""
    return lambda flow: (flow.table or 0) == table


def with_cookie(cookie: int, mask: int) -> Wanted:
    """The flows whose cookie is ``cookie`` in the bits of ``mask``."""
    return lambda flow: (flow.cookie or 0) & mask == cookie & mask


def matching(constraints: Sequence[tuple[Field, int | str | None, int]]) -> Wanted:
    """The flows that match on each of the fields, and on no other value than the one given.

    A value of ``None`` stands for any; a value of which a flow compares some bits only counts if
    it agrees in those (``dl_dst=ff:ff:ff:ff:ff:ff`` finds the flow for all multicast).
    """

    def wanted(flow: Flow) -> bool:
        have = {row.name: (value, mask) for row, value, mask in flow.match.constraints()}
        return all(
            row.name in have and _agree(have[row.name], value, mask)
            for row, value, mask in constraints
        )

    return wanted


def _agree(have: tuple[int | str, int], value: int | str | None, mask: int) -> bool:
    own_value, own_mask = have
    if value is None:
        return True
    if isinstance(own_value, str) or isinstance(value, str):
        return own_value == value
    return (own_value ^ value) & own_mask & mask == 0


def parse_filter(word: str) -> list[tuple[Field, int | str | None, int]]:
    """What ``FIELD``, ``FIELD=VALUE`` or a protocol such as ``tcp`` asks of a match.

    Raises FlowSyntaxError.
    """
    from flowvm.text.parse import parse_match

    row = field_names().get(word.lower())
    if row is not None:
        return [(row, None, 0)]
    return list(parse_match(word).constraints())
