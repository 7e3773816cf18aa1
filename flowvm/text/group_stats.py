"""What groups have counted: the text of ``ovs-ofctl dump-group-stats``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from flowvm.text.errors import WordError
from flowvm.text.parse import parse_duration, read
from flowvm.text.tree import Item, Items
from flowvm.text.values import parse_number

_BUCKET = re.compile(r"bucket(\d+)")


@dataclass(frozen=True)
class GroupStats:
    """The counters of one group; ``str()`` gives its line, leading space included.

    ``buckets`` are packets and bytes of each bucket, in their order. ``duration`` is in seconds and
    keeps the digits of the text; what the text does not say is ``None``.
    """

    group_id: int
    duration: Decimal | None = None
    ref_count: int | None = None
    packet_count: int = 0
    byte_count: int = 0
    buckets: tuple[tuple[int, int], ...] = ()

    def __str__(self) -> str:
        parts = [f"group_id={self.group_id}"]
        if self.duration is not None:
            parts.append(f"duration={self.duration:f}s")
        if self.ref_count is not None:
            parts.append(f"ref_count={self.ref_count}")
        parts.append(f"packet_count={self.packet_count},byte_count={self.byte_count}")
        parts += [
            f"bucket{number}:packet_count={packets},byte_count={n_bytes}"
            for number, (packets, n_bytes) in enumerate(self.buckets)
        ]
        return " " + ",".join(parts)


def parse_group_stats(text: str) -> GroupStats:
    """The counters in one line of ``dump-group-stats``. Raises FlowSyntaxError."""
    return read(text, "group", _make_stats)


def _make_stats(parts: tuple[Items, object]) -> GroupStats:
    said: dict[str, int] = {}
    duration: Decimal | None = None
    buckets: list[dict[str, int]] = []
    for item in parts[0]:
        if item is None:
            continue
        if item.key == "duration":
            duration = parse_duration(item.argument("a duration"))
            continue
        if _BUCKET.fullmatch(item.key):
            buckets.append({})
            item = _counter_of(item)
        if item.key not in ("group_id", "ref_count", "packet_count", "byte_count"):
            raise WordError(item.key, f'unknown counter "{item.key}" of a group')
        counter = buckets[-1] if buckets else said
        counter[str(item.key)] = parse_number(item.argument("a number"), 64)
    pairs = tuple((some.get("packet_count", 0), some.get("byte_count", 0)) for some in buckets)
    return GroupStats(duration=duration, buckets=pairs, **said)


def _counter_of(bucket: Item) -> Item:
    """The first counter of a bucket: ``packet_count=1`` of ``bucket0:packet_count=1``."""
    word = bucket.argument("counters")
    key, _, value = word.partition("=")
    return Item(key, value)
