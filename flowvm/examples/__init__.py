"""Dumps that come with flowvm, to try things on.

Wherever a file of flows is asked for, ``example:NAME`` stands for one of them.
"""

from __future__ import annotations

import errno
import io
from importlib.resources import files
from pathlib import Path
from typing import BinaryIO

from flowvm.text.blocks import read_blocks

PREFIX = "example:"


def example_names() -> list[str]:
    """The names of the examples, sorted."""
    entries = (entry.name for entry in files(__name__).iterdir())
    return sorted(name.removesuffix(".txt") for name in entries if name.endswith(".txt"))


def read_source(source: str | Path) -> str:
    """The text of :func:`open_source`, decompressed.

    Bytes that are not UTF-8 come out as replacement characters. Raises OSError.
    """
    with open_source(source) as file:
        return b"".join(read_blocks(file)).decode("utf-8", "replace")


def open_source(source: str | Path) -> BinaryIO:
    """A file, or the example that ``example:NAME`` stands for. Raises OSError."""
    if not str(source).startswith(PREFIX):
        return Path(source).open("rb")
    name = str(source).removeprefix(PREFIX)
    if name not in example_names():
        known = ", ".join(example_names())
        raise FileNotFoundError(errno.ENOENT, f"no such example; there is {known}", str(source))
    return io.BytesIO((files(__name__) / f"{name}.txt").read_bytes())
