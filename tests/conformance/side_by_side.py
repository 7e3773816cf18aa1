"""The same flows, meters and packets given to flowvm and to Open vSwitch, and what differs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flowvm.flow import ReservedPort
from flowvm.packet.batch import PacketBatch
from flowvm.packet.frames import Frames
from flowvm.pipeline.emission import Reason
from flowvm.pipeline.result import Result
from flowvm.switch import Switch
from flowvm.text.dump import parse_dump
from flowvm.text.meters import parse_meters
from tests.oracle import Bridge

from .test_trace_text import common_part

MODERN = "OpenFlow15"
IN_PORT = 1

Emitted = list[tuple[int, str]]
"""Ports and frames (in hexadecimal) that leave."""

PacketIns = list[tuple[str, int, str]]
"""Frames, reasons and userdata of what goes to the controllers with ID 0."""


@dataclass(frozen=True)
class Arrivals:
    """Frames that come in on one port, and when: milliseconds from the start, ascending."""

    frames: tuple[bytes, ...]
    times: tuple[int, ...]


def arrivals(frames: Sequence[bytes], times: Sequence[int] | None = None) -> Arrivals:
    """Frames at these times, by default all at once."""
    return Arrivals(tuple(frames), tuple(times) if times else (0,) * len(frames))


def assert_same(
    bridge: Bridge, flows: str, packets: Arrivals, *, meters: str = "", version: str = MODERN
) -> Result:
    """Both do the same with ``packets``: traces, frames, packets to the controller, counters.

    flowvm runs them as a batch, and again one by one. Returns what it made of the batch.
    """
    switch = _load(bridge, flows, meters, version)
    traced = str(switch.trace(packets.frames[0], in_port=IN_PORT))
    theirs = bridge.trace(f"in_port={IN_PORT}", packets.frames[0])
    assert common_part(traced) == common_part(theirs)

    switch = _load(bridge, flows, meters, version)
    twin = switch.copy()
    result = switch.run(_batch(packets))
    now = 0
    for number, (frame, time) in enumerate(zip(packets.frames, packets.times, strict=True)):
        if time > now:
            bridge.warp(time - now)
            now = time
        alone = twin.run(_batch(arrivals([frame], [time])))
        outcome = bridge.send(IN_PORT, frame)
        left = [(emission.port, emission.frame.hex()) for emission in outcome]
        told = [(p.frame.hex(), int(p.reason), p.userdata.hex()) for p in bridge.packet_ins()]
        for ours, of in ((result, number), (alone, 0)):
            assert str(ours.verdict(of)) != "unsupported", ours.reason(of)
            emitted = _emitted(ours, of)
            if not outcome.ordered:
                emitted.sort(key=lambda entry: entry[0])
            assert emitted == left, f"packet {number} {frame.hex()}"
            assert _packet_ins(ours, of) == told, f"packet {number} {frame.hex()}"
    counted = _counters(bridge.dump_flows(version))
    assert _counters("\n".join(map(str, switch.flows()))) == counted
    assert _counters("\n".join(map(str, twin.flows()))) == counted
    return result


def _load(bridge: Bridge, flows: str, meters: str, version: str) -> Switch:
    bridge.reset()
    bridge.add_meters(meters)
    if version == MODERN:
        bridge.add_flows(flows)
    else:
        bridge.ofctl("add-flows", "-", "-O", version, text=flows)
    configured = parse_meters(bridge.ofctl("dump-meters", "-O", MODERN)) if meters else None
    ports = {name: number for number, name in bridge.ports.items()}
    return Switch(parse_dump(bridge.dump_flows(version)).flows, ports, meters=configured)


def _batch(packets: Arrivals) -> PacketBatch:
    times = [time * 10**6 for time in packets.times]
    return PacketBatch.of(Frames.of(packets.frames), IN_PORT, times)


def _entries(result: Result, packet: int) -> list[tuple[int, int]]:
    emissions = result.emissions
    mine = np.flatnonzero(emissions.packet == packet).tolist()
    return [(entry, int(emissions.port[entry])) for entry in mine]


def _emitted(result: Result, packet: int) -> Emitted:
    return [
        (port, result.emissions.frames[entry].hex())
        for entry, port in _entries(result, packet)
        if port != ReservedPort.CONTROLLER
    ]


def _packet_ins(result: Result, packet: int) -> PacketIns:
    found = []
    for entry, port in _entries(result, packet):
        options = result.packet_in(entry)
        if port == ReservedPort.CONTROLLER and options.controller_id == 0:
            reason = int(result.emissions.reason[entry])
            # What OpenFlow 1.4 calls a miss that a flow sends.
            reason = Reason.NO_MATCH if reason == Reason.EXPLICIT_MISS else reason
            frame = result.emissions.frames[entry].hex()
            found.append((frame, int(reason), options.userdata.hex()))
    return found


def _counters(dump: str) -> list[tuple[str, str, str]]:
    """Table, counters, and match with actions of each flow."""
    found = []
    for line in dump.splitlines():
        if "actions=" in line:
            head, _, actions = line.partition(" actions=")
            words = dict(word.partition("=")[::2] for word in head.replace(",", " ").split())
            counts = f"{words['n_packets']} {words['n_bytes']}"
            found.append((words.get("table", "0"), counts, f"{head.split()[-1]} {actions}"))
    return sorted(found)
