"""Bridges joined by patch ports in flowvm and in Open vSwitch: the same packets, the same clock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from flowvm.flow import Flow, ReservedPort
from flowvm.network.journey import Exit, Fate, Hop, Journey
from flowvm.network.model import Node
from flowvm.network.running import Network
from flowvm.network.wiring import Place, Spot
from flowvm.packet.batch import PacketBatch
from flowvm.packet.frames import Frames
from flowvm.text.dump import parse_dump
from flowvm.text.fdb import format_fdb
from flowvm.tlv_map import NO_TLV_MAP, TlvMap
from tests.networks import bridge as make_bridge
from tests.networks import interface, patch

from ..oracle import LOCAL, Fabric, OpenVSwitch

MILLISECOND = 10**6
NODE = "here"

_Left = tuple[str, int, bytes]
Patches = tuple[tuple[tuple[str, int], tuple[str, int]], ...]


class UnsupportedError(AssertionError):
    """flowvm says that it does not know what becomes of a packet."""


class NetworkPair:
    """Both, with ``flows`` by bridge; ``ports`` are those that are no patch ports.

    ``tags`` are those of access ports, by name.
    """

    def __init__(
        self,
        fabric: Fabric,
        ports: Mapping[str, tuple[int, ...]],
        patches: Patches,
        tags: Mapping[str, int],
    ) -> None:
        self.fabric = fabric
        self._tags = tags
        self._ports = ports
        self._peers = {**dict(patches), **{other: one for one, other in patches}}
        self.now = 0

    def load(self, flows: Mapping[str, str]) -> None:
        """Begin anew with these flows."""
        self.fabric.reset()
        self.now = 0
        bridges = []
        for name, numbers in self._ports.items():
            self.fabric.bridges[name].add_flows(flows[name])
            peers = {
                number: f"{peer}-{peer_number}"
                for (owner, number), (peer, peer_number) in self._peers.items()
                if owner == name
            }
            ports = [
                *(interface(f"{name}-{number}", number, "dummy") for number in numbers),
                *(patch(f"{name}-{number}", number, peer) for number, peer in peers.items()),
                interface(name, LOCAL, "internal"),
            ]
            ports.sort(key=lambda one: self.fabric.flood_orders[name].index(one.ofport or 0))
            bridges.append(make_bridge(name, flows[name], *ports, tags=self._tags))
        self.flows = flows
        self.network = Network([Node(NODE, tuple(bridges))])

    def wait(self, milliseconds: int) -> None:
        """Let time go by on both sides."""
        self.now += milliseconds
        next(iter(self.fabric.bridges.values())).warp(milliseconds)

    def send(self, bridge: str, port: int, frame: bytes) -> Journey:
        """Send a frame to both; the same frames must leave, in order."""
        packet = PacketBatch.of(Frames.of([frame]), port, self.now * MILLISECOND)
        journey = self.network.send(Place(NODE, bridge, port), packet)
        told = [
            end.text
            for end in journey.ends()
            if end.fate is Fate.UNSUPPORTED or end.text.startswith("a storm")
        ]
        if told:
            raise UnsupportedError(told)
        left = self.fabric.send(bridge, port, frame)
        ours = [
            (exit.place.bridge, exit.place.port, exit.frame)
            for exit in _exits(journey.first)
            if exit.fate is not Fate.DROPPED and not self._is_patch(exit)
        ]
        theirs = list(left.frames)
        if not left.ordered:
            ours.sort(key=lambda one: one[:2])
            theirs.sort(key=lambda one: one[:2])
        assert ours == theirs, self._story(
            bridge, port, frame.hex(), len(ours), len(theirs), *_difference(ours, theirs)
        )
        return journey

    def _is_patch(self, exit: Exit) -> bool:
        place = exit.place
        controller = place.port == ReservedPort.CONTROLLER
        return controller or (place.bridge, place.port) in self._peers

    def compare_flows(self) -> None:
        """The flows of all bridges, learned ones included, with what they counted."""
        self.network.advance(self.now * MILLISECOND)
        for name, bridge in self.fabric.bridges.items():
            switch = self.network.switches()[Spot(NODE, name)]
            ours, theirs = counted(switch.flows()), counted_in(bridge.dump_flows())
            assert ours == theirs, f"{name}\n{ours}\nnot\n{theirs}\n{self.flows}"

    def compare_macs(self) -> None:
        """The MAC tables of all bridges, but for the order of entries of one second.

        That is another where a packet comes to a bridge again that it is still in.
        """
        self.network.advance(self.now * MILLISECOND)
        for name, bridge in self.fabric.bridges.items():
            switch = self.network.switches()[Spot(NODE, name)]
            ours, theirs = format_fdb(switch.macs()), bridge.fdb()
            same = sorted(ours.splitlines()) == sorted(theirs.splitlines())
            assert same, f"{name}\n{ours}\nnot\n{theirs}"

    def _story(self, *told: object) -> str:
        return "\n".join(["", *map(str, told), *map(str, self.flows.items())])


def _difference(ours: Sequence[_Left], theirs: Sequence[_Left]) -> list[str]:
    """The first few frames from where the two differ."""
    same = next(
        (n for n, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]),
        min(len(ours), len(theirs)),
    )
    return [f"equal up to {same}"] + [
        f"{bridge} {port} {frame.hex()}"
        for some in (ours, theirs)
        for bridge, port, frame in some[same : same + 4]
    ]


def _exits(hop: Hop) -> Iterator[Exit]:
    for exit in hop.exits:
        yield exit
        for following in exit.hops:
            yield from _exits(following)


def counted(flows: Iterable[Flow], tlv_map: TlvMap = NO_TLV_MAP) -> list[tuple[object, ...]]:
    """Table, priority, match and counters of flows, however they are spelled."""
    return sorted(
        (
            flow.table or 0,
            flow.priority,
            sorted(flow.match.words({}, tlv_map).items()),
            flow.n_packets,
            flow.n_bytes,
        )
        for flow in flows
    )


def counted_in(dump: str, tlv_map: TlvMap = NO_TLV_MAP) -> list[tuple[object, ...]]:
    """The same of the flows in a dump."""
    return counted(parse_dump(dump).flows, tlv_map)


@contextmanager
def network_pair(
    ovs: OpenVSwitch,
    ports: Mapping[str, tuple[int, ...]],
    patches: Patches,
    tags: Mapping[str, int] | None = None,
) -> Iterator[NetworkPair]:
    """Bridges of Open vSwitch with these ports, and what compares flowvm with them."""
    with Fabric(ovs, ports, patches) as fabric:
        for port, tag in (tags or {}).items():
            ovs.vsctl("set", "port", port, f"tag={tag}")
        yield NetworkPair(fabric, ports, patches, tags or {})
