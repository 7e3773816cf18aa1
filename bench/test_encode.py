"""From changed columns back to bytes: ``pytest bench/test_encode.py``."""

from __future__ import annotations

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench import seed
from bench.sizes import sized
from flowvm.columns import VLAN_CFI, Column
from flowvm.fields import ETH_TYPE_VLAN, NW_TTL_BITS, OUTER_TCI, OUTER_TPID, TP_DST_BITS
from flowvm.packet.decode import decode_columns
from flowvm.packet.encode import rewrite

PACKETS = sized(1_000, 100_000, 1_000_000)

CHANGES = {
    "tag": {Column.VLAN: ETH_TYPE_VLAN << OUTER_TPID.shift | (VLAN_CFI | 2) << OUTER_TCI.shift},
    "addresses": {Column.ETH_SRC: 1, Column.ETH_DST: 2},
    "ttl": {Column.NW: 1 << NW_TTL_BITS.shift},
    "nat": {Column.IPV4: 0x0101_0101, Column.TP: 0x55 << TP_DST_BITS.shift},
}
"""Bits to flip in each packet."""


@pytest.mark.parametrize("change", CHANGES)
def test_rewrite(benchmark: BenchmarkFixture, change: str) -> None:
    """A change to each packet, checksums included."""
    frames = seed.frames(np.arange(PACKETS))
    before = decode_columns(frames, 1)
    after = before.copy()
    for column, flip in CHANGES[change].items():
        after[column] ^= np.uint64(flip)
    benchmark.extra_info["packets"] = PACKETS
    changed = benchmark(lambda: rewrite(frames, before, after))
    assert changed[0] != frames[0]
    assert len(changed) == PACKETS


def test_emissions(benchmark: BenchmarkFixture) -> None:
    """The frames that leave the seed's receive pipeline, a tag each."""
    switch = seed.switch()
    batches = list(seed.received(switch, seed.frames(np.arange(PACKETS) % 100)))

    def emit() -> int:
        results = [switch.copy().run(batch) for batch in batches]
        return sum(len(result.emissions.frames) for result in results)

    benchmark.extra_info["packets"] = PACKETS
    assert benchmark(emit) == PACKETS
