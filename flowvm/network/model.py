"""What a network is made of, as read from what operators gather: nodes, bridges, ports.

Nothing here runs: :mod:`flowvm.network` turns it into switches. What was not there to be read is
kept as :class:`Missing`, and what follows from that is said where it matters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from flowvm.pipeline.program import Program
from flowvm.port_settings import BridgeSettings, MacEntry, PortSettings
from flowvm.text.errors import FlowSyntaxError

__all__ = ["Bridge", "Endpoint", "Interface", "MacEntry", "Missing", "Node", "Port"]


def _no_text() -> Mapping[str, str]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Interface:
    """An interface of a port: ``type`` is "" for a device of the system, "patch", "gre", ...

    ``ofport`` is ``None`` where nothing told it. ``options`` are those of the database.
    """

    name: str
    type: str = ""
    ofport: int | None = None
    options: Mapping[str, str] = field(default_factory=_no_text)
    mac: int | None = None
    external_ids: Mapping[str, str] = field(default_factory=_no_text)


@dataclass(frozen=True, slots=True)
class Port:
    """A port of a bridge: its settings, and its interfaces (more than one: a bond)."""

    settings: PortSettings
    interfaces: tuple[Interface, ...]

    @property
    def name(self) -> str:
        return self.settings.name

    def numbered(self, ports: Mapping[str, int]) -> Port:
        """This port, with the OpenFlow numbers that ``ports`` has for its interfaces by name."""
        interfaces = tuple(replace(i, ofport=ports.get(i.name, i.ofport)) for i in self.interfaces)
        numbers = tuple(i.ofport for i in interfaces if i.ofport is not None)
        return Port(replace(self.settings, interfaces=numbers), interfaces)


@dataclass(frozen=True)
class Bridge:
    """One bridge, with its compiled flows (``None`` where no dump of them was there).

    Where nothing told how its ports are configured (``settings_known``), their settings are made
    up, and nothing may be done by them.
    """

    name: str
    ports: tuple[Port, ...] = ()
    program: Program | None = None
    fail_mode: str | None = None
    datapath_id: int | None = None
    macs: tuple[MacEntry, ...] = ()
    other_config: Mapping[str, str] = field(default_factory=_no_text)
    flood_vlans: frozenset[int] = frozenset()
    settings_known: bool = True
    unsupported: str | None = None

    @property
    def settings(self) -> BridgeSettings:
        """What NORMAL goes by: the ports in their order, and what ``other_config`` says."""
        ports = (port.settings for port in self.ports)
        unsupported = self.unsupported if self.settings_known else "ports of unknown settings"
        return BridgeSettings.of(ports, self.other_config, self.flood_vlans, unsupported)

    def numbered(self, ports: Mapping[str, int]) -> Bridge:
        """This bridge, with the OpenFlow numbers of its interfaces as ``ports`` has them by name.

        Interfaces that ``ports`` lacks keep what they have.
        """
        return replace(self, ports=tuple(port.numbered(ports) for port in self.ports))


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What of Linux stands behind an interface: a namespace, a Linux bridge, addresses.

    ``addresses`` are as ``ip addr`` prints them, with their prefix lengths. ``devices`` are the
    other devices in the Linux bridge, such as a virtual machine's tap.
    """

    interface: str
    namespace: str | None = None
    linux_bridge: str | None = None
    addresses: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()

    def __str__(self) -> str:
        """``qdhcp-1, 10.0.0.2/24``, or ``qbr1: tap1``."""
        parts = [] if self.namespace is None else [self.namespace]
        if self.linux_bridge is not None:
            devices = ", ".join(self.devices)
            parts.append(f"{self.linux_bridge}: {devices}" if devices else self.linux_bridge)
        return ", ".join([*parts, *self.addresses])


@dataclass(frozen=True, slots=True)
class Missing:
    """Something that was not there to be read, and what follows from that.

    ``bridge`` is the bridge that it concerns, "" for the node.
    """

    what: str
    consequence: str
    bridge: str = ""

    def __str__(self) -> str:
        return f"{self.what}: {self.consequence}"


@dataclass(frozen=True)
class Node:
    """A machine: its bridges, the endpoints of Linux on it, and its own IP addresses.

    ``addresses`` are as ``ip addr`` prints them, with their prefix lengths. ``conntrack`` is the
    text of ``dpctl/dump-conntrack``, if there is any. ``errors`` is empty unless the node was read
    leniently.
    """

    name: str
    bridges: tuple[Bridge, ...] = ()
    endpoints: Mapping[str, Endpoint] = field(default_factory=lambda: MappingProxyType({}))
    addresses: tuple[str, ...] = ()
    conntrack: str | None = None
    missing: tuple[Missing, ...] = ()
    errors: tuple[FlowSyntaxError, ...] = ()
