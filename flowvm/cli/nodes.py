"""Reading the nodes and links that commands about networks are given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flowvm.cli.inputs import InputError, syntax_errors, tell

if TYPE_CHECKING:
    from flowvm.network.model import Node
    from flowvm.network.running import Network


def read_network(nodes: Sequence[str], links: Sequence[str], *, lenient: bool = False) -> Network:
    """The network of the nodes, each ``NAME=DIR`` or ``DIR``, with links between their devices."""
    from flowvm.network.running import Network
    from flowvm.network.wiring import Link, NetworkError

    found = read_nodes(nodes, lenient=lenient)
    try:
        with syntax_errors():
            return Network(found, [Link.of(link) for link in links])
    except NetworkError as error:
        raise InputError(f"flowvm: {error}") from None


def read_nodes(nodes: Sequence[str], *, lenient: bool = False) -> list[Node]:
    """The nodes; lenient, it tells of lines that cannot be read and leaves them out."""
    from flowvm.examples import node_source
    from flowvm.network.read import NodeError, read_node

    found = []
    for text in nodes:
        name, source = _named(text)
        try:
            with syntax_errors():
                node = read_node(node_source(source), name, lenient=lenient)
        except NodeError as error:
            raise InputError(f"flowvm: {error}") from None
        tell(node.errors)
        found.append(node)
    names = [node.name for node in found]
    for node in found:
        if names.count(node.name) > 1:
            raise InputError(f"flowvm: two nodes are called {node.name}: name them NAME=DIR")
    return found


def _named(text: str) -> tuple[str | None, str]:
    """The name, if one is given, and the source."""
    name, sign, source = text.partition("=")
    if sign and name and source and "/" not in name and not Path(text).exists():
        return name, source
    return None, text
