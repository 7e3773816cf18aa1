"""Names of ports: the text of ``ovs-ofctl show`` and ``ovs-ofctl dump-ports-desc``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from flowvm.flow import ReservedPort
from flowvm.text.errors import FlowSyntaxError
from flowvm.text.values import unquote

_PORT = re.compile(r'\s*(?P<port>\d+|[A-Z_]+)\((?P<name>"(?:[^"\\]|\\.)*"|.*?)\):\s*addr:')


def parse_show(text: str, *, file: str | None = None) -> Mapping[str, int]:
    """The number of each port by its name.

    Raises FlowSyntaxError if the text describes no port at all.
    """
    ports: dict[str, int] = {}
    for line in text.splitlines():
        found = _PORT.match(line)
        if found is None:
            continue
        port, name = found["port"], found["name"]
        number = int(port) if port.isdigit() else ReservedPort.NUMBERS.get(port)
        if number is not None:
            ports[unquote(name) or name] = number
    if not ports:
        raise FlowSyntaxError(
            "no port is described here",
            text=text.split("\n", 1)[0],
            column=1,
            expected='the output of "ovs-ofctl show", with lines such as " 1(eth0): addr:..."',
            file=file,
        )
    return MappingProxyType(ports)
