"""The conformance matrix has all rows of the manual pages, and says what can be shown."""

from __future__ import annotations

import gzip
import re
from collections import Counter
from pathlib import Path

import pytest

from flowvm.fields import field

from .exercise import row_of
from .matrix import (
    DIFFERENCES,
    DOCUMENT,
    ROOT,
    Row,
    UncoveredError,
    action_rows,
    field_rows,
    render,
    state,
)
from .matrix_guard import problem_with

MANUALS = Path("/usr/share/man/man7")


def manual(name: str) -> str:
    """The source of a manual page of Open vSwitch, which comes with its programs."""
    return gzip.open(MANUALS / f"{name}.7.gz", "rt", encoding="utf-8").read()


@pytest.mark.oracle
def test_every_action_of_the_manual_has_a_row() -> None:
    """A section of ovs-actions(7) about actions has rows, one for each name in its heading."""
    text = manual("ovs-actions").partition(".SH OUTPUT ACTIONS")[2]
    headings = [re.sub(r"\\f.", "", found) for found in re.findall(r"^\.SS (.*)", text, re.M)]
    rows = action_rows()
    assert {row.heading for row in rows} == set(headings)
    for heading in headings:
        words = re.match(r"The (.*?) (?:action and instruction|actions?|instruction)$", heading)
        names = re.split(r",? and |, ", words[1]) if words else []
        listed = [row.name for row in rows if row.heading == heading]
        for name in names:
            assert any(other.startswith(name) for other in listed), (heading, name)


@pytest.mark.oracle
def test_every_field_of_the_manual_has_a_row() -> None:
    """In the order in which ovs-fields(7) describes them."""
    names = re.findall(r"^Name:;\\fB(\w+)\\fR", manual("ovs-fields"), re.M)
    assert [row.name for row in field_rows()] == names


def test_rows_of_fields_are_those_of_the_registry() -> None:
    """A row counts what the registry calls by its name."""
    for row in field_rows():
        assert row_of(field(row.name)) == row.name


def test_the_document_has_the_states_that_compiling_tells() -> None:
    """And as many cases as it claims: none for a row that is not executed."""
    counts: Counter[str] = Counter()
    found = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([\d,]+) \|", DOCUMENT.read_text(), re.M)
    rows = [*action_rows(), *field_rows()]
    assert [name for name, _ in found] == [row.name for row in rows]
    for row, (_, cases) in zip(rows, found, strict=True):
        counts[row.key] = int(cases.replace(",", ""))
    compared = re.search(r"compares ([\d,]+) tables", DOCUMENT.read_text())
    assert compared is not None
    counts["compared"] = int(compared[1].replace(",", ""))
    assert render(counts) == DOCUMENT.read_text()


def test_differences_are_in_the_words_of_the_readme() -> None:
    """Nothing is called a documented difference that README.md does not tell of."""
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert [words for words in DIFFERENCES.values() if words not in readme] == []


def test_a_row_without_cases_is_not_exact() -> None:
    """Exact is what has been compared."""
    with pytest.raises(UncoveredError, match="action exit is exact, but no case exercises it"):
        state(Row("action exit", "", ("actions=exit",)), 0)


def test_what_cannot_be_executed_is_unsupported() -> None:
    """However often it is said to have been compared; and a form of it is told in a note."""
    row = Row("action debug_slow", "", ("actions=debug_slow",))
    assert state(row, 5)[0] == "unsupported"
    row = Row("action clone", "", ("actions=clone(output:1)", "actions=clone(debug_slow)"))
    assert state(row, 5) == ("documented difference", "not executed: `clone(debug_slow)`")


def test_other_counts_make_the_document_stale() -> None:
    """One case more or less is another run."""
    counts = Counter({row.key: 1 for row in (*action_rows(), *field_rows())})
    assert "is stale" in problem_with(counts)
