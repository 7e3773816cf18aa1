"""The MAC table as ovs-appctl fdb/show prints it."""

from __future__ import annotations

import pytest

from flowvm.port_settings import MacEntry
from flowvm.text.errors import FlowSyntaxError
from flowvm.text.fdb import format_fdb, parse_fdb

TABLE = """\
 port  VLAN  MAC                Age
    1     0  52:54:00:00:00:01    0
   12  4095  52:54:00:00:00:02  static
LOCAL    10  aa:55:aa:55:00:00  298
"""
ENTRIES = (
    MacEntry(1, 0, 0x525400000001, 0),
    MacEntry(12, 4095, 0x525400000002, None),
    MacEntry(0xFFFE, 10, 0xAA55AA550000, 298),
)


def test_rows_are_read() -> None:
    """Each row gives a port, a VLAN, an address and an age; a static row has none."""
    assert parse_fdb(TABLE) == ENTRIES


def test_rows_are_written_as_ovs_appctl_does() -> None:
    """The text is that of fdb/show, to the space."""
    assert format_fdb(ENTRIES) == TABLE


def test_ports_may_have_names() -> None:
    """A port given by name has the number that the bridge's ports say."""
    assert parse_fdb("vnet0  2  52:54:00:00:00:01  7", {"vnet0": 4}) == (
        MacEntry(4, 2, 0x525400000001, 7),
    )


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("    1     0  52:54:00:00:00    0", "no row"),
        ("vnet0     0  52:54:00:00:00:01    0", 'unknown port "vnet0"'),
        ("70000     0  52:54:00:00:00:01    0", "out of range"),
    ],
)
def test_what_is_no_row_is_shown(line: str, problem: str) -> None:
    """An error tells the file and the line."""
    with pytest.raises(FlowSyntaxError, match=problem) as caught:
        parse_fdb(f"{TABLE}{line}\n", file="fdb.txt")
    assert str(caught.value).startswith("fdb.txt:5:")
