"""The parser and the cache of its tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowvm.text import grammar
from flowvm.text.tree import Item

ITEMS = 'resubmit(,1),check(5)->reg0[0],load:0x1->a[1..2],"x y",note:'
EXPECTED = (
    Item("resubmit", items=(None, Item("1"))),
    Item("check", items=(Item("5"),), target="reg0[0]"),
    Item("load", "0x1", target="a[1..2]"),
    Item('"x y"'),
    Item("note", ""),
)


def test_text_becomes_items() -> None:
    """Keys, values, lists and destinations are told apart; an empty place is None."""
    assert grammar.build(grammar.grammar_text()).parse(ITEMS, start="list") == EXPECTED


def test_tables_are_written_once_and_read_back(tmp_path: Path) -> None:
    """The first parser leaves its tables behind; the next is made of them and parses the same."""
    text = grammar.grammar_text()
    first = grammar.load(text, tmp_path / "cache")
    (tables,) = (tmp_path / "cache").iterdir()
    written = tables.stat().st_mtime_ns
    second = grammar.load(text, tmp_path / "cache")
    assert tables.stat().st_mtime_ns == written
    for parser in (first, second):
        assert parser.parse(ITEMS, start="list") == EXPECTED


def test_another_grammar_has_other_tables(tmp_path: Path) -> None:
    """Tables belong to the grammar they were made of."""
    text = grammar.grammar_text()
    grammar.load(text, tmp_path)
    grammar.load(text + "\n// changed\n", tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"data": {}, "memo": {}}', "\x00"])
def test_broken_tables_are_made_anew(tmp_path: Path, content: str) -> None:
    """A cache that makes no sense is replaced."""
    text = grammar.grammar_text()
    grammar.load(text, tmp_path)
    (tables,) = tmp_path.iterdir()
    tables.write_text(content, encoding="utf-8")
    assert grammar.load(text, tmp_path).parse(ITEMS, start="list") == EXPECTED
    assert len(tables.read_text(encoding="utf-8")) > 1000


def test_a_directory_that_cannot_be_written_does_no_harm(tmp_path: Path) -> None:
    """Without a place for the cache the parser is built each time."""
    occupied = tmp_path / "file"
    occupied.write_text("not a directory", encoding="utf-8")
    parser = grammar.load(grammar.grammar_text(), occupied / "flowvm")
    assert parser.parse(ITEMS, start="list") == EXPECTED


def test_without_a_home_there_is_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who has no home directory gets a parser all the same."""

    def homeless() -> Path:
        raise RuntimeError("no home")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert grammar.cache_directory() is None
    assert grammar.load(grammar.grammar_text(), None).parse(ITEMS, start="list") == EXPECTED


def test_the_cache_is_where_the_user_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """XDG_CACHE_HOME names the directory of caches."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert grammar.cache_directory() == tmp_path / "flowvm"
