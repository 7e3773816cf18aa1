"""Random tables and packets: flowvm against Open vSwitch, at least 2,000 cases a run.

A block of cases has a seed, which is in the name of its test; `python -m tests.conformance.fuzz
--seed S --cases 1` runs it again. FLOWVM_FUZZ_SEED sets the first seed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.conformance.fuzz import BLOCK, N_PORTS, Fuzzer, run_block
from tests.oracle import OpenVSwitch

pytestmark = pytest.mark.oracle

CASES = 2_500
FIRST = int(os.environ.get("FLOWVM_FUZZ_SEED", "1"))


@pytest.fixture(scope="module")
def fuzzer() -> Iterator[Fuzzer]:
    """One whose Open vSwitch is its own: it is started again if it should end."""
    fuzzer = Fuzzer(OpenVSwitch(N_PORTS), owned=True)
    yield fuzzer
    print(f"{dict(fuzzer.counts)}, verdicts {dict(fuzzer.verdicts)}")
    fuzzer.switch.stop()


@pytest.mark.parametrize("seed", range(FIRST, FIRST + CASES // BLOCK))
def test_flowvm_does_what_open_vswitch_does(fuzzer: Fuzzer, seed: int) -> None:
    before = fuzzer.counts.copy()
    run_block(fuzzer, seed)
    made = fuzzer.counts - before
    assert made["cases"] == BLOCK
    # Cases that Open vSwitch refuses compare nothing; they have to stay the exception.
    assert made["refused"] + made["crashed"] <= BLOCK // 2, fuzzer.refusals
