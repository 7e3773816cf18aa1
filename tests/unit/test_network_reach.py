"""Looking for a packet that gets from one port of a network to another."""

from __future__ import annotations

import pytest

from flowvm.network.model import Node
from flowvm.network.reach import search
from flowvm.network.running import Network
from flowvm.network.wiring import Place
from flowvm.text.br_flow import parse_br_flow
from tests.networks import bridge, cloud, interface, patch

NARROW = """
 table=0,priority=0 actions=drop
 table=0,priority=5,in_port=1,tcp,tp_dst=4444 actions=resubmit(,1)
 table=1,priority=5,tcp,nw_src=10.9.8.7,dl_dst=02:00:00:00:00:77 actions=output:2
"""
BEHIND = """
 priority=0 actions=drop
 priority=5,in_port=2,tcp,tcp_flags=+syn-ack,nw_dst=192.0.2.0/24 actions=mod_vlan_vid:5,output:1
"""


def narrow() -> Network:
    """Two bridges that let through few packets in the middle of many rules."""
    others = "\n".join(f" table=0,priority=4,udp,tp_dst={n} actions=drop" for n in range(60))
    here = bridge("br-a", NARROW + others, interface("t", 1), patch("a2", 2, "b2"))
    there = bridge("br-b", BEHIND, interface("u", 1), patch("b2", 2, "a2"))
    return Network([Node("n", (here, there))])


A, B = Place("n", "br-a", 1), Place("n", "br-b", 1)


def test_rules_on_the_way_tell_what_it_takes() -> None:
    """A packet is found that has what five rules of two bridges ask for together."""
    result = search(narrow(), A, B)
    assert result.found is not None
    assert result.tries < 1000
    assert [hop.place.bridge for hop in result.found.journey.hops()] == ["br-a", "br-b"]
    assert result.found.br_flow is not None
    assert "tp_dst=4444" in result.found.br_flow


def test_witness_is_one_as_text() -> None:
    """The headers that are told, given to trace, get there."""
    network = narrow()
    found = search(network, A, B).found
    assert found is not None
    assert found.br_flow is not None
    from flowvm.arrival import arrive

    state = network.state(A.spot)
    assert state is not None
    packet = arrive(state, found.br_flow, "", A.port, None)
    assert [end.text for end in network.trace(A, packet).ends()] == ["n:u"]


@pytest.mark.parametrize(
    ("constraints", "reaches"),
    [("tcp,tp_src=99", True), ("tcp,nw_src=10.0.0.1", False), ("udp", False), ("tcp6", False)],
)
def test_constraints_hold(constraints: str, reaches: bool) -> None:
    """Only packets that have what is asked for are tried."""
    result = search(narrow(), A, B, parse_br_flow(constraints), tries=600)
    assert (result.found is not None) == reaches
    if result.found is not None:
        assert result.found.br_flow is not None
        assert "tp_src=99" in result.found.br_flow


def test_tenants_stay_apart() -> None:
    """No packet of one tenant is found that gets to the other; so many were tried."""
    network = Network(cloud())
    stranger = network.wiring.place("compute:qvo-other-compute")
    tap = network.wiring.place("network:tapde5739e1-95")
    result = search(network, stranger, tap, tries=150)
    assert (result.found, result.tries) == (None, 150)


def test_searching_changes_nothing() -> None:
    """The network is as it was, and the same search finds the same packet again."""
    network = Network(cloud())
    machine = network.wiring.place("compute:qvo591d8cc4-df")
    agent = network.wiring.place("network:tapde5739e1-95")
    before = [str(flow) for switch in network.switches().values() for flow in switch.flows()]
    first, again = (search(network, machine, agent) for _ in range(2))
    assert first.found is not None
    assert again.found is not None
    assert (first.tries, first.found.frame) == (again.tries, again.found.frame)
    after = [str(flow) for switch in network.switches().values() for flow in switch.flows()]
    assert before == after
