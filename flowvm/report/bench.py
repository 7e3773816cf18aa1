"""What a benchmark measured, for people to read."""

from __future__ import annotations

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from flowvm.benchmark import Benchmark, PipelineSpeed, TableSpeed


def print_benchmark(benchmark: Benchmark, console: Console) -> None:
    """Print the totals, the two replays, and a line for each table."""
    verdicts = ", ".join(
        f"{verdict} {count / benchmark.packets:.1%}"
        for verdict, count in benchmark.verdicts.items()
        if count
    )
    reached = f"{benchmark.tables_reached} of {len(benchmark.tables)} tables reached"
    console.print(
        Text(
            f"{benchmark.packets:,} packets of {benchmark.flows:,} flows, "
            f"{benchmark.classes:,} path classes; {benchmark.rules:,} rules, {reached}"
        )
    )
    console.print(Text(f"{verdicts}; {benchmark.learned:,} flows learned"))
    console.print()
    console.print(Group(_speeds(benchmark), "", _tables(benchmark.tables)))


def _speeds(benchmark: Benchmark) -> Table:
    table = _table("pipeline", "packets/s", "ns/packet", "decode ns", "run ns")
    for name, speed in (("from the dump", benchmark.cold), ("going on", benchmark.warm)):
        table.add_row(name, *_speed(speed))
    return table


def _speed(speed: PipelineSpeed) -> tuple[str, ...]:
    per_packet = (1e9 * part / speed.packets for part in (speed.seconds, speed.decode, speed.run))
    return f"{speed.rate:,.0f}", *(f"{ns:,.0f}" for ns in per_packet)


def _tables(tables: tuple[TableSpeed, ...]) -> Table:
    found = _table("table", "rules", "subtables", "lookups", "hit rate", "ns/lookup", "lookups/s")
    for entry in tables:
        counts = f"{entry.table}", f"{entry.rules:,}", f"{entry.subtables:,}", f"{entry.visits:,}"
        if entry.ns is None or entry.hit_rate is None:
            found.add_row(*counts, "", "", "", style="dim")
        else:
            rate = f"{1e9 / entry.ns:,.0f}"
            found.add_row(*counts, f"{entry.hit_rate:.1%}", f"{entry.ns:,.0f}", rate)
    return found


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(first, no_wrap=True, justify="left")
    for heading in others:
        table.add_column(heading, justify="right", no_wrap=True)
    return table
