"""Lookups in one table, by rules and subtables: ``pytest bench/test_lookup.py``.

All rules have one priority, so that no lookup may stop before the last subtable, as in ``ovstest
test-classifier benchmark`` of Open vSwitch with one priority.
"""

from __future__ import annotations

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.rules import program
from bench.sizes import sized
from flowvm.pipeline.state import State

LOOKUPS = sized(1_000, 1 << 18, 1 << 20)
AT_ONCE = 1 << 14

K, M = 1_000, 1_000_000
SHAPES = sized(
    [(50, 5)],
    [(K, 1), (K, 5), (K, 10), (100 * K, 1), (100 * K, 5), (100 * K, 50), (M, 1), (M, 10)],
    [(rules, n) for rules in (K, 10 * K, 100 * K, M) for n in (1, 5, 10, 20, 50)],
)


@pytest.mark.parametrize(("rules", "subtables"), SHAPES)
@pytest.mark.parametrize("outcome", ["hit", "miss"])
def test_lookup(benchmark: BenchmarkFixture, rules: int, subtables: int, outcome: str) -> None:
    """Random packets, each of which matches one rule, or none."""
    compiled, columns = program(rules, subtables)
    state = State(compiled)
    random = np.random.default_rng(1)
    which = random.integers(0, rules, LOOKUPS)
    batches = []
    for first in range(0, LOOKUPS, AT_ONCE):
        some = which[first : first + AT_ONCE]
        packets = [column[some] for column in columns]
        if outcome == "miss":
            packets = [random.integers(0, 1 << 64, len(some), np.uint64) for _ in packets]
        batches.append((packets, np.arange(len(some))))

    def lookups() -> int:
        return sum(
            int((state.lookup(0, packets, numbers) >= 0).sum()) for packets, numbers in batches
        )

    benchmark.extra_info["lookups"] = LOOKUPS
    found = benchmark.pedantic(lookups, rounds=3, warmup_rounds=1)
    assert found == (LOOKUPS if outcome == "hit" else 0)
