"""Open vSwitch's database as the file ``conf.db`` keeps it: a log of transactions.

Semantics: ovsdb(5), "Standalone Format"; ``ovsdb_file_update_row_from_json`` in Open vSwitch's
ovsdb/file.c for changes that are kept as differences.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from flowvm.text.datum import Datum
from flowvm.text.errors import FlowSyntaxError, WordError
from flowvm.text.rows import Row, checked, datum_of_json

Tables = dict[str, dict[str, Row]]
"""The rows of each table, by their UUIDs."""

_HEADER = re.compile(rb"OVSDB (?P<kind>\w+) (?P<length>\d{1,12}) (?P<hash>[0-9a-f]{40})\n")
_READ = frozenset({"Bridge", "Port", "Interface", "Mirror"})
_SHOWN = 80


def read_database(
    data: bytes, *, file: str | None = None, errors: list[FlowSyntaxError] | None = None
) -> Tables:
    """The bridges, ports, interfaces and mirrors that the log ends with.

    A record that is damaged, or of a clustered database, raises FlowSyntaxError; with ``errors`` it
    goes there, and what comes before it counts, as it does for ovsdb-server.
    """
    tables: Tables = {table: {} for table in _READ}
    sets: Mapping[str, frozenset[str]] | None = None
    try:
        for begin, record in _records(data):
            try:
                if sets is None:
                    sets = _columns_of_many(record)
                else:
                    _apply(tables, record, sets)
            except WordError as error:
                raise _DamageError(begin, error.problem, error.expected) from None
    except _DamageError as error:
        located = _located(error, data, file)
        if errors is None:
            raise located from None
        errors.append(located)
    return tables


def _records(data: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each record and where its text begins. Raises _DamageError."""
    at = 0
    while at < len(data):
        header = _HEADER.match(data, at)
        if header is None:
            raise _DamageError(at, "here begins no record", "OVSDB JSON LENGTH SHA1")
        if header["kind"] != b"JSON":
            raise _DamageError(
                at,
                "a clustered database cannot be read",
                "what ovsdb-tool cluster-to-standalone makes of it",
            )
        begin, length = header.end(), int(header["length"])
        body = data[begin : begin + length]
        if hashlib.sha1(body, usedforsecurity=False).hexdigest().encode() != header["hash"]:
            what = "is cut off" if len(body) < length else "is damaged: its hash is another"
            raise _DamageError(begin, f"the record {what}", f"{length} bytes")
        try:
            record = json.loads(body)
        except (ValueError, RecursionError):
            raise _DamageError(begin, "the record is no JSON", "an object") from None
        if not isinstance(record, dict):
            raise _DamageError(begin, "the record is no object", "an object")
        yield begin, record
        at = begin + length


class _DamageError(WordError):
    """What is wrong with a record, and where."""

    def __init__(self, at: int, problem: str, expected: str) -> None:
        super().__init__("", problem, expected)
        self.at = at


def _columns_of_many(schema: dict[str, Any]) -> Mapping[str, frozenset[str]]:
    """The columns of each table that can have more than one value."""
    match schema:
        case {"name": str(), "tables": dict(tables)}:
            return {name: _many_of(table) for name, table in tables.items()}
    raise WordError("", "the first record is no schema", '"name" and "tables"')


def _many_of(table: object) -> frozenset[str]:
    match table:
        case {"columns": dict(columns)}:
            return frozenset(
                column
                for column, told in columns.items()
                if isinstance(told, dict) and _is_many(told.get("type"))
            )
    return frozenset()


def _is_many(kind: object) -> bool:
    most = kind.get("max", 1) if isinstance(kind, dict) else 1
    return most == "unlimited" or (isinstance(most, int) and most > 1)


def _apply(tables: Tables, transaction: dict[str, Any], sets: Mapping[str, frozenset[str]]) -> None:
    is_difference = transaction.get("_is_diff") is True
    for name in _READ & transaction.keys():
        rows = transaction[name]
        if not isinstance(rows, dict):
            raise WordError("", f"the rows of {name} are no object")
        for uuid, changes in rows.items():
            if changes is None:
                tables[name].pop(uuid, None)
                continue
            if not isinstance(changes, dict):
                raise WordError("", f"a row of {name} is no object")
            row = dict(tables[name].get(uuid, {}))
            many = sets.get(name, frozenset()) if is_difference else frozenset()
            for column, value in changes.items():
                datum = datum_of_json(value)
                new = _changed(row.get(column), datum) if column in many else datum
                row[column] = checked(column, new)
            tables[name][uuid] = row


def _changed(old: Datum | None, difference: Datum) -> Datum:
    """A set or a map after a change: what is in both goes, unless a key got another value."""
    if isinstance(old, dict) or isinstance(difference, dict):
        mapped = dict(old) if isinstance(old, dict) else {}
        for key, value in difference.items() if isinstance(difference, dict) else ():
            if mapped.get(key) == value:
                del mapped[key]
            else:
                mapped[key] = value
        return mapped
    before, change = (
        () if value is None else (value,) if isinstance(value, str) else value
        for value in (old, difference)
    )
    kept = [member for member in before if member not in change]
    return (*kept, *(member for member in change if member not in before))


def _located(error: _DamageError, data: bytes, file: str | None) -> FlowSyntaxError:
    at = error.at
    shown = data[at : at + _SHOWN].split(b"\n", 1)[0].decode("utf-8", "replace")
    return FlowSyntaxError(
        error.problem,
        text=shown,
        column=1,
        expected=error.expected,
        line=data.count(b"\n", 0, at) + 1,
        file=file,
    )
