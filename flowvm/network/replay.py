"""Replaying packets through a network: from captures or events, with state on all its bridges.

Packets come one after the other, in the order of their times. All nodes share one clock: what a
request taught the bridges on its way is there for the reply.
"""

from __future__ import annotations

import errno
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flowvm.clock import SECOND
from flowvm.network.journey import Exit, Fate, Journey
from flowvm.network.running import Network
from flowvm.network.wiring import Place, Spot
from flowvm.packet.batch import PacketBatch
from flowvm.packet.frames import Frames
from flowvm.packet.pcap.classic import LONGEST
from flowvm.packet.pcap.merge import merge_captures
from flowvm.packet.pcap.read import CaptureError, read_capture
from flowvm.packet.pcap.source import MICROSECOND
from flowvm.packet.pcap.write import CaptureWriter
from flowvm.text.fdb import format_fdb
from flowvm.text.format import format_flows

_ARRIVED = (Fate.DELIVERED, Fate.OUTSIDE)


@dataclass(frozen=True, slots=True)
class CapturedPacket:
    """One packet of several captures: of which ``capture``, by number, and when it arrives (ns).

    ``kept`` is how many bytes the capture has of it; ``frame`` has zeros for those it lacks.
    ``stamp`` is the time that the capture says (ns since the epoch).
    """

    capture: int
    time: int
    frame: bytes
    kept: int
    stamp: int
    resolution: int

    def batch(self, port: int) -> PacketBatch:
        """The packet as it comes in by ``port``."""
        return PacketBatch.of(Frames.of([self.frame]), port, self.time)


def captured_packets(
    captures: Sequence[str | os.PathLike[str]], begin: int, errors: list[CaptureError]
) -> Iterator[CapturedPacket]:
    """The packets of all captures by time; the first of all arrives at ``begin`` (ns).

    A capture that cannot be read on ends there, and ``errors`` tells. Raises CaptureError where not
    even its first packet can be read, and OSError.
    """

    def failed(_: int, error: CaptureError) -> None:
        if error.packet == 1:
            raise error
        errors.append(error)

    origin: int | None = None
    for part in merge_captures([read_capture(capture) for capture in captures], failed):
        records = part.records
        clock = part.clock.tolist()
        if origin is None:
            origin = clock[0] - begin
        wire = np.clip(records.original_lengths, records.frames.lengths, LONGEST).tolist()
        for number, frame in enumerate(records.frames):
            yield CapturedPacket(
                int(part.inputs[number]),
                clock[number] - origin,
                frame + bytes(wire[number] - len(frame)),
                len(frame),
                int(records.times[number]),
                part.resolution,
            )


def replay_captures(
    network: Network,
    inputs: Sequence[tuple[Place, str]],
    directory: str | os.PathLike[str],
    *,
    start: int = 0,
    until: int | None = None,
) -> tuple[dict[str, Any], tuple[CaptureError, ...]]:
    """Run the packets of captures through ``network``, each by the port of its capture.

    ``start`` is when the first packet arrives, ``until`` when to stop (ns since the data of the
    nodes was gathered). ``directory`` is made if need be, and files in it are replaced:

    - ``<node>.<interface>.pcap``: what was delivered or left the network there, with the times of
      the captures (from a tunnel with what it puts around a packet);
    - ``nowhere.pcap``: the packets of which no copy got anywhere, as they came in;
    - ``<node>.<bridge>.flows.txt``, ``<node>.<bridge>.fdb.txt``: flows and MAC tables at the end;
    - ``summary.json``, which is returned, with the errors of captures that ended before their end.

    Raises CaptureError where not even the first packet of a capture can be read, and OSError.
    """
    errors: list[CaptureError] = []
    tally = Tally()
    outputs: _Outputs | None = None
    packets = captured_packets([capture for _, capture in inputs], start, errors)
    for packet in packets:
        if until is not None and packet.time > until:
            break
        outputs = outputs or _Outputs(Path(directory), packet.resolution, inputs)
        journey = network.send(inputs[packet.capture][0], packet.batch(0))
        tally.add(journey)
        arrived = False
        for end in journey.ends():
            if end.fate in _ARRIVED:
                assert end.exit is not None
                outputs.write(end.exit, packet)
                arrived = True
        if not arrived:
            outputs.write_lost(packet)
    outputs = outputs or _Outputs(Path(directory), MICROSECOND, inputs)
    if until is not None:
        network.advance(until)
    summary = {
        "start": start / SECOND,
        "end": network.now / SECOND,
        "errors": [str(error) for error in errors],
        "inputs": [
            {"port": _label(network, place), "capture": os.fspath(capture)}
            for place, capture in inputs
        ],
        "ports": outputs.ports(),
        **tally.object(),
    }
    outputs.finish(network, summary)
    return summary, tuple(errors)


class Tally:
    """How the packets of a replay ended."""

    def __init__(self) -> None:
        self.packets = 0
        self._ends: Counter[tuple[Fate, Spot, str]] = Counter()

    def add(self, journey: Journey) -> None:
        """Count one more packet."""
        self.packets += 1
        self._ends.update((end.fate, end.hop.place.spot, end.text) for end in journey.ends())

    def object(self) -> dict[str, Any]:
        """In types that JSON has: packets, and how many copies came to which end."""
        fates = Counter[str]()
        for (fate, _, _), count in self._ends.items():
            fates[fate.value] += count
        return {
            "packets": self.packets,
            "copies": dict(fates),
            "ends": [
                {
                    "fate": fate.value,
                    "node": spot.node,
                    "bridge": spot.bridge,
                    "text": text,
                    "copies": count,
                }
                for (fate, spot, text), count in self._ends.items()
            ],
        }


class _Outputs:
    """The files that a replay writes; none of them replaces an input."""

    def __init__(
        self, directory: Path, resolution: int, inputs: Iterable[tuple[Place, str]]
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._resolution = resolution
        self._inputs = [Path(capture) for _, capture in inputs]
        self._writers: dict[str, CaptureWriter] = {}

    def write(self, exit: Exit, packet: CapturedPacket) -> None:
        """Note what leaves by ``exit`` of ``packet``."""
        name = f"{exit.place.node}.{exit.label}"
        frame = exit.frame if exit.outer_frame is None else exit.outer_frame
        longer = len(frame) - len(packet.frame)
        kept = min(max(packet.kept + longer, 0), len(frame))
        self._write(name, frame[:kept], packet.stamp, len(frame))

    def write_lost(self, packet: CapturedPacket) -> None:
        """Note a packet that got nowhere."""
        self._write("nowhere", packet.frame[: packet.kept], packet.stamp, len(packet.frame))

    def _write(self, name: str, frame: bytes, stamp: int, length: int) -> None:
        if name not in self._writers:
            path = self._directory / f"{_file_name(name)}.pcap"
            if path.exists() and any(one.exists() and one.samefile(path) for one in self._inputs):
                problem = "is an input, and would be replaced by what leaves"
                raise FileExistsError(errno.EEXIST, problem, str(path))
            self._writers[name] = CaptureWriter(path, self._resolution)
        frames = Frames.of([frame])
        self._writers[name].write(frames, np.array([stamp]), np.array([length]))

    def ports(self) -> list[dict[str, Any]]:
        """The captures written, in types that JSON has."""
        return [
            {"port": name, "packets": writer.packets, "file": f"{_file_name(name)}.pcap"}
            for name, writer in sorted(self._writers.items())
        ]

    def finish(self, network: Network, summary: Mapping[str, Any]) -> None:
        """Write flows, MAC tables and the summary."""
        for spot, switch in network.switches().items():
            base = _file_name(f"{spot.node}.{spot.bridge}")
            self._text(f"{base}.flows.txt", (f"{line}\n" for line in format_flows(switch.flows())))
            macs = switch.macs()
            if switch.state.macs is not None:
                self._text(f"{base}.fdb.txt", (format_fdb(macs),))
        text = json.dumps(summary, indent=2, ensure_ascii=False)
        self._text("summary.json", (text, "\n"))

    def _text(self, name: str, parts: Iterable[str]) -> None:
        with (self._directory / name).open("w", encoding="utf-8") as file:
            file.writelines(parts)


def _file_name(name: str) -> str:
    return name.replace("/", "_").replace("\0", "_")


def _label(network: Network, place: Place) -> str:
    return f"{place.node}:{network.wiring.name(place) or place.port}"
