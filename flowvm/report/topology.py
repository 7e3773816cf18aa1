"""A network for people and for programs: a tree of nodes, bridges and ports; the same as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flowvm.flow import ReservedPort
from flowvm.network.model import Bridge, Endpoint, Interface, Node, Port
from flowvm.network.topology import End, Topology, interfaces_of
from flowvm.port_settings import PortSettings, VlanMode
from flowvm.text.values import format_mac

Piece = tuple[str, str]
"""Text, and the style that a terminal shows it in."""

_NODE, _BRIDGE, _DIM, _BAD = "bold", "bold cyan", "dim", "red"


def tree(topology: Topology) -> Iterator[list[Piece]]:
    """The lines of the tree; what they consist of, with styles."""
    loose = {found.end: found.why for found in topology.loose}
    for node in topology.nodes:
        addresses = f"  {', '.join(node.addresses)}" if node.addresses else ""
        yield [(node.name, _NODE), (addresses, _DIM)]
        for bridge, last in _with_last(node.bridges):
            yield [("└── " if last else "├── ", _DIM), (bridge.name, _BRIDGE), (_told(bridge), "")]
            entries = list(interfaces_of(bridge))
            numbers = max((len(_number(interface)) for _, interface in entries), default=0)
            names = max((len(interface.name) for _, interface in entries), default=0)
            for (port, interface), end in _with_last(entries):
                guide = ("    " if last else "│   ") + ("└── " if end else "├── ")
                name = f"{_number(interface):>{numbers}}  {interface.name:{names}}"
                rest = list(_rest(topology, node, bridge, port, interface, loose))
                yield _stripped([(guide, _DIM), (name, ""), *rest])
    if any(node.missing for node in topology.nodes):
        yield [("", "")]
    for node in topology.nodes:
        for missing in node.missing:
            yield [(f"{node.name}: ", _NODE), (str(missing), _BAD)]


def _with_last(entries: Any) -> Iterator[tuple[Any, bool]]:
    for number, entry in enumerate(entries, start=1):
        yield entry, number == len(entries)


def _stripped(pieces: list[Piece]) -> list[Piece]:
    """Without blanks at the end of the line."""
    *kept, (text, style) = [piece for piece in pieces if piece[0]]
    return [*kept, (text.rstrip(), style)]


def _told(bridge: Bridge) -> str:
    count = None if bridge.program is None else len(bridge.program.flows)
    flows = "no flows known" if count is None else f"{count} flow{'' if count == 1 else 's'}"
    return "  " + ", ".join([flows, *([] if bridge.fail_mode is None else [bridge.fail_mode])])


def _rest(
    topology: Topology,
    node: Node,
    bridge: Bridge,
    port: Port,
    interface: Interface,
    loose: dict[End, str],
) -> Iterator[Piece]:
    end = End(node.name, bridge.name, interface.name)
    words = [*vlan_words(port.settings)] if bridge.settings_known else []
    if len(port.interfaces) > 1:
        words.append(f"bond {port.name}")
    words += tunnel_words(interface)
    if words:
        yield f"  {', '.join(words)}", ""
    for join, other in topology.joined(end):
        arrow = "<->" if not join.one_way else "->" if join.first == end else "<-"
        where = other.bridge if other.node == end.node else f"{other.node}:{other.bridge}"
        yield f"  {arrow} {where} {other.interface}", "green"
    endpoint = node.endpoints.get(interface.name)
    if endpoint is not None:
        yield f"  ({endpoint})", _DIM
    if end in loose:
        yield f"  leads nowhere: {loose[end]}", _BAD


def _number(interface: Interface) -> str:
    if interface.ofport is None:
        return "?"
    return "LOCAL" if interface.ofport == ReservedPort.LOCAL else str(interface.ofport)


def vlan_words(settings: PortSettings) -> Iterator[str]:
    """What is said of a port's VLANs: nothing of one that carries all of them."""
    mode = settings.vlan_mode
    if mode is VlanMode.ACCESS:
        yield f"tag {settings.tag}"
    elif mode is not VlanMode.TRUNK:
        yield f"{mode.value} {settings.tag}"
    if settings.trunks and mode is not VlanMode.ACCESS:
        yield f"trunks {' '.join(map(str, sorted(settings.trunks)))}"
    if settings.cvlans and mode is VlanMode.DOT1Q_TUNNEL:
        yield f"cvlans {' '.join(map(str, sorted(settings.cvlans)))}"
    if settings.protected:
        yield "protected"


def tunnel_words(interface: Interface) -> list[str]:
    """What is said of a tunnel: its type, its addresses, its keys."""
    options = interface.options
    if "remote_ip" not in options:
        return []
    keys = {options.get(name, options.get("key")) for name in ("in_key", "out_key")}
    return [
        f"{interface.type} {options.get('local_ip', '*')} -> {options['remote_ip']}",
        *([f"key {' '.join(sorted(filter(None, keys)))}"] if keys != {None} else []),
    ]


# -- JSON -----------------------------------------------------------------------------------------


def topology_json(topology: Topology) -> dict[str, Any]:
    """The topology as JSON has it; addresses and numbers that are not known are ``null``."""
    return {
        "nodes": [_node_json(node) for node in topology.nodes],
        "joins": [
            {
                "kind": join.kind,
                "first": _end_json(join.first),
                "second": _end_json(join.second),
                "one_way": join.one_way,
            }
            for join in topology.joins
        ],
        "loose": [{**_end_json(found.end), "why": found.why} for found in topology.loose],
    }


def _end_json(end: End) -> dict[str, str]:
    return {"node": end.node, "bridge": end.bridge, "interface": end.interface}


def _node_json(node: Node) -> dict[str, Any]:
    return {
        "name": node.name,
        "addresses": list(node.addresses),
        "bridges": [_bridge_json(bridge, node) for bridge in node.bridges],
        "missing": [
            {"what": found.what, "consequence": found.consequence, "bridge": found.bridge or None}
            for found in node.missing
        ],
    }


def _bridge_json(bridge: Bridge, node: Node) -> dict[str, Any]:
    return {
        "name": bridge.name,
        "fail_mode": bridge.fail_mode,
        "datapath_id": None if bridge.datapath_id is None else f"{bridge.datapath_id:016x}",
        "flows": None if bridge.program is None else len(bridge.program.flows),
        "ports": [_port_json(port, bridge, node) for port in bridge.ports],
    }


def _port_json(port: Port, bridge: Bridge, node: Node) -> dict[str, Any]:
    settings = port.settings
    vlans = {
        "vlan_mode": settings.vlan_mode.value,
        "tag": None if settings.vlan_mode is VlanMode.TRUNK else settings.tag,
        "trunks": sorted(settings.trunks),
        "protected": settings.protected,
    }
    return {
        "name": port.name,
        **(vlans if bridge.settings_known else dict.fromkeys(vlans)),
        "interfaces": [
            _interface_json(interface, node.endpoints.get(interface.name))
            for interface in port.interfaces
        ],
    }


def _interface_json(interface: Interface, endpoint: Endpoint | None) -> dict[str, Any]:
    return {
        "name": interface.name,
        "ofport": interface.ofport,
        "type": interface.type,
        "mac": None if interface.mac is None else format_mac(interface.mac),
        "options": dict(interface.options),
        "endpoint": None
        if endpoint is None
        else {
            "namespace": endpoint.namespace,
            "linux_bridge": endpoint.linux_bridge,
            "devices": list(endpoint.devices),
            "addresses": list(endpoint.addresses),
        },
    }
