"""A network as a graph: text for Graphviz's ``dot``, and for Mermaid.

A bridge is a box in that of its node, what stands behind a port is drawn beside its bridge, and
patch ports, tunnels and wires are lines between bridges.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from flowvm.network.model import Bridge, Node
from flowvm.network.topology import End, Topology, interfaces_of
from flowvm.network.wiring import PATCH
from flowvm.report.topology import vlan_words


class Shape(Enum):
    """What a vertex stands for."""

    BRIDGE = "bridge"
    BEHIND = "behind"
    NOWHERE = "nowhere"


@dataclass(frozen=True, slots=True)
class Vertex:
    """Something drawn in the box of ``node``; ``lines`` are its text."""

    key: str
    node: str
    shape: Shape
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Edge:
    """A line; ``kind`` is that of the join, or "port" to what stands behind one."""

    first: str
    second: str
    kind: str
    lines: tuple[str, ...]
    one_way: bool = False


@dataclass(frozen=True)
class Graph:
    """What is drawn."""

    vertices: tuple[Vertex, ...]
    edges: tuple[Edge, ...]

    @classmethod
    def of(cls, topology: Topology) -> Graph:
        """The graph of a network."""
        vertices: list[Vertex] = []
        edges: list[Edge] = []
        loose = {found.end: found.why for found in topology.loose}
        joined = {end for join in topology.joins for end in (join.first, join.second)}
        for node in topology.nodes:
            for bridge in node.bridges:
                key = f"{node.name}/{bridge.name}"
                vertices.append(Vertex(key, node.name, Shape.BRIDGE, (bridge.name,)))
                for vertex, edge in _behind(node, bridge, joined, loose):
                    vertices.append(vertex)
                    edges.append(edge)
        for join in topology.joins:
            names = f"{join.first.interface} - {join.second.interface}"
            lines = (names,) if join.kind == PATCH else (names, join.kind)
            first, second = (f"{end.node}/{end.bridge}" for end in (join.first, join.second))
            edges.append(Edge(first, second, join.kind, lines, join.one_way))
        return cls(tuple(vertices), tuple(edges))


def _behind(
    node: Node, bridge: Bridge, joined: set[End], loose: dict[End, str]
) -> Iterator[tuple[Vertex, Edge]]:
    """What is drawn beside a bridge: what is behind its ports, and the ends that lead nowhere."""
    for port, interface in interfaces_of(bridge):
        end = End(node.name, bridge.name, interface.name)
        endpoint = node.endpoints.get(interface.name)
        if end in joined or (interface.name == bridge.name and endpoint is None):
            continue
        lines = [interface.name]
        if endpoint is not None:
            lines += filter(None, (endpoint.namespace, endpoint.linux_bridge))
            lines += [*endpoint.devices, *endpoint.addresses]
        shape = Shape.NOWHERE if end in loose else Shape.BEHIND
        lines += [loose[end]] if end in loose else []
        key = f"{node.name}/{bridge.name}/{interface.name}"
        told = tuple(vlan_words(port.settings)) if bridge.settings_known else ()
        yield (
            Vertex(key, node.name, shape, tuple(lines)),
            Edge(f"{node.name}/{bridge.name}", key, "port", told),
        )


_DOT_SHAPES = {
    Shape.BRIDGE: 'shape=box, style=filled, fillcolor="#dbe9f6"',
    Shape.BEHIND: "shape=plaintext",
    Shape.NOWHERE: 'shape=plaintext, fontcolor="#b00020"',
}


def dot(graph: Graph) -> str:
    """The input of Graphviz's ``dot``."""
    lines = [
        "graph network {",
        '  graph [rankdir=LR, fontname="sans-serif"];',
        '  node [fontname="sans-serif"];',
        '  edge [fontname="sans-serif", fontsize=10];',
    ]
    for number, (name, vertices) in enumerate(_by_node(graph)):
        lines += [f"  subgraph cluster_{number} {{", f"    label={_quoted(name)};"]
        for vertex in vertices:
            label = _quoted("\n".join(vertex.lines))
            lines.append(f"    {_quoted(vertex.key)} [label={label}, {_DOT_SHAPES[vertex.shape]}];")
        lines.append("  }")
    for edge in graph.edges:
        style = {PATCH: "", "port": "", "wire": ", style=bold"}.get(edge.kind, ", style=dashed")
        direction = ", dir=forward" if edge.one_way else ""
        label = _quoted("\n".join(edge.lines))
        ends = f"{_quoted(edge.first)} -- {_quoted(edge.second)}"
        lines.append(f"  {ends} [label={label}{style}{direction}];")
    return "\n".join([*lines, "}", ""])


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def mermaid(graph: Graph) -> str:
    """The text of a Mermaid flowchart."""
    lines = ["flowchart LR"]
    keys = {vertex.key: f"v{number}" for number, vertex in enumerate(graph.vertices)}
    for number, (name, vertices) in enumerate(_by_node(graph)):
        lines.append(f"  subgraph n{number}[{_mermaid_text([name])}]")
        for vertex in vertices:
            text = _mermaid_text(vertex.lines)
            shown = f"[{text}]" if vertex.shape is Shape.BRIDGE else f"([{text}])"
            lines.append(f"    {keys[vertex.key]}{shown}")
        lines.append("  end")
    for edge in graph.edges:
        if edge.kind in (PATCH, "port"):
            line = "-->" if edge.one_way else "---"
        elif edge.kind == "wire":
            line = "==="
        else:
            line = "-.->" if edge.one_way else "-.-"
        label = f"|{_mermaid_text(edge.lines)}|" if edge.lines else ""
        lines.append(f"  {keys[edge.first]} {line}{label} {keys[edge.second]}")
    for vertex in graph.vertices:
        if vertex.shape is Shape.NOWHERE:
            lines.append(f"  style {keys[vertex.key]} color:#b00020")
    return "\n".join([*lines, ""])


def _mermaid_text(lines: tuple[str, ...] | list[str]) -> str:
    text = json.dumps("<br>".join(line.replace("<", "#lt;") for line in lines), ensure_ascii=False)
    return '"' + text[1:-1].replace('\\"', "#quot;") + '"'


def _by_node(graph: Graph) -> Iterator[tuple[str, list[Vertex]]]:
    for name in dict.fromkeys(vertex.node for vertex in graph.vertices):
        yield name, [vertex for vertex in graph.vertices if vertex.node == name]
