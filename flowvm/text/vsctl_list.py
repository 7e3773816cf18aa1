"""Rows of a table: the text of ``ovs-vsctl list``, in any of its formats but HTML.

Semantics: ovs-vsctl(8), "Table Formatting Options".
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator

from flowvm.text.datum import Datum
from flowvm.text.errors import FlowSyntaxError, WordError
from flowvm.text.rows import Row, checked, datum_of_json, parse_column

_LINE = re.compile(r"(?P<column>\w+)\s*:\s(?P<value>.*)\Z")
_HEADINGS = re.compile(r"\w+(?:,\w+)*\Z")
_RULE = re.compile(r"-+(?: -+)*\s*\Z")
_EXPECTED = 'a line of "ovs-vsctl list", such as "name : br-int"'


def parse_vsctl_list(text: str, *, file: str | None = None) -> list[Row]:
    """The rows, in the order of the text. Raises FlowSyntaxError for a line that cannot be read."""
    lines = text.splitlines()
    filled = [number for number, line in enumerate(lines) if line.strip()]
    if not filled:
        return []
    first = filled[0]
    if lines[first].lstrip().startswith("{"):
        return list(_of_json(text, file))
    if len(filled) > 1 and _RULE.match(lines[filled[1]]):
        return list(_of_table(lines, first, filled[1], file))
    if _HEADINGS.match(lines[first].strip()) and (len(filled) == 1 or "," in lines[filled[1]]):
        return list(_of_csv(lines, first, file))
    return list(_of_list(lines, file))


def _of_list(lines: list[str], file: str | None) -> Iterator[Row]:
    row: dict[str, Datum] = {}
    for number, line in enumerate(lines):
        found = _LINE.match(line)
        if found is not None:
            column, start, end = found["column"], *found.span("value")
            if column in row:
                yield row
                row = {}
            row[column] = _cell(column, lines, number, start, end, file)
        elif not line.strip():
            if row:
                yield row
            row = {}
        else:
            raise _error(WordError("", "this is no column of a row", _EXPECTED), line, number, file)
    if row:
        yield row


def _of_table(lines: list[str], heading: int, rule: int, file: str | None) -> Iterator[Row]:
    spans = [found.span() for found in re.finditer(r"-+", lines[rule])]
    columns = [lines[heading][start:end].strip() for start, end in spans]
    for number, line in enumerate(lines):
        if number > rule and line.strip():
            yield {
                column: _cell(column, lines, number, start, end, file)
                for column, (start, end) in zip(columns, spans, strict=True)
            }


def _of_csv(lines: list[str], heading: int, file: str | None) -> Iterator[Row]:
    columns = lines[heading].strip().split(",")
    for number, line in enumerate(lines):
        if number <= heading or not line.strip():
            continue
        cells = next(csv.reader([line]))
        if len(cells) != len(columns):
            problem = f"the row has {len(cells)} values for {len(columns)} columns"
            raise _error(WordError("", problem), line, number, file)
        try:
            yield {
                column: parse_column(column, cell)
                for column, cell in zip(columns, cells, strict=True)
            }
        except WordError as error:
            raise _error(error, line, number, file) from None


def _of_json(text: str, file: str | None) -> Iterator[Row]:
    try:
        table = json.loads(text)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        problem = WordError("", f"this is no JSON: {getattr(error, 'msg', error)}")
        shown = text.splitlines()[line - 1 : line] or [""]
        raise _error(problem, shown[0], line - 1, file, getattr(error, "colno", 1) - 1) from None
    match table:
        case {"headings": list(columns), "data": list(rows)}:
            pass
        case _:
            raise _error(WordError("", "this is no table", '"headings" and "data"'), text, 0, file)
    for cells in rows:
        try:
            if not isinstance(cells, list) or len(cells) != len(columns):
                raise WordError("", "a row has not as many values as there are columns")
            yield {
                str(column): checked(str(column), datum_of_json(cell))
                for column, cell in zip(columns, cells, strict=True)
            }
        except WordError as error:
            raise _error(error, text, 0, file) from None


def _cell(
    column: str, lines: list[str], number: int, start: int, end: int, file: str | None
) -> Datum:
    line = lines[number]
    try:
        return parse_column(column, line[start:end].strip())
    except WordError as error:
        raise _error(error, line, number, file, start) from None


_SHOWN = 200


def _error(
    error: WordError, line: str, number: int, file: str | None, start: int = 0
) -> FlowSyntaxError:
    at = line.find(error.word, start) if error.word else start
    column = max(at, start)
    # Rows are long; what is shown begins near the spot.
    cut = max(column - _SHOWN // 2, 0) if len(line) > _SHOWN else 0
    return FlowSyntaxError(
        error.problem,
        text=line[cut : cut + _SHOWN].split("\n", 1)[0],
        column=column - cut + 1,
        expected=error.expected,
        line=number + 1,
        file=file,
    )
