"""Running commands: in this process, which is quick, and in one of their own."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from flowvm.cli import main


@dataclass(frozen=True)
class Ended:
    """What a command printed, and its exit status."""

    status: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture
def flowvm(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in this process: ``flowvm("show", "-", stdin=b"...")``."""

    def run(*arguments: object, stdin: bytes = b"") -> Ended:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        status = ended.value.code
        assert isinstance(status, int)
        return Ended(status, out, err)

    return run


@pytest.fixture
def spawn() -> Run:
    """Run a command in a process of its own, as a user does."""

    def run(*arguments: object, stdin: bytes = b"") -> Ended:
        ended = subprocess.run(
            [sys.executable, "-m", "flowvm", *map(str, arguments)],
            input=stdin,
            capture_output=True,
            check=False,
            timeout=60,
        )
        return Ended(ended.returncode, ended.stdout.decode(), ended.stderr.decode())

    return run
