"""Bridges and their ports: the text of ``ovs-vsctl show``.

It tells of a port its ``tag`` and ``trunks``, but nothing of its ``vlan_mode``: a port with a tag
is read as an access port, as Open vSwitch itself takes it where no mode is set.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from flowvm.network.model import Bridge, Interface, Port
from flowvm.port_settings import PortSettings
from flowvm.text.datum import parse_map, parse_name, parse_set
from flowvm.text.errors import FlowSyntaxError, WordError, nothing_described
from flowvm.text.values import parse_number

_ROW = re.compile(r"\s*(?P<table>Bridge|Port|Interface|Controller|Manager)\s+(?P<value>\S.*)")
_COLUMN = re.compile(r"\s*(?P<name>[a-z_]+):\s*(?P<value>\S.*)")


@dataclass
class _Row:
    """A row as far as it has been read: its name, its columns, and the rows within it."""

    name: str
    columns: dict[str, str] = field(default_factory=dict)
    rows: list[_Row] = field(default_factory=list)


def parse_vsctl_show(text: str, *, file: str | None = None) -> tuple[Bridge, ...]:
    """The bridges that ``ovs-vsctl show`` printed, in its order, with their ports.

    The OpenFlow numbers of interfaces, which it does not tell, are ``None``, and no settings of a
    port have any; :meth:`~flowvm.network.model.Bridge.numbered` enters them. ``file`` is the name
    that errors give.

    Raises FlowSyntaxError for a value that cannot be read, and if no bridge is described.
    """
    bridges: list[_Row] = []
    latest: dict[str, _Row] = {}
    for number, line in enumerate(text.splitlines(), 1):
        try:
            _read(line, bridges, latest)
        except WordError as error:
            raise _located(error, line, number, file) from None
    if not bridges:
        raise nothing_described(
            "bridge",
            text,
            expected='the output of "ovs-vsctl show", with lines such as "Bridge br-int"',
            file=file,
        )
    return tuple(_bridge(row) for row in bridges)


def _read(line: str, bridges: list[_Row], latest: dict[str, _Row]) -> None:
    """Enter what ``line`` says; ``latest`` has the row of each table that columns may belong to."""
    row = _ROW.match(line)
    if row is None:
        column = _COLUMN.match(line)
        if column is not None and latest:
            _check(column["name"], column["value"])
            latest["any"].columns[column["name"]] = column["value"]
        return
    made = _Row(parse_name(row["value"]))
    match row["table"]:
        case "Bridge":
            bridges.append(made)
        case "Port" if "Bridge" in latest:
            latest["Bridge"].rows.append(made)
        case "Interface" if "Port" in latest:
            latest["Port"].rows.append(made)
        case "Port" | "Interface":
            raise WordError(row["table"], f"a {row['table']} comes before what it belongs to")
    latest[row["table"]] = latest["any"] = made


def _check(name: str, value: str) -> None:
    """Read the columns that matter, so that an error is told of their line."""
    match name:
        case "tag":
            parse_number(value, 12, "a VLAN ID from 0 to 4095")
        case "trunks":
            _vlans(value)
        case "options":
            parse_map(value)
        case "type" | "fail_mode":
            parse_name(value)


def _vlans(value: str) -> frozenset[int]:
    return frozenset(parse_number(v, 12, "a VLAN ID from 0 to 4095") for v in parse_set(value))


def _bridge(row: _Row) -> Bridge:
    fail_mode = row.columns.get("fail_mode")
    return Bridge(
        row.name,
        tuple(_port(port) for port in row.rows),
        fail_mode=None if fail_mode is None else parse_name(fail_mode),
    )


def _port(row: _Row) -> Port:
    tag = row.columns.get("tag")
    vlan = None if tag is None else parse_number(tag, 12)
    settings = PortSettings(
        row.name,
        (),
        PortSettings.mode_of(None, vlan),
        vlan or 0,
        _vlans(row.columns["trunks"]) if "trunks" in row.columns else frozenset(),
    )
    return Port(settings, tuple(_interface(interface) for interface in row.rows))


def _interface(row: _Row) -> Interface:
    kind = row.columns.get("type", "")
    return Interface(
        row.name,
        parse_name(kind) if kind else "",
        options=parse_map(row.columns["options"]) if "options" in row.columns else {},
    )


def _located(error: WordError, line: str, number: int, file: str | None) -> FlowSyntaxError:
    at = line.rfind(error.word) if error.word else -1
    return FlowSyntaxError(
        error.problem,
        text=line,
        column=1 + (at if at >= 0 else len(line) - len(line.lstrip())),
        expected=error.expected,
        line=number,
        file=file,
    )
