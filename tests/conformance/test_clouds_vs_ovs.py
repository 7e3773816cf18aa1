"""Two nodes of a cloud, joined by tunnels: as two nodes of Open vSwitch with native tunnels."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from itertools import product
from random import Random

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether

from flowvm.network.outer import encapsulate
from flowvm.network.tunnels import Outer, Tunnel, receiver
from tests.networks import interface
from tests.oracle import Fabric, OpenVSwitch

from .cloud_pair import cloud_pair, without_hash

pytestmark = pytest.mark.oracle

VM, SERVER, STRANGER = "fa:16:3e:59:1d:01", "fa:16:3e:de:57:39", "fa:16:3e:00:00:99"
EVERYONE = "ff:ff:ff:ff:ff:ff"

CONVERSATION = [
    ("c", 2, Ether(src=VM, dst=EVERYONE) / IP(dst="255.255.255.255", tos=0xB9) / UDP(dport=67)),
    ("n", 2, Ether(src=SERVER, dst=VM) / IP(dst="10.1.0.7", ttl=9, tos=3) / UDP(sport=67)),
    ("c", 2, Ether(src=VM, dst=SERVER) / ARP(op=1, hwsrc=VM)),
    ("n", 2, Ether(src=SERVER, dst=VM) / ARP(op=2, hwsrc=SERVER)),
    ("c", 3, Ether(src=STRANGER, dst=EVERYONE) / IP() / ICMP()),
    ("c", 2, Ether(src=VM, dst=SERVER) / IPv6(tc=0x22, hlim=3) / UDP()),
    ("n", 2, Ether(src=SERVER, dst=STRANGER) / IP() / ICMP()),
]

FIXED = {"key": "flow"}
"""Where the other node does not have the same options: two ports that take all are one to many."""

OPTIONS: dict[str, tuple[str, dict[str, str], dict[str, str] | None]] = {
    "gre, key by flow": ("gre", {"key": "flow"}, None),
    "gre, in_key and out_key by flow": ("gre", {"in_key": "flow", "out_key": "flow"}, None),
    "gre, fixed key": ("gre", {"key": "5"}, None),
    "gre without key": ("gre", {}, None),
    "gre, checksums": ("gre", {"key": "flow", "csum": "true"}, None),
    "gre, all inherited": ("gre", {"key": "flow", "tos": "inherit", "ttl": "inherit"}, None),
    "gre, all fixed": (
        "gre",
        {"key": "flow", "tos": "0x20", "ttl": "7", "df_default": "false"},
        None,
    ),
    "gre, remote by flow": ("gre", {"key": "flow", "remote_ip": "flow"}, FIXED),
    "gre, both ends by flow": (
        "gre",
        {"key": "flow", "remote_ip": "flow", "local_ip": "flow"},
        FIXED,
    ),
    "vxlan": ("vxlan", {"key": "flow"}, None),
    "vxlan, fixed key": ("vxlan", {"key": "0x123456"}, None),
    "vxlan without key": ("vxlan", {}, None),
    "vxlan, checksums, another port": (
        "vxlan",
        {"key": "flow", "csum": "true", "dst_port": "8472"},
        None,
    ),
    "vxlan, remote by flow": ("vxlan", {"key": "flow", "remote_ip": "flow"}, FIXED),
    "geneve": ("geneve", {"key": "flow"}, None),
    "geneve, all inherited": ("geneve", {"key": "flow", "tos": "inherit", "ttl": "inherit"}, None),
}


@pytest.fixture(scope="module")
def tunnelling() -> Iterator[OpenVSwitch]:
    """An Open vSwitch whose ports can be tunnels."""
    with OpenVSwitch(tunnels=True) as switch:
        yield switch


@pytest.mark.parametrize("case", OPTIONS)
def test_conversation(tunnelling: OpenVSwitch, case: str) -> None:
    """The same frames are delivered, the same packets go between the nodes, tables are the same."""
    kind, options, others = OPTIONS[case]
    with cloud_pair(tunnelling, kind, options, others) as pair:
        reached = []
        for node, port, packet in CONVERSATION:
            reached.append(pair.send(node, port, bytes(packet)))
            pair.wait(2000)
        pair.compare_tables()
        assert pair.outer
        for ours, theirs in pair.outer:
            assert without_hash(ours).hex() == without_hash(theirs).hex()
    guests = [[place for place in places if place[1] < 0xFF00] for places in reached]
    assert guests == [
        [("ni", 2)],
        [("ci", 2)],
        [("ni", 2)],
        [("ci", 2)],
        [],
        [("ni", 2)],
        [("ci", 2)],
    ]


TLV_MAPS = {
    "the same": ("class=0x102,type=1,len=4", "class=0x102,type=1,len=4", True),
    "another field before it": (
        "class=0x102,type=1,len=4",
        "class=5,type=5,len=8}->tun_metadata5,{class=0x102,type=1,len=4",
        True,
    ),
    "not known there": ("class=0x102,type=1,len=4", "class=0x102,type=2,len=4", False),
    "critical and not known": ("class=0x102,type=0x81,len=4", "class=0x102,type=2,len=4", False),
    "of another length": ("class=0x102,type=1,len=8", "class=0x102,type=1,len=4", False),
}


@pytest.mark.parametrize("case", TLV_MAPS)
def test_options_of_geneve(tunnelling: OpenVSwitch, case: str) -> None:
    """Options go from node to node by class and type, whichever fields they are there."""
    here, there, arrives = TLV_MAPS[case]
    maps = {node: f"{{{text}}}->tun_metadata0" for node, text in (("c", here), ("n", there))}
    with cloud_pair(tunnelling, "geneve", {"key": "flow"}, None, maps) as pair:
        node, port, packet = CONVERSATION[0]
        reached = pair.send(node, port, bytes(packet))
        assert (("ni", 2) in reached) == arrives
        pair.compare_tables()
        ((ours, theirs),) = pair.outer
        assert without_hash(ours).hex() == without_hash(theirs).hex()


def test_key_that_the_other_node_does_not_take(tunnelling: OpenVSwitch) -> None:
    """Where no tunnel port takes a packet out it is gone, and that is told."""
    with cloud_pair(tunnelling, "gre", {"key": "flow"}, {"key": "5"}) as pair:
        node, port, packet = CONVERSATION[0]
        assert [name for name, _ in pair.send(node, port, bytes(packet))] == ["ci"]


HERE, ALIAS = ip_address("10.0.1.10"), ip_address("10.0.2.10")
THERE, ELSEWHERE = ip_address("10.0.1.11"), ip_address("10.0.1.13")
UNDERLAYS = {HERE: "rp", ALIAS: "rq"}
MOST_PORTS = 7


@pytest.mark.parametrize("seed", range(4))
def test_port_that_takes_a_packet_out(tunnelling: OpenVSwitch, seed: int) -> None:
    """Of several tunnel ports the same one takes each packet out."""
    random = Random(seed)
    choices = product(
        (str(THERE), "flow"), (None, str(HERE), str(ALIAS), "flow"), (None, "5", "6", "flow")
    )
    possible = [
        {
            "remote_ip": remote,
            **({"local_ip": local} if local else {}),
            **({"key": key} if key else {}),
        }
        for remote, local, key in choices
        if not (local == "flow" and remote != "flow")
    ]
    options = random.sample(possible, MOST_PORTS)
    ports = {"rt": tuple(range(101, 101 + MOST_PORTS)), "rp": (1,), "rq": (1,)}
    with Fabric(tunnelling, ports) as fabric:
        macs = {}
        for address, bridge in UNDERLAYS.items():
            tunnelling.ctl.call("netdev-dummy/ip4addr", bridge, f"{address}/24")
            network = f"{address}".rpartition(".")[0] + ".0/24"
            tunnelling.ctl.call("ovs/route/add", network, bridge)
            mac = tunnelling.vsctl("get", "interface", bridge, "mac_in_use").strip().strip('"')
            macs[address] = int(mac.replace(":", ""), 16)
            fabric.bridges[bridge].add_flows("in_port=1 actions=LOCAL")
        for number, some in enumerate(options, start=1):
            words = [f"options:{name}={value}" for name, value in some.items()]
            tunnelling.vsctl(
                "add-port", "rt", f"t{number}", "--", "set", "interface", f"t{number}",
                "type=gre", f"ofport_request={number}", *words,
            )  # fmt: skip
        flows = (f"in_port={n} actions=output:{100 + n}" for n in range(1, MOST_PORTS + 1))
        fabric.bridges["rt"].add_flows("\n".join(flows))
        tunnels = [Tunnel.of(interface("t", 1, "gre", **some)) for some in options]
        taken = set()
        for src, dst, key in product((THERE, ELSEWHERE), (HERE, ALIAS), (None, 0, 5, 6, 7)):
            outer = Outer("gre", src, dst, key, 0, 64, True, False, 0)
            inner = bytes(CONVERSATION[0][2])
            left = fabric.send(UNDERLAYS[dst], 1, encapsulate(outer, inner, 1, macs[dst]))
            ours = receiver(tunnels, outer)
            theirs = [port - 101 for bridge, port, _ in left.frames if bridge == "rt"]
            assert ([] if ours is None else [ours]) == theirs, (options, outer)
            taken.add(ours)
        assert len(taken) > 2
