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
    flows: list[Flow] = []
    flow_lines: list[int] = []
    groups: list[Group] = []
    group_lines: list[int] = []
    group_stats: list[GroupStats] = []
    skipped: list[tuple[int, str]] = []
    errors: list[FlowSyntaxError] = []
    for number, line in enumerate(text.removeprefix("\N{BYTE ORDER MARK}").split("\n"), start=1):
        line = line.rstrip()
        if is_skipped(line):
            if line:
                skipped.append((number, line))
            continue
        try:
            if is_group_stats(line):
                group_stats.append(parse_group_stats(line))
            elif is_group(line):
                groups.append(parse_group(line))
                group_lines.append(number)
            else:
                flows.append(parse_flow(line))
                flow_lines.append(number)
        except FlowSyntaxError as error:
            located = error.at(number, file)
            if not lenient:
                raise located from None
            errors.append(located)
    return Dump(
        tuple(flows),
        tuple(flow_lines),
        tuple(groups),
        tuple(group_lines),
        tuple(skipped),
        tuple(errors),
        file,
        tuple(group_stats),
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
