"""Traces of the shipped example, held against files: a command, and all that it prints.

Those without a frame or a time are compared with Open vSwitch's own in tests/conformance.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Run
from .golden import assert_prints, golden

GOLDEN = golden("traces")


def test_there_are_golden_traces() -> None:
    """The files are where they are looked for."""
    assert len(GOLDEN) >= 10


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_a_trace_prints_what_it_always_did(flowvm: Run, file: Path) -> None:
    """Every byte of a trace is pinned."""
    assert_prints(flowvm, file)
