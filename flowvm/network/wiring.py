"""Wiring: what is at the other end of each port of a network.

Patch ports lead to their peers, devices of the system to what a link joins them to, tunnels to the
node that has the address they are sent to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_interface
from typing import NamedTuple

from flowvm.flow import ReservedPort
from flowvm.network.model import Bridge, Endpoint, Interface, Node, Port
from flowvm.network.tunnels import (
    OTHER_TUNNEL_TYPES,
    TUNNEL_TYPES,
    Address,
    Outer,
    Tunnel,
    receiver,
)
from flowvm.text.errors import suggestion

PATCH = "patch"


class NetworkError(ValueError):
    """A network that cannot be: unknown nodes and interfaces, options that make no sense."""


class Spot(NamedTuple):
    """A bridge of a node."""

    node: str
    bridge: str


class Place(NamedTuple):
    """A port of a bridge, by its OpenFlow number."""

    node: str
    bridge: str
    port: int

    @property
    def spot(self) -> Spot:
        return Spot(self.node, self.bridge)


@dataclass(frozen=True, slots=True)
class Link:
    """Devices on one wire, as (node, interface). What one sends all others get."""

    ends: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, text: str) -> Link:
        """The link that ``compute:eth1,network:eth1`` describes. Raises NetworkError."""
        ends = tuple(_split(end) for end in text.split(","))
        if len(ends) < 2:
            raise NetworkError(f'"{text}" is not a link: NODE:INTERFACE,NODE:INTERFACE')
        return cls(ends)


class _Tunnels(NamedTuple):
    """The tunnel ports of a node, and where they are."""

    places: list[Place]
    tunnels: list[Tunnel]


class Wiring:
    """The ports of ``nodes``, and where they lead. Raises NetworkError for links that cannot be."""

    def __init__(self, nodes: Sequence[Node], links: Iterable[Link] = ()) -> None:
        self.nodes: Mapping[str, Node] = {node.name: node for node in nodes}
        if len(self.nodes) < len(nodes):
            raise NetworkError("two nodes of one name")
        self.bridges: dict[Spot, Bridge] = {}
        self._interfaces: dict[Place, Interface] = {}
        self._ports: dict[Place, Port] = {}
        self._places: dict[tuple[str, str], Place | None] = {}
        self._tunnels: dict[str, _Tunnels] = {}
        self._tunnel_at: dict[Place, Tunnel] = {}
        self._wires: dict[Place, list[Place]] = {}
        for node in nodes:
            self._add(node)
        self._owners = {
            address: node.name for node in nodes for address in self._addresses_of(node)
        }
        for link in links:
            places = [self.place(f"{node}:{interface}") for node, interface in link.ends]
            for place in places:
                self._wires.setdefault(place, []).extend(p for p in places if p != place)

    def _add(self, node: Node) -> None:
        found = self._tunnels[node.name] = _Tunnels([], [])
        for bridge in node.bridges:
            self.bridges[Spot(node.name, bridge.name)] = bridge
            local = Place(node.name, bridge.name, ReservedPort.LOCAL)
            self._places[node.name, bridge.name] = local
            self._interfaces[local] = Interface(bridge.name, "internal", ReservedPort.LOCAL)
            for port, interface in _interfaces(bridge):
                if interface.ofport is None:
                    self._places.setdefault((node.name, interface.name), None)
                    continue
                place = Place(node.name, bridge.name, interface.ofport)
                self._places[node.name, interface.name] = place
                self._interfaces[place], self._ports[place] = interface, port
                if interface.type in TUNNEL_TYPES:
                    try:
                        tunnel = Tunnel.of(interface)
                    except ValueError as error:
                        raise NetworkError(f"{node.name}: {error}") from None
                    self._tunnel_at[place] = tunnel
                    found.places.append(place)
                    found.tunnels.append(tunnel)

    def _addresses_of(self, node: Node) -> Iterator[Address]:
        """The IP addresses of a node, those first that tunnels leave by."""
        for tunnel in self._tunnels[node.name].tunnels:
            if isinstance(tunnel.local, Address):
                yield tunnel.local
        for text in node.addresses:
            yield ip_interface(text).ip
        for endpoint in node.endpoints.values():
            if endpoint.namespace is None:
                for text in endpoint.addresses:
                    yield ip_interface(text).ip

    # -- names ----------------------------------------------------------------------------------

    def place(self, text: str) -> Place:
        """The port that ``compute:eth1`` names. Raises NetworkError, which says what there is."""
        node, interface = _split(text)
        if node not in self.nodes:
            raise NetworkError(f'there is no node "{node}"{suggestion(node, self.nodes)}')
        if (node, interface) not in self._places:
            known = [name for owner, name in self._places if owner == node]
            hint = suggestion(interface, known)
            raise NetworkError(f'there is no interface "{interface}" on a bridge of {node}{hint}')
        place = self._places[node, interface]
        if place is None:
            raise NetworkError(
                f"the OpenFlow number of {node}:{interface} is not known: ovs-ofctl show tells it"
            )
        return place

    def interface(self, place: Place) -> Interface | None:
        """The interface of a port, if it is known."""
        return self._interfaces.get(place)

    def port(self, place: Place) -> Port | None:
        """The port in the database that an OpenFlow port is an interface of, if it is known."""
        return self._ports.get(place)

    def name(self, place: Place) -> str | None:
        """The name of the interface, if it is known."""
        interface = self._interfaces.get(place)
        return None if interface is None else interface.name

    def endpoint(self, place: Place) -> Endpoint | None:
        """What of Linux stands behind a port, if that is known."""
        interface = self._interfaces.get(place)
        if interface is None:
            return None
        return self.nodes[place.node].endpoints.get(interface.name)

    # -- ways -----------------------------------------------------------------------------------

    def is_patch(self, place: Place) -> bool:
        """Whether it is a patch port."""
        interface = self._interfaces.get(place)
        return interface is not None and interface.type == PATCH

    def peer(self, place: Place) -> Place | str:
        """The peer of a patch port, or why there is none: both have to name each other."""
        interface = self._interfaces[place]
        name = interface.options.get("peer")
        if name is None:
            return f"patch port {interface.name} has no peer"
        peer = self._places.get((place.node, name))
        other = None if peer is None else self._interfaces[peer]
        if peer is None or other is None or other.type != PATCH:
            return f"{interface.name}'s peer {name} is no patch port of {place.node}"
        if other.options.get("peer") != interface.name:
            back = other.options.get("peer", "nothing")
            return f"{interface.name}'s peer {name} has {back} for a peer"
        return peer

    def wire(self, place: Place) -> Sequence[Place]:
        """The ports that a link joins a port to."""
        return self._wires.get(place, ())

    def tunnel(self, place: Place) -> Tunnel | None:
        """The tunnel that a port is, if it is one that is executed."""
        return self._tunnel_at.get(place)

    def other_tunnel(self, place: Place) -> str | None:
        """The type of a tunnel port that is not executed; ``None`` for other ports."""
        interface = self._interfaces.get(place)
        if interface is not None and interface.type in OTHER_TUNNEL_TYPES:
            return interface.type
        return None

    def owner(self, address: Address) -> str | None:
        """The node that has an IP address."""
        return self._owners.get(address)

    def local_address(self, node: str, towards: Address) -> Address | None:
        """The address that a node sends from where a tunnel leaves that to routing.

        One on the network of the other address, or else the first of its kind there is.
        """
        for text in self.nodes[node].addresses:
            interface = ip_interface(text)
            if "/" in text and towards in interface.network:
                return interface.ip
        for address in self._addresses_of(self.nodes[node]):
            if address.version == towards.version:
                return address
        return None

    def receiver(self, node: str, outer: Outer) -> Place | None:
        """The port of a node that takes a packet out of a tunnel, if one does."""
        places, tunnels = self._tunnels[node]
        number = receiver(tunnels, outer)
        return None if number is None else places[number]

    def mac(self, node: str, address: Address) -> int | None:
        """The Ethernet address of the interface with that IP address, where it is known."""
        for endpoint in self.nodes[node].endpoints.values():
            if any(ip_interface(text).ip == address for text in endpoint.addresses):
                place = self._places.get((node, endpoint.interface))
                return None if place is None else self._interfaces[place].mac
        return None


def _interfaces(bridge: Bridge) -> Iterator[tuple[Port, Interface]]:
    for port in bridge.ports:
        for interface in port.interfaces:
            yield port, interface


def _split(text: str) -> tuple[str, str]:
    node, colon, interface = text.strip().partition(":")
    if not (node and colon and interface):
        raise NetworkError(f'"{text}" is not NODE:INTERFACE')
    return node, interface
