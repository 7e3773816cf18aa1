"""Dumps in files, whatever form they have: text, compressed text, or compiled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import BinaryIO

from flowvm.bulk.read import BulkDump, read_bulk
from flowvm.names import Names
from flowvm.text.blocks import COMPILED, peekable, read_blocks, seekable
from flowvm.tlv_map import TlvMap


def read_file(
    file: BinaryIO,
    ports: Mapping[str, int] | Names | None = None,
    *,
    name: str | None = None,
    lenient: bool = False,
    tlv_map: TlvMap | None = None,
) -> BulkDump:
    """The dump in ``file``; ``name`` is what errors call it.

    Raises what :func:`~flowvm.bulk.read.read_bulk` does, :func:`~flowvm.bulk.saved.reopen` for a
    compiled dump, and OSError.
    """
    buffered = peekable(file)
    if buffered.peek(len(COMPILED)).startswith(COMPILED):
        from flowvm.bulk.saved import reopen

        return reopen(seekable(buffered), ports, name=name, tlv_map=tlv_map)
    return read_bulk(read_blocks(buffered), ports, file=name, lenient=lenient, tlv_map=tlv_map)
