"""``flowvm compile``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from flowvm.cli.inputs import read_compiled
from flowvm.cli.options import Flows, Lenient, Ports, TlvMap


def compile(
    flows: Flows,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="Where to put it.")
    ],
    ports: Ports = None,
    tlv_map: TlvMap = None,
    lenient: Lenient = False,
) -> None:
    """Read a dump once, to open it faster from then on.

    Wherever flows are asked for, FILE will do. It holds the text of the dump too. Given with
    --ports again, it is compiled again.
    """
    dump = read_compiled(flows, ports, lenient=lenient, tlv_map=tlv_map)

    from flowvm.bulk.saved import save

    # Whole or not at all: the old file may be what is being read.
    written = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        with written.open("xb") as file:
            save(dump, file)
        written.replace(output)
    finally:
        written.unlink(missing_ok=True)
    program = dump.program
    print(f"{output}: {len(program.flows)} flows in {len(program.tables)} tables")
