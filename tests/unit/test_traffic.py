"""Traffic made up from rules: it is real, it differs, and it gets to the rules."""

from __future__ import annotations

import numpy as np
import pytest

from flowvm.columns import Column
from flowvm.packet.batch import PacketBatch
from flowvm.packet.decode import decode_columns
from flowvm.switch import Switch, load
from flowvm.text.dump import parse_dump
from flowvm.traffic import Traffic, synthesise

NESTED = """
table=0,priority=5,in_port=4,ip,nw_dst=10.1.2.0/24 actions=load:7->NXM_NX_REG0[],resubmit(,5)
table=0,priority=5,in_port=6 actions=load:8->NXM_NX_REG0[],resubmit(,5)
table=5,reg0=7,tcp,tp_dst=443 actions=resubmit(,6)
table=5,reg0=8,arp,arp_op=2 actions=move:NXM_OF_IN_PORT[]->NXM_NX_REG1[0..15],resubmit(,7)
table=6,tun_id=0x9 actions=output:3
table=7,reg1=6,arp_tpa=192.0.2.9 actions=output:3
"""

KINDS = """
table=0,priority=9,ip,nw_src=198.51.100.7,nw_tos=32,nw_ttl=3 actions=output:21
table=0,priority=9,udp,tp_src=53 actions=output:22
table=0,priority=9,icmp,icmp_type=8,icmp_code=0 actions=output:23
table=0,priority=9,ip,nw_frag=later actions=output:24
table=0,priority=9,tcp6,ipv6_dst=2001:db8::/32,tcp_flags=+syn actions=output:25
table=0,priority=9,icmp6,icmp_type=135,nd_target=fe80::1 actions=output:26
table=0,priority=9,arp,arp_op=1,arp_spa=192.0.2.1 actions=output:27
table=0,priority=9,mpls,mpls_label=77 actions=output:28
table=0,priority=9,dl_vlan=42,dl_vlan_pcp=3 actions=output:29
table=0,priority=8,vlan_tci=0x0007/0x0fff actions=output:30
table=0,priority=9,dl_type=0x88cc,dl_dst=01:80:c2:00:00:0e actions=output:31
table=0,priority=9,tun_id=0x5,tun_src=203.0.113.1 actions=output:32
table=0,priority=9,sctp,tp_dst=9 actions=output:33
"""


def switch_of(text: str) -> Switch:
    return Switch(parse_dump(text).flows)


def run_flows(text: str, flows: int = 200) -> list[int]:
    """How many packets hit each rule, a packet of each flow."""
    switch = switch_of(text)
    switch.run(synthesise(switch.program, flows, flows).flows)
    return [flow.n_packets or 0 for flow in switch.flows()]


def equal(one: Traffic, other: Traffic) -> bool:
    return (
        list(one.flows.frames) == list(other.flows.frames)
        and (one.flows.columns == other.flows.columns).all()
        and (one.sequence == other.sequence).all()
    )


def test_traffic_is_the_same_for_the_same_seed() -> None:
    """And not for another."""
    program = load("example:br-tun").program
    assert equal(synthesise(program, 300, 50, seed=3), synthesise(program, 300, 50, seed=3))
    assert not equal(synthesise(program, 300, 50, seed=3), synthesise(program, 300, 50, seed=4))


def test_flows_differ_and_each_of_them_is_sent() -> None:
    """No more flows than asked for, hardly fewer, each with a packet before any has two."""
    traffic = synthesise(load("example:br-tun").program, 5_000, 400)
    assert 380 <= len(traffic.flows) <= 400
    assert len(traffic) == 5_000
    assert len(np.unique(traffic.flows.columns, axis=1).T) == len(traffic.flows)
    assert traffic.sequence[: len(traffic.flows)].tolist() == list(range(len(traffic.flows)))
    assert traffic.sequence.max() == len(traffic.flows) - 1
    assert np.diff(traffic.times(7)).min() > 0
    assert traffic.times(7)[0] == 7


def test_packets_are_what_their_frames_say() -> None:
    """Headers are those that the bytes have; besides them there is a port and a tunnel only."""
    flows = synthesise(switch_of(KINDS).program, 300, 300).flows
    decoded = decode_columns(flows.frames, flows.columns[Column.IN_PORT].astype(np.int64))
    first = Column.ETH_SRC
    assert (decoded[first:] == flows.columns[first:]).all()
    tunnel = range(Column.TUN_ID, Column.TUN_EXTRA + 1)
    besides = {Column.IN_PORT, Column.ACTSET_OUTPUT, *tunnel}
    for column in set(range(first)) - besides:
        assert not flows.columns[column].any(), Column(column).name


def test_rules_for_all_kinds_of_headers_are_hit() -> None:
    """Packets with the protocols, addresses, tags and tunnels that the rules ask for."""
    assert all(run_flows(KINDS))


def test_rules_behind_others_are_hit() -> None:
    """Also where they ask for what actions wrote, and for headers that go with it."""
    assert all(run_flows(NESTED))


def test_all_tables_are_reached_that_anything_leads_to() -> None:
    """In the shipped example all but table 3, to which no flow sends packets."""
    switch = load("example:br-tun")
    before = {str(flow.match) + str(flow.table): flow.n_packets for flow in switch.flows()}
    switch.run(synthesise(switch.program, 100, 100).flows)
    hit = {
        flow.table
        for flow in switch.flows()
        if flow.n_packets != before.get(str(flow.match) + str(flow.table), 0)
    }
    assert hit == {0, 1, 2, 10, 20, 21}


def test_most_packets_come_out_where_any_can() -> None:
    """Packets that are dropped at once would measure nothing."""
    switch = load("example:br-tun")
    result = switch.run(synthesise(switch.program, 400, 400).flows)
    assert (result.verdicts == 0).mean() > 0.8


def test_a_program_that_drops_everything_gets_traffic_too() -> None:
    """The search ends, with packets."""
    assert len(synthesise(switch_of("actions=drop\n").program, 100, 50).flows) == 50
    assert len(synthesise(switch_of("").program, 100, 50).flows) == 50


def test_one_flow_is_traffic() -> None:
    """A batch of packets that are alike."""
    traffic = synthesise(load("example:br-tun").program, 10, 1)
    assert isinstance(traffic.flows, PacketBatch)
    assert traffic.sequence.tolist() == [0] * 10


@pytest.mark.parametrize(("packets", "flows"), [(0, 5), (5, 0), (-1, 1)])
def test_no_packets_or_flows_are_refused(packets: int, flows: int) -> None:
    """There is nothing to make up."""
    with pytest.raises(ValueError, match="no traffic without packets and flows"):
        synthesise(load("example:br-tun").program, packets, flows)
