"""Networks made by hand, for tests."""

from __future__ import annotations

from collections.abc import Mapping

from flowvm.names import Ports
from flowvm.network.model import Bridge, Endpoint, Interface, Node, Port
from flowvm.pipeline.compile import compile_flows, flow_names
from flowvm.port_settings import PortSettings, VlanMode
from flowvm.text.dump import parse_dump
from flowvm.text.tlv_map import parse_tlv_map


def interface(name: str, ofport: int, type: str = "", **options: str) -> Interface:
    """An interface; ``options`` are those of the database."""
    return Interface(name, type, ofport, options)


def patch(name: str, ofport: int, peer: str) -> Interface:
    """A patch port."""
    return interface(name, ofport, "patch", peer=peer)


def bridge(
    name: str,
    flows: str | None,
    *interfaces: Interface,
    tags: Mapping[str, int] | None = None,
    tlv_map: str | None = None,
) -> Bridge:
    """A bridge with a port for each interface; ``tags`` are those of access ports."""
    ports = tuple(
        Port(
            PortSettings(
                one.name,
                (one.ofport or 0,),
                VlanMode.ACCESS if one.name in (tags or {}) else VlanMode.TRUNK,
                (tags or {}).get(one.name, 0),
            ),
            (one,),
        )
        for one in interfaces
    )
    program = None
    if flows is not None:
        parsed = parse_dump(flows).flows
        numbers = {one.name: one.ofport for one in interfaces if one.ofport is not None}
        options = None if tlv_map is None else parse_tlv_map(tlv_map)
        program = compile_flows(parsed, flow_names(parsed, Ports(numbers), options))
    return Bridge(name, ports, program)


_BR_TUN = """
 table=0,priority=1,in_port=1 actions=resubmit(,1)
 table=0,priority=1,in_port=2 actions=resubmit(,2)
 table=0,priority=0 actions=drop
 table=1,priority=0,dl_dst=00:00:00:00:00:00/01:00:00:00:00:00 actions=resubmit(,20)
 table=1,priority=0,dl_dst=01:00:00:00:00:00/01:00:00:00:00:00 actions=resubmit(,21)
 table=2,priority=1,tun_id=0x{one:x}{marked} actions=mod_vlan_vid:{tag},resubmit(,10)
 table=2,priority=0 actions=drop
 table=10,priority=1 actions=learn(table=20,hard_timeout=300,priority=1,NXM_OF_VLAN_TCI[0..11],\
NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],load:0->NXM_OF_VLAN_TCI[],\
load:NXM_NX_TUN_ID[]->NXM_NX_TUN_ID[],{back}output:NXM_OF_IN_PORT[]),output:1
 table=20,priority=0 actions=resubmit(,21)
 table=21,priority=1,dl_vlan={tag} actions=strip_vlan,set_tunnel:0x1,{to}output:2
 table=21,priority=0 actions=drop
"""


def br_tun(tag: int, *, one: int = 1, marked: str = "", back: str = "", to: str = "") -> str:
    """Neutron's br-tun: port 1 is the patch to br-int, port 2 a tunnel.

    The network has the ``tag`` here; it is sent as tunnel 1 and comes as ``one``. ``marked`` is
    matched of it besides, ``to`` done before it is sent, and ``back`` is what answers load.
    """
    return _BR_TUN.format(tag=tag, one=one, marked=marked, back=back, to=to)


BR_INT = """
 priority=2,in_port=3 actions=mod_vlan_vid:{tag},output:1
 priority=2,in_port=4 actions=mod_vlan_vid:9,output:1
 priority=2,in_port=1,dl_vlan={tag} actions=strip_vlan,output:3
 priority=0 actions=drop
"""
"""What NORMAL of a br-int comes to: port 3 has the network's tag, port 4 another one."""


def cloud_node(name: str, guest: str, tag: int, local: str, remote: str, kind: str = "gre") -> Node:
    """A node of a cloud: ``guest`` is on its network, the interface "other" on another one."""
    options = {"remote_ip": remote, "local_ip": local, "key": "flow"}
    integration = bridge(
        "br-int",
        BR_INT.format(tag=tag),
        patch("patch-tun", 1, "patch-int"),
        interface(guest, 3),
        interface(f"qvo-other-{name}", 4),
    )
    tunnels = bridge(
        "br-tun",
        br_tun(tag),
        patch("patch-int", 1, "patch-tun"),
        interface(f"{kind}-1", 2, kind, **options),
    )
    return Node(name, (integration, tunnels), addresses=(f"{local}/24",))


def cloud(kind: str = "gre") -> list[Node]:
    """The seed's two nodes: tag 2 on the compute node is tag 1 on the network node."""
    compute = cloud_node("compute", "qvo591d8cc4-df", 2, "192.0.2.1", "192.0.2.2", kind)
    network = cloud_node("network", "tapde5739e1-95", 1, "192.0.2.2", "192.0.2.1", kind)
    behind = Endpoint("tapde5739e1-95", namespace="qdhcp-b2d2")
    return [
        compute,
        Node(
            "network",
            network.bridges,
            {"tapde5739e1-95": behind},
            network.addresses,
        ),
    ]
