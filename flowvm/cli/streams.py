"""Text in and out of commands: files, or standard input and output for ``-``."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from flowvm.cli.inputs import STDIN


@contextmanager
def reading(name: str) -> Iterator[TextIO]:
    """A file of text to read, standard input for ``-``. Raises OSError."""
    if name == STDIN:
        yield io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8", errors="replace")
        return
    with Path(name).open(encoding="utf-8", errors="replace") as file:
        yield file


@contextmanager
def writing(name: str) -> Iterator[TextIO]:
    """A file of text to write, standard output for ``-``. Raises OSError."""
    if name == STDIN:
        yield sys.stdout
        return
    with Path(name).open("w", encoding="utf-8") as file:
        yield file
