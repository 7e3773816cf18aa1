"""``flowvm example``."""

from __future__ import annotations

from typing import Annotated

import typer

from flowvm.cli.inputs import read_text


def example(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Which one.", show_default=False)
    ] = None,
) -> None:
    """Print a dump or the files of a node that come with flowvm, or the names of all.

    Other commands take it as example:NAME in place of a file or a directory.
    """
    from flowvm.examples import PREFIX, example_names, example_nodes, node_source

    if name is None:
        print("\n".join(example_names() + example_nodes()))
    elif name in example_nodes():
        for entry in sorted(node_source(PREFIX + name).iterdir(), key=lambda entry: entry.name):
            print(f"==> {entry.name} <==\n{entry.read_text(encoding='utf-8')}")
    else:
        print(read_text(PREFIX + name), end="")
