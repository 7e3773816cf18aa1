"""Files that pin what a command prints: the command in the first line, and all of its output."""

from __future__ import annotations

import shlex
from pathlib import Path

from .conftest import Run

FIXTURES = Path(__file__).parents[1] / "fixtures"


def golden(directory: str) -> list[Path]:
    """The files in a directory of the fixtures."""
    return sorted((FIXTURES / directory).glob("*.txt"))


def assert_prints(flowvm: Run, file: Path) -> None:
    """The command of ``file`` succeeds, and prints what stands there, to the byte."""
    command, _, expected = file.read_text(encoding="utf-8").partition("\n")
    ended = flowvm(*shlex.split(command.removeprefix("$ flowvm ")))
    assert (ended.status, ended.err) == (0, "")
    assert ended.out == expected
