"""What of a network is joined to what, as far as it was read: patch ports, tunnels, wires.

Tunnels are matched by their type and destination port, by the addresses that they are sent to and
that nodes have, and by their keys. Where the flows choose (``remote_ip=flow``, ``key=flow``) all
that they could choose counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_interface

from flowvm.network.model import Bridge, Interface, Node, Port
from flowvm.network.tunnels import OTHER_TUNNEL_TYPES, TUNNEL_TYPES, Address, Tunnel, Varying
from flowvm.network.wiring import PATCH, Link, NetworkError
from flowvm.text.errors import suggestion


@dataclass(frozen=True, slots=True)
class End:
    """An interface on a bridge of a node."""

    node: str
    bridge: str
    interface: str

    def __str__(self) -> str:
        return f"{self.node}:{self.interface}"


@dataclass(frozen=True, slots=True)
class Join:
    """Two ends that are joined: ``kind`` is "patch", "wire", or the type of a tunnel.

    What is sent at ``first`` comes in at ``second``, and back unless ``one_way``.
    """

    kind: str
    first: End
    second: End
    one_way: bool = False


@dataclass(frozen=True, slots=True)
class Loose:
    """An end that should lead somewhere, and why it does not."""

    end: End
    why: str


@dataclass(frozen=True)
class Topology:
    """Nodes, and what joins their bridges. ``loose`` are the ends that lead nowhere."""

    nodes: tuple[Node, ...]
    joins: tuple[Join, ...]
    loose: tuple[Loose, ...]

    @classmethod
    def of(cls, nodes: Sequence[Node], links: Iterable[Link] = ()) -> Topology:
        """The topology of ``nodes`` whose devices ``links`` join.

        Raises NetworkError for a link between what there is not.
        """
        ends = {
            (end.node, end.interface): _At(end, port, interface)
            for end, port, interface in _interfaces(nodes)
        }
        patches, loose = _patches(ends)
        tunnels, closed = _tunnels(nodes, ends)
        return cls(tuple(nodes), (*patches, *tunnels, *_wires(ends, links)), (*loose, *closed))

    def joined(self, end: End) -> Iterator[tuple[Join, End]]:
        """What an end is joined to."""
        for join in self.joins:
            if join.first == end:
                yield join, join.second
            elif join.second == end:
                yield join, join.first


@dataclass(frozen=True, slots=True)
class _At:
    """An interface, and where it is."""

    end: End
    port: Port
    interface: Interface


_Ends = Mapping[tuple[str, str], _At]


def _interfaces(nodes: Iterable[Node]) -> Iterator[tuple[End, Port, Interface]]:
    for node in nodes:
        for bridge in node.bridges:
            for port, interface in interfaces_of(bridge):
                yield End(node.name, bridge.name, interface.name), port, interface


def interfaces_of(bridge: Bridge) -> Iterator[tuple[Port, Interface]]:
    """The interfaces of a bridge, each with its port."""
    for port in bridge.ports:
        for interface in port.interfaces:
            yield port, interface


def _patches(ends: _Ends) -> tuple[list[Join], list[Loose]]:
    joins: list[Join] = []
    loose: list[Loose] = []
    for (node, name), at in ends.items():
        if at.interface.type != PATCH:
            continue
        peer = at.interface.options.get("peer")
        other = None if peer is None else ends.get((node, peer))
        back = None if other is None else other.interface.options.get("peer")
        if peer is None:
            loose.append(Loose(at.end, "it has no peer"))
        elif other is None or other.interface.type != PATCH:
            loose.append(Loose(at.end, f"its peer {peer} is no patch port of {node}"))
        elif back != name:
            loose.append(Loose(at.end, f"its peer {peer} has {back or 'nothing'} for a peer"))
        elif not any(join.second == at.end for join in joins):
            joins.append(Join(PATCH, at.end, other.end))
    return joins, loose


def _wires(ends: _Ends, links: Iterable[Link]) -> Iterator[Join]:
    for link in links:
        places = []
        for node, interface in link.ends:
            at = ends.get((node, interface))
            if at is None:
                known = [name for owner, name in ends if owner == node]
                hint = suggestion(interface, known)
                what = f'"{interface}" on a bridge of {node}' if known else f'node "{node}"'
                raise NetworkError(f"there is no {what}{hint}")
            places.append(at.end)
        for number, first in enumerate(places):
            for second in places[number + 1 :]:
                yield Join("wire", first, second)


# -- tunnels --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _TunnelAt:
    """A tunnel port, and the addresses that it can send from."""

    end: End
    tunnel: Tunnel
    local: frozenset[Address]


def _tunnels(nodes: Sequence[Node], ends: _Ends) -> tuple[list[Join], list[Loose]]:
    found: list[tuple[End, Tunnel]] = []
    loose: list[Loose] = []
    own = {node.name: _addresses(node) for node in nodes}
    for at in ends.values():
        if at.interface.type in OTHER_TUNNEL_TYPES:
            loose.append(Loose(at.end, f"tunnels of type {at.interface.type} are not executed"))
        if at.interface.type not in TUNNEL_TYPES:
            continue
        try:
            tunnel = Tunnel.of(at.interface)
        except ValueError as error:
            loose.append(Loose(at.end, str(error)))
            continue
        if isinstance(tunnel.local, Address):
            own[at.end.node] |= {tunnel.local}
        found.append((at.end, tunnel))
    placed = [
        _TunnelAt(end, tunnel, _local(tunnel, frozenset(own[end.node]))) for end, tunnel in found
    ]
    joins: list[Join] = []
    lead: set[End] = set()
    for number, one in enumerate(placed):
        for other in placed[number + 1 :]:
            there, back = _reaches(one, other), _reaches(other, one)
            if one.end.node != other.end.node and (there or back):
                pair = (one.end, other.end) if there else (other.end, one.end)
                joins.append(Join(one.tunnel.kind, *pair, one_way=not (there and back)))
                lead |= set(pair)
    loose += [Loose(at.end, _why(at, own)) for at in placed if at.end not in lead]
    return joins, loose


def _addresses(node: Node) -> set[Address]:
    texts = [*node.addresses]
    for endpoint in node.endpoints.values():
        texts += endpoint.addresses if endpoint.namespace is None else ()
    return {ip_interface(text).ip for text in texts}


def _local(tunnel: Tunnel, own: frozenset[Address]) -> frozenset[Address]:
    return frozenset([tunnel.local]) if isinstance(tunnel.local, Address) else own


def _reaches(one: _TunnelAt, other: _TunnelAt) -> bool:
    """Whether ``other`` can take out of a tunnel what ``one`` sends."""
    a, b = one.tunnel, other.tunnel
    return (
        (a.kind, a.dst_port) == (b.kind, b.dst_port)
        and (isinstance(a.remote, Varying) or a.remote in other.local)
        and (isinstance(b.remote, Varying) or b.remote in one.local)
        and (
            isinstance(a.out_key, Varying)
            or isinstance(b.in_key, Varying)
            or (a.out_key or 0) == (b.in_key or 0)
        )
    )


def _why(at: _TunnelAt, own: Mapping[str, set[Address]]) -> str:
    remote = at.tunnel.remote
    if isinstance(remote, Varying):
        return f"no other node has a {at.tunnel.kind} port that takes its packets"
    owner = next((node for node, addresses in own.items() if remote in addresses), None)
    if owner is None:
        return f"no node here has {remote}"
    return f"{owner}, which has {remote}, has no {at.tunnel.kind} port that takes its packets"
