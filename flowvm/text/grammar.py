"""The parser of flow text: the grammar, made into tables once and then read back from a cache.

Building LALR tables takes Lark some tens of milliseconds, which a command that traces one packet
would notice. The tables are kept as JSON, which, unlike a pickle, can do nothing when it is read,
in the user's cache directory, under a name that holds the hash of all they depend on.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from contextlib import suppress
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import lark
from lark import Lark, Token, Transformer, v_args
from lark.grammar import Rule
from lark.lexer import TerminalDef

from flowvm.text.tree import Item

STARTS = ("flow", "list", "group")

Items = tuple[Item | None, ...]


@v_args(inline=True)
class _ToItems(Transformer[Token, Any]):
    """Makes items of what the grammar's rules matched."""

    def word(self, key: Token) -> Item:
        return Item(key)

    def value(self, key: Token, value: Token | None) -> Item:
        if value is None:
            # Nothing after the "=" or ":", but something to point at.
            value = Token("VALUE", "", start_pos=(key.end_pos or 0) + 1)
        return Item(key, value)

    def value_to(self, key: Token, value: Token, target: Token) -> Item:
        return Item(key, value, None, target)

    def call(self, key: Token, items: Items) -> Item:
        return Item(key, None, items)

    def call_to(self, key: Token, items: Items, target: Token) -> Item:
        return Item(key, None, items, target)

    def list(self, *items: Item | None) -> Items:
        return items

    def flow(self, head: Items, _: Token, actions: Items) -> tuple[Items, Items]:
        return head, actions

    def bucket(self, _: Token, head: Items, *rest: Any) -> tuple[Items, Items | None]:
        return head, rest[1] if rest else None

    def group(self, head: Items, *buckets: Any) -> tuple[Items, tuple[Any, ...]]:
        return head, buckets


def grammar_text() -> str:
    """The grammar: inside the package if installed, beside it in a source checkout."""
    installed = files("flowvm") / "grammar" / "openflow.lark"
    if installed.is_file():
        return installed.read_text(encoding="utf-8")
    beside = Path(__file__).resolve().parents[2] / "grammar" / "openflow.lark"
    return beside.read_text(encoding="utf-8")


def cache_directory() -> Path | None:
    """``$XDG_CACHE_HOME/flowvm``, else ``~/.cache/flowvm``; None for a user without a home."""
    base = os.environ.get("XDG_CACHE_HOME")
    if base:
        return Path(base) / "flowvm"
    with suppress(RuntimeError):
        return Path.home() / ".cache" / "flowvm"
    return None


def build(grammar: str) -> Lark:
    """The parser, made from the grammar itself."""
    return Lark(
        grammar,
        parser="lalr",
        start=list(STARTS),
        maybe_placeholders=True,
        transformer=_ToItems(),
    )


def load(grammar: str, directory: Path | None) -> Lark:
    """The parser, from the tables in ``directory`` if they are there; else built, and put there.

    A directory that cannot be read or written, or tables that make no sense, cost time only.
    """
    if directory is None:
        return build(grammar)
    depends_on = f"{sys.version_info[:2]}\n{lark.__version__}\n{STARTS}\n{grammar}"
    digest = hashlib.sha256(depends_on.encode()).hexdigest()[:32]
    path = directory / f"tables-{digest}.json"
    try:
        return _from_tables(json.loads(path.read_text(encoding="utf-8")))
    except Exception:
        # Whatever is wrong with a cache, the grammar itself is at hand.
        parser = build(grammar)
        with suppress(OSError):
            _write(path, json.dumps(_to_tables(parser)))
        return parser


@cache
def parser() -> Lark:
    """The parser of this process."""
    return load(grammar_text(), cache_directory())


def _to_tables(parser: Lark) -> dict[str, Any]:
    data, memo = parser.memo_serialize([TerminalDef, Rule])
    data["options"] = {k: v for k, v in data["options"].items() if k != "transformer"}
    return {"data": data, "memo": memo}


def _from_tables(tables: dict[str, Any]) -> Lark:
    # JSON made the numbers that are keys into strings, and the pairs into lists.
    table = tables["data"]["parser"]["parser"]
    table["tokens"] = {int(k): v for k, v in table["tokens"].items()}
    table["states"] = {
        int(state): {int(token): tuple(action) for token, action in actions.items()}
        for state, actions in table["states"].items()
    }
    memo = {int(k): v for k, v in tables["memo"].items()}
    # This is how Lark's generated stand-alone parsers load themselves.
    parser: Lark = Lark._load_from_dict(  # type: ignore[no-untyped-call]
        tables["data"], memo, transformer=_ToItems()
    )
    return parser


def _write(path: Path, text: str) -> None:
    """Write at once or not at all: another process may be reading."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
