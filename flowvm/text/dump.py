"""Whole dumps: the output of ``dump-flows`` and ``dump-groups`` as people keep and send it.

What is read:

- the output of ``ovs-ofctl dump-flows`` of Open vSwitch 1.x to 3.x, in the spellings of every
  OpenFlow version, with ``--no-stats`` and ``--names``;
- the headers of replies, also in the middle of a file (multi-part replies, several dumps in one);
- lines without their leading space, lines that end in CR LF, blank lines;
- annotations: lines that begin with ``//`` or ``#``;
- shell prompts with the command that made the dump;
- flows as ``ovs-ofctl add-flows`` takes them: ``cookie=0, table=0, ip, actions=drop``;
- the groups of ``ovs-ofctl dump-groups``, and what ``dump-group-stats`` says of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from flowvm.flow import Flow
from flowvm.text.errors import FlowSyntaxError
from flowvm.text.group_stats import GroupStats, parse_group_stats
from flowvm.text.groups import Group, parse_group
from flowvm.text.parse import parse_flow

_HEADER = re.compile(r"\s*(?:NXST|OFPST)\w* reply\b")
_ANNOTATION = re.compile(r"\s*(?://|#)")
_PROMPT = re.compile(
    r"""\s*(?:\([\w.-]+\)\s*)?(?:           # (venv)
        \[[^\]]*\]\s*[#$%>]               # [root@host ~]#
      | [\w.-]+@[^\s#$]*\s*[^\s#$]*[#$%>]  # root@host:~#
      | [#$%>](?=\s)                       # $
      | (?:sudo\s+)?ovs-\w+ctl\s           # the command alone
    )""",
    re.VERBOSE,
)
_GROUP = re.compile(r"\s*group_id=")
_GROUP_STATS = re.compile(r"\s*group_id=\d+,.*\bref_count=")
_ACTIONS = re.compile(r"\bactions?=")


@dataclass(frozen=True)
class Dump:
    """What a dump says.

    ``flow_lines[i]`` is the number of the line, from 1, that ``flows[i]`` stood on, and so for
    groups. ``skipped`` are the lines, with their numbers, that hold neither: headers, annotations,
    prompts. ``errors`` is empty unless the dump was read leniently.
    """

    flows: tuple[Flow, ...] = ()
    flow_lines: tuple[int, ...] = ()
    groups: tuple[Group, ...] = ()
    group_lines: tuple[int, ...] = ()
    skipped: tuple[tuple[int, str], ...] = ()
    errors: tuple[FlowSyntaxError, ...] = ()
    file: str | None = None
    group_stats: tuple[GroupStats, ...] = ()

    def __str__(self) -> str:
        """The flows and groups as ovs-ofctl prints them, without headers."""
        entries = (*self.flows, *self.groups, *self.group_stats)
        return "".join(f"{entry}\n" for entry in entries)


def parse_dump(text: str, *, file: str | None = None, lenient: bool = False) -> Dump:
    """Read a dump. ``file`` is the name that errors give.

    A line that cannot be read raises FlowSyntaxError; a lenient reading goes on to the next line
    and keeps the error in ``Dump.errors``.
    """
    reader = DumpReader(file, lenient)
    for number, line in enumerate(text.removeprefix("\N{BYTE ORDER MARK}").split("\n"), start=1):
        reader.read(number, line.rstrip())
    return reader.dump()


class DumpReader:
    """What the lines of a dump have said so far."""

    def __init__(self, file: str | None = None, lenient: bool = False) -> None:
        """``file`` and ``lenient`` as for :func:`parse_dump`."""
        self._file = file
        self._lenient = lenient
        self.flows: list[Flow] = []
        self.flow_lines: list[int] = []
        self.groups: list[Group] = []
        self.group_lines: list[int] = []
        self.group_stats: list[GroupStats] = []
        self.skipped: list[tuple[int, str]] = []
        self.errors: list[FlowSyntaxError] = []

    def read(self, number: int, line: str) -> None:
        """Read the line of that number, without blanks at its end. Raises FlowSyntaxError."""
        if is_skipped(line):
            if line:
                self.skipped.append((number, line))
            return
        try:
            if is_group_stats(line):
                self.group_stats.append(parse_group_stats(line))
            elif is_group(line):
                self.groups.append(parse_group(line))
                self.group_lines.append(number)
            else:
                self.add(number, parse_flow(line))
        except FlowSyntaxError as error:
            located = error.at(number, self._file)
            if not self._lenient:
                raise located from None
            self.errors.append(located)

    def add(self, number: int, flow: Flow) -> None:
        """Take ``flow`` for what the line of that number says."""
        self.flows.append(flow)
        self.flow_lines.append(number)

    def dump(self) -> Dump:
        """All of it."""
        return Dump(
            tuple(self.flows),
            tuple(self.flow_lines),
            tuple(self.groups),
            tuple(self.group_lines),
            tuple(self.skipped),
            tuple(self.errors),
            self._file,
            tuple(self.group_stats),
        )


def is_group(line: str) -> bool:
    """Whether a line of a dump is a group."""
    return _GROUP.match(line) is not None


def is_group_stats(line: str) -> bool:
    """Whether a line of a dump tells what a group has counted."""
    return _GROUP_STATS.match(line) is not None


def is_skipped(line: str) -> bool:
    """Whether a line of a dump is neither a flow nor a group, and is meant not to be."""
    if not line or line.isspace() or _ANNOTATION.match(line) or _HEADER.match(line):
        return True
    return _PROMPT.match(line) is not None and not _ACTIONS.search(line)
