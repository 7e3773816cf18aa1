"""The way of one packet through a network.

Within a node Open vSwitch translates what a patch port leads to in the middle of the translation of
the bridge that outputs to it (``patch_port_output`` in ofproto/ofproto-dpif-xlate.c of Open vSwitch
3.1). Here each bridge runs a packet to its end, and then what left by patch ports, in the order of
the outputs: the frames leave in the same order. It makes a difference only where a bridge is come
to again by a packet that is still in it, and where bridges of a node use connection tracking in
turn; where that could matter the copy stops as unsupported.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from flowvm.columns import Column
from flowvm.fields import PACKET_TYPE_BITS
from flowvm.flow import ReservedPort
from flowvm.network.departures import Departure, departures, has_steps, resubmits
from flowvm.network.ends import arrival_at_edge, tag_at_edge
from flowvm.network.handover import decoded, handed_over
from flowvm.network.journey import Exit, Fate, Hop, Journey, Via
from flowvm.network.outer import encapsulate
from flowvm.network.tunnels import (
    Address,
    Outer,
    Tunnel,
    destination,
    source,
    tunnel_destination,
    unwrap,
    wrap,
)
from flowvm.network.wiring import Place, Spot, Wiring
from flowvm.packet.batch import PacketBatch
from flowvm.packet.frames import Frames
from flowvm.pipeline.engine import MAX_DEPTH, MAX_RESUBMITS
from flowvm.pipeline.entry import Entry
from flowvm.pipeline.machine import Machine
from flowvm.pipeline.recirculation import MAX_RECIRCULATIONS
from flowvm.pipeline.result import Result, Verdict
from flowvm.pipeline.snapshot import flow_of
from flowvm.pipeline.state import State
from flowvm.tlv_map import NO_TLV_MAP, TlvMap
from flowvm.trace import describe_flow, known_name, port_label, trace_on

MAX_HOPS = 1000
"""So many bridges one packet comes to; only in a loop are there more."""

_FRAMES = 20_000

MAX_ACTION_BYTES = 0xFFFF
"""So long a list of datapath actions Open vSwitch makes of one packet before it stops looking."""

_OUTPUT_BYTES, _CHANGE_BYTES = 8, 64
"""What an output adds to that list, and the most that a change of the packet before it adds."""

Observer = Callable[[Spot, Result], None]
"""Is told what came of a packet at a bridge."""

_Signature = tuple[Place, bytes, bytes]


@dataclass(frozen=True, eq=False, slots=True)
class Arrival:
    """A packet about to come in by ``place``; ``exit`` is where it left the bridge before.

    ``ancestors`` are what it was at the bridges on its way, with their numbers.
    """

    place: Place
    frame: bytes
    columns: NDArray[np.uint64]
    via: Via
    exit: Exit | None
    ancestors: dict[_Signature, int]

    @property
    def signature(self) -> _Signature:
        return self.place, self.frame, self.columns.tobytes()


@dataclass(frozen=True, slots=True)
class _Translation:
    """The translation that a bridge is a part of.

    ``tun_dst`` is the tunnel that the packet came to the node by, ``length`` how many bytes it had,
    ``outputs`` are the ports by which it left the bridges that it is in the middle of. With
    ``failed`` nothing leaves: an error in the first bridge takes back what is output before it.
    """

    tun_dst: Address | None
    length: int
    outputs: tuple[tuple[Spot, Departure], ...] = ()
    failed: bool = False


class Passage:
    """One packet on its way through the bridges of ``machines``, at the time ``now`` (ns)."""

    def __init__(
        self,
        wiring: Wiring,
        machines: Mapping[Spot, Machine],
        now: int,
        *,
        record: bool,
        observe: Observer | None,
    ) -> None:
        self._wiring = wiring
        self._machines = machines
        self._now = now
        self._observe = observe
        self._record = record
        self._waiting: deque[Arrival] = deque()
        self._n_hops = 0
        self._action_bytes = 0
        self._last_frame = b""
        self._n_tracking = 0
        """How many bridges had the datapath do more than output."""

    def take(self, arrival: Arrival) -> Journey:
        """Take the packet, and all copies of it, to the end."""
        # Bridges are as deep within each other as the packet goes through patch ports.
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(max(limit, _FRAMES))
        try:
            return self._take(arrival)
        finally:
            sys.setrecursionlimit(limit)

    def _take(self, arrival: Arrival) -> Journey:
        first = self._enter(arrival)
        while self._waiting:
            following = self._waiting.popleft()
            assert following.exit is not None
            if self._goes_round(following) or self._is_endless(following.exit):
                continue
            following.exit.hops.append(self._enter(following))
        return Journey(first, self._now)

    def _goes_round(self, arrival: Arrival) -> bool:
        """Whether the packet has been here on its way, just as it is; then that is its end."""
        number = arrival.ancestors.get(arrival.signature)
        exit = arrival.exit
        if number is None or exit is None:
            return False
        exit.fate, exit.text = Fate.LOOP, f"comes to {_port(arrival.place)} as in hop {number}"
        return True

    def _is_endless(self, exit: Exit) -> bool:
        """Whether the packet has come to more bridges, or left them oftener, than is followed."""
        if self._n_hops >= MAX_HOPS:
            exit.text = f"a storm: more than {MAX_HOPS} hops"
        elif self._action_bytes > MAX_ACTION_BYTES:
            exit.text = "a storm: more outputs than Open vSwitch makes of one packet"
        else:
            return False
        exit.fate = Fate.LOOP
        return True

    def _enter(self, arrival: Arrival, recirculations: int = 0) -> Hop:
        """Come to a bridge by a translation of its own."""
        translation = _Translation(tunnel_destination(arrival.columns), len(arrival.frame))
        self._action_bytes = 0
        return self._visit(arrival, Entry(recirculations=recirculations), translation)

    def _visit(self, arrival: Arrival, entry: Entry, translation: _Translation) -> Hop:
        self._n_hops += 1
        place, signature = arrival.place, arrival.signature
        hop = Hop(
            self._n_hops, place, self._wiring.name(place), arrival.via, arrival.frame,
            repeats=arrival.ancestors.get(signature),
        )  # fmt: skip
        machine = self._machines.get(place.spot)
        if machine is None:
            hop.verdict = "unknown"
            hop.reason = f"the flows of {place.bridge} of {place.node} are not known"
            return hop
        result = self._execute(machine, arrival, entry, hop)
        if self._observe is not None:
            self._observe(place.spot, result)
        self._n_tracking += has_steps(result)
        used = resubmits(result, entry.resubmits)
        ancestors = {signature: hop.number, **arrival.ancestors}
        left_all = departures(result, machine.state, entry)
        if hop.trace is not None:
            pairs = zip(hop.trace.outputs, left_all, strict=True)
            kept = tuple(output for output, departure in pairs if not departure.is_lost(entry))
            hop.trace = replace(hop.trace, outputs=kept)
        for departure in left_all:
            exit = Exit(
                Place(place.node, place.bridge, departure.port),
                _name(self._wiring, place, departure.port, machine.state),
                departure.frame,
            )
            hop.exits.append(exit)
            left = _Left(hop, exit, departure, ancestors, used)
            own = translation
            if departure.length is not None:
                own = replace(translation, length=departure.length)
            if departure.is_lost(entry):
                own = replace(own, failed=True)
            self._leave(left, own)
        return hop

    def _execute(self, machine: Machine, arrival: Arrival, entry: Entry, hop: Hop) -> Result:
        packet = PacketBatch(
            Frames.of([arrival.frame]),
            arrival.columns[:, None],
            np.array([self._now], np.int64),
            machine.state.program.names.tlv_map,
        )
        if self._record:
            hop.trace, result = trace_on(machine, packet, arrival.place.bridge, entry=entry)
            hop.verdict, hop.reason = hop.trace.verdict, hop.trace.reason
        else:
            result = machine.run(packet, entry=entry)
            hop.verdict, hop.reason = str(result.verdict(0)), _reason(result, machine.state)
        return result

    # -- what becomes of what leaves --------------------------------------------------------------

    def _leave(self, left: _Left, translation: _Translation) -> None:
        """Find out where a copy that leaves a bridge gets to."""
        exit, place = left.exit, left.exit.place
        wiring = self._wiring
        if not wiring.is_patch(place):
            changed = exit.frame != self._last_frame
            self._action_bytes += _OUTPUT_BYTES + _CHANGE_BYTES * changed
            self._last_frame = exit.frame
        if translation.failed and not wiring.is_patch(place):
            exit.text = "taken back by an error"
        elif place.port == ReservedPort.CONTROLLER:
            exit.fate, exit.text = Fate.CONTROLLER, "sent to the controller"
        elif wiring.is_patch(place):
            self._leave_by_patch(left, translation)
        elif int(left.departure.columns[PACKET_TYPE_BITS.column]) >> PACKET_TYPE_BITS.shift:
            exit.fate, exit.text = Fate.UNSUPPORTED, "a packet without an Ethernet header"
        elif (tunnel := wiring.tunnel(place)) is not None:
            self._leave_by_tunnel(left, tunnel, translation.tun_dst)
        elif (kind := wiring.other_tunnel(place)) is not None:
            exit.fate, exit.text = Fate.UNSUPPORTED, f"tunnels of type {kind} are not executed"
        elif wire := wiring.wire(place):
            exit.fate = Fate.ON
            for end in wire:
                self._send(left, end, Via.LINK, None)
        elif place.port in self._machines[place.spot].state.program.names.down:
            exit.text = f"{place.node}:{exit.label} is down"
        else:
            exit.fate, exit.text = arrival_at_edge(wiring, place)
            exit.vlan = tag_at_edge(wiring, place, exit.frame, left.hop.frame)

    def _leave_by_patch(self, left: _Left, translation: _Translation) -> None:
        exit, departure = left.exit, left.departure
        peer = self._wiring.peer(exit.place)
        if isinstance(peer, str):
            exit.text = peer
            return
        if departure.cut:
            exit.text = f"output_trunc does not support patch port {exit.label}"
            return
        if self._is_endless(exit):
            return
        if departure.depth >= MAX_DEPTH:
            exit.fate, exit.text = Fate.LOOP, f"over max translation depth {MAX_DEPTH}"
            return
        if left.resubmits >= MAX_RESUBMITS:
            # Open vSwitch counts in another order what a bridge does after this output.
            exit.fate, exit.text = Fate.UNSUPPORTED, f"over {MAX_RESUBMITS} resubmit actions"
            return
        for spot, output in (*translation.outputs, (exit.place.spot, departure)):
            if spot == peer.spot and output.learns_later:
                exit.fate = Fate.UNSUPPORTED
                exit.text = f"coming to {peer.bridge} again before it learns what it is about to"
                return
        exit.fate = Fate.ON
        arrival = Arrival(
            peer,
            departure.frame,
            handed_over(departure.columns, peer.port),
            Via.PATCH,
            exit,
            left.ancestors,
        )
        if departure.popped:
            # What the label hid is to be looked at first: the datapath takes the packet up again.
            if departure.recirculations == MAX_RECIRCULATIONS:
                exit.fate, exit.text = Fate.DROPPED, "Max recirculation depth exceeded"
                return
            self._look_again(arrival)
            exit.hops.append(self._enter(arrival, departure.recirculations + 1))
        else:
            entry = Entry(
                departure.depth + 1,
                left.resubmits + 1,
                nested=True,
                length=translation.length,
                recirculations=departure.recirculations,
            )
            outputs = (*translation.outputs, (exit.place.spot, departure))
            inner = replace(translation, outputs=outputs)
            tracked = self._n_tracking
            exit.hops.append(self._visit(arrival, entry, inner))
            if translation.failed and self._n_tracking > tracked:
                exit.fate, exit.text = Fate.UNSUPPORTED, f"ct of {peer.bridge} before an error"
            elif departure.steps_later and self._n_tracking > tracked:
                # The datapath does it in the order of the outputs, not one bridge after the other.
                exit.fate = Fate.UNSUPPORTED
                exit.text = f"ct of {peer.bridge} before further ct of {exit.place.bridge}"

    def _look_again(self, arrival: Arrival) -> None:
        arrival.columns[Column.ETH_SRC :] = decoded(arrival.frame)[Column.ETH_SRC :]

    def _leave_by_tunnel(self, left: _Left, tunnel: Tunnel, came_to: Address | None) -> None:
        exit, columns = left.exit, left.departure.columns
        node = exit.place.node
        if tunnel.unsupported is not None:
            exit.fate, exit.text = Fate.UNSUPPORTED, f"tunnels with {tunnel.unsupported}"
            return
        dst = destination(tunnel, columns)
        if dst == came_to:
            exit.text = "Not tunneling to our own address"
            return
        if dst is None:
            exit.text = "remote_ip=flow, and no flow sets tun_dst"
            return
        src = source(tunnel, columns) or self._wiring.local_address(node, dst)
        if src is None:
            exit.fate = Fate.UNSUPPORTED
            exit.text = f"the address that {node} sends from to {dst} is not known"
            return
        owner = self._wiring.owner(dst)
        outer = exit.outer = wrap(tunnel, columns, src, dst, self._tlv_map(exit.place))
        exit.outer_frame = encapsulate(
            outer,
            exit.frame,
            self._wiring.mac(node, src) or 0,
            (owner and self._wiring.mac(owner, dst)) or 0,
        )
        if owner is None:
            exit.fate, exit.text = Fate.OUTSIDE, f"leaves the network to {dst} ({outer})"
            return
        end = self._wiring.receiver(owner, outer)
        if end is None:
            exit.text = f"no tunnel port of {owner} takes {outer}"
            return
        exit.fate = Fate.ON
        self._send(left, end, Via.TUNNEL, outer)

    def _tlv_map(self, place: Place) -> TlvMap:
        machine = self._machines.get(place.spot)
        return NO_TLV_MAP if machine is None else machine.state.program.names.tlv_map

    def _send(self, left: _Left, place: Place, via: Via, outer: Outer | None) -> None:
        """Let a copy set out for a port of another bridge, where only its bytes arrive."""
        columns = decoded(left.exit.frame)
        columns[Column.IN_PORT] = place.port
        if outer is not None:
            problem = unwrap(outer, columns, self._tlv_map(place))
            if problem is not None:
                left.exit.fate, left.exit.text = Fate.DROPPED, problem
                return
        self._waiting.append(
            Arrival(place, left.exit.frame, columns, via, left.exit, left.ancestors)
        )


@dataclass(frozen=True, eq=False, slots=True)
class _Left:
    """A copy that has left ``hop``; ``resubmits`` are those made by then."""

    hop: Hop
    exit: Exit
    departure: Departure
    ancestors: dict[_Signature, int]
    resubmits: int


def _reason(result: Result, state: State) -> str:
    """Why, in words; the last rule of a packet that was dropped."""
    rule = int(result.last_rule[0])
    if result.verdict(0) is not Verdict.DROP or rule < 0:
        return result.reason(0)
    flow = flow_of(state, rule)
    return f"{'no output' if flow.actions else 'dropped'} by {describe_flow(flow)}"


def _name(wiring: Wiring, place: Place, port: int, state: State) -> str | None:
    if port == ReservedPort.CONTROLLER:
        return str(port_label(port))
    name = wiring.name(Place(place.node, place.bridge, port))
    return name if name is not None else known_name(port, state.program.names)


def _port(place: Place) -> str:
    return f"port {place.port} of {place.bridge} of {place.node}"
