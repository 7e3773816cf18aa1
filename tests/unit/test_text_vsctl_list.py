"""Rows from "ovs-vsctl list", in its formats."""

from __future__ import annotations

import json

import pytest

from flowvm.text.errors import FlowSyntaxError
from flowvm.text.rows import Row, atom, atoms, mapping, number, numbers
from flowvm.text.vsctl_list import parse_vsctl_list

LIST = """\
_uuid               : 8f1c0a5e-0c2f-4b0e-9d53-0d5b8e7d1a11
name                : "we ird"
options             : {key=flow, remote_ip="10.0.0.1"}
mac_in_use          : "aa:55:aa:55:00:0e"
tag                 : 2
trunks              : [5, 6]
vlan_mode           : []

_uuid               : 8f1c0a5e-0c2f-4b0e-9d53-0d5b8e7d1a12
name                : b
options             : {}
mac_in_use          : []
tag                 : []
trunks              : []
vlan_mode           : native-untagged
"""
TABLE = """\
_uuid                                name     options                           \
mac_in_use          tag trunks vlan_mode
------------------------------------ -------- --------------------------------- \
------------------- --- ------ ---------------
8f1c0a5e-0c2f-4b0e-9d53-0d5b8e7d1a11 "we ird" {key=flow, remote_ip="10.0.0.1"} \
 "aa:55:aa:55:00:0e" 2   [5, 6] []
8f1c0a5e-0c2f-4b0e-9d53-0d5b8e7d1a12 b        {}                                \
[]                  []  []     native-untagged
"""
CSV = """\
_uuid,name,options,mac_in_use,tag,trunks,vlan_mode
8f1c0a5e-0c2f-4b0e-9d53-0d5b8e7d1a11,\"""we ird\""",\
"{key=flow, remote_ip=""10.0.0.1""}",\"""aa:55:aa:55:00:0e\""",2,"[5, 6]",[]
8f1c0a5e-0c2f-4b0e-9d53-0d5b8e7d1a12,b,{},[],[],[],native-untagged
"""
JSON = json.dumps(
    {
        "headings": ["_uuid", "name", "options", "mac_in_use", "tag", "trunks", "vlan_mode"],
        "data": [
            [
                ["uuid", "8f1c0a5e-0c2f-4b0e-9d53-0d5b8e7d1a11"],
                "we ird",
                ["map", [["key", "flow"], ["remote_ip", "10.0.0.1"]]],
                "aa:55:aa:55:00:0e",
                2,
                ["set", [5, 6]],
                ["set", []],
            ],
            [
                ["uuid", "8f1c0a5e-0c2f-4b0e-9d53-0d5b8e7d1a12"],
                "b",
                ["map", []],
                ["set", []],
                ["set", []],
                ["set", []],
                "native-untagged",
            ],
        ],
    }
)


def told(row: Row) -> tuple[object, ...]:
    return (
        atom(row, "_uuid"),
        atom(row, "name"),
        dict(mapping(row, "options")),
        atoms(row, "mac_in_use"),
        number(row, "tag"),
        numbers(row, "trunks"),
        atom(row, "vlan_mode"),
    )


@pytest.mark.parametrize("text", [LIST, TABLE, CSV, JSON], ids=["list", "table", "csv", "json"])
def test_every_format_says_the_same(text: str) -> None:
    """Names lose their quotes, sets and maps have their members."""
    assert [told(row) for row in parse_vsctl_list(text)] == [
        (
            "8f1c0a5e-0c2f-4b0e-9d53-0d5b8e7d1a11",
            "we ird",
            {"key": "flow", "remote_ip": "10.0.0.1"},
            ("aa:55:aa:55:00:0e",),
            2,
            {5, 6},
            None,
        ),
        ("8f1c0a5e-0c2f-4b0e-9d53-0d5b8e7d1a12", "b", {}, (), None, set(), "native-untagged"),
    ]


def test_a_table_may_have_no_rows() -> None:
    """``ovs-vsctl list Mirror`` prints nothing where there is none."""
    assert parse_vsctl_list("\n") == []
    assert parse_vsctl_list("name tag\n---- ---\n") == []
    assert parse_vsctl_list('{"headings":["name"],"data":[]}') == []


def test_rows_need_no_blank_line_between_them() -> None:
    """A column that comes again begins the next row."""
    assert parse_vsctl_list("name : a\ntag : 1\nname : b\n") == [
        {"name": "a", "tag": "1"},
        {"name": "b"},
    ]


@pytest.mark.parametrize(
    ("text", "line", "column", "problem"),
    [
        ("name : a\nwhat is this\n", 2, 1, "this is no column of a row"),
        ("name : a\ntag     : 4096\n", 2, 11, '"4096" is not a value of tag'),
        ("trunks : [1, x]\n", 1, 14, '"x" is not a value of trunks'),
        ("vlan_mode : other\n", 1, 13, '"other" is not a value of vlan_mode'),
        ("options : [a]\n", 1, 11, "options is a map"),
        ("name : [a\n", 1, 8, "run together"),
        ("name tag\n---- ----\na    4097\n", 3, 6, '"4097" is not a value of tag'),
        ("name,tag\na,1,2\n", 2, 1, "3 values for 2 columns"),
        ("name,tag\na,x\n", 2, 3, '"x" is not a value of tag'),
        ('{"headings":["name"],\n"data":', 2, 8, "this is no JSON"),
        ('{"headings":["tag"],"data":[["x"]]}', 1, 31, '"x" is not a value of tag'),
        ('{"headings":["tag"],"data":[[1,2]]}', 1, 1, "not as many values"),
        ('{"rows":[]}', 1, 1, "this is no table"),
    ],
)
def test_what_cannot_be_read_is_shown(text: str, line: int, column: int, problem: str) -> None:
    """With line and column."""
    with pytest.raises(FlowSyntaxError) as caught:
        parse_vsctl_list(text, file="list.txt")
    assert problem in str(caught.value)
    assert (caught.value.line, caught.value.column) == (line, column)
