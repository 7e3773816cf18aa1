"""Files of flow mods: what ``ovs-ofctl add-flows``, ``mod-flows`` and ``del-flows`` read.

Each line is one: a flow, in ``add-flows`` files perhaps after a word that says what to do with it
(ovs-ofctl(8), "OpenFlow Switch Flow Table Commands", "Flow Syntax"). What is after ``#`` is a
comment. Which keywords go with which command, and that statistics are read over, are facts of
``parse_ofp_str`` in Open vSwitch 3.1's lib/ofp-flow.c.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from flowvm.actions.catalog import make_actions
from flowvm.flow import Match, MatchTerm
from flowvm.flow_mod import Command, FlowMod
from flowvm.text.errors import FlowSyntaxError, WordError
from flowvm.text.parse import FLAGS, make_term, read
from flowvm.text.tree import Item, Items
from flowvm.text.values import TABLE_NONE, parse_number, parse_port, parse_table

ALL_ONES = (1 << 64) - 1

_COMMAND = re.compile(r"\s*([^,\s]+)")
_STATISTICS = ("duration", "n_packets", "n_bytes", "idle_age", "hard_age")
_IGNORED_FLAGS = ("no_readonly_table", "allow_hidden_fields")


def _short(word: str) -> int:
    return parse_number(word, 16, "a number from 0 to 65535")


def _group(word: str) -> int | None:
    return None if word == "any" else parse_number(word, 32, "a group ID")


_NEW = (Command.ADD, Command.MODIFY, Command.MODIFY_STRICT)
_KEYWORDS: Mapping[str, tuple[Callable[[str], object], tuple[Command, ...]]] = MappingProxyType(
    {
        "table": (parse_table, tuple(Command)),
        "priority": (_short, (*_NEW, Command.DELETE_STRICT)),
        "idle_timeout": (_short, _NEW),
        "hard_timeout": (_short, _NEW),
        "importance": (_short, (Command.ADD,)),
        "out_port": (parse_port, (Command.DELETE, Command.DELETE_STRICT)),
        "out_group": (_group, (Command.DELETE, Command.DELETE_STRICT)),
    }
)
"""How to read a keyword's value, and the commands that take the keyword."""


def parse_flow_mod(text: str, command: Command | None = None) -> FlowMod:
    """One flow mod: ``table=1,in_port=2,actions=drop``.

    Without a ``command`` the line says in its first word what to do (``delete table=1``), or is to
    be added. Raises FlowSyntaxError.
    """
    text = text.split("#", 1)[0]
    if command is None:
        command, text = _command_of(text)
    start = "list" if command.deletes else "flow"
    return read(text, start, lambda parts: _make(command, parts))


def parse_flow_mods(
    text: str, command: Command | None = None, *, file: str | None = None
) -> tuple[FlowMod, ...]:
    """The flow mods of a file, as ``ovs-ofctl add-flows`` reads it; with ``--bundle`` too.

    ``command`` as for :func:`parse_flow_mod`: ``mod-flows`` and ``del-flows``, with ``--strict`` or
    without, read files of one command. ``file`` is the name that errors give. Raises
    FlowSyntaxError.
    """
    found = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.split("#", 1)[0].strip():
            continue
        try:
            found.append(parse_flow_mod(line, command))
        except FlowSyntaxError as error:
            raise error.at(number, file) from None
    return tuple(found)


def _command_of(text: str) -> tuple[Command, str]:
    """The command that a line begins with, and the line with blanks instead."""
    first = _COMMAND.match(text)
    if first is not None:
        # Open vSwitch takes any beginning of such a word for it, and looks in this order.
        for command in (
            Command.ADD,
            Command.DELETE,
            Command.DELETE_STRICT,
            Command.MODIFY,
            Command.MODIFY_STRICT,
        ):
            if command.value.startswith(first[1]):
                return command, " " * first.end() + text[first.end() :].replace(",", " ", 1)
    return Command.ADD, text


def _make(command: Command, parts: Any) -> FlowMod:
    head: Items = parts if command.deletes else parts[0]
    changes: dict[str, Any] = {}
    flags: list[str] = []
    terms: list[MatchTerm] = []
    for item in head:
        if item is None:
            continue
        key = str(item.key)
        if key == "cookie":
            changes |= _cookie(command, item)
        elif key in _KEYWORDS:
            read_value, commands = _KEYWORDS[key]
            if command not in commands:
                raise WordError(item.key, f'"{key}" does not go with {command.value}')
            changes[key] = read_value(item.argument(f"a value for {key}"))
        elif key in FLAGS:
            if key not in _IGNORED_FLAGS:
                if command.deletes:
                    raise WordError(item.key, f'"{key}" does not go with {command.value}')
                flags.append(key)
        elif key not in _STATISTICS:
            terms.append(make_term(item))
    if changes.get("table") == TABLE_NONE:
        changes["table"] = None
    flags.sort(key=FLAGS.index)
    actions = () if command.deletes else make_actions(parts[1])
    return FlowMod(command, Match(tuple(terms)), actions, flags=tuple(flags), **changes)


def _cookie(command: Command, item: Item) -> dict[str, object]:
    word = item.argument("a number")
    value, slash, mask = word.partition("/")
    if not slash:
        if command.deletes:
            problem = "flows are not given a cookie here"
            raise WordError(word, problem, f"to choose by cookie, cookie={value}/-1")
        return {"cookie": parse_number(value, 64)}
    if command is Command.ADD:
        raise WordError(word, "the cookie of a new flow cannot have a mask", "a number")
    return {"with_cookie": (_number(word, value), _number(word, mask))}


def _number(word: str, text: str) -> int:
    try:
        return ALL_ONES if text == "-1" else parse_number(text, 64)
    except WordError as error:
        raise WordError(word, error.problem, error.expected) from None
