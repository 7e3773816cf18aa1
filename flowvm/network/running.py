"""A running network: bridges of several nodes on one clock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Self

from flowvm.columns import Column
from flowvm.network.journey import Journey, Via
from flowvm.network.model import Bridge, Node
from flowvm.network.passage import Arrival, Observer, Passage
from flowvm.network.wiring import Link, Place, Spot, Wiring
from flowvm.packet.batch import PacketBatch
from flowvm.pipeline.assemble import with_bridge
from flowvm.pipeline.machine import Machine
from flowvm.pipeline.program import Program
from flowvm.pipeline.state import State
from flowvm.switch import Switch


class Network:
    """Bridges that packets go through, with what has happened to them so far, and one clock.

    ``nodes`` are as operators' data tells them, ``links`` what joins devices of their system.
    Raises NetworkError for links and tunnels that make no sense, FlowSyntaxError for connections
    that cannot be read.
    """

    def __init__(self, nodes: Sequence[Node], links: Iterable[Link] = ()) -> None:
        self.wiring = Wiring(nodes, links)
        self.now = 0
        self._machines = {
            spot: Machine(_state(bridge, bridge.program))
            for spot, bridge in self.wiring.bridges.items()
            if bridge.program is not None
        }
        self._share_connections()
        for node in nodes:
            if node.conntrack is not None:
                self._track(node)

    def _share_connections(self) -> None:
        """Let all bridges of a node have one table of connections: that of their datapath."""
        first: dict[str, State] = {}
        for spot, machine in self._machines.items():
            one = first.setdefault(spot.node, machine.state)
            machine.state.connections = one.connections

    def _track(self, node: Node) -> None:
        from flowvm.conntrack.text import parse_connections

        for spot, machine in self._machines.items():
            if spot.node == node.name:
                assert node.conntrack is not None
                for connection in parse_connections(node.conntrack, 0, file=node.name):
                    machine.state.connections.add(connection, 0)
                return

    def copy(self) -> Self:
        """A network like this one that goes its own way from here."""
        twin = object.__new__(type(self))
        twin.wiring, twin.now = self.wiring, self.now
        twin._machines = {
            spot: Machine(machine.state.copy()) for spot, machine in self._machines.items()
        }
        twin._share_connections()
        return twin

    def state(self, spot: Spot) -> State | None:
        """The state of a bridge; ``None`` where its flows are not known."""
        machine = self._machines.get(spot)
        return None if machine is None else machine.state

    def switches(self) -> dict[Spot, Switch]:
        """The bridges whose flows are known."""
        return {spot: Switch.running(machine) for spot, machine in self._machines.items()}

    def advance(self, now: int) -> None:
        """Let time pass on all bridges until ``now``, in nanoseconds."""
        self.now = max(self.now, now)
        for machine in self._machines.values():
            machine.advance(self.now)

    def send(
        self,
        place: Place,
        packet: PacketBatch,
        *,
        record: bool = False,
        observe: Observer | None = None,
    ) -> Journey:
        """Let ``packet``, a batch of one, come in by ``place``; the network moves on with it.

        With ``record`` hops have traces; ``observe`` is told what each bridge did. Raises
        ValueError for a packet before the network's time.
        """
        time = int(packet.times[0])
        if time < self.now:
            raise ValueError("packets cannot be earlier than those before them")
        self.now = time
        columns = packet.columns[:, 0].copy()
        columns[Column.IN_PORT] = place.port
        passage = Passage(self.wiring, self._machines, time, record=record, observe=observe)
        return passage.take(Arrival(place, packet.frames[0], columns, Via.START, None, {}))

    def trace(self, place: Place, packet: PacketBatch) -> Journey:
        """What would happen to ``packet``, a batch of one; nothing changes by it."""
        return self.copy().send(place, packet, record=True)


def _state(bridge: Bridge, program: Program) -> State:
    """What the bridge is when its data was gathered."""
    if not bridge.settings_known:
        return State(program)
    state = State(with_bridge(program, bridge.settings))
    if bridge.macs and state.macs is not None:
        state.macs.load(bridge.macs, 0)
    return state
