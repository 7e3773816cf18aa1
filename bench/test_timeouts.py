"""Flows that expire while packets go through: ``pytest bench/test_timeouts.py``."""

from __future__ import annotations

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench import seed
from bench.sizes import sized
from flowvm.switch import Switch
from flowvm.text.dump import parse_dump

PACKETS = sized(1_000, 20_000, 500_000)
SPACING = 100_000  # ns: ten thousand packets a second

PIPELINE = (
    "table=0 actions=learn(table=1,{timeout}=1,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],"
    "output:NXM_OF_IN_PORT[]),output:1\n"
)


@pytest.mark.parametrize("timeout", ["idle_timeout", "hard_timeout"])
@pytest.mark.parametrize("traffic", ["steady", "passing"])
def test_expiring(benchmark: BenchmarkFixture, timeout: str, traffic: str) -> None:
    """Rows of one second; 1,000 senders that stay, or each sends ten packets and is gone."""
    switch = Switch(parse_dump(PIPELINE.format(timeout=timeout)).flows)
    numbers = np.arange(PACKETS)
    packets = seed.frames(numbers % 1000 if traffic == "steady" else numbers // 10)

    def run_from() -> tuple[tuple[Switch], dict[str, object]]:
        return (switch.copy(),), {}

    benchmark.extra_info["packets"] = PACKETS
    left = benchmark.pedantic(
        lambda switch: seed.receive(switch, packets, SPACING), setup=run_from, rounds=2
    )
    assert left == PACKETS
