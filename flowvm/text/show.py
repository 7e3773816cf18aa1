"""Names of ports: the text of ``ovs-ofctl show`` and ``ovs-ofctl dump-ports-desc``."""

from __future__ import annotations

import re
from types import MappingProxyType

from flowvm.flow import ReservedPort
from flowvm.names import Configuration, FragmentHandling, Ports
from flowvm.text.errors import nothing_described
from flowvm.text.values import unquote

_PORT = re.compile(
    r'\s*(?P<port>\d+|[A-Z_]+)\((?P<name>"(?:[^"\\]|\\.)*"|.*?)\):\s*addr:(?P<mac>\S*)'
)
_MAC = re.compile(r"(?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}\Z")
_DATAPATH_ID = re.compile(r".*\bdpid:(?P<id>[0-9a-fA-F]{16})\b")
_CONFIG = re.compile(r"\s*config:\s*(?P<flags>[A-Z_ ]+)")
_FRAGMENTS = re.compile(r"OFPT_GET_CONFIG_REPLY\b.*\bfrags=(?P<mode>[\w-]+)")
_DOWN = re.compile(r"\s*(?:config:.*\bPORT_DOWN\b|state:.*\bLINK_DOWN\b)")


def parse_show(text: str, *, file: str | None = None) -> Ports:
    """The number of each port by its name, which are down, and how they are configured.

    Raises FlowSyntaxError if the text describes no port at all.
    """
    numbers: dict[str, int] = {}
    flagged: dict[str, set[int]] = {}
    fragments = FragmentHandling.NORMAL
    down: set[int] = set()
    macs: dict[int, int] = {}
    datapath_id: int | None = None
    number: int | None = None
    for line in text.splitlines():
        found = _PORT.match(line)
        if found is not None:
            port, name = found["port"], found["name"]
            number = int(port) if port.isdigit() else ReservedPort.NUMBERS.get(port)
            if number is not None:
                numbers[unquote(name) or name] = number
                if _MAC.match(found["mac"]):
                    macs[number] = int(found["mac"].replace(":", ""), 16)
        elif (configured := _FRAGMENTS.match(line)) is not None:
            fragments = _handling(configured["mode"])
        elif number is None:
            switch = _DATAPATH_ID.match(line)
            if switch is not None:
                datapath_id = int(switch["id"], 16)
        else:
            flags = _CONFIG.match(line)
            for flag in flags["flags"].split() if flags is not None else ():
                flagged.setdefault(flag, set()).add(number)
            if _DOWN.match(line):
                down.add(number)
    if not numbers:
        raise nothing_described(
            "port",
            text,
            expected='the output of "ovs-ofctl show", with lines such as " 1(eth0): addr:..."',
            file=file,
        )

    def with_flag(flag: str) -> frozenset[int]:
        return frozenset(flagged.get(flag, ()))

    return Ports(
        MappingProxyType(numbers),
        with_flag("NO_FLOOD"),
        frozenset(down),
        MappingProxyType(macs),
        datapath_id,
        Configuration(
            with_flag("NO_RECV"), with_flag("NO_RECV_STP"), with_flag("NO_FWD"), fragments
        ),
    )


def _handling(mode: str) -> FragmentHandling:
    """What the switch does about fragments; "reassemble" it does not, whatever it says."""
    try:
        return FragmentHandling(mode)
    except ValueError:
        return FragmentHandling.NORMAL
