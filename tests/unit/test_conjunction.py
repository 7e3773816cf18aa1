"""Conjunctive matches, beyond what one compares with Open vSwitch: many clauses, and learning."""

from __future__ import annotations

import random

import numpy as np
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from flowvm import Frames, PacketBatch
from flowvm.bulk.read import read_bulk
from flowvm.switch import Switch
from flowvm.text.dump import parse_dump

SOURCES, DESTINATIONS, PORTS = 50_000, 40_000, 10_000


def _address(first: int, number: int) -> str:
    return f"{first}.{number >> 16}.{number >> 8 & 255}.{number & 255}"


def _dump() -> bytes:
    """Conjunctions 1 to 7 of two clauses, and 100 to 112 of three."""
    head = "cookie=0x1, duration=1.234s, table=0, n_packets=0, n_bytes=0, idle_age=1, priority=100"
    lines = [
        f" {head},ip,nw_src={_address(10, i)} "
        f"actions=conjunction({1 + i % 7},1/2),conjunction({100 + i % 11},1/3)"
        for i in range(SOURCES)
    ]
    lines += [
        f" {head},ip,nw_dst={_address(11, i)} "
        f"actions=conjunction({1 + i % 5},2/2),conjunction({100 + i % 13},2/3)"
        for i in range(DESTINATIONS)
    ]
    lines += [
        f" {head},tcp,tp_dst={i} actions=conjunction({100 + i % 11},3/3)" for i in range(PORTS)
    ]
    lines += [
        f" {head},conj_id={number},ip actions=output:{number}"
        for number in (*range(1, 8), *range(100, 113))
    ]
    return "\n".join([*lines, ""]).encode()


def test_a_hundred_thousand_clauses() -> None:
    """Packets leave by the conjunction that the arithmetic of the table says is complete."""
    switch = Switch.of(read_bulk([_dump()], None).program)
    rng = random.Random(1)
    template = bytes(Ether() / IP(src="10.0.0.1", dst="11.0.0.1") / TCP(dport=5))
    frames, expected = [], []
    for _ in range(5_000):
        source, destination = rng.randrange(SOURCES), rng.randrange(DESTINATIONS)
        port = rng.randrange(2 * PORTS)
        frame = bytearray(template)
        frame[26:30] = bytes([10, *source.to_bytes(3, "big")])
        frame[30:34] = bytes([11, *destination.to_bytes(3, "big")])
        frame[36:38] = port.to_bytes(2, "big")
        frames.append(bytes(frame))
        complete = set()
        if source % 7 == destination % 5:
            complete.add(1 + source % 7)
        if port < PORTS and source % 11 == destination % 13 == port % 11:
            complete.add(100 + source % 11)
        expected.append(complete)
    emissions = switch.run(PacketBatch.of(Frames.of(frames), 200, range(len(frames)))).emissions
    left: list[set[int]] = [set() for _ in frames]
    for packet, port in zip(emissions.packet.tolist(), emissions.port.tolist(), strict=True):
        left[packet].add(port)
    for ports, complete in zip(left, expected, strict=True):
        assert len(ports) == min(1, len(complete))
        assert ports <= complete
    assert 200 < sum(map(bool, expected)) < 4_800


def test_what_is_learned_competes_with_conjunctions() -> None:
    """A batch sees a flow learned between the clauses and the flow they lead to, at once."""
    flows = parse_dump(
        """
        table=0 actions=learn(table=1,priority=50,NXM_OF_ETH_SRC[]=NXM_OF_ETH_DST[],\
output:NXM_OF_IN_PORT[]),resubmit(,1)
        table=1,priority=40,dl_src=00:00:00:00:00:0a actions=conjunction(1,1/2)
        table=1,priority=40,dl_dst=00:00:00:00:00:0b actions=conjunction(1,2/2)
        table=1,priority=60,conj_id=1 actions=output:9
        """
    ).flows
    there = bytes(Ether(src="00:00:00:00:00:0a", dst="00:00:00:00:00:0b"))
    back = bytes(Ether(src="00:00:00:00:00:0b", dst="00:00:00:00:00:0a"))
    batch = PacketBatch.of(Frames.of([there, back, there]), [1, 2, 3], [0, 1, 2])
    emissions = Switch(flows).run(batch).emissions
    # The second packet teaches that packets from 0a go to port 2, above the clauses of that.
    assert np.array_equal(emissions.packet, [0, 1, 2])
    assert np.array_equal(emissions.port, [9, 1, 2])


def test_a_clause_that_expires_takes_its_part_of_the_match_along() -> None:
    """Within one batch, and while time passes without a packet."""
    flows = parse_dump(
        """
        table=0,priority=5,hard_timeout=2,dl_src=00:00:00:00:00:0a actions=conjunction(1,1/2)
        table=0,priority=5,dl_dst=00:00:00:00:00:0b actions=conjunction(1,2/2)
        table=0,priority=5,conj_id=1 actions=output:9
        table=0,priority=1 actions=output:8
        """
    ).flows
    frame = bytes(Ether(src="00:00:00:00:00:0a", dst="00:00:00:00:00:0b"))
    second = 10**9
    batch = PacketBatch.of(Frames.of([frame] * 3), 1, [0, 2 * second, 2 * second + 1])
    assert Switch(flows).run(batch).emissions.port.tolist() == [9, 9, 8]

    switch = Switch(flows)
    first, later = (PacketBatch.of(Frames.of([frame]), 1, [at * second]) for at in (0, 3))
    assert switch.run(first).emissions.port.tolist() == [9]
    switch.advance(3 * second)
    assert switch.run(later).emissions.port.tolist() == [8]
