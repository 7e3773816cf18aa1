"""The log that "conf.db" is: what its transactions add up to."""

from __future__ import annotations

import hashlib
import json

import pytest

from flowvm.network.ovsdb import read_database
from flowvm.text.errors import FlowSyntaxError

SCHEMA = {
    "name": "Open_vSwitch",
    "version": "8.3.1",
    "tables": {
        "Port": {
            "columns": {
                "name": {"type": "string"},
                "tag": {"type": {"key": "integer", "min": 0, "max": 1}},
                "trunks": {"type": {"key": "integer", "min": 0, "max": 4096}},
                "other_config": {
                    "type": {"key": "string", "value": "string", "min": 0, "max": "unlimited"}
                },
            }
        },
        "QoS": {"columns": {"type": {"type": "string"}}},
    },
}


def record(value: object) -> bytes:
    text = json.dumps(value).encode() + b"\n"
    return b"OVSDB JSON %d %s\n" % (len(text), hashlib.sha1(text).hexdigest().encode()) + text


def port(uuid: str, columns: object, **more: object) -> bytes:
    return record({"_date": 1, "_comment": "ovs-vsctl", "Port": {uuid: columns}, **more})


FIRST = record(SCHEMA) + port(
    "u1",
    {
        "name": "p",
        "tag": 1,
        "trunks": ["set", [1, 2]],
        "other_config": ["map", [["a", "1"], ["b", "2"]]],
    },
)


def test_a_row_has_what_was_said_of_it_last() -> None:
    """Columns that a transaction does not name stay as they are."""
    tables = read_database(FIRST + port("u1", {"tag": 7, "trunks": 3}))
    assert tables["Port"] == {
        "u1": {"name": "p", "tag": "7", "trunks": "3", "other_config": {"a": "1", "b": "2"}}
    }


def test_a_row_can_go() -> None:
    """``null`` takes it away; other tables and comments do not matter."""
    data = FIRST + port("u2", {"name": "q"}) + port("u1", None, QoS={"x": {"type": "y"}})
    assert read_database(data)["Port"] == {"u2": {"name": "q"}}


def test_changes_can_be_differences() -> None:
    """Of sets and maps only: what is there goes, what is not comes, a key gets another value."""
    change = {
        "tag": 7,
        "trunks": ["set", [2, 3]],
        "other_config": ["map", [["a", "1"], ["b", "3"], ["c", "4"]]],
    }
    tables = read_database(FIRST + port("u1", change, _is_diff=True))
    assert tables["Port"]["u1"] == {
        "name": "p",
        "tag": "7",
        "trunks": ("1", "3"),
        "other_config": {"b": "3", "c": "4"},
    }


def test_a_difference_to_nothing_is_all_there_is() -> None:
    """As of a row that has just been made."""
    tables = read_database(FIRST + port("u2", {"name": "q", "trunks": 4}, _is_diff=True))
    assert tables["Port"]["u2"] == {"name": "q", "trunks": ("4",)}


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (b"OVSDB JSON 9999 " + b"0" * 40 + b"\n{}\n", "the record is cut off"),
        (b"OVSDB JSON 3 " + b"0" * 40 + b"\n{}\n", "is damaged: its hash is another"),
        (b"garbage\n", "here begins no record"),
        (record([1]), "the record is no object"),
        (record({"Port": {"u1": {"tag": 5000}}}), '"5000" is not a value of tag'),
        (record({"Port": {"u1": {"tag": ["what"]}}}), "this is no value of a database"),
        (record({"Port": 1}), "the rows of Port are no object"),
        (b"OVSDB CLUSTER 3 " + b"0" * 40 + b"\n{}\n", "a clustered database cannot be read"),
    ],
)
def test_a_damaged_record_ends_the_log(more: bytes, problem: str) -> None:
    """It is told of, with its line; leniently what came before it counts."""
    with pytest.raises(FlowSyntaxError) as caught:
        read_database(FIRST + more + FIRST, file="conf.db")
    assert problem in str(caught.value)
    assert str(caught.value).startswith(("conf.db:5:1: ", "conf.db:6:1: "))
    errors: list[FlowSyntaxError] = []
    assert read_database(FIRST + more, errors=errors)["Port"]["u1"]["name"] == "p"
    assert [str(error.problem) for error in errors] == [caught.value.problem]


def test_a_log_begins_with_a_schema() -> None:
    """Else it is no database."""
    with pytest.raises(FlowSyntaxError, match="the first record is no schema"):
        read_database(record({"Port": {}}))
