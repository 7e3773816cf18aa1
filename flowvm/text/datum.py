"""Values as ovs-vsctl writes them: atoms, sets in brackets, maps in braces.

The format is that of ovs-vsctl(8): strings other than plain identifiers are in double quotes, with
the escapes of JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from flowvm.text.errors import WordError
from flowvm.text.values import unquote

_TOKEN = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[][{},=]|[^][{},="\s]+)')

Datum = str | tuple[str, ...] | dict[str, str]
"""An atom, a set, or a map; atoms are strings here, whatever they are in the database."""


def parse_datum(text: str) -> Datum:
    """The value that ``text`` is. Raises WordError."""
    tokens = _tokens(text)
    first = next(tokens, "")
    value: Datum
    if first == "[":
        value = tuple(_atoms(text, tokens))
    elif first == "{":
        value = dict(_pairs(text, tokens))
    else:
        value = _atom(text, first)
    rest = next(tokens, None)
    if rest is not None:
        raise WordError(rest, f'"{rest}" comes after the end of a value')
    return value


def parse_set(text: str) -> tuple[str, ...]:
    """The members of a set; one atom is a set too. Raises WordError."""
    value = parse_datum(text)
    if isinstance(value, dict):
        raise WordError(text, "this is a map", "a set such as [1, 2]")
    return (value,) if isinstance(value, str) else value


def parse_map(text: str) -> dict[str, str]:
    """The keys and values of a map. Raises WordError."""
    value = parse_datum(text)
    if not isinstance(value, dict):
        raise WordError(text, "this is no map", "a map such as {key=flow}")
    return value


def parse_name(text: str) -> str:
    """One atom. Raises WordError."""
    value = parse_datum(text)
    if not isinstance(value, str):
        raise WordError(text, "this is not one value", "a word, or a string in double quotes")
    return value


def _tokens(text: str) -> Iterator[str]:
    at, end = 0, len(text.rstrip())
    while at < end:
        found = _TOKEN.match(text, at)
        if found is None:
            raise WordError(text[at:], "a string does not end", 'a closing double quote: "')
        yield found[1]
        at = found.end()


def _atom(text: str, token: str) -> str:
    if not token or token in "[]{},=":
        raise WordError(token or text, "a value is missing", "a word, or a string in double quotes")
    return unquote(token) if token[0] == '"' else token  # type: ignore[return-value]


def _atoms(text: str, tokens: Iterator[str]) -> Iterator[str]:
    token = next(tokens, "")
    while token != "]":
        yield _atom(text, token)
        token = _separator(text, tokens, "]")


def _pairs(text: str, tokens: Iterator[str]) -> Iterator[tuple[str, str]]:
    token = next(tokens, "")
    while token != "}":
        key = _atom(text, token)
        if next(tokens, "") != "=":
            raise WordError(text, f'no value follows the key "{key}"', "KEY=VALUE")
        yield key, _atom(text, next(tokens, ""))
        token = _separator(text, tokens, "}")


def _separator(text: str, tokens: Iterator[str], end: str) -> str:
    """The token after a comma, or ``end``."""
    token = next(tokens, "")
    if token == ",":
        return next(tokens, "")
    if token != end:
        raise WordError(token or text, "the members of a value run together", f'"," or "{end}"')
    return token
