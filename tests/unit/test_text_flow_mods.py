"""Files of flow mods."""

from __future__ import annotations

import pytest

from flowvm.flow_mod import Command, FlowMod
from flowvm.text.errors import FlowSyntaxError
from flowvm.text.flow_mods import parse_flow_mod, parse_flow_mods
from flowvm.text.parse import parse_actions, parse_match


def test_a_file_of_all_commands() -> None:
    """Lines say in their first word what to do, or add; comments and blank lines say nothing."""
    text = """\
# all of it
table=1,in_port=2,actions=drop
add table=2,priority=7,cookie=5,idle_timeout=1,importance=3,check_overlap,actions=output:1  # new

modify table=3,cookie=0x1/-1,cookie=0x2,actions=output:2
modify_strict,priority=9,ip,actions=drop
delete table=0,out_port=LOCAL
delete_strict priority=4,out_group=any,tcp
delete
"""
    drop, to_1, to_2 = (parse_actions(a) for a in ("drop", "output:1", "output:2"))
    assert parse_flow_mods(text) == (
        FlowMod(Command.ADD, parse_match("in_port=2"), drop, table=1),
        FlowMod(
            Command.ADD,
            actions=to_1,
            priority=7,
            table=2,
            cookie=5,
            idle_timeout=1,
            importance=3,
            flags=("check_overlap",),
        ),
        FlowMod(Command.MODIFY, actions=to_2, table=3, cookie=2, with_cookie=(1, (1 << 64) - 1)),
        FlowMod(Command.MODIFY_STRICT, parse_match("ip"), drop, priority=9),
        FlowMod(Command.DELETE, table=0, out_port=0xFFFE),
        FlowMod(Command.DELETE_STRICT, parse_match("tcp"), priority=4),
        FlowMod(Command.DELETE),
    )


def test_a_dump_is_a_file_of_flow_mods() -> None:
    """What dump-flows printed is added again, its statistics read over."""
    line = (
        " cookie=0x5, duration=3.5s, table=1, n_packets=1, n_bytes=60, hard_timeout=9, idle_age=1, "
        "hard_age=2, priority=3,in_port=1 actions=output:2"
    )
    assert parse_flow_mod(line) == FlowMod(
        Command.ADD,
        parse_match("in_port=1"),
        parse_actions("output:2"),
        3,
        1,
        5,
        hard_timeout=9,
    )


@pytest.mark.parametrize(
    ("text", "command", "column", "problem"),
    [
        ("table=1,in_port=2", Command.ADD, 18, "the flow has no actions"),
        ("delete table=1,actions=drop", None, 16, "unexpected"),
        ("delete priority=5", None, 8, '"priority" does not go with delete'),
        ("out_port=5,actions=drop", None, 1, '"out_port" does not go with add'),
        ("importance=5,actions=drop", Command.MODIFY, 1, '"importance" does not go with modify'),
        ("cookie=5", Command.DELETE, 8, "flows are not given a cookie here"),
        ("cookie=5/-1,actions=drop", None, 8, "the cookie of a new flow cannot have a mask"),
        ("add table=1,fishy=5,actions=drop", None, 13, 'unknown field "fishy"'),
        ("send_flow_rem", Command.DELETE, 1, '"send_flow_rem" does not go with delete'),
    ],
)
def test_errors_point_at_the_spot(
    text: str, command: Command | None, column: int, problem: str
) -> None:
    """In the line as it stands, whatever word it begins with."""
    with pytest.raises(FlowSyntaxError, match=problem) as caught:
        parse_flow_mods(f"\n{text}\n", command, file="mods")
    assert (caught.value.file, caught.value.line, caught.value.column) == ("mods", 2, column)
