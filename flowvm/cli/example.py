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
    """Print a dump that comes with flowvm, or the names of all.

    Other commands take it as example:NAME in place of a file.
    """
    from flowvm.examples import PREFIX, example_names

    if name is None:
        print("\n".join(example_names()))
    else:
        print(read_text(PREFIX + name), end="")
