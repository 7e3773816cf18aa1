"""One bridge: its flows, what has happened to them so far, and a clock.

A :class:`Switch` is what a user of the library holds. It starts at time 0, the moment the dump was
taken, and moves on with the packets it is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

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


class Switch:
    """A bridge with ``flows``; ``ports`` maps the names of its ports to numbers, if known."""

    def __init__(self, flows: Iterable[Flow], ports: Mapping[str, int] | None = None) -> None:
        flows = tuple(flows)
        self._state = State(compile_flows(flows, flow_names(flows, ports)))

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
        return twin

    def port(self, port: Port) -> int:
        """The number of a port given by number or name. Raises KeyError for an unknown name."""
        return self.names.port(port)

    def flows(self) -> list[Flow]:
        """The flows as ``dump-flows`` would print them now, learned ones included."""
        return flows_now(self._state)

    def run(self, batch: PacketBatch, recorder: Recorder | None = None) -> Result:
        """Run packets, as if one came after the other; the switch moves on with them."""
        return Machine(self._state).run(batch, recorder)


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
