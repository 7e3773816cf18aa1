"""``flowvm show``."""

from __future__ import annotations

from typing import Annotated

import typer

from flowvm.cli.inputs import InputError, read_dump, syntax_errors
from flowvm.cli.options import Color, Colors, Flows, Lenient


def show(
    flows: Flows,
    table: Annotated[
        str | None, typer.Option("--table", metavar="N", help="Only this table.")
    ] = None,
    cookie: Annotated[
        str | None,
        typer.Option("--cookie", metavar="C[/MASK]", help="Only flows with this cookie."),
    ] = None,
    match: Annotated[
        list[str] | None,
        typer.Option(
            "--match",
            metavar="FIELD[=VALUE]",
            help="Only flows that match on this field, with this value: dl_dst, tun_id=0x1, tcp. "
            "Several are all asked for.",
        ),
    ] = None,
    color: Colors = Color.AUTO,
    lenient: Lenient = False,
) -> None:
    """Show flows by table and priority."""
    dump = read_dump(flows, lenient=lenient)

    from rich.console import Console

    from flowvm.report.tables import (
        PLAIN_WIDTH,
        Wanted,
        in_table,
        matching,
        parse_filter,
        print_tables,
        with_cookie,
    )
    from flowvm.text.errors import WordError
    from flowvm.text.values import parse_number, parse_table

    wanted: list[Wanted] = []
    try:
        if table is not None:
            wanted.append(in_table(parse_table(table)))
        if cookie is not None:
            value, slash, mask = cookie.partition("/")
            bits = parse_number(mask) if slash else (1 << 64) - 1
            wanted.append(with_cookie(parse_number(value), bits))
    except WordError as error:
        raise InputError(f"flowvm: {error.problem}") from None
    with syntax_errors("--match"):
        wanted += [matching(parse_filter(word)) for word in match or ()]

    terminal = {Color.AUTO: None, Color.ALWAYS: True, Color.NEVER: False}[color]
    console = Console(force_terminal=terminal, highlight=False)
    plain = not console.is_terminal
    if plain:
        console = Console(width=PLAIN_WIDTH, no_color=True, highlight=False)
    chosen = [flow for flow in dump.flows if all(test(flow) for test in wanted)]
    print_tables(chosen, console, plain=plain)
    for group in dump.groups if not wanted else ():
        console.print(str(group).strip(), markup=False, soft_wrap=True)
