"""Bridges joined by patch ports in flowvm and in Open vSwitch: the same packets, the same clock."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from flowvm.flow import ReservedPort
from flowvm.network.journey import Exit, Fate, Hop, Journey
from flowvm.network.model import Node
from flowvm.network.running import Network
from flowvm.network.wiring import Place, Spot
from flowvm.packet.batch import PacketBatch
from flowvm.packet.frames import Frames
from tests.networks import bridge as make_bridge
from tests.networks import interface, patch

from ..oracle import Fabric, OpenVSwitch

MILLISECOND = 10**6
NODE = "here"
VERSION = "OpenFlow15"
_AGE = re.compile(r"(?:idle|hard)_age=\d+,? ?")
_COUNTED = re.compile(r"n_packets=(\d+), n_bytes=(\d+)")

Patches = tuple[tuple[tuple[str, int], tuple[str, int]], ...]


class NetworkPair:
    """Both, with ``flows`` by bridge; ``ports`` are those that are no patch ports."""

    def __init__(
        self, fabric: Fabric, ports: Mapping[str, tuple[int, ...]], patches: Patches
    ) -> None:
        self.fabric = fabric
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
            bridges.append(
                make_bridge(
                    name,
                    self.fabric.bridges[name].dump_flows(VERSION),
                    *(interface(f"{name}-{number}", number, "dummy") for number in numbers),
                    *(patch(f"{name}-{number}", number, peer) for number, peer in peers.items()),
                )
            )
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
        told = [end.text for end in journey.ends() if end.fate is Fate.UNSUPPORTED]
        assert not told, told
        left = self.fabric.send(bridge, port, frame)
        ours = [
            (exit.place.bridge, exit.place.port, exit.frame)
            for exit in _exits(journey.first)
            if not exit.hops and not self._is_patch(exit)
        ]
        theirs = list(left.frames)
        if not left.ordered:
            ours.sort(key=lambda one: one[:2])
            theirs.sort(key=lambda one: one[:2])
        assert ours == theirs, self._story(bridge, port, frame, ours, theirs)
        return journey

    def _is_patch(self, exit: Exit) -> bool:
        place = exit.place
        controller = place.port == ReservedPort.CONTROLLER
        return controller or (place.bridge, place.port) in self._peers

    def compare_flows(self) -> None:
        """The flows of all bridges, learned ones included, with what they counted."""
        for name, bridge in self.fabric.bridges.items():
            switch = self.network.switches()[Spot(NODE, name)]
            ours = sorted(counted(str(flow)) for flow in switch.flows())
            theirs = sorted(
                counted(line)
                for line in bridge.dump_flows(VERSION).splitlines()
                if "actions=" in line
            )
            assert ours == theirs, f"{name}\n{ours}\nnot\n{theirs}\n{self.flows}"

    def _story(self, *told: object) -> str:
        return "\n".join(["", *map(str, told), *map(str, self.flows.items())])


def _exits(hop: Hop) -> Iterator[Exit]:
    for exit in hop.exits:
        yield exit
        for following in exit.hops:
            yield from _exits(following)


def counted(line: str) -> tuple[str, ...]:
    """Table, match and counters of a flow."""
    head = line.partition(" actions=")[0]
    table = re.search(r"table=(\d+)", head)
    counts = _COUNTED.search(head)
    assert counts is not None, line
    match = _AGE.sub("", head).rpartition(" ")[2]
    return table[1] if table else "0", match, *counts.groups()


@contextmanager
def network_pair(
    ovs: OpenVSwitch, ports: Mapping[str, tuple[int, ...]], patches: Patches
) -> Iterator[NetworkPair]:
    """Bridges of Open vSwitch with these ports, and what compares flowvm with them."""
    with Fabric(ovs, ports, patches) as fabric:
        yield NetworkPair(fabric, ports, patches)
