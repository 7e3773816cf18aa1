"""Which command a file holds the output of, told by its name.

A name is the command itself as far as a file name can have it: ``ovs-ofctl dump-flows br-int``,
with underscores or dots for blanks and dots for slashes (as sosreport writes it:
``ovs-ofctl_-O_OpenFlow13_dump-flows_br-int``, ``ovs-appctl_fdb.show_br-int``), with options, and
with ``.txt``, ``.xz`` and the like at the end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath


class Kind(StrEnum):
    """What a file tells; the value is the command that prints it."""

    VSCTL_SHOW = "ovs-vsctl show"
    LIST = "ovs-vsctl list"
    DATABASE = "conf.db"
    SHOW = "ovs-ofctl show"
    PORTS_DESC = "ovs-ofctl dump-ports-desc"
    FLOWS = "ovs-ofctl dump-flows"
    GROUPS = "ovs-ofctl dump-groups"
    GROUP_STATS = "ovs-ofctl dump-group-stats"
    METERS = "ovs-ofctl dump-meters"
    TLV_MAP = "ovs-ofctl dump-tlv-map"
    FDB = "ovs-appctl fdb/show"
    DPIF_SHOW = "ovs-appctl dpif/show"
    CONNTRACK = "ovs-appctl dpctl/dump-conntrack"
    ADDRESSES = "ip addr"
    NAMESPACES = "ip netns"
    BRCTL = "brctl show"
    BRIDGE_LINK = "bridge link"


@dataclass(frozen=True, slots=True)
class Output:
    """The output of a command, as a file's name tells it.

    ``subject`` is the bridge, the datapath, the namespace, as the name has it (:func:`same_name`),
    or the table, in lower case; "" for the node.
    ``openflow`` is the version asked for, 10 to 15, or 0. ``file`` is the path in the node.
    """

    kind: Kind
    subject: str
    openflow: int = 0


_GAP = r"[\s_.]+"
_SUFFIX = re.compile(r"\.(?:txt|log|out|list|table|json|csv|gz|xz|bz2|zst)\Z", re.IGNORECASE)
_TOOL = re.compile(
    rf"(?:^|[\s_./])(?P<tool>ovs-ofctl|ovs-vsctl|ovs-appctl|ovs-dpctl|brctl|bridge|ip){_GAP}"
)
_OPTION = re.compile(
    rf"(?:-(?:O|f|t)(?:{_GAP})?|--(?:format|data|timeout)(?:=|{_GAP}))(?P<value>\w+?)(?:{_GAP}|\Z)"
    rf"|--?[A-Za-z0-9][\w-]*?(?:=\w*?)?(?:{_GAP}|\Z)"
)
_OPENFLOW = re.compile(r"OpenFlow(1[0-5])\Z", re.IGNORECASE)

# For each tool, the verbs as a name can have them; what follows one is its subject.
_VERBS: dict[str, tuple[tuple[re.Pattern[str], Kind], ...]] = {
    tool: tuple((re.compile(rf"{verb}(?:{_GAP}|\Z)"), kind) for verb, kind in verbs)
    for tool, verbs in {
        "ovs-ofctl": (
            ("show", Kind.SHOW),
            ("dump-ports-desc", Kind.PORTS_DESC),
            ("dump-flows", Kind.FLOWS),
            ("dump-groups", Kind.GROUPS),
            ("dump-group-stats", Kind.GROUP_STATS),
            ("dump-meters", Kind.METERS),
            ("dump-tlv-map", Kind.TLV_MAP),
        ),
        "ovs-vsctl": (("show", Kind.VSCTL_SHOW), ("list", Kind.LIST)),
        "ovs-appctl": (
            (r"fdb[./\s_-]show", Kind.FDB),
            (r"dpif[./\s_-]show", Kind.DPIF_SHOW),
            (r"dpctl[./\s_-]dump-conntrack", Kind.CONNTRACK),
        ),
        "ovs-dpctl": (("dump-conntrack", Kind.CONNTRACK),),
        "ip": (
            (r"a(?:ddr(?:ess)?)?", Kind.ADDRESSES),
            (rf"netns{_GAP}exec", Kind.ADDRESSES),
            (r"netns", Kind.NAMESPACES),
        ),
        "brctl": (("show", Kind.BRCTL),),
        "bridge": (("link", Kind.BRIDGE_LINK),),
    }.items()
}
# These need no tool before them.
_PLAIN = (
    *(entry for entry in _VERBS["ovs-ofctl"] if entry[1] is not Kind.SHOW),
    *_VERBS["ovs-appctl"],
)
_IN_NAMESPACE = re.compile(rf"(?P<name>.+?){_GAP}ip{_GAP}(?P<rest>.*)\Z")
_TRAILING_SHOW = re.compile(r"(?:show|list|ls)\Z")
_ONE_SUBJECT = frozenset({Kind.FLOWS, Kind.SHOW, Kind.PORTS_DESC, Kind.GROUPS, Kind.METERS})
_OF_NOTHING = frozenset(
    {Kind.VSCTL_SHOW, Kind.DPIF_SHOW, Kind.NAMESPACES, Kind.BRCTL, Kind.BRIDGE_LINK}
)


def recognise(path: str) -> Output | None:
    """What the file at ``path`` is, if it is anything that flowvm reads."""
    place = PurePosixPath(path)
    name = place.name
    if name == "conf.db":
        return Output(Kind.DATABASE, "")
    while (suffix := _SUFFIX.search(name)) is not None:
        name = name[: suffix.start()]
    tool = _TOOL.search(name)
    rest, openflow = _without_options(name[tool.end() :] if tool is not None else name)
    for pattern, kind in _PLAIN if tool is None else _VERBS[tool["tool"]]:
        verb = pattern.match(rest)
        if verb is not None:
            subject, also = _without_options(rest[verb.end() :])
            return _output(kind, subject.strip(" _"), max(openflow, also), place)
    return None


def _output(kind: Kind, subject: str, openflow: int, place: PurePosixPath) -> Output | None:
    if kind in _OF_NOTHING:
        return Output(kind, "")
    if kind is Kind.ADDRESSES and subject and not _TRAILING_SHOW.match(subject):
        inner = _IN_NAMESPACE.match(subject)
        if inner is None:
            return None
        rest, _ = _without_options(inner["rest"])
        verb, _ = _VERBS["ip"][0]
        return Output(kind, inner["name"]) if verb.match(rest) else None
    if kind is Kind.ADDRESSES:
        return Output(kind, "")
    if not subject and kind in _ONE_SUBJECT:
        # br-int/dump-flows.txt
        subject = place.parent.name
    if kind is Kind.LIST:
        subject = subject.lower()
    return Output(kind, subject, openflow)


def _without_options(words: str) -> tuple[str, int]:
    openflow = 0
    while (option := _OPTION.match(words)) is not None:
        version = _OPENFLOW.match(option["value"] or "")
        if version is not None:
            openflow = int(version[1])
        words = words[option.end() :]
    return words, openflow


def same_name(told: str, name: str) -> bool:
    """Whether ``told``, out of a file's name, can stand for ``name``."""
    return _mangled(told) == _mangled(name)


def _mangled(name: str) -> str:
    return re.sub(r"[^\w.-]+|/", "_", name).strip(" ._-")
