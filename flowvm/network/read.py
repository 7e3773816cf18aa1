"""Reading a node: from the files that an operator gathered to bridges, ports and flows.

Where several files tell the same, the one that tells most is taken: of dumps that of the highest
OpenFlow version, for an OpenFlow 1.0 dump loses some masks. What is not there becomes
:class:`~flowvm.network.model.Missing`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from importlib.resources.abc import Traversable
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from flowvm.bulk.read import read_bulk
from flowvm.conntrack.text import parse_connections
from flowvm.names import Ports
from flowvm.network.commands import Kind, recognise, same_name
from flowvm.network.database import Database
from flowvm.network.endpoints import Linux
from flowvm.network.files import read_files
from flowvm.network.model import Bridge, Interface, Missing, Node, Port
from flowvm.network.ovsdb import read_database
from flowvm.network.sources import Sources, parsed
from flowvm.pipeline.compile_groups import with_groups
from flowvm.pipeline.program import Program
from flowvm.port_settings import PortSettings
from flowvm.text.dpif_show import parse_dpif_show
from flowvm.text.dump import parse_dump
from flowvm.text.errors import FlowSyntaxError
from flowvm.text.fdb import parse_fdb
from flowvm.text.ip_addr import parse_brctl, parse_ip_addr, parse_netns
from flowvm.text.meters import parse_meters
from flowvm.text.show import parse_show
from flowvm.text.tlv_map import parse_tlv_map
from flowvm.text.vsctl_list import parse_vsctl_list
from flowvm.text.vsctl_show import parse_vsctl_show

_T = TypeVar("_T")
_SYSTEM = re.compile(r"^\s*([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\s*$", re.MULTILINE)
_WORDS = frozenset({b"NORMAL", b"group:", b"meter:", b"ct(", b"tun_metadata"})
_OF_BRIDGES = (Kind.SHOW, Kind.PORTS_DESC, Kind.FLOWS, Kind.GROUPS, Kind.METERS, Kind.FDB)


class NodeError(ValueError):
    """A source that is no node; ``str()`` is the whole message."""


def read_node(
    source: Path | Traversable, name: str | None = None, *, lenient: bool = False
) -> Node:
    """The node that the files in ``source`` describe.

    ``source`` is a directory or an archive (tar, compressed or not, or zip): an sosreport, what
    ``flowvm collect`` made, or files whose names are the commands that printed them
    (:mod:`flowvm.network.commands`). ``name`` is what the node is called, by default as the source.

    A line that cannot be read raises FlowSyntaxError; if ``lenient``, it is left out, and told in
    ``Node.errors``. Raises NodeError if there is nothing that flowvm reads, or if it is of more
    than one node, and OSError.
    """
    files = read_files(source, lambda path: recognise(path) is not None)
    if not files:
        raise NodeError(
            f"{source}: no file here is named after the command that printed it, such as"
            ' "ovs-vsctl show" or "ovs-ofctl dump-flows br-int"'
        )
    sources = Sources(files)
    _check_one_node(sources)
    return _Reader(sources, lenient).node(name or _stem(source.name))


def _check_one_node(sources: Sources) -> None:
    """Raise NodeError if several nodes were gathered here: their files would be mixed up."""
    systems: dict[str, str] = {}
    for source in sources.all(Kind.VSCTL_SHOW):
        found = _SYSTEM.search(source.text())
        if found is not None:
            systems.setdefault(found[1], source.label)
    if len(systems) > 1:
        files = ", ".join(systems.values())
        raise NodeError(f"these are files of several nodes, each of which is to be given: {files}")


def _stem(name: str) -> str:
    return re.sub(r"\Aflowvm-(?=.)|\.(?:zip|tar|t[gx]z|tar\.\w+)\Z", "", name) or name


class _Reader:
    """What the files of one node say, what they lack, and which lines cannot be read."""

    def __init__(self, sources: Sources, lenient: bool) -> None:
        self._sources = sources
        self._lenient = lenient
        self._missing: list[Missing] = []
        self._errors: list[FlowSyntaxError] = []
        self._tracks = False

    def node(self, name: str) -> Node:
        bridges = tuple(map(self._completed, self._bridges()))
        linux = self._linux()
        interfaces = (i.name for b in bridges for port in b.ports for i in port.interfaces)
        return Node(
            name,
            bridges,
            MappingProxyType(linux.endpoints(interfaces)),
            linux.addresses,
            conntrack=self._conntrack(),
            missing=tuple(self._missing),
            errors=tuple(self._errors),
        )

    def _bridges(self) -> tuple[Bridge, ...]:
        """The bridges as they are configured, without numbers and flows."""
        database = self._database()
        bridges = database.bridges()
        if bridges is None:
            shown = self._read(Kind.VSCTL_SHOW, "", parse_vsctl_show)
            bridges = None if shown is None else tuple(map(database.completed, shown))
        if bridges is None:
            self._lack(
                Kind.VSCTL_SHOW,
                "",
                "tags, patch ports and tunnels are not known: NORMAL is unsupported, and what"
                " leaves a port leaves the node",
            )
            named = self._sources.subjects(_OF_BRIDGES)
            return tuple(Bridge(name, settings_known=False) for name in named if name)
        ports = [port.name for bridge in bridges for port in bridge.ports]
        if not all(database.tells("port", ports, c) for c in ("vlan_mode", "protected")):
            self._lack(
                Kind.LIST,
                "Port",
                "a port with a tag is taken for an access port, one without for a trunk, and none"
                " for protected",
            )
        if not database.tells("bridge", [bridge.name for bridge in bridges], "other_config"):
            self._lack(
                Kind.LIST,
                "Bridge",
                "MAC addresses are taken to age as by default, and spanning trees, multicast"
                " snooping and flood_vlans to be off",
            )
        for name in database.rows.get("mirror", {}):
            self._missing.append(Missing(f"the mirror {name}", "what it copies is not shown"))
        return bridges

    def _database(self) -> Database:
        """What is known of the rows of the database, be it from ``conf.db`` or from tables."""
        database = Database()
        source, _ = self._sources.find(Kind.DATABASE)
        if source is not None:
            errors = self._kept_errors()
            database.add_all(read_database(source.data(), file=source.label, errors=errors))
        for table in self._sources.subjects([Kind.LIST]):
            rows = self._read(Kind.LIST, table, parse_vsctl_list)
            database.add(table, rows or ())
        return database

    def _completed(self, bridge: Bridge) -> Bridge:
        """The bridge with the numbers of its ports, its flows, and what it has learned."""
        name = bridge.name
        ports = self._read(Kind.SHOW, name, parse_show)
        if ports is None:
            ports = self._read(Kind.PORTS_DESC, name, parse_show)
        if ports is None:
            self._lack(
                Kind.SHOW,
                name,
                "FLOOD and ALL are unsupported, and every port is taken to be up",
                name,
            )
            bridge = self._numbered(bridge)
        elif not bridge.settings_known:
            bridge = replace(bridge, ports=tuple(_unconfigured(ports)))
        bridge = bridge.numbered(ports or {})
        if ports is not None:
            bridge = replace(_with_macs(bridge, ports), datapath_id=ports.datapath_id)
        used = _Uses()
        program = self._program(bridge, ports, used)
        if program is not None:
            # A dump that gives ports by name, without their numbers, has numbers of its own.
            bridge = replace(bridge.numbered(program.names.ports), program=program)
        numbers = dict(ports or {}) | _numbers(bridge)
        macs = self._read(Kind.FDB, name, partial(parse_fdb, ports=numbers))
        if macs is None and b"NORMAL" in used.words:
            self._lack(
                Kind.FDB,
                name,
                "NORMAL begins with no MAC address known, and floods",
                name,
            )
        return replace(bridge, macs=macs or ())

    def _numbered(self, bridge: Bridge) -> Bridge:
        """The bridge with the numbers of ``dpif/show`` for ports that have none."""
        shown = (self._read(Kind.DPIF_SHOW, "", parse_dpif_show) or {}).get(bridge.name, {})
        if not bridge.settings_known:
            return replace(bridge, ports=tuple(_unconfigured(shown)))
        return bridge.numbered({**shown, **_numbers(bridge)})

    def _program(
        self, bridge: Bridge, ports: Mapping[str, int] | None, used: _Uses
    ) -> Program | None:
        name = bridge.name
        source, _ = self._sources.find(Kind.FLOWS, name)
        if source is None:
            self._lack(Kind.FLOWS, name, "packets that come there stop as unsupported", name)
            return None
        told = _numbers(bridge) if ports is None else ports
        tlv_map = self._read(Kind.TLV_MAP, name, parse_tlv_map)
        dump = read_bulk(
            used.seen_in(source.blocks()),
            told or None,
            file=source.label,
            lenient=self._lenient,
            tlv_map=tlv_map,
        )
        if tlv_map is None and b"tun_metadata" in used.words:
            self._lack(
                Kind.TLV_MAP,
                name,
                "tun_metadata fields are taken to be as long as flows use them",
                name,
            )
        self._errors += dump.errors
        self._tracks = self._tracks or b"ct(" in used.words
        program = dump.program
        if ports is None:
            program = replace(program, names=replace(program.names, known_ports=False))
        return self._with_meters(self._with_groups(program, name, used), name, used)

    def _with_groups(self, program: Program, bridge: str, used: _Uses) -> Program:
        groups = self._read(Kind.GROUPS, bridge, parse_dump)
        if groups is None:
            if b"group:" in used.words and program.groups is None:
                self._lack(
                    Kind.GROUPS,
                    bridge,
                    "packets that come to a group stop as unsupported",
                    bridge,
                )
            return program
        stats = self._read(Kind.GROUP_STATS, bridge, parse_dump)
        counted = groups.group_stats if stats is None else stats.group_stats
        try:
            return with_groups(program, groups.groups, counted)
        except KeyError as error:
            raise NodeError(
                f"the groups of {bridge} name the table {error}, which no flow names"
            ) from None

    def _with_meters(self, program: Program, bridge: str, used: _Uses) -> Program:
        meters = self._read(Kind.METERS, bridge, parse_meters)
        if meters is not None:
            return replace(program, meters=meters)
        if b"meter:" in used.words:
            self._lack(
                Kind.METERS,
                bridge,
                "packets that come to a meter stop as unsupported",
                bridge,
            )
        return program

    def _linux(self) -> Linux:
        """The devices of the node, its namespaces, and what is in them."""
        devices = self._read(Kind.ADDRESSES, "", parse_ip_addr)
        if devices is None:
            self._lack(
                Kind.ADDRESSES,
                "",
                "the node's own addresses are not known but from local_ip of its tunnels",
            )
        names = self._read(Kind.NAMESPACES, "", parse_netns) or ()
        namespaces = {}
        for told in self._sources.subjects([Kind.ADDRESSES]):
            if told:
                name = next((name for name in names if same_name(told, name)), told)
                namespaces[name] = self._read(Kind.ADDRESSES, told, parse_ip_addr) or {}
        for name in names:
            if name not in namespaces:
                self._lack(Kind.ADDRESSES, name, f"what is in the namespace {name} is not named")
        masters = dict(self._read(Kind.BRCTL, "", parse_brctl) or {})
        linked = self._read(Kind.BRIDGE_LINK, "", parse_ip_addr) or {}
        masters |= {d.name: d.master for d in linked.values() if d.master is not None}
        return Linux(devices or {}, namespaces, masters)

    def _conntrack(self) -> str | None:
        """The connections of all datapaths, as far as their text can be read."""
        datapaths = self._sources.subjects([Kind.CONNTRACK])
        if "" in datapaths:
            # A command that names no datapath tells of the only one there is.
            datapaths = [""]
        texts = [self._read(Kind.CONNTRACK, datapath, _checked) for datapath in datapaths]
        told = [text for text in texts if text is not None]
        if not told and self._tracks:
            self._lack(Kind.CONNTRACK, "", "no connection is known at the beginning")
        return "".join(told) if told else None

    # -- reading --------------------------------------------------------------------------------

    def _read(self, kind: Kind, subject: str, parse: Callable[..., _T]) -> _T | None:
        """What ``parse`` makes of a file, which it is told the name of; ``None`` without one."""
        source, _ = self._sources.find(kind, subject)
        if source is None:
            return None
        return parsed(
            lambda text: parse(text, file=source.label), source.text(), self._kept_errors()
        )

    def _kept_errors(self) -> list[FlowSyntaxError] | None:
        return self._errors if self._lenient else None

    def _lack(self, kind: Kind, subject: str, consequence: str, bridge: str = "") -> None:
        what = f"{kind} {subject}".strip()
        if kind is Kind.ADDRESSES and subject:
            what = f"ip netns exec {subject} {kind}"
        why = self._sources.find(kind, subject)[1] or "lacks some of the rows"
        self._missing.append(Missing(f"{what} {why}", consequence, bridge))


class _Uses:
    """What flows make use of that other files describe."""

    def __init__(self) -> None:
        self.words: set[bytes] = set()

    def seen_in(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """The same blocks, looked at as they come by."""
        for block in blocks:
            self.words |= {word for word in _WORDS - self.words if word in block}
            yield block


def _checked(text: str, *, file: str) -> str:
    parse_connections(text, file=file)
    return text


def _numbers(bridge: Bridge) -> dict[str, int]:
    """The OpenFlow numbers of interfaces, by name, as far as they are known."""
    interfaces = (interface for port in bridge.ports for interface in port.interfaces)
    return {found.name: found.ofport for found in interfaces if found.ofport is not None}


def _with_macs(bridge: Bridge, told: Ports) -> Bridge:
    """The bridge with the Ethernet addresses of its interfaces."""
    ports = tuple(
        replace(
            port,
            interfaces=tuple(
                replace(i, mac=told.macs.get(told.get(i.name, -1), i.mac)) for i in port.interfaces
            ),
        )
        for port in bridge.ports
    )
    return replace(bridge, ports=ports)


def _unconfigured(ports: Mapping[str, int]) -> Iterator[Port]:
    """Ports of which no more is known than names and numbers."""
    for name, number in ports.items():
        yield Port(PortSettings(name, (number,)), (Interface(name, ofport=number),))
