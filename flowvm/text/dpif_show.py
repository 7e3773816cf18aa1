"""OpenFlow numbers of ports: the text of ``ovs-appctl dpif/show``.

Semantics: ovs-vswitchd(8), "dpif/show".
"""

from __future__ import annotations

import re

from flowvm.text.errors import nothing_described

_BRIDGE = re.compile(r"\s+(?P<name>\S.*):\s*\Z")
_PORT = re.compile(r"\s+(?P<name>\S.*) (?P<ofport>\d+)/(?:\d+|none): \(")


def parse_dpif_show(text: str, *, file: str | None = None) -> dict[str, dict[str, int]]:
    """The numbers of the ports of each bridge, by name.

    Raises FlowSyntaxError if there is text, but no bridge in it.
    """
    bridges: dict[str, dict[str, int]] = {}
    ports: dict[str, int] = {}
    for line in text.splitlines():
        port, bridge = _PORT.match(line), _BRIDGE.match(line)
        if port is not None:
            ports[port["name"]] = int(port["ofport"])
        elif bridge is not None:
            ports = bridges.setdefault(bridge["name"], {})
    if text.strip() and not bridges:
        raise nothing_described(
            "bridge",
            text,
            expected='the output of "ovs-appctl dpif/show", with lines such as "  br-int:"',
            file=file,
        )
    return bridges
