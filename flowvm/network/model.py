"""What a network is made of, as read from what operators gather: nodes, bridges, ports.

Nothing here runs: :mod:`flowvm.network` turns it into switches. What was not there to be read is
kept as :class:`Missing`, and what follows from that is said where it matters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from flowvm.pipeline.program import Program
from flowvm.port_settings import PortSettings

_NO_TEXT: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Interface:
    """An interface of a port: ``type`` is "" for a device of the system, "patch", "gre", ...

    ``ofport`` is ``None`` where nothing told it. ``options`` are those of the database.
    """

    name: str
    type: str = ""
    ofport: int | None = None
    options: Mapping[str, str] = _NO_TEXT
    mac: int | None = None
    external_ids: Mapping[str, str] = _NO_TEXT


@dataclass(frozen=True, slots=True)
class Port:
    """A port of a bridge: its settings, and its interfaces (more than one: a bond)."""

    settings: PortSettings
    interfaces: tuple[Interface, ...]

    @property
    def name(self) -> str:
        return self.settings.name


@dataclass(frozen=True, slots=True)
class MacEntry:
    """A row of ``fdb/show``; ``age`` in seconds. ``port`` is an OpenFlow number."""

    port: int
    vlan: int
    mac: int
    age: int


@dataclass(frozen=True)
class Bridge:
    """One bridge, with its compiled flows (``None`` where no dump of them was there)."""

    name: str
    ports: tuple[Port, ...] = ()
    program: Program | None = None
    fail_mode: str | None = None
    datapath_id: int | None = None
    macs: tuple[MacEntry, ...] = ()
    other_config: Mapping[str, str] = _NO_TEXT
    flood_vlans: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What of Linux stands behind an interface: a namespace, a Linux bridge, addresses.

    ``addresses`` are as ``ip addr`` prints them, with their prefix lengths.
    """

    interface: str
    namespace: str | None = None
    linux_bridge: str | None = None
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Missing:
    """Something that was not there to be read, and what follows from that."""

    what: str
    consequence: str

    def __str__(self) -> str:
        return f"{self.what}: {self.consequence}"


@dataclass(frozen=True)
class Node:
    """A machine: its bridges, the endpoints of Linux on it, and its own IP addresses.

    ``conntrack`` is the text of ``dpctl/dump-conntrack``, if there is any.
    """

    name: str
    bridges: tuple[Bridge, ...] = ()
    endpoints: Mapping[str, Endpoint] = field(default_factory=lambda: MappingProxyType({}))
    addresses: tuple[str, ...] = ()
    conntrack: str | None = None
    missing: tuple[Missing, ...] = ()
