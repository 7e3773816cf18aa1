"""Which rules of a table may be reached, where that can be told by hand."""

from __future__ import annotations

from flowvm.pipeline.compile import flow_names
from flowvm.text.parse import parse_flow

from ..conformance.capture_reach import reachable_rules


def unreachable(*lines: str) -> list[str]:
    """Those of ``lines`` that no packet can hit."""
    flows = [parse_flow(line) for line in lines]
    found = reachable_rules(flows, flow_names(flows, None))
    return [line for number, line in enumerate(lines) if number not in found]


def test_a_table_is_out_of_reach_unless_a_rule_that_is_not_leads_there() -> None:
    dead = ["table=2,actions=resubmit(,3)", "table=3,actions=drop"]
    assert unreachable("actions=resubmit(,1)", "table=1,actions=output:1", *dead) == dead


def test_a_rule_is_out_of_reach_behind_one_that_matches_all_it_matches() -> None:
    dead = "priority=1,ip,nw_dst=10.1.0.0/16,actions=output:2"
    assert unreachable("priority=2,ip,nw_dst=10.0.0.0/8,actions=output:1", dead) == [dead]
    assert unreachable("priority=2,ip,nw_dst=10.1.1.0/24,actions=output:1", dead) == []


def test_a_register_has_what_was_loaded_on_the_way() -> None:
    dead = "table=1,reg0=2,actions=output:2"
    load = "in_port=1,actions=load:1->NXM_NX_REG0[],resubmit(,1)"
    assert unreachable(load, "table=1,reg0=1,actions=output:1", dead) == [dead]
    assert unreachable(load, "in_port=2,actions=move:NXM_OF_IN_PORT[]->NXM_NX_REG0[0..15],"
                       "resubmit(,1)", dead) == []  # fmt: skip


def test_what_a_table_wrote_is_known_after_coming_back_from_it() -> None:
    dead = "table=2,reg0=0,actions=output:2"
    writes = "table=1,actions=load:1->NXM_NX_REG0[]"
    assert unreachable("actions=resubmit(,1),resubmit(,2)", writes, dead) == [dead]
    assert unreachable("actions=resubmit(,2),resubmit(,1)", writes, dead) == []


def test_a_tracked_packet_is_new_or_established_but_not_both() -> None:
    dead = "table=1,ct_state=+new+est,actions=output:2"
    assert unreachable("ip,actions=ct(table=1)", "table=1,ct_state=+trk,actions=1", dead) == [dead]
    assert unreachable("ip,actions=ct(table=1)", "table=1,ct_state=+est+rpl,actions=2") == []


def test_a_connection_has_a_mark_only_if_some_rule_sets_it() -> None:
    marked = "table=1,ct_mark=1,actions=output:2"
    assert unreachable("ip,actions=ct(table=1)", marked) == [marked]
    commit = "ip,actions=ct(commit,table=1,exec(load:1->NXM_NX_CT_MARK[]))"
    assert unreachable(commit, marked) == []


def test_a_clause_of_a_conjunction_is_not_hit_itself() -> None:
    clause = "ip,nw_src=10.0.0.1,actions=conjunction(1,1/2)"
    assert unreachable("conj_id=1,ip,actions=output:1", clause) == [clause]
