"""A running network: patch ports, tunnels and links between bridges and nodes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from flowvm.clock import SECOND
from flowvm.network.journey import Fate, Journey
from flowvm.network.model import Node
from flowvm.network.running import Network
from flowvm.network.wiring import Link, NetworkError, Place, Spot
from flowvm.packet.batch import PacketBatch
from flowvm.packet.frames import Frames
from tests.networks import bridge, cloud, interface, patch

DISCOVER = bytes.fromhex("ffffffffffff 525400aa0001 0800") + bytes(46)
OFFER = bytes.fromhex("525400aa0001 525400bb0001 0800") + bytes(46)


def packet(frame: bytes, seconds: float = 0) -> PacketBatch:
    return PacketBatch.of(Frames.of([frame]), 0, round(seconds * SECOND))


def came_to(journey: Journey) -> list[str]:
    return [end.text for end in journey.delivered()]


@pytest.mark.parametrize("kind", ["gre", "vxlan", "geneve"])
def test_broadcast_reaches_the_other_node(kind: str) -> None:
    """A discover leaves by the tunnel with the segment's key and comes out untagged at the tap."""
    network = Network(cloud(kind))
    journey = network.trace(network.wiring.place("compute:qvo591d8cc4-df"), packet(DISCOVER))
    assert came_to(journey) == ["network:tapde5739e1-95 (qdhcp-b2d2)"]
    hops = journey.hops()
    assert [(hop.place.node, hop.place.bridge, hop.name) for hop in hops] == [
        ("compute", "br-int", "qvo591d8cc4-df"),
        ("compute", "br-tun", "patch-int"),
        ("network", "br-tun", f"{kind}-1"),
        ("network", "br-int", "patch-tun"),
    ]
    (tunnelled,) = hops[1].exits
    assert str(tunnelled.outer) == f"{kind} 192.0.2.1 > 192.0.2.2, key 0x1"
    assert hops[3].frame[12:16].hex() == "81000001"
    assert journey.delivered()[0].exit is not None
    assert hops[3].exits[0].frame == DISCOVER


def test_reply_comes_back_by_learned_rows() -> None:
    """What table 20 learned from the discover takes the offer back; it lasts 300 s."""
    network = Network(cloud())
    tap = network.wiring.place("network:tapde5739e1-95")
    assert "table=20" not in str(
        network.trace(tap, packet(OFFER)).hops()[1].trace.lookups().__next__().text  # type: ignore[union-attr]
    )
    network.send(network.wiring.place("compute:qvo591d8cc4-df"), packet(DISCOVER))
    for at, table in ((299, 20), (301, 21)):
        journey = network.trace(tap, packet(OFFER, at))
        assert came_to(journey) == ["compute:qvo591d8cc4-df"]
        trace = journey.hops()[1].trace
        assert trace is not None
        assert trace.tables[-1] == table


def test_trace_changes_nothing() -> None:
    """Asking teaches no bridge anything and moves no clock."""
    network = Network(cloud())
    network.trace(network.wiring.place("compute:qvo591d8cc4-df"), packet(DISCOVER, 7))
    assert network.now == 0
    state = network.state(Spot("network", "br-tun"))
    assert state is not None
    assert not state.learned


def test_another_tenant_gets_nothing() -> None:
    """A packet of another network dies in the br-tun of its node, in the table that says so."""
    network = Network(cloud())
    journey = network.trace(network.wiring.place("compute:qvo-other-compute"), packet(DISCOVER))
    (end,) = journey.ends()
    assert (end.fate, end.hop.place.node, end.hop.place.bridge) == (
        Fate.DROPPED,
        "compute",
        "br-tun",
    )
    assert end.text == "dropped by table=21, priority=0 actions=drop"


def test_unknown_tunnel_id_dies_in_table_2() -> None:
    """A packet that comes out of a tunnel with a key that no flow knows is dropped by table 2."""
    network = Network(cloud())
    columns = packet(DISCOVER)
    from flowvm.columns import Column

    columns.columns[Column.TUN_ID] = 7
    journey = network.trace(network.wiring.place("network:gre-1"), columns)
    (end,) = journey.ends()
    assert end.text == "dropped by table=2, priority=0 actions=drop"


def one_bridge(flows: str, *interfaces: object, name: str = "n") -> Network:
    return Network([Node(name, (bridge("br", flows, *interfaces),))])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({}, "patch port p has no peer"),
        ({"peer": "q"}, "p's peer q is no patch port of n"),
        ({"peer": "t"}, "p's peer t is no patch port of n"),
        ({"peer": "r"}, "p's peer r has nobody for a peer"),
    ],
)
def test_patch_port_without_peer_drops(options: dict[str, str], why: str) -> None:
    """A patch port whose peer is missing, or names another, leads nowhere, and that is told."""
    network = one_bridge(
        "in_port=1 actions=output:2",
        interface("t", 1),
        interface("p", 2, "patch", **options),
        patch("r", 3, "nobody"),
    )
    (end,) = network.trace(Place("n", "br", 1), packet(DISCOVER)).ends()
    assert (end.fate, end.text) == (Fate.DROPPED, why)


def test_bridge_without_dump_is_named() -> None:
    """A copy that comes to a bridge of which no flows are known ends there, unsupported."""
    here = bridge("br", "actions=output:2", interface("t", 1), patch("p", 2, "q"))
    there = bridge("br-x", None, patch("q", 1, "p"))
    network = Network([Node("n", (here, there))])
    (end,) = network.trace(Place("n", "br", 1), packet(DISCOVER)).ends()
    assert (end.fate, end.text) == (Fate.UNSUPPORTED, "the flows of br-x of n are not known")


def vlan_network(n: int = 2) -> Network:
    nodes = [
        Node(
            f"n{i}",
            (
                bridge(
                    "br-eth1",
                    "in_port=1 actions=mod_vlan_vid:100,output:2\n"
                    "in_port=2,dl_vlan=100 actions=strip_vlan,output:1",
                    interface(f"tap{i}", 1),
                    interface("eth1", 2),
                ),
            ),
        )
        for i in range(n)
    ]
    return Network(nodes, [Link.of(",".join(f"n{i}:eth1" for i in range(n)))])


def test_link_takes_to_all_other_ends() -> None:
    """What one device on a wire sends comes in by all others, and by them alone."""
    network = vlan_network(3)
    journey = network.trace(network.wiring.place("n1:tap1"), packet(DISCOVER))
    assert came_to(journey) == ["n0:tap0", "n2:tap2"]


def test_device_without_link_leads_outside() -> None:
    """A device of the system that no link joins to anything is the edge of the network."""
    network = Network([vlan_network().wiring.nodes["n0"]])
    (end,) = network.trace(network.wiring.place("n0:tap0"), packet(DISCOVER)).ends()
    assert (end.fate, end.text) == (Fate.OUTSIDE, "n0:eth1")


def test_ports_that_nothing_configures_lead_nowhere_known() -> None:
    """Without ovs-vsctl show nothing tells patch ports from others: that is said of what leaves."""
    here = bridge("br", "actions=output:2", interface("t", 1), interface("p", 2))
    network = Network([Node("n", (replace(here, settings_known=False),))])
    (end,) = network.trace(Place("n", "br", 1), packet(DISCOVER)).ends()
    assert end.fate is Fate.OUTSIDE
    assert end.text == "n:p (what it leads to ovs-vsctl show would tell)"


def test_loop_over_a_link_ends() -> None:
    """A packet that comes in where it has come in before, just as it is, goes round no more."""
    flows = "in_port=1 actions=output:2\nin_port=2 actions=in_port"
    nodes = [Node(n, (bridge("br", flows, interface("t", 1), interface("eth", 2)),)) for n in "ab"]
    network = Network(nodes, [Link.of("a:eth,b:eth")])
    journey = network.trace(Place("a", "br", 1), packet(DISCOVER))
    (end,) = journey.ends()
    assert (end.fate, end.text) == (Fate.LOOP, "comes to port 2 of br of b as in hop 2")
    assert len(journey.hops()) == 3


def test_endless_change_ends() -> None:
    """A packet that goes round and is another each time comes to an end as well."""
    flows = (
        "in_port=1 actions=output:2\n"
        "in_port=2 actions=push:NXM_OF_ETH_SRC[0..39],pop:NXM_OF_ETH_SRC[8..47],"
        "move:NXM_OF_ETH_SRC[40..47]->NXM_OF_ETH_SRC[0..7],push_vlan:0x8100,in_port"
    )
    nodes = [Node(n, (bridge("br", flows, interface("t", 1), interface("eth", 2)),)) for n in "ab"]
    network = Network(nodes, [Link.of("a:eth,b:eth")])
    journey = network.send(Place("a", "br", 1), packet(DISCOVER))
    assert {end.fate for end in journey.ends()} <= {Fate.LOOP, Fate.UNSUPPORTED}


def test_learning_after_an_output_is_not_guessed() -> None:
    """Who comes back to a bridge that has yet to learn something stops as unsupported."""
    here = bridge(
        "br-a",
        "in_port=1 actions=output:2,learn(table=5,NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[])\n"
        "in_port=3 actions=resubmit(,5)",
        interface("t", 1),
        patch("a2", 2, "b2"),
        patch("a3", 3, "b3"),
    )
    there = bridge("br-b", "in_port=2 actions=output:3", patch("b2", 2, "a2"), patch("b3", 3, "a3"))
    network = Network([Node("n", (here, there))])
    (end,) = network.trace(Place("n", "br-a", 1), packet(DISCOVER)).ends()
    assert end.fate is Fate.UNSUPPORTED
    assert end.text == "coming to br-a again before it learns what it is about to"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("compute", '"compute" is not NODE:INTERFACE'),
        ("compte:x", 'there is no node "compte"; did you mean "compute"?'),
        (
            "compute:qvo591d8cc4-dd",
            'there is no interface "qvo591d8cc4-dd" on a bridge of compute; '
            'did you mean "qvo591d8cc4-df"?',
        ),
    ],
)
def test_unknown_places_are_told(text: str, message: str) -> None:
    """An unknown node or interface is an error that says what was meant."""
    with pytest.raises(NetworkError) as caught:
        Network(cloud()).wiring.place(text)
    assert str(caught.value) == message


def test_error_takes_back_what_was_output_before() -> None:
    """An error in the first bridge leaves nothing of its outputs, nor of those of its peers."""
    here = bridge(
        "br-a",
        "table=0 actions=output:1,output:2,resubmit(,1)\ntable=1 actions=resubmit(,1)",
        interface("t", 1, "dummy"),
        patch("a2", 2, "b2"),
    )
    there = bridge("br-b", "actions=output:1", interface("u", 1, "dummy"), patch("b2", 2, "a2"))
    network = Network([Node("n", (here, there))])
    place = Place("n", "br-a", 9)
    journey = network.trace(place, packet(DISCOVER))
    assert not journey.delivered()
    assert [end.text for end in journey.ends()] == [
        "over max translation depth 64",
        "taken back by an error",
        "taken back by an error",
    ]
    trace = journey.first.trace
    assert trace is not None
    assert not trace.outputs


def test_storm_ends() -> None:
    """Three bridges that flood to each other make a storm, which is named and ends."""
    pairs = {"a": ("b", "c"), "b": ("c", "a"), "c": ("a", "b")}
    bridges = tuple(
        bridge(
            f"br-{name}",
            "actions=NORMAL",
            interface(f"{name}0", 1, "dummy"),
            *(patch(f"{name}{peer}", n, f"{peer}{name}") for n, peer in enumerate(peers, 2)),
        )
        for name, peers in pairs.items()
    )
    network = Network([Node("n", bridges)])
    journey = network.send(Place("n", "br-a", 1), packet(DISCOVER))
    texts = {end.text for end in journey.ends() if end.fate is Fate.LOOP}
    assert texts <= {
        "over max translation depth 64",
        "a storm: more than 1000 hops",
        "a storm: more outputs than Open vSwitch makes of one packet",
    }
    assert texts


def test_connection_tracking_of_two_bridges_in_turn_is_not_guessed() -> None:
    """Where a peer tracks connections before the bridge that output to it does so again."""
    here = bridge(
        "br-a",
        "table=0,ip actions=ct(commit,zone=1),output:2,ct(commit,zone=2),output:1",
        interface("t", 1, "dummy"),
        patch("a2", 2, "b2"),
    )
    there = bridge("br-b", "ip actions=ct(commit,zone=2),output:1", patch("b2", 2, "a2"))
    network = Network([Node("n", (here, there))])
    datagram = bytes(Ether(src="02:00:00:00:00:01") / IP(dst="10.0.0.1") / UDP())
    journey = network.trace(Place("n", "br-a", 9), packet(datagram))
    told = [end.text for end in journey.ends() if end.fate is Fate.UNSUPPORTED]
    assert told == ["ct of br-b before further ct of br-a"]


def _with_deep_way(other: str) -> Network:
    """Packets of port 1 come to br-b straight, those of port 3 after 60 calls to lower tables."""
    ways = ["in_port=1 actions=output:2", "in_port=3 actions=resubmit(,61)"]
    ways += [f"table={table} actions=resubmit(,{table - 1})" for table in range(61, 1, -1)]
    here = bridge(
        "br-a",
        "\n".join([*ways, "table=1 actions=output:2"]),
        interface("t", 1, "dummy"),
        patch("a2", 2, "b2"),
        interface("v", 3, "dummy"),
    )
    there = bridge("br-b", other, interface("u", 1, "dummy"), patch("b2", 2, "a2"))
    return Network([Node("n", (here, there))])


def test_limits_count_though_the_way_is_known() -> None:
    """A packet ends at a limit where one like it, which came by a shorter way, went on."""
    calls = [f"table={table} actions=resubmit(,{table - 1})" for table in range(6, 1, -1)]
    flows = ["table=0 actions=resubmit(,6)", *calls, "table=1 actions=output:1"]
    network = _with_deep_way("\n".join(flows))
    for _ in range(2):
        assert came_to(network.send(Place("n", "br-a", 1), packet(DISCOVER)))
        journey = network.send(Place("n", "br-a", 3), packet(DISCOVER))
        assert [end.text for end in journey.ends()] == ["Recursion too deep"]


def test_lessons_hold_for_packets_of_all_ways() -> None:
    """What a packet teaches that came by one way, one that comes by another meets."""
    learn = "learn(table=1,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],load:1->NXM_NX_REG1[])"
    flows = f"table=0 actions={learn},resubmit(,1)\ntable=1,priority=0 actions=output:1"
    network = _with_deep_way(flows)
    for port in (1, 3):
        assert came_to(network.send(Place("n", "br-a", port), packet(OFFER)))
    network.send(
        Place("n", "br-a", 3), packet(bytes.fromhex("02" * 6 + "525400aa0001") + OFFER[12:])
    )
    for port in (1, 3):
        assert not came_to(network.send(Place("n", "br-a", port), packet(OFFER)))
