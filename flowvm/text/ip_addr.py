"""Devices of Linux: the text of ``ip addr``, ``ip netns``, ``brctl show`` and ``bridge link``.

Only what tells the devices apart and together is read: names, Ethernet and IP addresses, the other
end of a pair, the bridge that a device is in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from flowvm.text.errors import FlowSyntaxError, nothing_described

_DEVICE = re.compile(r"\s*\d+:\s+(?P<name>[^\s:@]+)(?:@(?P<peer>[^\s:]+))?(?::|\s)(?P<rest>.*)")
_INDEX = re.compile(r"if\d+\Z")
_MASTER = re.compile(r"\bmaster\s+(\S+)")
_ETHER = re.compile(r"\blink/\w+\s+((?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2})\b")
_ADDRESS = re.compile(
    r"\binet6?\s+(?P<address>[0-9a-fA-F:.]+)(?:\s+peer\s+\S+?)?(?P<length>/\d+)?\s.*?"
    r"\bscope\s+(?P<scope>\S+)"
)
_NAMESPACE = re.compile(r"\s*(?P<name>\S+)(?:\s+\(id: -?\d+\))?\s*\Z")
_BRCTL = re.compile(r"(?P<bridge>\S+)\t+\S+\t+(?:yes|no)(?:\t+(?P<device>\S+))?\s*\Z")
_BRCTL_MORE = re.compile(r"\s+(?P<device>\S+)\s*\Z")


@dataclass(frozen=True, slots=True)
class Device:
    """A network device; ``peer`` is the other end of a pair, ``master`` the bridge it is in.

    ``addresses`` are as ``ip addr`` prints them, with their prefix lengths, without those that are
    good on the machine itself or on one link only (``scope host``, ``scope link``).
    """

    name: str
    peer: str | None = None
    master: str | None = None
    mac: int | None = None
    addresses: tuple[str, ...] = ()


def parse_ip_addr(text: str, *, file: str | None = None) -> dict[str, Device]:
    """The devices by name, of ``ip addr`` with any options (``-o``, ``-d``), or of ``bridge link``.

    Raises FlowSyntaxError if there is text, but no device in it.
    """
    devices: dict[str, Device] = {}
    device: Device | None = None
    for line in text.splitlines():
        found = _DEVICE.match(line)
        rest = line
        if found is not None:
            name, peer, rest = found["name"], found["peer"], found["rest"]
            # What is in another namespace has a number here, but no name.
            peer = None if peer is None or _INDEX.match(peer) else peer
            device = devices.get(name) or Device(name, peer)
        if device is None:
            continue
        devices[device.name] = device = _with(device, rest)
    if text.strip() and not devices:
        raise nothing_described(
            "device",
            text,
            expected='the output of "ip addr", with lines such as "2: eth0: <BROADCAST,..."',
            file=file,
        )
    return devices


def _with(device: Device, line: str) -> Device:
    master, ether = _MASTER.search(line), _ETHER.search(line)
    if master is not None:
        device = replace(device, master=master[1])
    if ether is not None:
        device = replace(device, mac=int(ether[1].replace(":", ""), 16))
    for found in _ADDRESS.finditer(line):
        if found["scope"] not in ("host", "link"):
            address = found["address"] + (found["length"] or "")
            device = replace(device, addresses=(*device.addresses, address))
    return device


def parse_netns(text: str, *, file: str | None = None) -> tuple[str, ...]:
    """The names of namespaces, of ``ip netns``. Raises FlowSyntaxError."""
    names = []
    for number, line in enumerate(text.splitlines(), start=1):
        found = _NAMESPACE.match(line)
        if found is not None:
            names.append(found["name"])
        elif line.strip():
            raise FlowSyntaxError(
                "this is no namespace",
                text=line,
                column=len(line) - len(line.lstrip()) + 1,
                expected='a line of "ip netns", such as "qdhcp-1 (id: 0)"',
                line=number,
                file=file,
            )
    return tuple(names)


def parse_brctl(text: str, *, file: str | None = None) -> Mapping[str, str]:
    """The bridge that each device is in, of ``brctl show``. Raises FlowSyntaxError."""
    masters: dict[str, str] = {}
    bridge: str | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("bridge name"):
            continue
        first, more = _BRCTL.match(line), _BRCTL_MORE.match(line)
        if first is not None:
            bridge = first["bridge"]
            if first["device"] is not None:
                masters[first["device"]] = bridge
        elif more is not None and bridge is not None:
            masters[more["device"]] = bridge
        else:
            raise FlowSyntaxError(
                "this is neither a bridge nor a device in one",
                text=line,
                column=1,
                expected='a line of "brctl show"',
                line=number,
                file=file,
            )
    return masters
