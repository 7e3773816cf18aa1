"""One bridge: its flows, what has happened to them so far, and a clock.

A :class:`Switch` is what a user of the library holds. It starts at time 0, the moment the dump was
taken, and moves on with the packets it is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self

from flowvm.flow import Flow, Port
from flowvm.names import Names
from flowvm.packet.batch import PacketBatch
from flowvm.pipeline.compile import compile_flows, flow_names
from flowvm.pipeline.engine import Recorder
from flowvm.pipeline.machine import Machine
from flowvm.pipeline.program import Program
from flowvm.pipeline.result import Result
from flowvm.pipeline.snapshot import flows_now
from flowvm.pipeline.state import State
from flowvm.text.dump import parse_dump

if TYPE_CHECKING:
    from scapy.packet import Packet

    from flowvm.arrival import Seconds
    from flowvm.trace import Trace


class Switch:
    """A bridge with ``flows``; ``ports`` maps the names of its ports to numbers, if known."""

    def __init__(self, flows: Iterable[Flow], ports: Mapping[str, int] | None = None) -> None:
        flows = tuple(flows)
        self._state = State(compile_flows(flows, flow_names(flows, ports)))
        self._machine = Machine(self._state)

    @property
    def program(self) -> Program:
        """The flows, compiled."""
        return self._state.program

    @property
    def state(self) -> State:
        """What has changed since the dump: counters, timers, learned flows."""
        return self._state

    @property
    def names(self) -> Names:
        """The names of ports and tables."""
        return self.program.names

    @property
    def now(self) -> int:
        """Nanoseconds since the dump was taken."""
        return self._state.now

    def copy(self) -> Self:
        """A switch like this one that goes its own way from here."""
        twin = object.__new__(type(self))
        twin._state = self._state.copy()
        twin._machine = Machine(twin._state)
        return twin

    def port(self, port: Port) -> int:
        """The number of a port given by number or name. Raises KeyError for an unknown name."""
        return self.names.port(port)

    def flows(self) -> list[Flow]:
        """The flows as ``dump-flows`` would print them now, learned ones included."""
        return flows_now(self._state)

    def run(self, batch: PacketBatch, recorder: Recorder | None = None) -> Result:
        """Run packets, as if one came after the other; the switch moves on with them."""
        return self._machine.run(batch, recorder)

    def trace(
        self,
        packet: str | bytes | Packet,
        *,
        br_flow: str = "",
        in_port: Port | None = None,
        at: Seconds | None = None,
    ) -> Trace:
        """What would happen to one packet, and why; nothing changes by it.

        ``packet`` is a frame (bytes, or a Scapy packet that begins with Ethernet), or headers in
        the syntax of ``ofproto/trace``: ``"in_port=1,tcp,nw_src=10.0.0.1"``, for which a frame is
        made up, with zeroes for what is not named and a TTL of 64. ``br_flow``, in the same syntax,
        adds to a frame what no frame carries: ``"tun_id=0x1,reg0=5"``. ``in_port`` is a number or
        a name; without one the packet comes from no port. ``at`` is a time in seconds since the
        dump was taken, by default the switch's own.

        Raises FlowSyntaxError for headers that cannot be read, and PacketError for an unknown port,
        for a time before the switch's own, and for headers that no frame can have; both are
        ValueErrors.
        """
        from flowvm.arrival import arrive
        from flowvm.trace import trace_packet

        return trace_packet(self._state, arrive(self._state, packet, br_flow, in_port, at))


def load(
    path: str | Path, ports: Mapping[str, int] | None = None, *, lenient: bool = False
) -> Switch:
    """The switch that a dump describes.

    ``path`` is a file with what ``ovs-ofctl dump-flows`` printed. Raises FlowSyntaxError for a
    line that cannot be read, unless ``lenient`` says to leave such lines out; OSError if there is
    no such file.
    """
    text = Path(path).read_text(encoding="utf-8", errors="replace")
    return Switch(parse_dump(text, file=str(path), lenient=lenient).flows, ports)
