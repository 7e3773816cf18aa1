"""Random tables and packets: flowvm against Open vSwitch, thousands of cases a run.

A block of cases has a seed, which is in the name of its test; `python -m tests.conformance.fuzz
--seed S --cases 1` runs it again. FLOWVM_FUZZ_SEED sets the first seed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.oracle import OpenVSwitch

from .cases import BLOCK
from .fuzz import Fuzzer, run_block, run_file
from .matrix import FILES, SEEDS
from .predicted import N_PORTS

pytestmark = pytest.mark.oracle

FIRST = int(os.environ.get("FLOWVM_FUZZ_SEED", "1"))


@pytest.fixture(scope="module")
def fuzzer() -> Iterator[Fuzzer]:
    """One whose Open vSwitch is its own: it is started again if it should end."""
    fuzzer = Fuzzer(OpenVSwitch(N_PORTS), owned=True)
    yield fuzzer
    print(f"{dict(fuzzer.counts)}, verdicts {dict(fuzzer.verdicts)}")
    fuzzer.switch.stop()


Record = Callable[[str, object], None]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_cases_on_file_do_what_open_vswitch_does(
    fuzzer: Fuzzer, file: Path, record_property: Record
) -> None:
    """What random cases that differed came down to, and what they seldom come to."""
    exercised = run_file(fuzzer, file)
    assert exercised["compared"] == 1, (fuzzer.refusals, fuzzer.unsupported)
    record_property("exercised", {"block": file.stem, "counts": dict(exercised)})


@pytest.mark.parametrize("seed", range(FIRST, FIRST + len(SEEDS)))
def test_flowvm_does_what_open_vswitch_does(
    fuzzer: Fuzzer, seed: int, record_property: Record
) -> None:
    """What all blocks together have exercised, the conformance matrix must say."""
    before = fuzzer.counts.copy()
    exercised = run_block(fuzzer, seed)
    made = fuzzer.counts - before
    assert made["cases"] == BLOCK
    # Cases that Open vSwitch refuses compare nothing; they have to stay the exception.
    assert made["refused"] + made["crashed"] <= BLOCK // 4, fuzzer.refusals
    assert made["unsupported"] <= BLOCK // 4, fuzzer.unsupported
    record_property("exercised", {"block": seed, "counts": dict(exercised)})
