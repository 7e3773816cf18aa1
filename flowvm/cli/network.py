"""``flowvm network``."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowvm.cli.inputs import STDIN, InputError
from flowvm.cli.nodes import read_nodes
from flowvm.cli.options import Color, Colors, Lenient, Links

if TYPE_CHECKING:
    from flowvm.network.topology import Topology

_DRAWN = (".svg", ".png", ".pdf")


def network(
    nodes: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]NODE...",
            help="What was gathered of a node: a directory, an archive, an sosreport, or "
            "example:gre/compute.",
            show_default=False,
        ),
    ],
    links: Links = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    as_mermaid: Annotated[
        bool, typer.Option("--mermaid", help="Print the text of a Mermaid flowchart.")
    ] = False,
    graph: Annotated[
        str | None,
        typer.Option(
            "--graph",
            metavar="FILE",
            help="Draw the network: the text for Graphviz's dot (- for standard output), or what "
            "dot makes of it if FILE ends in .svg, .png or .pdf.",
        ),
    ] = None,
    color: Colors = Color.AUTO,
    lenient: Lenient = False,
) -> None:
    """Show nodes with their bridges and ports, and what joins them.

    Patch ports and tunnels are matched to each other. Which devices of nodes are on one wire no
    node tells: --link does. What was not there to be read is named, and what follows from that.
    """
    if as_json + as_mermaid + (graph is not None) > 1:
        raise InputError("flowvm: give one of --json, --mermaid and --graph")
    topology = _topology(nodes, links or [], lenient=lenient)
    if as_json:
        from flowvm.report.topology import topology_json

        print(json.dumps(topology_json(topology), indent=2, ensure_ascii=False))
    elif as_mermaid or graph is not None:
        from flowvm.report.topology_graph import Graph, dot, mermaid

        drawn = Graph.of(topology)
        if graph is None:
            print(mermaid(drawn), end="")
        else:
            _draw(dot(drawn), graph)
    else:
        _print_tree(topology, color)


def _topology(nodes: list[str], links: list[str], *, lenient: bool) -> Topology:
    from flowvm.network.topology import Topology
    from flowvm.network.wiring import Link, NetworkError

    found = read_nodes(nodes, lenient=lenient)
    try:
        return Topology.of(found, [Link.of(link) for link in links])
    except NetworkError as error:
        raise InputError(f"flowvm: {error}") from None


def _draw(text: str, file: str) -> None:
    if file == STDIN:
        print(text, end="")
    elif not file.endswith(_DRAWN):
        Path(file).write_text(text, encoding="utf-8")
    else:
        program = shutil.which("dot")
        if program is None:
            raise InputError(
                f"flowvm: to draw {file} Graphviz's dot is needed;"
                " --graph FILE.dot writes its input"
            )
        form = Path(file).suffix.removeprefix(".")
        ended = subprocess.run(
            [program, f"-T{form}", "-o", file],
            input=text.encode(),
            capture_output=True,
            check=False,
        )
        if ended.returncode:
            said = ended.stderr.decode("utf-8", "replace").strip()
            raise InputError(f"flowvm: dot failed: {said}")


def _print_tree(topology: Topology, color: Color) -> None:
    from flowvm.report.topology import tree

    wanted = sys.stdout.isatty() if color is Color.AUTO else color is Color.ALWAYS
    if not wanted:
        for line in tree(topology):
            print("".join(text for text, _ in line))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(force_terminal=True, highlight=False)
    for line in tree(topology):
        console.print(Text.assemble(*line), soft_wrap=True)
