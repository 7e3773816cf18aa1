"""flowvm and Open vSwitch side by side: the same flows, the same packets, the same clock."""

from __future__ import annotations

import re
from collections.abc import Iterator

from flowvm.conntrack.text import format_connection
from flowvm.flow import ReservedPort
from flowvm.packet.batch import PacketBatch
from flowvm.packet.frames import Frames
from flowvm.pipeline.result import Result, Verdict
from flowvm.switch import Switch
from flowvm.text.dump import parse_dump

from ..oracle import Bridge

MILLISECOND = 10**6
_COUNTS = re.compile(r"n_packets=(\d+), n_bytes=(\d+)")


class Pair:
    """Both switches with ``flows``; every packet is compared at once."""

    def __init__(self, bridge: Bridge, flows: str) -> None:
        bridge.reset()
        bridge.add_flows(flows)
        self.flows = flows
        self.bridge = bridge
        self.switch = Switch(
            parse_dump(flows).flows, {name: number for number, name in bridge.ports.items()}
        )
        self.now = 0
        self.history: list[str] = []
        self.last: Result | None = None

    def wait(self, milliseconds: int) -> None:
        """Let time go by on both sides."""
        self.now += milliseconds
        self.history.append(f"wait {milliseconds}")
        self.bridge.warp(milliseconds)

    def send(self, port: int, frame: bytes) -> list[tuple[int, bytes]]:
        """Send a frame to both; what leaves, in order, and the connections must be the same.

        Returns what leaves flowvm.
        """
        self.history.append(f"{port} {frame.hex()}")
        outcome = self.bridge.send(port, frame)
        batch = PacketBatch.of(Frames.of([frame]), port, self.now * MILLISECOND)
        result = self.last = self.switch.run(batch)
        assert result.verdict(0) is not Verdict.UNSUPPORTED, self._story(result.reason(0))
        emissions = result.emissions
        ours = list(zip(emissions.port.tolist(), emissions.frames, strict=True))
        told = [frame for port, frame in ours if port == ReservedPort.CONTROLLER]
        heard = [packet.frame for packet in self.bridge.packet_ins()]
        assert told == heard, self._story(f"told the controller: {told}\nnot\n{heard}")
        ours = emitted = [(port, frame) for port, frame in ours if port != ReservedPort.CONTROLLER]
        theirs = [(emission.port, emission.frame) for emission in outcome]
        if not outcome.ordered:
            ours, theirs = _by_port(ours), _by_port(theirs)
        assert ours == theirs, self._story(f"emitted:\n{_hex(ours)}\nnot\n{_hex(theirs)}")
        self.compare_connections()
        return emitted

    def compare_connections(self) -> None:
        """The connections of both, with mark, label and state."""
        ours = sorted(self.connections())
        theirs = sorted(self.bridge.conntrack().splitlines())
        shown = "\n".join(ours), "\n".join(theirs)
        assert ours == theirs, self._story(f"connections:\n{shown[0]}\nnot\n{shown[1]}")

    def connections(self) -> Iterator[str]:
        """Those of flowvm, as ``dpctl/dump-conntrack`` prints them."""
        table = self.switch.state.connections
        return (format_connection(connection) for connection in table.connections(self.now))

    def compare_counters(self, version: str | None = None) -> None:
        """The packets and bytes of each flow; ``version`` of OpenFlow can say all of them."""
        dump = self.bridge.dump_flows(version)
        theirs = sorted(_counted(line) for line in dump.splitlines() if "actions=" in line)
        from flowvm.text.format import format_flow

        ours = sorted(_counted(format_flow(flow)) for flow in self.switch.flows())
        assert [counts for _, counts in ours] == [counts for _, counts in theirs], self._story(
            f"{ours}\nnot\n{theirs}"
        )

    def _story(self, what: str) -> str:
        return "\n".join([what, "flows:", self.flows, "packets:", *self.history])


def _by_port(emitted: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """In order within each port."""
    return sorted(emitted, key=lambda emission: emission[0])


def _counted(line: str) -> tuple[str, tuple[str, ...]]:
    found = _COUNTS.search(line)
    assert found is not None, line
    where = re.search(r"table=(\d+)", line.split("actions=")[0])
    return f"{where[1] if where else 0}", (*found.groups(),)


def _hex(emissions: list[tuple[int, bytes]]) -> str:
    return "\n".join(f"  {port} {frame.hex()}" for port, frame in emissions)
