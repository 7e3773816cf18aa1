"""Whole dumps, in the dialects people keep them."""

from __future__ import annotations

import pytest

from flowvm.text.dump import parse_dump
from flowvm.text.errors import FlowSyntaxError

DUMP = """\
[root@host ~]# ovs-ofctl dump-flows br-tun
NXST_FLOW reply (xid=0x4):
//从虚拟机来的
cookie=0x0, duration=1.5s, table=0, n_packets=0, n_bytes=0, priority=1,in_port=1 actions=drop

# a note
 cookie=0x0, duration=2s, table=0, n_packets=0, n_bytes=0, priority=0 actions=drop
OFPST_FLOW reply (OF1.3) (xid=0x2): flags=[more]
 cookie=0x0, duration=2s, table=1, n_packets=0, n_bytes=0, priority=0 actions=drop
$ sudo ovs-ofctl dump-groups br-tun
OFPST_GROUP_DESC reply (OF1.3) (xid=0x2):
 group_id=1,type=all,bucket=actions=output:1
stack@devstack:~$
"""


def test_headers_annotations_and_prompts_are_passed_over() -> None:
    """Whatever stands between the flows is kept apart, with its line numbers."""
    dump = parse_dump(DUMP)
    assert [flow.table for flow in dump.flows] == [0, 0, 1]
    assert dump.flow_lines == (4, 7, 9)
    assert [group.group_id for group in dump.groups] == [1]
    assert dump.group_lines == (12,)
    assert [number for number, _ in dump.skipped] == [1, 2, 3, 6, 8, 10, 11, 13]
    assert dump.errors == ()


def test_a_dump_is_printed_as_ovs_prints_it() -> None:
    """A dump's text is its flows and groups, each with the leading space that was lost."""
    assert str(parse_dump("cookie=0x0, table=0, actions=drop\r\n\r\n")) == (
        " cookie=0x0, table=0, actions=drop\n"
    )


@pytest.mark.parametrize(
    "prompt",
    [
        "[root@host ~]# ovs-ofctl dump-flows br-tun",
        "root@host:~# ovs-ofctl dump-flows br-tun",
        "root@host:/var/log# ovs-ofctl dump-flows br-tun",
        "(kolla) [admin@c-0 ~]$ ls",
        "$ sudo ovs-ofctl dump-flows br-int",
        "# ovs-ofctl dump-flows br-int",
        "ovs-ofctl -O OpenFlow13 dump-flows br-int",
        "sudo ovs-ofctl dump-flows br-int",
    ],
)
def test_prompts_are_known(prompt: str) -> None:
    """A shell's prompt, with or without the command that made the dump, is no flow."""
    assert parse_dump(f"{prompt}\n actions=drop\n").flow_lines == (2,)


BAD = " actions=drop\n actions=dorp\n table=x actions=drop\n table=300, actions=drop\n"


def test_the_first_bad_line_raises() -> None:
    """A strict reading ends at the first bad line and says where it is."""
    with pytest.raises(FlowSyntaxError) as caught:
        parse_dump(BAD, file="br0.txt")
    error = caught.value
    assert (error.file, error.line, error.column) == ("br0.txt", 2, 10)
    assert error.text == " actions=dorp"


def test_a_lenient_reading_lists_every_bad_line() -> None:
    """A lenient reading keeps the good flows and all the errors."""
    dump = parse_dump(BAD, file="br0.txt", lenient=True)
    assert dump.flow_lines == (1, 3)
    assert [(error.line, error.column) for error in dump.errors] == [(2, 10), (4, 8)]


def test_a_line_that_is_neither_flow_nor_annotation_is_an_error() -> None:
    """Prose is not taken for an annotation unless it is marked as one."""
    with pytest.raises(FlowSyntaxError, match="no actions"):
        parse_dump("the flows of br-tun\n")


def test_an_empty_dump_has_no_flows() -> None:
    """A switch without flows gives a header alone."""
    assert parse_dump("NXST_FLOW reply (xid=0x4):\n").flows == ()
