"""What a replay through a network came to, for people to read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def format_summary(summary: Mapping[str, Any]) -> str:
    """A few lines about what :func:`flowvm.network.replay.replay_captures` sums up."""
    copies = ", ".join(f"{count:,} {fate}" for fate, count in summary["copies"].items())
    lines = [f"{summary['packets']:,} packets; copies: {copies or 'none'}"]
    for end in summary["ends"]:
        where = f"{end['node']}, {end['bridge']}"
        lines.append(f"  {end['copies']:,} {end['fate']}: {where}: {end['text']}")
    if summary["ports"]:
        width = max(len(entry["file"]) for entry in summary["ports"])
        lines.append("files")
        lines += [f"  {e['file']:{width}}  {e['packets']:,} packets" for e in summary["ports"]]
    return "".join(f"{line}\n" for line in lines)
