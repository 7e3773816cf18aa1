"""Groups: the text of dump-groups."""

from __future__ import annotations

import pytest

from flowvm.actions.output import Output
from flowvm.text.errors import FlowSyntaxError
from flowvm.text.groups import Bucket, Group, parse_group

PRINTED = [
    " group_id=1,type=all,bucket=actions=output:1,bucket=actions=output:2",
    " group_id=2,type=select,bucket=bucket_id:0,weight:100,actions=output:1,"
    "bucket=bucket_id:1,weight:50,watch_port:2,actions=ct(table=3,zone=1),output:2",
    " group_id=3,type=ff,bucket=watch_port:1,watch_group:7,actions=output:1",
    " group_id=4,type=indirect,bucket=actions=drop",
    " group_id=5,type=select,selection_method=hash,fields(eth_src,ip_dst),bucket=actions=drop",
    " group_id=6,type=select,selection_method=hash,selection_method_param=9,fields=ip_src,"
    "bucket=weight:0,actions=set_field:1.2.3.4->ip_dst",
    ' group_id=7,type=ff,bucket=watch_port:"p-1",actions=output:"p-1"',
    " group_id=8,type=all",
]


@pytest.mark.parametrize("line", PRINTED)
def test_a_printed_group_comes_back_byte_for_byte(line: str) -> None:
    """What ovs-ofctl prints is what formatting gives."""
    assert str(parse_group(line)) == line


def test_the_parts_of_a_group_are_typed() -> None:
    """Buckets hold their numbers and actions."""
    group = parse_group("group_id=2,type=select,bucket=weight:7,actions=output:1,output:2")
    assert group == Group(2, "select", buckets=(Bucket((Output(1), Output(2)), weight=7),))


def test_groups_are_read_as_add_group_takes_them() -> None:
    """Spaces after commas, "fast_failover" and actions without "actions=" are read too."""
    line = "group_id=1, type=fast_failover, bucket=watch_port:1,output:1"
    assert str(parse_group(line)) == " group_id=1,type=ff,bucket=watch_port:1,actions=output:1"


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("type=all", "no ID"),
        ("group_id=1,type=sellect", 'did you mean "select"'),
        ("group_id=1,colour=red", "unknown property"),
        ("group_id=1,type=all,bucket=actions=ouput:1", 'did you mean "output"'),
    ],
)
def test_a_bad_group_says_what_is_wrong(line: str, complaint: str) -> None:
    """Errors of groups are like those of flows."""
    with pytest.raises(FlowSyntaxError, match=complaint):
        parse_group(line)
