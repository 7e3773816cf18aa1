"""The MAC table of a bridge: the text of ``ovs-appctl fdb/show``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from flowvm.port_settings import MacEntry
from flowvm.text.errors import FlowSyntaxError, WordError
from flowvm.text.values import format_mac, format_port, parse_mac, parse_port

HEADER = " port  VLAN  MAC                Age"
_ROW = re.compile(
    r"\s*(?P<port>\S+)\s+(?P<vlan>\d{1,4})\s+(?P<mac>[0-9a-f]{2}(?::[0-9a-f]{2}){5})\s+(?P<age>\d+|static)\s*",
    re.IGNORECASE,
)
_STATIC = "static"


def format_fdb(entries: Iterable[MacEntry]) -> str:
    """What ``fdb/show`` prints of a table with ``entries``, those seen longest ago first."""
    rows = (
        f"{format_port(entry.port):>5}  {entry.vlan:4d}  {format_mac(entry.mac)}  "
        + (_STATIC if entry.age is None else f"{entry.age:3d}")
        for entry in entries
    )
    return "".join(f"{line}\n" for line in (HEADER, *rows))


def parse_fdb(
    text: str, ports: Mapping[str, int] | None = None, *, file: str | None = None
) -> tuple[MacEntry, ...]:
    """The rows that ``fdb/show`` printed, in its order; ``file`` is the name that errors give.

    ``ports`` has the numbers of ports given by name. Raises FlowSyntaxError for a line that is no
    row, and for the name of a port that is not known. Empty lines, headers and prompts pass.
    """
    entries = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.split()[:2] == ["port", "VLAN"] or line.startswith(("#", "$")):
            continue
        row = _ROW.fullmatch(line)
        if row is None:
            raise _error("this is no row of a MAC table", line, number, file)
        try:
            port = _port(row["port"], ports)
        except WordError as error:
            raise _error(error.problem, line, number, file) from None
        age = None if row["age"] == _STATIC else int(row["age"])
        entries.append(MacEntry(port, int(row["vlan"]), parse_mac(row["mac"]), age))
    return tuple(entries)


def _port(word: str, ports: Mapping[str, int] | None) -> int:
    port = parse_port(word)
    if isinstance(port, int):
        return port
    if ports is None or port not in ports:
        raise WordError(word, f'unknown port "{port}"')
    return ports[port]


def _error(problem: str, line: str, number: int, file: str | None) -> FlowSyntaxError:
    return FlowSyntaxError(
        problem,
        text=line,
        column=1 + len(line) - len(line.lstrip()),
        expected='what "ovs-appctl fdb/show" prints: port, VLAN, MAC address and age',
        line=number,
        file=file,
    )
