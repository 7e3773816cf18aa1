"""What of Linux stands behind the interfaces of a node's bridges.

An interface that was moved into a namespace is told by ``ip addr`` there. One end of a pair of
devices (``qvo…``) leads to the Linux bridge that the other end (``qvb…``) is in, and to what else
is in that: the tap of a virtual machine. The ends of a pair are told by ``ip addr``; without it, by
the names that OpenStack gives them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from flowvm.network.model import Endpoint
from flowvm.text.ip_addr import Device

_OUTER, _INNER = "qvo", "qvb"


@dataclass(frozen=True)
class Linux:
    """The devices of a node's own namespace, those of the others, and the bridge each is in."""

    devices: Mapping[str, Device] = field(default_factory=dict)
    namespaces: Mapping[str, Mapping[str, Device]] = field(default_factory=dict)
    masters: Mapping[str, str] = field(default_factory=dict)

    @property
    def addresses(self) -> tuple[str, ...]:
        """The IP addresses of the node itself, with their prefix lengths."""
        return tuple(a for device in self.devices.values() for a in device.addresses)

    def endpoints(self, interfaces: Iterable[str]) -> dict[str, Endpoint]:
        """What stands behind ``interfaces``, as far as anything does."""
        found = {name: self._endpoint(name) for name in interfaces}
        return {name: endpoint for name, endpoint in found.items() if endpoint is not None}

    def _endpoint(self, interface: str) -> Endpoint | None:
        for namespace, devices in self.namespaces.items():
            if interface in devices:
                addresses = devices[interface].addresses
                return Endpoint(interface, namespace, addresses=addresses)
        bridge = self._master(self._peer(interface))
        device = self.devices.get(interface)
        addresses = () if device is None else device.addresses
        if bridge is not None:
            return Endpoint(interface, None, bridge, addresses, self._others(interface, bridge))
        return Endpoint(interface, addresses=addresses) if addresses else None

    def _peer(self, interface: str) -> str | None:
        device = self.devices.get(interface)
        if device is not None:
            return device.peer
        if interface.startswith(_OUTER):
            return _INNER + interface.removeprefix(_OUTER)
        return None

    def _master(self, device: str | None) -> str | None:
        if device is None:
            return None
        known = self.devices.get(device)
        if known is not None and known.master is not None:
            return known.master
        return self.masters.get(device)

    def _others(self, interface: str, bridge: str) -> tuple[str, ...]:
        """What else is in the bridge that the pair of ``interface`` leads into."""
        names = dict.fromkeys([*self.devices, *self.masters])
        inner = self._peer(interface)
        return tuple(name for name in names if name != inner and self._master(name) == bridge)
