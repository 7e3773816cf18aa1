"""Meters: the text of ``ovs-ofctl dump-meters``.

Semantics: ovs-ofctl(8), "Meter Syntax".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from flowvm.text.errors import FlowSyntaxError, WordError
from flowvm.text.values import parse_number

VIRTUAL_METERS: Mapping[str, int] = MappingProxyType(
    {"slowpath": 0xFFFF_FFFD, "controller": 0xFFFF_FFFE}
)
"""Meters that are not for flows, by name: of packets that OVS itself takes up (slow path), and of
those that go to the controller."""

_FLAGS = frozenset({"kbps", "pktps", "burst", "stats"})
_WORD = re.compile(r"[^\s,]+")
_HEADING = re.compile(r"\s*(?:\S+ reply\b.*|NXST_\S+.*|OFPST_\S+.*|//.*|#.*)?\Z")


@dataclass(frozen=True)
class Band:
    """One band: ``rate`` in kbit/s or packets/s, ``burst_size`` in kbit or packets.

    A ``burst_size`` of 0 is as much as passes in a second.
    """

    rate: int
    burst_size: int = 0


@dataclass(frozen=True)
class MeterConfig:
    """One meter; ``str()`` gives its lines of ``ovs-ofctl dump-meters``."""

    meter_id: int
    flags: tuple[str, ...]
    bands: tuple[Band, ...]

    @property
    def counts_packets(self) -> bool:
        """Whether rates are in packets, not in kilobits."""
        return "pktps" in self.flags

    def __str__(self) -> str:
        names = {number: name for name, number in VIRTUAL_METERS.items()}
        number = names.get(self.meter_id, str(self.meter_id))
        lines = [f"meter={number} {''.join(f'{flag} ' for flag in self.flags)}bands="]
        for band in self.bands:
            burst = f" burst_size={band.burst_size}" if "burst" in self.flags else ""
            lines.append(f"type=drop rate={band.rate}{burst}")
        return "\n".join(lines)


def parse_meters(text: str, *, file: str | None = None) -> tuple[MeterConfig, ...]:
    """The meters that ``dump-meters`` printed, or that ``add-meter`` takes, one a line.

    Raises FlowSyntaxError.
    """
    entries: list[list[tuple[str, re.Match[str]]]] = []
    lines = text.splitlines()
    meters = []
    for number, line in enumerate(lines, start=1):
        if not line.lstrip().startswith(("meter=", "type=")) and _HEADING.match(line):
            continue
        words = [(f"{number}", match) for match in _WORD.finditer(line)]
        if line.lstrip().startswith("meter=") or not entries:
            entries.append([])
        entries[-1] += words
    for entry in entries:
        place, match = entry[0]
        try:
            meters.append(_make_meter(_split([found for _, found in entry])))
        except WordError as error:
            at = [(p, m) for p, m in entry if error.word and error.word in m[0]]
            place, match = at[0] if at else (place, match)
            raise FlowSyntaxError(
                error.problem,
                text=lines[int(place) - 1],
                column=match.start() + 1,
                expected=error.expected,
                line=int(place),
                file=file,
            ) from None
    return tuple(meters)


def _split(words: Sequence[re.Match[str]]) -> Iterator[tuple[str, str]]:
    """Each word as key and value; ``band=type=drop`` is a ``type``."""
    for word in words:
        text = re.sub(r"\Abands?=(?=.)", "", word[0])
        key, _, value = text.partition("=")
        yield key, value


def _make_meter(words: Iterator[tuple[str, str]]) -> MeterConfig:
    key, value = next(words)
    if key != "meter":
        raise WordError(key, f'"{key}" does not begin a meter', "meter=ID")
    meter_id = VIRTUAL_METERS.get(value)
    if meter_id is None:
        meter_id = parse_number(value, 32, "a meter ID")
    flags: list[str] = []
    bands: list[dict[str, int]] = []
    for key, value in words:
        if key in _FLAGS and not value:
            flags.append(key)
        elif key == "type":
            if value != "drop":
                problem = f'a band of type "{value}" is not supported'
                raise WordError(value, problem, "type=drop")
            bands.append({})
        elif key in ("rate", "burst_size") and bands:
            bands[-1][key] = parse_number(value, 32, "a number")
        elif key not in ("band", "bands") or value:
            raise WordError(key, f'unknown word "{key}" of a meter', "kbps, pktps, burst, bands=")
    for band in bands:
        if not band.get("rate"):
            raise WordError("", "a band of a meter needs a rate", "rate=")
    return MeterConfig(meter_id, tuple(flags), tuple(Band(**band) for band in bands))
