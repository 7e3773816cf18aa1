"""What of a network is joined to what, and what should be but is not."""

from __future__ import annotations

import pytest

from flowvm.network.model import Bridge, Endpoint, Interface, Node, Port
from flowvm.network.topology import Topology
from flowvm.network.wiring import Link, NetworkError
from flowvm.port_settings import PortSettings


def node(name: str, *interfaces: Interface, addresses: tuple[str, ...] = ()) -> Node:
    ports = tuple(Port(PortSettings(found.name, ()), (found,)) for found in interfaces)
    return Node(name, (Bridge("br", ports),), addresses=addresses)


def tunnel(name: str, kind: str = "gre", **options: str) -> Interface:
    return Interface(name, kind, options=options)


def joins(*nodes: Node) -> list[str]:
    found = Topology.of(nodes).joins
    return [f"{j.kind} {j.first} {'->' if j.one_way else '<->'} {j.second}" for j in found]


def loose(*nodes: Node) -> list[str]:
    return [f"{found.end} {found.why}" for found in Topology.of(nodes).loose]


def patch(name: str, peer: str | None) -> Interface:
    return Interface(name, "patch", options={} if peer is None else {"peer": peer})


def test_patch_ports_are_joined_if_each_names_the_other() -> None:
    """On one node; their numbers need not be known."""
    assert joins(node("n", patch("a", "b"), patch("b", "a"))) == ["patch n:a <-> n:b"]
    assert joins(node("n", patch("a", "b")), node("m", patch("b", "a"))) == []


@pytest.mark.parametrize(
    ("interfaces", "why"),
    [
        ([patch("a", None)], ["n:a it has no peer"]),
        ([patch("a", "x")], ["n:a its peer x is no patch port of n"]),
        ([patch("a", "b"), Interface("b")], ["n:a its peer b is no patch port of n"]),
        (
            [patch("a", "b"), patch("b", "c"), patch("c", "b")],
            ["n:a its peer b has c for a peer"],
        ),
    ],
)
def test_patch_ports_without_a_peer_lead_nowhere(
    interfaces: list[Interface], why: list[str]
) -> None:
    """Which is said of each."""
    assert loose(node("n", *interfaces)) == why


def test_tunnels_are_joined_by_their_addresses() -> None:
    """Those of the options, or those that the nodes have."""
    a = tunnel("a", remote_ip="10.0.0.2", local_ip="10.0.0.1")
    b = tunnel("b", remote_ip="10.0.0.1", local_ip="10.0.0.2")
    assert joins(node("n", a), node("m", b)) == ["gre n:a <-> m:b"]
    a, b = tunnel("a", remote_ip="10.0.0.2"), tunnel("b", remote_ip="10.0.0.1")
    n, m = (
        node(*x, addresses=y)
        for x, y in ((("n", a), ("10.0.0.1/24",)), (("m", b), ("10.0.0.2/24",)))
    )
    assert joins(n, m) == ["gre n:a <-> m:b"]


def test_addresses_of_a_bridge_are_the_nodes_own() -> None:
    """Those in a namespace are not."""
    a, b = tunnel("a", remote_ip="10.0.0.2", local_ip="10.0.0.1"), tunnel("b", remote_ip="10.0.0.1")
    made = node("m", b)
    for namespace, expected in ((None, ["gre n:a <-> m:b"]), ("q", [])):
        endpoint = Endpoint("br", namespace, addresses=("10.0.0.2/24",))
        m = Node("m", made.bridges, {"br": endpoint})
        assert joins(node("n", a), m) == expected


@pytest.mark.parametrize(
    ("a", "b", "arrow"),
    [
        ({"key": "flow"}, {"key": "flow"}, "<->"),
        ({"in_key": "flow", "out_key": "flow"}, {"key": "5"}, "<->"),
        ({"key": "5"}, {"key": "5"}, "<->"),
        ({"key": "0"}, {}, "<->"),
        ({"key": "5"}, {"key": "6"}, None),
        ({"in_key": "5", "out_key": "6"}, {"in_key": "6", "out_key": "7"}, "->"),
        ({"in_key": "5", "out_key": "6"}, {"in_key": "7", "out_key": "5"}, "<-"),
    ],
)
def test_keys_decide_which_way_a_tunnel_leads(
    a: dict[str, str], b: dict[str, str], arrow: str | None
) -> None:
    """What one sends the other has to take."""
    one = node("n", tunnel("a", remote_ip="10.0.0.2", local_ip="10.0.0.1", **a))
    other = node("m", tunnel("b", remote_ip="10.0.0.1", local_ip="10.0.0.2", **b))
    expected = {None: [], "<-": ["gre m:b -> n:a"]}.get(arrow, [f"gre n:a {arrow} m:b"])
    assert joins(one, other) == expected


def test_types_and_ports_have_to_agree() -> None:
    """A VXLAN port takes nothing of GRE, nor of another UDP port."""
    a = {"remote_ip": "10.0.0.2", "local_ip": "10.0.0.1"}
    b = {"remote_ip": "10.0.0.1", "local_ip": "10.0.0.2"}
    one = node("n", tunnel("a", "vxlan", **a))
    assert joins(one, node("m", tunnel("b", "gre", **b))) == []
    assert joins(one, node("m", tunnel("b", "vxlan", dst_port="8472", **b))) == []
    assert joins(one, node("m", tunnel("b", "vxlan", dst_port="4789", **b))) == [
        "vxlan n:a <-> m:b"
    ]


def test_flow_based_tunnels_lead_everywhere_they_can() -> None:
    """To all nodes with a port of that type."""
    nodes = [
        node(name, tunnel(f"v{name}", "geneve", remote_ip="flow", key="flow"), addresses=(address,))
        for name, address in (("a", "10.0.0.1/24"), ("b", "10.0.0.2/24"), ("c", "10.0.0.3/24"))
    ]
    assert joins(*nodes) == [
        "geneve a:va <-> b:vb",
        "geneve a:va <-> c:vc",
        "geneve b:vb <-> c:vc",
    ]


def test_tunnels_without_another_end_lead_nowhere() -> None:
    """Because no node has the address, or none there takes the packets, or flowvm does not."""
    a = tunnel("a", remote_ip="10.0.0.2", local_ip="10.0.0.1")
    assert loose(node("n", a)) == ["n:a no node here has 10.0.0.2"]
    assert loose(node("n", a), node("m", addresses=("10.0.0.2/24",))) == [
        "n:a m, which has 10.0.0.2, has no gre port that takes its packets"
    ]
    assert loose(node("n", tunnel("f", remote_ip="flow"))) == [
        "n:f no other node has a gre port that takes its packets"
    ]
    assert loose(node("n", tunnel("s", "stt", remote_ip="10.0.0.2"))) == [
        "n:s tunnels of type stt are not executed"
    ]
    assert loose(node("n", tunnel("w", remote_ip="what"))) == [
        "n:w w: options:remote_ip=what is not an IP address"
    ]


def test_wires_join_what_they_are_said_to() -> None:
    """More than two devices as well; devices that there are not are named."""
    nodes = [node(name, Interface("eth1")) for name in "abc"]
    topology = Topology.of(nodes, [Link.of("a:eth1,b:eth1,c:eth1")])
    assert [(str(j.first), str(j.second)) for j in topology.joins] == [
        ("a:eth1", "b:eth1"),
        ("a:eth1", "c:eth1"),
        ("b:eth1", "c:eth1"),
    ]
    with pytest.raises(NetworkError, match='no "eth2" on a bridge of b; did you mean "eth1"'):
        Topology.of(nodes, [Link.of("a:eth1,b:eth2")])
