"""Replaying packets from a file of events, one JSON object a line, in time order.

The state is carried from one packet to the next: what they teach the switch, what expires between
them, what they count. Packets are run in batches, which makes no difference to what comes out.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowvm.arrival import is_metadata, nanoseconds, parse_frame
from flowvm.columns import Column
from flowvm.fields import Field, Format, field_names
from flowvm.flow import Port
from flowvm.names import Names
from flowvm.packet.batch import PacketBatch
from flowvm.packet.frames import Frames
from flowvm.pipeline.result import Result, Verdict
from flowvm.report.tunnel import further_tunnel, tunnel_fields
from flowvm.switch import Switch
from flowvm.text.errors import WordError, suggestion
from flowvm.text.values import format_ipv4, parse_port, parse_tunnel_flags, parse_value
from flowvm.tlv_map import NO_TLV_MAP, TlvMap
from flowvm.trace import known_name, port_label

BATCH = 16_384

_EVENT = '{"time": SECONDS, "%s": PORT, "frame": "HEX"}, and fields such as "tun_id": "0x1"'
_EXPECTED = {
    "time": "seconds since the dump was taken, such as 0.5",
    "in_port": "a port's number or name",
    "in": 'a node and an interface, such as "compute:tap0"',
    "frame": 'the bytes of the packet in hexadecimal, such as "ffffffffffff..."',
}


class EventError(ValueError):
    """A line of events that cannot be used.

    ``str()`` is ``file:line: problem`` and, on a line of its own, what was expected there.
    ``line`` counts from 1.
    """

    def __init__(self, problem: str, expected: str, line: int, file: str) -> None:
        super().__init__(problem, expected, line, file)
        self.problem = problem
        self.expected = expected
        self.line = line
        self.file = file

    def __str__(self) -> str:
        shown = f"{self.file}:{self.line}: {self.problem}"
        return f"{shown}\n  expected {self.expected}" if self.expected else shown


@dataclass(frozen=True)
class Event:
    """One packet of a replay; ``time`` is in nanoseconds since the dump was taken.

    ``metadata`` maps names of fields that no frame carries to their values.
    """

    time: int
    in_port: int
    frame: bytes
    metadata: Mapping[str, int]


@dataclass
class Tally:
    """How the packets of a replay ended.

    ``stopped`` counts those that came to no proper end by verdict and reason; ``first`` is the
    number of the first packet of each.
    """

    packets: int = 0
    stopped: Counter[tuple[Verdict, str]] = field(default_factory=Counter)
    first: dict[tuple[Verdict, str], int] = field(default_factory=dict)

    def add(self, result: Result) -> None:
        """Count the packets of one more batch."""
        for packet, why in sorted(result.stopped.items()):
            key = result.verdict(packet), why
            self.stopped[key] += 1
            self.first.setdefault(key, self.packets + packet)
        self.packets += len(result)


def replay(
    switch: Switch, lines: Iterable[str], *, file: str = "<events>", batch: int = BATCH
) -> Iterator[tuple[int, Result]]:
    """Run the packets that ``lines`` describe, ``batch`` of them at a time.

    Yields the number of each batch's first packet (packets count from 0) and what became of the
    batch. ``file`` is the name that errors give. Raises EventError for a line that cannot be used;
    packets of lines before it have then been run.
    """
    first = 0
    waiting: list[Event] = []
    reader = EventReader(switch.names.port, file, switch.now, tlv_map=switch.names.tlv_map)
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            waiting.append(reader.read(number, line))
        except EventError:
            if waiting:
                yield first, switch.run(batch_of(waiting, switch.names.tlv_map))
            raise
        if len(waiting) == batch:
            yield first, switch.run(batch_of(waiting, switch.names.tlv_map))
            first += len(waiting)
            waiting = []
    if waiting:
        yield first, switch.run(batch_of(waiting, switch.names.tlv_map))


def emission_lines(first: int, result: Result, names: Names) -> Iterator[str]:
    """One JSON object for each frame that leaves, in order, as text without an end of line.

    ``first`` is the number of the batch's first packet.
    """
    emissions = result.emissions
    labels: dict[int, str] = {}
    addresses: dict[int, str] = {}
    tunnel = emissions.tunnel()
    if tunnel.keys() <= {Column.TUN_ID, Column.TUN_IPV4}:
        tunnel = {}
    for number, (packet, port, frame, tun_id, tun_src, tun_dst) in enumerate(
        zip(
            emissions.packet.tolist(),
            emissions.port.tolist(),
            emissions.frames,
            emissions.tun_id.tolist(),
            emissions.tun_src.tolist(),
            emissions.tun_dst.tolist(),
            strict=True,
        )
    ):
        if port not in labels:
            name = json.dumps(known_name(port, names), ensure_ascii=False)
            labels[port] = f'"port": {json.dumps(port_label(port))}, "name": {name}'
        for address in (tun_src, tun_dst):
            if address not in addresses:
                addresses[address] = format_ipv4(address)
        yield (
            f'{{"packet": {first + packet}, {labels[port]}, "frame": "{frame.hex()}", '
            f'"tun_id": "{tun_id:#x}", "tun_src": "{addresses[tun_src]}", '
            f'"tun_dst": "{addresses[tun_dst]}"{_further(tunnel, number, names)}}}'
        )


def _further(tunnel: Mapping[Column, NDArray[np.uint64]], emission: int, names: Names) -> str:
    """More of what a frame leaves with, as one more member of its object."""
    further = further_tunnel(tunnel_fields(tunnel, emission, names.tlv_map))
    return f', "tunnel": {json.dumps(further)}' if further else ""


def batch_of(events: Sequence[Event], tlv_map: TlvMap = NO_TLV_MAP) -> PacketBatch:
    """The packets of ``events``; those with ``tun_metadata`` are for a switch with ``tlv_map``."""
    metadata = [event.metadata for event in events]
    return PacketBatch.of(
        Frames.of([event.frame for event in events]),
        [event.in_port for event in events],
        [event.time for event in events],
        metadata if any(metadata) else None,
        tlv_map=tlv_map,
    )


class EventReader:
    """Reads lines, and sees to it that their times do not go back.

    ``port`` gives the number of a port by number or name, and raises KeyError for an unknown one;
    ``key`` is what events call the port that they come in by.
    """

    def __init__(
        self,
        port: Callable[[Port], int],
        file: str,
        now: int,
        key: str = "in_port",
        tlv_map: TlvMap = NO_TLV_MAP,
    ) -> None:
        self._port = port
        self._tlv_map = tlv_map
        self._file = file
        self._now = now
        self._key = key
        self._fields: dict[str, Field] = {}
        # A time that went through a binary float would lose its nanoseconds.
        self._decode: Callable[[str], Any] = json.JSONDecoder(parse_float=Decimal).decode

    def read(self, number: int, line: str) -> Event:
        try:
            event = self._event(line)
        except WordError as error:
            raise EventError(error.problem, error.expected, number, self._file) from None
        self._now = event.time
        return event

    def _event(self, line: str) -> Event:
        values = self._object(line.rstrip())
        required = ("time", self._key, "frame")
        for name in required:
            if name not in values:
                raise WordError(name, f'"{name}" is missing', _EVENT % self._key)
        time, in_port, frame = (values.pop(name) for name in required)
        return Event(
            self._time(time),
            self._in_port(in_port),
            _frame(frame),
            dict(self._value(name, value) for name, value in values.items() if value is not None),
        )

    def _object(self, line: str) -> dict[str, Any]:
        try:
            values = self._decode(line)
        except json.JSONDecodeError as error:
            raise WordError(
                line, f"not JSON: {error.msg}, at column {error.colno}", _EVENT % self._key
            ) from None
        except (RecursionError, ValueError) as error:
            raise WordError(
                line, f"not JSON that can be read: {error}", _EVENT % self._key
            ) from None
        if not isinstance(values, dict):
            raise WordError(line, "not an object", _EVENT % self._key)
        return values

    def _time(self, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
            raise _misfit("time", value)
        try:
            time = nanoseconds(value)
        except ValueError as error:
            raise WordError(str(value), f'"time": {error}', _EXPECTED["time"]) from None
        if time < self._now:
            back = Decimal(self._now - time).scaleb(-9).normalize()
            now = Decimal(self._now).scaleb(-9).normalize()
            raise WordError(
                str(value), f'"time" goes back by {back:f} s', f"a time from {now:f} s on"
            )
        return time

    def _in_port(self, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise _misfit(self._key, value)
        try:
            return self._port(parse_port(str(value)))
        except KeyError:
            problem = f'there is no port "{value}"'
            raise WordError(str(value), problem, _EXPECTED[self._key]) from None

    def _value(self, name: str, value: object) -> tuple[str, int]:
        """The field's own name, and its value."""
        row = self._fields.get(name)
        if row is None:
            found = self._tlv_map.place(_metadata_field(name))
            if found.bits is None:
                problem = f"no TLV map has {name}, and no flow"
                raise WordError(name, problem, "a field that a flow or a TLV map names")
            row = self._fields[name] = found
        expected = f"a number of {row.width} bits"
        if isinstance(value, int) and not isinstance(value, bool):
            if not 0 <= value <= row.full_mask:
                raise WordError(name, f"{value} does not fit into {name}", expected)
            return row.name, value
        if not isinstance(value, str):
            problem = f'"{name}" is neither a number nor text: {json.dumps(value, default=str)}'
            raise WordError(name, problem, expected)
        if row.format is Format.TUN_FLAGS:
            return row.name, parse_tunnel_flags(row, value)
        number, mask = parse_value(row, value)
        if mask != row.full_mask:
            raise WordError(name, f'"{name}" of a packet has no mask: {value}', expected)
        assert isinstance(number, int)
        return row.name, number


def _misfit(name: str, value: object) -> WordError:
    """A value of a type that ``name`` cannot have."""
    shown = json.dumps(value, default=str)
    return WordError(name, f'"{name}" cannot be {shown}', _EXPECTED[name])


def _frame(digits: object) -> bytes:
    if not isinstance(digits, str):
        raise _misfit("frame", digits)
    try:
        return parse_frame(digits)
    except ValueError as error:
        raise WordError(digits, f'"frame": {error}', _EXPECTED["frame"]) from None


def _metadata_field(name: str) -> Field:
    row = field_names().get(name.lower())
    if row is None:
        problem = f'unknown field "{name}"{suggestion(name, field_names())}'
        raise WordError(name, problem, "a field that comes besides the frame: tun_id, reg0, ...")
    if not is_metadata(row):
        problem = f'"{name}" is not a field that comes besides the frame'
        raise WordError(name, problem, "tun_id, tun_src, metadata, reg0, pkt_mark, ...")
    return row
