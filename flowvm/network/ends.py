"""The edge of a network: what a port leads to that no other bridge is behind."""

from __future__ import annotations

from flowvm.flow import ReservedPort
from flowvm.network.journey import Fate
from flowvm.network.model import Endpoint, Interface
from flowvm.network.wiring import Place, Wiring

_GUESTS = ("tap", "qvo", "qr-", "qg-", "sg-", "ha-", "vnet", "veth", "vhu", "ovn-")
"""What names of devices begin with behind which a machine or a namespace is."""

_GUEST_TYPES = ("internal", "dpdkvhostuser", "dpdkvhostuserclient", "tap", "dummy")
_GUEST_IDS = ("iface-id", "vm-id", "vm-uuid", "attached-mac")


def arrival_at_edge(wiring: Wiring, place: Place) -> tuple[Fate, str]:
    """Whether a packet that leaves by ``place`` is delivered or goes outside, and to what."""
    interface = wiring.interface(place)
    endpoint = wiring.endpoint(place)
    if interface is None:
        return Fate.OUTSIDE, f"port {place.port} of {place.bridge} of {place.node}"
    name = f"{place.node}:{interface.name}"
    if place.port == ReservedPort.LOCAL and endpoint is None:
        return Fate.DELIVERED, f"{name} (the node itself)"
    if endpoint is None and not _has_guest(interface):
        return Fate.OUTSIDE, name
    what = "" if endpoint is None else _behind(endpoint)
    return Fate.DELIVERED, f"{name} ({what})" if what else name


def _has_guest(interface: Interface) -> bool:
    return (
        interface.type in _GUEST_TYPES
        or interface.name.startswith(_GUESTS)
        or any(name in interface.external_ids for name in _GUEST_IDS)
    )


def _behind(endpoint: Endpoint) -> str:
    return endpoint.namespace or endpoint.linux_bridge or ", ".join(endpoint.addresses)
