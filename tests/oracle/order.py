"""The order in which one packet left its ports, from the datapath flows it hit.

Each port has a capture file of its own, so captures do not say which of two ports came first.
Nor would a shared one: the userspace datapath collects what a packet sends per port and flushes
the ports in the order of a hash table. The actions of the datapath flows do say it. Since the
datapath is empty before each packet, the flows in it afterwards are those the packet made.

Where the flows alone do not decide (a packet length check, a sample, two flows for one
recirculation), every order they allow is produced, and the captures choose among them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_RECIRC_ID = re.compile(r"recirc_id\((0x[0-9a-fA-F]+|\d+)\)")
_MAX_ORDERS = 256
_MAX_DEPTH = 32

Order = tuple[str, ...]


class UndecidedError(Exception):
    """The actions allow more orders than are worth looking at."""


@dataclass(frozen=True)
class DatapathFlow:
    """One line of `dpctl/dump-flows --names`."""

    key: str
    recirc_id: int
    actions: str

    @property
    def slow(self) -> bool:
        """Whether userspace carries the actions out, so that they are not shown here."""
        return "slow_path(" in self.actions


def parse_flows(dump: str) -> list[DatapathFlow]:
    flows = []
    for line in dump.splitlines():
        found = _RECIRC_ID.search(line)
        if found is None or "actions:" not in line:
            continue
        key = line.split(", packets:", 1)[0]
        actions = line.rsplit("actions:", 1)[1].strip()
        flows.append(DatapathFlow(key, int(found[1], 0), actions))
    return flows


def orders(flows: Sequence[DatapathFlow], ports: frozenset[str]) -> frozenset[Order]:
    """Every order of output port names that `flows` allow for one packet.

    Names outside `ports` (and all that is no output) are left out.
    """
    return frozenset(_recirculated(0, flows, ports, 0))


def split_actions(text: str) -> Iterator[tuple[str, str]]:
    """Yield (name, arguments) for each action of `text`; arguments are '' where there are none."""
    depth = start = 0
    quoted = False
    for index, char in enumerate(text + ","):
        if char == '"':
            quoted = not quoted
        elif quoted:
            continue
        elif char == "(":
            depth += 1
        elif char == ")":
            depth -= 1
        elif char == "," and depth == 0:
            token = text[start:index].strip()
            start = index + 1
            if token:
                name, _, rest = token.partition("(")
                yield name.strip('"'), rest[:-1]


def _recirculated(
    recirc_id: int, flows: Sequence[DatapathFlow], ports: frozenset[str], depth: int
) -> set[Order]:
    if depth > _MAX_DEPTH:
        raise UndecidedError
    found: set[Order] = set()
    for flow in flows:
        if flow.recirc_id == recirc_id:
            found |= _walk(flow.actions, flows, ports, depth + 1)
    return found or {()}


def _walk(
    actions: str, flows: Sequence[DatapathFlow], ports: frozenset[str], depth: int
) -> set[Order]:
    found: set[Order] = {()}
    for name, arguments in split_actions(actions):
        tails: set[Order]
        if not arguments:
            if name not in ports:
                continue
            tails = {(name,)}
        elif name == "clone":
            tails = _walk(arguments, flows, ports, depth)
        elif name == "recirc":
            tails = _recirculated(int(arguments, 0), flows, ports, depth)
        elif name in ("sample", "check_pkt_len"):
            # Which arm is taken depends on the packet; a sample may take none.
            tails = {()} if name == "sample" else set()
            for arm, inner in split_actions(arguments):
                if arm in ("actions", "gt", "le"):
                    tails |= _walk(inner, flows, ports, depth)
        else:
            continue
        found = {head + tail for head in found for tail in tails}
        if len(found) > _MAX_ORDERS:
            raise UndecidedError
    return found
