"""Two nodes in one Open vSwitch, joined by native tunnels, and the same nodes in flowvm.

What leaves the underlay bridge of one node is taken over to that of the other, byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from flowvm.network.journey import Fate
from flowvm.network.model import Bridge, Interface, Node
from flowvm.network.running import Network
from flowvm.network.wiring import Place
from flowvm.packet.batch import PacketBatch
from flowvm.packet.frames import Frames
from flowvm.text.fdb import format_fdb
from tests.networks import br_tun, interface, patch
from tests.networks import bridge as make_bridge

from ..oracle import Fabric, OpenVSwitch
from .network_pair import counted, counted_in

MILLISECOND = 10**6
VERSION = "OpenFlow15"
ADDRESSES = {"c": "10.0.1.11", "n": "10.0.1.10"}
UNDERLAY = "in_port=LOCAL actions=output:1\nin_port=1 actions=LOCAL"
GUESTS = {2: 2, 3: 3}
"""Ports of the bridges with guests, and their tags on node c; on node n it is one less."""

_UDP_PORT = slice(34, 36)
_UDP_CHECKSUM = slice(40, 42)


class CloudPair:
    """Both; ``send`` lets a frame come in by a port of the bridge with guests of a node."""

    def __init__(
        self,
        switch: OpenVSwitch,
        fabric: Fabric,
        kind: str,
        options: Mapping[str, str],
        others: Mapping[str, str] | None,
        tlv_maps: Mapping[str, str] | None,
    ) -> None:
        self.fabric = fabric
        self._tlv_maps = tlv_maps or {}
        self.switch = switch
        self.now = 0
        self.outer: list[tuple[bytes, bytes]] = []
        """What went from node to node: flowvm's, and Open vSwitch's."""
        nodes = []
        for node, other in (("c", "n"), ("n", "c")):
            flowing = options if node == "c" or others is None else others
            full = {"remote_ip": ADDRESSES[other], **flowing}
            nodes.append(self._node(node, kind, full))
        self.network = Network(nodes)

    def _node(self, node: str, kind: str, options: Mapping[str, str]) -> Node:
        other = "n" if node == "c" else "c"
        port = f"{node}t-2"
        words = [f"options:{name}={value}" for name, value in options.items()]
        self.switch.vsctl(
            "add-port", f"{node}t", port, "--", "set", "interface", port,
            f"type={kind}", "ofport_request=2", *words,
        )  # fmt: skip
        by_flow = options["remote_ip"] == "flow"
        hexed = "".join(f"{int(byte):02x}" for byte in ADDRESSES[other].split("."))
        marking = "set_field:0xcafe->tun_metadata0," if self._tlv_maps else ""
        if node in self._tlv_maps:
            self.fabric.bridges[f"{node}t"].add_tlv_map(self._tlv_maps[node])
        key = options.get("in_key", options.get("key", "0"))
        flows = {
            f"{node}i": "actions=NORMAL",
            f"{node}t": br_tun(
                tag=2 if node == "c" else 1,
                one=1 if key == "flow" else int(key, 0),
                to=f"load:0x{hexed}->NXM_NX_TUN_IPV4_DST[]," if by_flow else marking,
                marked=",tun_metadata0=0xcafe" if self._tlv_maps else "",
                back="load:NXM_NX_TUN_IPV4_SRC[]->NXM_NX_TUN_IPV4_DST[]," if by_flow else "",
            ),
            f"{node}p": UNDERLAY,
        }
        for bridge, text in flows.items():
            self.fabric.bridges[bridge].add_flows(text)
        tags = {f"{node}i-{n}": tag - (node == "n") for n, tag in GUESTS.items()}
        bridges = (
            self._bridge(
                f"{node}i",
                patch(f"{node}i-1", 1, f"{node}t-1"),
                *(interface(f"{node}i-{n}", n, "dummy") for n in GUESTS),
                tags=tags,
            ),
            self._bridge(
                f"{node}t",
                patch(f"{node}t-1", 1, f"{node}i-1"),
                Interface(port, kind, 2, dict(options)),
                tlv_map=self._tlv_maps.get(node),
            ),
        )
        return Node(node, bridges, addresses=(f"{ADDRESSES[node]}/24",))

    def _bridge(
        self,
        name: str,
        *ports: Interface,
        tags: Mapping[str, int] | None = None,
        tlv_map: str | None = None,
    ) -> Bridge:
        dump = self.fabric.bridges[name].dump_flows(VERSION)
        local = interface(name, 0xFFFE, "internal")
        return make_bridge(name, dump, local, *ports, tags=tags, tlv_map=tlv_map)

    def wait(self, milliseconds: int) -> None:
        """Let time go by on both sides."""
        self.now += milliseconds
        self.fabric.bridges["ci"].warp(milliseconds)

    def send(self, node: str, port: int, frame: bytes) -> list[tuple[str, int]]:
        """Send a frame; what is delivered must be the same. Returns where that is."""
        packet = PacketBatch.of(Frames.of([frame]), port, self.now * MILLISECOND)
        journey = self.network.send(Place(node, f"{node}i", port), packet)
        ends = journey.ends()
        told = [end.text for end in ends if end.fate is Fate.UNSUPPORTED]
        assert not told, told
        ours = [
            (end.exit.place.bridge, end.exit.place.port, end.exit.frame)
            for end in ends
            if end.fate is Fate.DELIVERED and end.exit is not None
        ]
        pushed = [
            exit.outer_frame
            for hop, exit in journey.first.ways()
            if exit is not None and exit.outer_frame is not None
        ]
        theirs = list(self.fabric.send(f"{node}i", port, frame).frames)
        crossed = [left for left in theirs if left[0].endswith("p")]
        theirs = [left for left in theirs if not left[0].endswith("p")]
        assert len(pushed) == len(crossed), _shown(theirs, crossed)
        for one, (bridge, _, outer) in zip(pushed, crossed, strict=True):
            self.outer.append((one, outer))
            other = "n" if bridge == "cp" else "c"
            theirs += self.fabric.send(f"{other}p", 1, outer).frames
        assert sorted(ours) == sorted(theirs), _shown(ours, theirs)
        return [(bridge, port) for bridge, port, _ in ours]

    def compare_tables(self) -> None:
        """Flows with their counters, learned ones included, and MAC tables are the same."""
        self.network.advance(self.now * MILLISECOND)
        for spot, switch in self.network.switches().items():
            bridge = self.fabric.bridges[spot.bridge]
            options = switch.names.tlv_map
            ours = counted(switch.flows(), options)
            theirs = counted_in(bridge.dump_flows(VERSION), options)
            assert ours == theirs, f"{spot.bridge}\n{ours}\nnot\n{theirs}"
            if spot.bridge.endswith("i"):
                assert format_fdb(switch.macs()).splitlines() == bridge.fdb().splitlines()


def _shown(*frames: list[tuple[str, int, bytes]]) -> str:
    return "\n\n".join(
        "\n".join(f"{bridge} {port} {frame.hex()}" for bridge, port, frame in some)
        for some in frames
    )


def without_hash(outer: bytes) -> bytes:
    """The outer packet without its Ethernet addresses and without what depends on a hash."""
    frame = bytearray(outer)
    frame[:12] = bytes(12)
    if frame[23] == 17:
        frame[_UDP_PORT] = bytes(2)
        if any(frame[_UDP_CHECKSUM]):
            frame[_UDP_CHECKSUM] = b"\xff\xff"
    return bytes(frame)


@contextmanager
def cloud_pair(
    ovs: OpenVSwitch,
    kind: str,
    options: Mapping[str, str],
    others: Mapping[str, str] | None = None,
    tlv_maps: Mapping[str, str] | None = None,
) -> Iterator[CloudPair]:
    """Both nodes with tunnels of ``kind``; ``others`` are the options on node n, if other ones."""
    ports = {"ci": (2, 3), "ct": (), "cp": (1,), "ni": (2, 3), "nt": (), "np": (1,)}
    patches = tuple(((f"{node}i", 1), (f"{node}t", 1)) for node in "cn")
    with Fabric(ovs, ports, patches) as fabric:
        for node, other in (("c", "n"), ("n", "c")):
            ovs.ctl.call("netdev-dummy/ip4addr", f"{node}p", f"{ADDRESSES[node]}/24")
            ovs.ctl.call("ovs/route/add", f"{ADDRESSES[other]}/32", f"{node}p")
            mac = ovs.vsctl("get", "interface", f"{other}p", "mac_in_use").strip().strip('"')
            ovs.ctl.call("tnl/neigh/set", f"{node}p", ADDRESSES[other], mac)
            for n, tag in GUESTS.items():
                ovs.vsctl("set", "port", f"{node}i-{n}", f"tag={tag - (node == 'n')}")
        try:
            yield CloudPair(ovs, fabric, kind, options, others, tlv_maps)
        finally:
            for other in ADDRESSES.values():
                ovs.ctl.call("ovs/route/del", f"{other}/32")
