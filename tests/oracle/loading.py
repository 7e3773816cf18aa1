"""Which OpenFlow version loads a flow without changing what it says.

One run of ovs-ofctl speaks one version, and rewrites in silence what that version cannot express:

* OpenFlow 1.0 loads `write_actions(…)` as `drop`, leaves `clear_actions` and `importance` out, and
  loses the mask of a `set_field` for which it has an action of its own (`mod_dl_src`…).
* OpenFlow 1.1 and later load `mod_vlan_vid` and `mod_vlan_pcp` as an unconditional `push_vlan` and
  a `set_field` unless the match requires a tag, lose parts of some `vlan_tci` matches, and turn
  `load` into `set_field`, which an OpenFlow 1.0 dump then may show as something else again.

So a flow goes by 1.0, unless it has one of the former (or what 1.0 refuses anyway), and such flows
go by 1.5.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby

OPENFLOW10 = "OpenFlow10"
MODERN = ("OpenFlow15", "OpenFlow13")

_HEADERS = ("NXST_FLOW", "OFPST_FLOW", "#")
_LOST_IN_10 = re.compile(
    r"\b(write_actions|clear_actions|goto_table|push_vlan|encap|decap)\b|\b(meter|importance)[:=]"
    r"|set_field:[^,]*/[^,]*->\s*(eth_|dl_|ip_|nw_|tcp_|udp_|sctp_|tp_)"
    r"|set_field:[^,]*->\s*(dl_)?vlan_(vid|pcp)\b"
)
_LOST_IN_15 = re.compile(r"\b(mod|set)_vlan_(vid|pcp)\b|\bvlan_tci=")
_TAG_MATCHED = re.compile(r"\b(dl_vlan|dl_vlan_pcp|vlan_vid|vlan_pcp)=(?!0xffff)")
_NO_IDENTITY = re.compile(
    r"(cookie|duration|n_packets|n_bytes|idle_age|hard_age|idle_timeout|hard_timeout|importance)="
)


def versions(line: str) -> tuple[str, ...]:
    """The OpenFlow versions that load the flow as it is meant, best first; may be none."""
    tagged = _TAG_MATCHED.search(line.partition("actions=")[0]) is not None
    modern = MODERN if tagged or not _LOST_IN_15.search(line) else ()
    return modern if _LOST_IN_10.search(line) else (OPENFLOW10, *modern)


def plan(text: str) -> Iterator[list[str]]:
    """Yield the flows of `text` in groups that one OpenFlow version is likely to load.

    The order of flows matters only where one replaces another, so they are sorted by version
    unless two may have the same match.
    """
    lines = [line for line in map(str.strip, text.splitlines()) if line]
    lines = [line for line in lines if not line.startswith(_HEADERS)]
    if len({_identity(line) for line in lines}) == len(lines):
        lines.sort(key=_first_version)
    for _, group in groupby(lines, key=_first_version):
        yield list(group)


def _first_version(line: str) -> str:
    return next(iter(versions(line)), "")


def _identity(line: str) -> frozenset[str]:
    """The match, table and priority of a flow, as far as they can be told without reading it."""
    words = re.split(r"[,\s]+", line.partition("actions=")[0])
    return frozenset(word for word in words if word and not _NO_IDENTITY.match(word))
