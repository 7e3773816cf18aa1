"""What a replay of captures came to, for people to read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def format_summary(summary: Mapping[str, Any]) -> str:
    """A few lines about what :func:`flowvm.captures.replay.replay_captures` sums up."""
    blocks = [_totals(summary), _ports(summary), *_reasons(summary)]
    return "\n".join("".join(f"{line}\n" for line in block) for block in blocks if block)


def _totals(summary: Mapping[str, Any]) -> list[str]:
    rate = f"{summary['packets_per_second']:,} a second"
    lines = [f"{summary['packets']:,} packets, {summary['bytes']:,} bytes; {rate}"]
    verdicts = summary["verdicts"].items()
    lines += _columns([(f"  {kind}", f"{count:,}") for kind, count in verdicts if count])
    return lines


def _ports(summary: Mapping[str, Any]) -> list[str]:
    rows = [("port", "received", "sent", "")]
    for entry in summary["ports"]:
        name = f" ({entry['name']})" if entry["name"] else ""
        received, sent = (f"{entry[way]['packets']:,}" for way in ("received", "sent"))
        rows.append((f"{entry['port']}{name}", received, sent, entry["file"] or ""))
    return list(_columns(rows)) if len(rows) > 1 else []


def _reasons(summary: Mapping[str, Any]) -> Iterator[list[str]]:
    drops, unsupported = summary["drops"], summary["unsupported"]
    if drops["packets"]:
        rows = [("dropped", "packets")]
        rows += [(f"  {why}", f"{n['packets']:,}") for why, n in drops["by_reason"].items()]
        rows += [(f"  table {t}", f"{n['packets']:,}") for t, n in drops["by_table"].items()]
        yield list(_columns(rows))
    if unsupported["packets"]:
        rows = [("unsupported", "packets")]
        rows += [(f"  {why}", f"{n['packets']:,}") for why, n in unsupported["by_action"].items()]
        yield list(_columns(rows))


def _columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows as lines: numbers in the columns between the first and the last on the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *rest in rows:
        cells = [first.ljust(widths[0])]
        cells += [
            cell.rjust(width) if number < 2 else cell
            for number, (cell, width) in enumerate(zip(rest, widths[1:], strict=True))
        ]
        yield "  ".join(cells).rstrip()
