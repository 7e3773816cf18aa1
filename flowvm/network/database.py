"""Bridges, ports and interfaces as rows of the database have them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from flowvm.network.model import Bridge, Interface, Port
from flowvm.network.ovsdb import Tables
from flowvm.port_settings import PortSettings, VlanMode
from flowvm.text.rows import Row, atom, atoms, mapping, number, numbers

_QINQ_ETHTYPES: Mapping[str, int] = {"802.1q": 0x8100}
_QINQ_DEFAULT = 0x88A8
_PRIORITY_TAGS: Mapping[str, str] = {
    "if-nonzero": "if-nonzero",
    "true": "if-nonzero",
    "always": "always",
}
_NOT_EXECUTED: Mapping[str, str] = {
    "stp_enable": "spanning tree (stp_enable)",
    "rstp_enable": "spanning tree (rstp_enable)",
    "mcast_snooping_enable": "IGMP snooping (mcast_snooping_enable)",
}


@dataclass
class Database:
    """What several sources say of rows: by table, in lower case, and by name.

    The same row of two sources is one: the later says what the columns that it has are.
    """

    rows: dict[str, dict[str, Row]] = field(default_factory=dict)
    _names: dict[str, str] = field(default_factory=dict)
    _whole: set[str] = field(default_factory=set)

    def add(self, table: str, rows: Iterable[Row]) -> None:
        """Enter rows; those without a name cannot be told apart and count for nothing."""
        known = self.rows.setdefault(table.lower(), {})
        for row in rows:
            name = atom(row, "name")
            if name is None:
                continue
            known[name] = {**known.get(name, {}), **row}
            uuid = atom(row, "_uuid")
            if uuid is not None:
                self._names[uuid] = name

    def add_all(self, tables: Tables) -> None:
        """Enter the rows of ``conf.db``, where a column that is not there has its default."""
        for table, rows in tables.items():
            self._whole.add(table.lower())
            self.add(table, ({"_uuid": uuid, **row} for uuid, row in rows.items()))

    def bridges(self) -> tuple[Bridge, ...] | None:
        """The bridges, if the rows tell which ports they have, and which interfaces those."""
        bridges, ports = self.rows.get("bridge", {}), self.rows.get("port", {})
        if not bridges or "interface" not in self.rows:
            return None
        found = []
        for name, row in bridges.items():
            members = self._referred(row, "ports")
            if members is None:
                return None
            made = []
            for port in members:
                interfaces = self._referred(ports.get(port, {}), "interfaces")
                if interfaces is None:
                    return None
                made.append(Port(PortSettings(port, ()), tuple(map(Interface, interfaces))))
            found.append(Bridge(name, tuple(made)))
        return tuple(self.completed(bridge) for bridge in found)

    def _referred(self, row: Row, column: str) -> list[str] | None:
        """The names of the rows that ``row`` refers to; ``None`` if not all are known."""
        uuids = atoms(row, column)
        names = [self._names[uuid] for uuid in uuids if uuid in self._names]
        return names if column in row and len(names) == len(uuids) else None

    def completed(self, bridge: Bridge) -> Bridge:
        """``bridge`` with what rows say of it, its ports and interfaces."""
        ports = tuple(self._port(port) for port in bridge.ports)
        row = self.rows.get("bridge", {}).get(bridge.name, {})
        datapath_id = atom(row, "datapath_id")
        config = mapping(row, "other_config") if "other_config" in row else bridge.other_config
        unsupported = (
            told for column, told in _NOT_EXECUTED.items() if atom(row, column) == "true"
        )
        return replace(
            bridge,
            ports=ports,
            fail_mode=atom(row, "fail_mode") if "fail_mode" in row else bridge.fail_mode,
            datapath_id=bridge.datapath_id if datapath_id is None else int(datapath_id, 16),
            other_config=config,
            flood_vlans=numbers(row, "flood_vlans"),
            unsupported=next(unsupported, None),
        )

    def _port(self, port: Port) -> Port:
        row = self.rows.get("port", {}).get(port.name, {})
        settings, config = port.settings, mapping(row, "other_config")
        tag: int | None = settings.tag if settings.vlan_mode is VlanMode.ACCESS else None
        if "tag" in row:
            tag = number(row, "tag")
        interfaces = tuple(self._interface(interface) for interface in port.interfaces)
        return Port(
            PortSettings(
                port.name,
                tuple(i.ofport for i in interfaces if i.ofport is not None),
                PortSettings.mode_of(atom(row, "vlan_mode"), tag),
                tag or 0,
                numbers(row, "trunks") if "trunks" in row else settings.trunks,
                numbers(row, "cvlans"),
                _QINQ_ETHTYPES.get(config.get("qinq-ethtype", ""), _QINQ_DEFAULT),
                _PRIORITY_TAGS.get(config.get("priority-tags", ""), "no"),
                atom(row, "protected") == "true",
            ),
            interfaces,
        )

    def _interface(self, interface: Interface) -> Interface:
        row = self.rows.get("interface", {}).get(interface.name, {})
        ofport, mac = number(row, "ofport"), atom(row, "mac_in_use")
        return Interface(
            interface.name,
            (atom(row, "type") or "") if "type" in row else interface.type,
            interface.ofport if ofport is None or ofport < 0 else ofport,
            mapping(row, "options") if "options" in row else interface.options,
            interface.mac if mac is None else int(mac.replace(":", ""), 16),
            mapping(row, "external_ids"),
        )

    def tells(self, table: str, names: Iterable[str], column: str) -> bool:
        """Whether rows tell that column for all of ``names``."""
        rows = self.rows.get(table, {})
        if table in self._whole:
            return all(name in rows for name in names)
        return all(column in rows.get(name, {}) for name in names)
