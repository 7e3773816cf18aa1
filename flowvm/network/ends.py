"""The edge of a network: what a port leads to that no other bridge is behind."""

from __future__ import annotations

from flowvm.columns import VLAN_VID_MASK
from flowvm.fields import ETH_TYPE_QINQ, ETH_TYPE_VLAN
from flowvm.flow import ReservedPort
from flowvm.network.journey import Fate
from flowvm.network.model import Endpoint, Interface
from flowvm.network.wiring import Place, Wiring
from flowvm.port_settings import VlanMode

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
    if not wiring.bridges[place.spot].settings_known:
        return Fate.OUTSIDE, f"{name} (what it leads to ovs-vsctl show would tell)"
    if endpoint is None and not _has_guest(interface):
        return Fate.OUTSIDE, name
    what = "" if endpoint is None else _behind(endpoint)
    return Fate.DELIVERED, f"{name} ({what})" if what else name


def tag_at_edge(wiring: Wiring, place: Place, left: bytes, came: bytes) -> int | None:
    """The VLAN on the bridge of a frame that ``left`` by ``place``; it ``came`` as that.

    An access port takes the tag off, and so may a flow: then it is the one that it came with.
    """
    port = wiring.port(place)
    if port is not None and port.settings.vlan_mode is VlanMode.ACCESS:
        return port.settings.tag
    return outer_tag(left) or outer_tag(came)


def outer_tag(frame: bytes) -> int | None:
    """The VLAN ID of the outermost tag of a frame, if it has one."""
    if int.from_bytes(frame[12:14], "big") not in (ETH_TYPE_VLAN, ETH_TYPE_QINQ):
        return None
    return int.from_bytes(frame[14:16], "big") & VLAN_VID_MASK


def _has_guest(interface: Interface) -> bool:
    return (
        interface.type in _GUEST_TYPES
        or interface.name.startswith(_GUESTS)
        or any(name in interface.external_ids for name in _GUEST_IDS)
    )


def _behind(endpoint: Endpoint) -> str:
    return endpoint.namespace or endpoint.linux_bridge or ", ".join(endpoint.addresses)
