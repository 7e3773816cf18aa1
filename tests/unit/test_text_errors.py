"""What is said of a bad line: the messages of tests/fixtures/flow_errors.txt, to the letter."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowvm.text.dump import parse_dump
from flowvm.text.errors import FlowSyntaxError, suggestion

GOLDEN = Path(__file__).parents[1] / "fixtures" / "flow_errors.txt"


def _cases() -> list[tuple[str, str, str]]:
    """(why, line, message) of each block; blocks are set apart by lines of equals signs."""
    cases = []
    for block in GOLDEN.read_text(encoding="utf-8").split("=" * 40 + "\n"):
        why, line, message = block.split("\n", 2)
        cases.append((why.removeprefix("# "), line, message.rstrip("\n")))
    return cases


@pytest.mark.parametrize(
    ("line", "message"), [case[1:] for case in _cases()], ids=[case[0] for case in _cases()]
)
def test_a_bad_line_gets_its_message(line: str, message: str) -> None:
    """The message names file, line and column, shows the line, and puts a caret under the spot."""
    with pytest.raises(FlowSyntaxError) as caught:
        parse_dump(line + "\n", file="br0.txt")
    assert str(caught.value) == message


def test_the_caret_stands_under_the_spot_past_tabs_and_wide_letters() -> None:
    """Tabs before the spot are kept in the caret's margin; columns count characters."""
    with pytest.raises(FlowSyntaxError) as caught:
        parse_dump("\ttable=0,\tactions=dorp\n")
    assert str(caught.value).split("\n")[2] == "  \t        \t        ^"
    assert caught.value.column == 19


def test_a_suggestion_is_made_only_for_near_words() -> None:
    """A word that is like nothing known gets no suggestion."""
    assert suggestion("resubmt", ["resubmit", "output"]) == '; did you mean "resubmit"?'
    assert suggestion("zzz", ["resubmit", "output"]) == ""
