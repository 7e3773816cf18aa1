"""``flowvm bench``."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from flowvm.cli.bridge import BridgeOptions
from flowvm.cli.options import Flows, Lenient, Ports, TlvMap


def bench(
    flows: Flows,
    packets: Annotated[
        int, typer.Option("--packets", metavar="N", min=1, help="How many packets to run.")
    ] = 300_000,
    n_flows: Annotated[
        int,
        typer.Option(
            "--flows", metavar="K", min=1, help="How many distinct flows they are, at the most."
        ),
    ] = 1_000,
    seed: Annotated[
        int, typer.Option("--seed", metavar="S", min=0, help="Another seed, other packets.")
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    ports: Ports = None,
    tlv_map: TlvMap = None,
    lenient: Lenient = False,
) -> None:
    """Measure how fast packets go through the flows.

    The packets are made up: aimed at the flows' own matches, so that most tables are reached.
    """
    switch = BridgeOptions(ports=ports, tlv_map=tlv_map).switch(flows, lenient=lenient)

    from flowvm.benchmark import run_benchmark

    measured = run_benchmark(switch, packets, n_flows, seed)
    if as_json:
        print(json.dumps(measured.object(), indent=2))
        return
    from rich.console import Console

    from flowvm.report.bench import print_benchmark

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(width=_PLAIN_WIDTH, no_color=True, highlight=False)
    print_benchmark(measured, console)


_PLAIN_WIDTH = 200
"""Columns of a listing that is not for a screen: no row is wider."""
