"""The benchmarks of ``bench/`` run: with tiny sizes, once each, untimed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(path.name for path in (ROOT / "bench").glob("test_*.py"))


@pytest.mark.parametrize("file", FILES)
def test_benchmarks_of_a_file_run(file: str) -> None:
    """Each of them does what it says."""
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--benchmark-disable", f"bench/{file}"],
        cwd=ROOT,
        env={**os.environ, "FLOWVM_BENCH": "tiny"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert " passed" in ended.stdout


def test_the_comparison_with_open_vswitch_says_how_it_is_used() -> None:
    """It is run by hand; that it can be imported and told what to do is shown here."""
    ended = subprocess.run(
        [sys.executable, "-m", "bench.against_ovs", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "--seconds" in ended.stdout
