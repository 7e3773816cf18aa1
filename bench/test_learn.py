"""Learning: every packet is from a new sender. ``pytest bench/test_learn.py``."""

from __future__ import annotations

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench import seed
from bench.sizes import sized
from flowvm.switch import Switch

PACKETS = sized(500, 30_000, 100_000)
LEARNED = sized([0, 1_000], [0, 10_000, 100_000], [0, 10_000, 100_000, 1_000_000])
FLAP_PACKETS = sized(200, 2_000, 20_000)


@pytest.mark.parametrize("learned", LEARNED)
def test_new_senders(benchmark: BenchmarkFixture, learned: int) -> None:
    """What a new sender costs when so many have been learned before."""
    before = seed.switch()
    seed.receive(before, seed.frames(np.arange(learned)))
    packets = seed.frames(learned + np.arange(PACKETS))

    def run_from() -> tuple[tuple[Switch], dict[str, object]]:
        return (before.copy(),), {}

    benchmark.extra_info["packets"] = PACKETS
    benchmark.extra_info["learned"] = learned
    left = benchmark.pedantic(
        lambda switch: seed.receive(switch, packets), setup=run_from, rounds=3
    )
    assert left == PACKETS


def test_rows_used_at_once(benchmark: BenchmarkFixture) -> None:
    """Packets of a batch that are looked up in what others of the batch have just learned."""
    flows = (
        "table=0 actions=learn(table=1,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[]),"
        "resubmit(,1)\ntable=1,priority=0 actions=output:9\n"
    )
    from flowvm.text.dump import parse_dump

    switch = Switch(parse_dump(flows).flows)
    senders = np.random.default_rng(1).integers(0, 1 << 20, FLAP_PACKETS)
    packets = seed.frames(senders)
    # The destination is a sender of before, every other time.
    rows = packets.buffer[: len(packets) * len(seed.FRAME)].reshape(len(packets), -1)
    rows[1::2, 0:6] = rows[:-1:2, 6:12]

    def run_from() -> tuple[tuple[Switch], dict[str, object]]:
        return (switch.copy(),), {}

    benchmark.extra_info["packets"] = FLAP_PACKETS
    benchmark.pedantic(lambda switch: seed.receive(switch, packets), setup=run_from, rounds=3)
