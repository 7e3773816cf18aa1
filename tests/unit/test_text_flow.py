"""Lines to flows and back."""

from __future__ import annotations

from decimal import Decimal

import pytest

from flowvm.actions.output import Output
from flowvm.actions.resubmit import Resubmit
from flowvm.fields import field
from flowvm.flow import DEFAULT_PRIORITY, FieldMatch, Flow, Match, ProtocolMatch
from flowvm.text.format import format_flow, format_flows, format_learned
from flowvm.text.parse import parse_actions, parse_flow, parse_match

PRINTED = [
    # Every statistic that dump-flows knows, in its order (ovs-ofctl(8), "dump-flows").
    " cookie=0x1f, duration=12.034s, table=3, n_packets=5, n_bytes=420, idle_timeout=10, "
    "hard_timeout=20, send_flow_rem check_overlap reset_counts no_packet_counts no_byte_counts "
    "importance=7, idle_age=3, hard_age=4, priority=1,in_port=2 actions=output:1",
    " cookie=0x0, duration=3s, table=0, n_packets=0, n_bytes=0, reset_counts priority=1 "
    "actions=drop",
    # Neither priority nor match.
    " cookie=0x0, duration=2.500s, table=253, n_packets=0, n_bytes=0, "
    "actions=note:00.0c.00.00.00.00",
    # --no-stats; no cookie, table 0 left out.
    " priority=0 actions=NORMAL",
    " table=10, priority=100,tun_src=172.17.0.3 actions=goto_table:30",
    " actions=drop",
    # --names.
    ' table=ingress, priority=5,in_port="br-tun" actions=resubmit(eth0,"table-2"),output:"p 1"',
    # A switch that does not know its counts.
    " cookie=0x0, duration=1s, table=0, n_packets=?, n_bytes=?, actions=drop",
    # Nanoseconds, where the clock gives them.
    " cookie=0x0, duration=0.000000001s, table=0, n_packets=0, n_bytes=0, actions=drop",
]


@pytest.mark.parametrize("line", PRINTED)
def test_a_printed_line_comes_back_byte_for_byte(line: str) -> None:
    """What ovs-ofctl prints is what formatting gives."""
    assert str(parse_flow(line)) == line


NORMAL_FORMS = [
    (" cookie=0, table=0, ip, actions=drop", " cookie=0x0, table=0, ip actions=drop"),
    ("table=0,priority=32768,ip,actions=drop", " table=0, ip actions=drop"),
    ("in_port=1 n_packets=3 actions=drop", " n_packets=3, in_port=1 actions=drop"),
    ("dl_type=0x800,nw_proto=0x6,action=2", " dl_type=0x0800,nw_proto=6 actions=output:2"),
    ("reg0[4..7]=3,actions=drop", " reg0=0x30/0xf0 actions=drop"),
    ("nw_src=10.1.2.3/8,ip,actions=drop", " nw_src=10.0.0.0/8,ip actions=drop"),
    ("tun_metadata3,actions=drop", " tun_metadata3 actions=drop"),
    (
        "n_bytes=0 actions=drop",
        " n_bytes=0, actions=drop",
    ),
    ("in_port=br-tun,actions=output:br-int", ' in_port="br-tun" actions=output:"br-int"'),
    ("actions=", " actions=drop"),
]


@pytest.mark.parametrize(("line", "normal"), NORMAL_FORMS)
def test_other_spellings_have_a_normal_form(line: str, normal: str) -> None:
    """A line that ovs-ofctl would not print comes back in a documented normal form, once."""
    assert str(parse_flow(line)) == normal
    assert str(parse_flow(normal)) == normal


def test_the_parts_of_a_line_are_typed() -> None:
    """Numbers are numbers, durations keep their digits, terms and actions are objects."""
    flow = parse_flow(
        " cookie=0x2a, duration=77402.190s, table=2, n_packets=3, n_bytes=778, "
        "hard_timeout=300, idle_age=6867, hard_age=12, priority=1,tcp,tun_id=0x1/0xff "
        "actions=resubmit(,10),output:2"
    )
    assert flow == Flow(
        match=parse_match("tcp,tun_id=0x1/0xff"),
        actions=(Resubmit(None, 10), Output(2)),
        priority=1,
        table=2,
        cookie=42,
        duration=Decimal("77402.190"),
        n_packets=3,
        n_bytes=778,
        hard_timeout=300,
        idle_age=6867,
        hard_age=12,
    )
    assert flow.match.terms == (
        ProtocolMatch("tcp"),
        FieldMatch(field("tun_id"), 1, 0xFF, "tun_id"),
    )
    assert str(flow.duration) == "77402.190"


def test_what_a_line_does_not_say_is_none() -> None:
    """Statistics that are absent are None; the priority has OVS's default."""
    flow = parse_flow("actions=drop")
    assert flow == Flow()
    assert flow.priority == DEFAULT_PRIORITY
    assert (flow.table, flow.cookie, flow.duration) == (None, None, None)


def test_field_names_are_read_in_any_case() -> None:
    """A field's name, alias, NXM or OXM name is known whatever its case."""
    for spelling in ("nw_src", "NW_SRC", "ip_src", "NXM_OF_IP_SRC", "OXM_OF_IPV4_SRC"):
        (term,) = parse_match(f"{spelling}=1.2.3.4").terms
        assert isinstance(term, FieldMatch)
        assert term.field is field("ip_src")
        assert term.spelling == spelling


def test_matches_and_actions_can_be_read_alone() -> None:
    """A match or a list of actions needs no flow around it."""
    assert (
        str(parse_match("tcp, in_port=1 ,nw_src=10.0.0.0/8")) == "tcp,in_port=1,nw_src=10.0.0.0/8"
    )
    assert parse_actions("drop") == ()
    assert parse_actions("1, LOCAL") == (Output(1), Output(65534))


def test_a_learned_flow_is_shown_as_trace_shows_it() -> None:
    """ofproto/trace's line of a learned flow: table, match, priority, timeouts, actions."""
    flow = parse_flow(
        "table=20, hard_timeout=300, priority=1,vlan_tci=0x0002/0x0fff,"
        "dl_dst=fa:16:3e:00:00:01 actions=load:0->NXM_OF_VLAN_TCI[],output:2"
    )
    assert format_learned(flow) == (
        "table=20 vlan_tci=0x0002/0x0fff,dl_dst=fa:16:3e:00:00:01 priority=1 hard=300 "
        "actions=load:0->NXM_OF_VLAN_TCI[],output:2"
    )
    assert format_learned(Flow(table=3, cookie=5, idle_timeout=9)) == (
        "table=3 priority=32768 cookie=0x5 idle=9 actions=drop"
    )


def test_a_port_is_the_same_wherever_its_name_stands() -> None:
    """In the match, as an argument, and as a word of a list: equal, and plain strings."""
    flow = parse_flow("table=t1,in_port=eth0,actions=output:eth0,resubmit(eth0,t1)")
    (term,), (output, resubmit) = flow.match.terms, flow.actions
    assert isinstance(term, FieldMatch)
    assert isinstance(output, Output)
    assert isinstance(resubmit, Resubmit)
    named = term.value, output.port, resubmit.in_port
    assert [type(name) for name in (*named, flow.table, resubmit.table)] == [str] * 5
    assert len({*named}) == 1


def test_flows_are_written_alike_alone_and_with_others() -> None:
    """Also where they share terms and actions, and where there are too many of those to keep."""
    wide = parse_flow("priority=7,tcp,nw_src=10.0.0.0/8 actions=load:0x1->NXM_NX_REG0[],output:3")
    flows = []
    for number in range(70_000):
        port = FieldMatch.exact("in_port", number % 0xFF00)
        match = Match((port, *wide.match.terms))
        flows.append(wide.replace(match=match, actions=(*wide.actions, Output(number % 7))))
    lines = list(format_flows(flows))
    assert lines[66_666] == (
        " priority=7,in_port=1386,tcp,nw_src=10.0.0.0/8 "
        "actions=load:0x1->NXM_NX_REG0[],output:3,output:5"
    )
    assert lines[::7_919] == [format_flow(flow) for flow in flows[::7_919]]
