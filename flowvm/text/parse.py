"""Lines of text to flows.

The grammar reads the line into items (see :mod:`flowvm.text.tree`); this module says which of
them are statistics, which are the match, and hands the rest to the actions.

What a line says without saying it in Open vSwitch's own words comes back in a normal form when it
is formatted: see :mod:`flowvm.text.format`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any, TypeVar

from lark import Token
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from flowvm.actions.base import Action
from flowvm.actions.catalog import make_actions
from flowvm.fields import SHORTHANDS, Field, Format, field_names
from flowvm.flow import FieldMatch, Flow, Match, MatchTerm, ProtocolMatch
from flowvm.text.errors import FlowSyntaxError, WordError, suggestion
from flowvm.text.grammar import parser
from flowvm.text.tree import Item, Items
from flowvm.text.values import parse_number, parse_subfield, parse_table, parse_value

UNKNOWN_COUNT = 0xFFFF_FFFF_FFFF_FFFF
"""A packet or byte count that the switch does not know; ovs-ofctl writes ``?``."""

FLAGS = (
    "send_flow_rem",
    "check_overlap",
    "reset_counts",
    "no_packet_counts",
    "no_byte_counts",
    "allow_hidden_fields",
    "no_readonly_table",
)
"""The flags of a flow, in the order in which ovs-ofctl writes them (ovs-ofctl(8), "add-flow")."""

_DURATION = re.compile(r"\d+(\.\d+)?s?\Z")

Result = TypeVar("Result")


def _count(word: str) -> int:
    return UNKNOWN_COUNT if word == "?" else parse_number(word, 64, "a count")


def parse_duration(word: str) -> Decimal:
    """Seconds such as ``12.345s``. Raises WordError."""
    if not _DURATION.match(word):
        raise WordError(word, f'"{word}" is not a duration', "seconds such as 12.345s")
    return Decimal(word.rstrip("s"))


def _short(word: str) -> int:
    return parse_number(word, 16, "a number from 0 to 65535")


def _cookie(word: str) -> int:
    if "/" in word:
        raise WordError(word, "the cookie of a flow cannot have a mask", "a number")
    return parse_number(word, 64)


def _age(word: str) -> int:
    return parse_number(word, 32, "a number of seconds")


STATISTICS: Mapping[str, Callable[[str], object]] = MappingProxyType(
    {
        "cookie": _cookie,
        "duration": parse_duration,
        "table": parse_table,
        "n_packets": _count,
        "n_bytes": _count,
        "idle_timeout": _short,
        "hard_timeout": _short,
        "importance": _short,
        "idle_age": _age,
        "hard_age": _age,
        "priority": _short,
    }
)
"""What a dump says of a flow besides match, flags and actions: the attributes of Flow."""


def parse_flow(text: str) -> Flow:
    """The flow of one line, in any of the dialects that :mod:`flowvm.text.dump` names.

    Raises FlowSyntaxError.
    """
    return read(text, "flow", make_flow)


def parse_match(text: str) -> Match:
    """A match alone: ``tcp,in_port=1,nw_src=10.0.0.0/8``. Raises FlowSyntaxError."""
    return read(text, "list", lambda items: Match(tuple(make_term(i) for i in items if i)))


def parse_actions(text: str) -> tuple[Action, ...]:
    """A list of actions alone: ``strip_vlan,output:2``. Raises FlowSyntaxError."""
    return read(text, "list", make_actions)


def read(text: str, start: str, make: Callable[[Any], Result]) -> Result:
    """Parse ``text`` from a rule of the grammar and make something of what the rule gives."""
    text = text.rstrip()
    try:
        return make(parser().parse(text, start=start))
    except UnexpectedInput as error:
        raise _syntax_error(text, error) from None
    except WordError as error:
        raise FlowSyntaxError(
            error.problem,
            text=text,
            column=_column(text, error.word),
            expected=error.expected,
        ) from None


def make_flow(parts: tuple[Items, Items]) -> Flow:
    """The flow that the items before and after ``actions=`` say. Raises WordError."""
    head, actions = parts
    attributes: dict[str, Any] = {}
    flags: list[str] = []
    terms: list[MatchTerm] = []
    for item in head:
        if item is None:
            continue
        key = item.key
        read_statistic = STATISTICS.get(key)
        if read_statistic is not None:
            word = item.argument(f"a value for {key}")
            attributes[str(key)] = read_statistic(word)
        elif key in FLAGS:
            flags.append(str(key))
        else:
            terms.append(make_term(item))
    flags.sort(key=FLAGS.index)
    return Flow(
        match=Match(tuple(terms)), actions=make_actions(actions), flags=tuple(flags), **attributes
    )


def make_term(item: Item) -> MatchTerm:
    """One term of a match: a field with its value, or a protocol's name."""
    key = item.key
    if item.value is None and item.items is None and key in SHORTHANDS:
        return ProtocolMatch(str(key))
    row = field_names().get(key.lower())
    if row is None:
        if "[" in key:
            return _subfield_term(item)
        known = (*field_names(), *SHORTHANDS, *STATISTICS, *FLAGS)
        raise WordError(
            key, f'unknown field "{key}"{suggestion(key, known)}', "a field of the match"
        )
    value, mask = term_value(row, item)
    return FieldMatch(row, value, mask, str(key))


def term_value(row: Field, item: Item) -> tuple[int | str, int]:
    """The value and mask that a term gives for its field."""
    if row.format is Format.PACKET_TYPE:
        return _packet_type(item), row.full_mask
    if item.value is None and item.items is None and row.bits is None:
        # "tun_metadata0" alone: that the option is there (ovs-fields(7), "tun_metadata").
        return 0, 0
    if not item.value:
        raise WordError(item.key, f"{item.key} has no value", f"{item.key}=VALUE")
    if item.target:
        raise WordError(item.target, '"->" does not belong into a match', "a value")
    return parse_value(row, item.value)


def _subfield_term(item: Item) -> FieldMatch:
    """``reg0[0..7]=5``: the same as ``reg0=0x5/0xff``."""
    subfield = parse_subfield(item.key)
    value = parse_number(item.argument("a number"), subfield.width)
    mask = ((1 << subfield.width) - 1) << subfield.start
    return FieldMatch(subfield.field, value << subfield.start, mask, subfield.spelling)


def _packet_type(item: Item) -> int:
    parts = item.parts()
    if item.items is None or len(parts) != 2:
        raise WordError(item.last, f"{item.key} takes a namespace and a type", "(NS,TYPE)")
    namespace, kind = (parse_number(part.key, 16) for part in parts)
    return namespace << 16 | kind


_TERMINALS: Mapping[str, str] = MappingProxyType(
    {
        "KEY": "a word",
        "VALUE": "a value",
        "ACTIONS": '"actions="',
        "BUCKET": '"bucket="',
        "_IS": '"=" or ":"',
        "_ARROW": '"->"',
        "_OPEN": '"("',
        "_CLOSE": '")"',
        "_SEP": '","',
        "$END": "the end of the line",
    }
)
"""What the grammar's terminals are called in messages."""


def _syntax_error(text: str, error: UnexpectedInput) -> FlowSyntaxError:
    ended = isinstance(error, UnexpectedToken) and error.token.type == "$END"
    column = len(text) + 1 if ended else (error.pos_in_stream or 0) + 1
    unclosed = _unclosed(text)
    if ended and unclosed is not None:
        return FlowSyntaxError(
            'this "(" is not closed', text=text, column=unclosed + 1, expected='")"'
        )
    if ended and not re.search(r"\bactions?=", text):
        return FlowSyntaxError(
            "the flow has no actions", text=text, column=column, expected='"actions="'
        )
    if isinstance(error, UnexpectedCharacters):
        accepted = error.allowed or set()
    else:
        accepted = error.accepts or error.expected if isinstance(error, UnexpectedToken) else set()
    found = f'"{text[column - 1]}"' if column <= len(text) else "end"
    problem = "the line ends too early" if ended else f"unexpected {found}"
    expected = [name for terminal, name in _TERMINALS.items() if terminal in accepted]
    return FlowSyntaxError(
        problem, text=text, column=column, expected=" or ".join(expected) or "nothing more"
    )


def _unclosed(text: str) -> int | None:
    """Where the innermost parenthesis that is not closed stands."""
    opened: list[int] = []
    # Parentheses in quoted names do not count.
    for match in re.finditer(r'"(?:[^"\\]|\\.)*"|[()]', text):
        if match[0] == "(":
            opened.append(match.start())
        elif match[0] == ")" and opened:
            opened.pop()
    return opened[-1] if opened else None


def _column(text: str, word: str) -> int:
    """Where a word stands in its line: as the parser noted, or else as it is found."""
    if isinstance(word, Token) and word.start_pos is not None:
        return word.start_pos + 1
    return text.find(word) + 1 if word and word in text else len(text) + 1
