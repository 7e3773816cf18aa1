"""What a benchmark counts; what it times differs from run to run."""

from __future__ import annotations

import json

import numpy as np
import pytest

from flowvm.benchmark import replay_traffic, run_benchmark
from flowvm.pipeline.result import Verdict
from flowvm.switch import Switch, load
from flowvm.text.dump import parse_dump
from flowvm.traffic import synthesise


def test_packets_are_counted_by_what_becomes_of_them() -> None:
    """All of them, and each as when it is run by itself."""
    switch = load("example:br-tun")
    traffic = synthesise(switch.program, 500, 40)
    _, verdicts = replay_traffic(switch.copy(), traffic, batch=64)
    alone = [
        switch.trace(traffic.flows.frames[flow], br_flow=f"in_port={port},tun_id={tunnel}").verdict
        for flow, port, tunnel in zip(
            range(len(traffic.flows)),
            traffic.flows.columns[0].tolist(),
            traffic.flows.columns[2].tolist(),
            strict=True,
        )
    ]
    expected = [alone[flow] for flow in traffic.sequence.tolist()]
    assert {str(verdict): count for verdict, count in verdicts.items() if count} == {
        verdict: expected.count(verdict) for verdict in set(expected)
    }


def test_tables_are_described() -> None:
    """Rules and subtables as the dump has them; lookups of the flows, and how many match."""
    switch = Switch(
        parse_dump(
            "table=0,in_port=1 actions=resubmit(,1)\n"
            "table=0,in_port=2 actions=resubmit(,1)\n"
            "table=1,ip,nw_dst=10.0.0.0/8 actions=output:2\n"
            "table=1,ip,nw_dst=10.0.0.0/9 actions=output:2\n"
            "table=7,priority=0 actions=drop\n"
        ).flows
    )
    measured = run_benchmark(switch, 200, 100)
    first, second, third = measured.tables
    assert (first.table, first.rules, first.subtables) == (0, 2, 1)
    assert (second.table, second.rules, second.subtables) == (1, 2, 2)
    assert (third.table, third.rules, third.subtables) == (7, 1, 1)
    assert first.visits == measured.flows
    assert second.visits == first.hits
    assert 0 < second.hits <= second.visits
    assert (third.visits, third.hits, third.ns, third.hit_rate) == (0, 0, None, None)
    assert measured.tables_reached == 2


def test_a_path_class_is_what_differs_in_consulted_bits() -> None:
    """Rules that only look at the port make as few classes as there are ports."""
    flows = parse_dump("in_port=1 actions=output:2\nin_port=2 actions=output:1\n").flows
    measured = run_benchmark(Switch(flows), 1_000, 500)
    assert measured.classes <= 3
    assert measured.flows > 400


def test_learned_flows_are_counted_and_the_switch_stays_as_it_is() -> None:
    """A benchmark runs on a copy."""
    switch = load("example:br-tun")
    before = [str(flow) for flow in switch.flows()]
    measured = run_benchmark(switch, 300, 60)
    assert measured.learned > 0
    assert switch.now == 0
    assert [str(flow) for flow in switch.flows()] == before


def test_the_result_can_be_written_as_json() -> None:
    """With plain numbers, and null for what was not measured."""
    measured = run_benchmark(load("example:br-tun"), 100, 10)
    read = json.loads(json.dumps(measured.object()))
    assert read["packets"] == 100
    assert read["cold"]["packets_per_second"] > 0
    assert sum(read["verdicts"].values()) == 100
    assert {str(verdict) for verdict in Verdict} == set(read["verdicts"])
    assert [table["ns_per_lookup"] is None for table in read["tables"]] == [
        table["visits"] == 0 for table in read["tables"]
    ]


@pytest.mark.parametrize("packets", [1, 7, 65])
def test_batches_make_no_difference(packets: int) -> None:
    """Any number of packets, any size of batch."""
    switch = load("example:br-tun")
    traffic = synthesise(switch.program, packets, 5)
    counts = [replay_traffic(switch.copy(), traffic, batch)[1] for batch in (1, 8, 1000)]
    assert counts[0] == counts[1] == counts[2]
    assert sum(counts[0].values()) == packets
    assert np.unique(traffic.sequence).size == min(packets, len(traffic.flows))
