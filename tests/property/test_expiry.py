"""Flows that expire between the packets of one batch: as if packets came one after the other."""

from __future__ import annotations

import random

import pytest

from flowvm.clock import SECOND
from flowvm.packet.batch import PacketBatch
from flowvm.packet.frames import Frames
from flowvm.switch import Switch
from flowvm.text.dump import parse_dump

PACKETS = 120
TIMEOUTS = (
    "hard_timeout=1",
    "idle_timeout=1",
    "hard_timeout=2,idle_timeout=1",
    "hard_timeout=3,delete_learned,cookie=0x5",
)
LEARN = (
    "learn(table=20,{},priority=1,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],"
    "load:0x1->NXM_NX_TUN_ID[],output:NXM_OF_IN_PORT[])"
)
TABLES = """
table=0,priority=1,in_port=2 actions={},output:1
table=0,priority=0 actions=resubmit(,20)
table=20,priority=0 actions=output:9
table=20,priority=5,hard_timeout=4,dl_dst=02:00:00:00:00:03 actions=output:7
table=20,priority=5,idle_timeout=1,dl_dst=02:00:00:00:00:04 actions=output:8
"""


@pytest.mark.parametrize("timeouts", TIMEOUTS)
@pytest.mark.parametrize("span", [3, 30])
@pytest.mark.parametrize("seed", range(3))
def test_batches_of_any_size_agree(timeouts: str, span: int, seed: int) -> None:
    """Outputs and tables, counters and ages included, for packets over ``span`` seconds."""
    chance = random.Random(seed)
    times = sorted(chance.randrange(span * SECOND) for _ in range(PACKETS))
    hosts = [(chance.randrange(8), chance.randrange(8)) for _ in range(PACKETS)]
    frames = [bytes([2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, by, 8, 0, *bytes(46)]) for to, by in hosts]
    ports = [chance.choice([1, 1, 2]) for _ in range(PACKETS)]
    flows = parse_dump(TABLES.format(LEARN.format(timeouts))).flows

    def run(size: int) -> tuple[list[tuple[int, int]], list[str]]:
        switch, left = Switch(flows), []
        for first in range(0, PACKETS, size):
            some = slice(first, first + size)
            batch = PacketBatch.of(Frames.of(frames[some]), ports[some], times[some])
            emissions = switch.run(batch).emissions
            left += list(
                zip((first + emissions.packet).tolist(), emissions.port.tolist(), strict=True)
            )
        return left, sorted(map(str, switch.flows()))

    one_by_one = run(1)
    assert {port for _, port in one_by_one[0]} >= {1, 2, 9}
    assert run(PACKETS) == one_by_one
    assert run(17) == one_by_one
