"""Witnesses: the packets that prove an assert wrong, and how they are told of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flowvm.testing.frames import Packet
from flowvm.testing.sequences import batch_of
from flowvm.testing.subjects import Subject
from flowvm.trace import Trace, trace_packet


class WitnessError(AssertionError):
    """An assert that some packets prove wrong.

    ``packets`` are the smallest that were found; the last of them is the one that matters, those
    before it bring the switch to where it matters. ``traces`` are of the last one, one for each
    switch that the assert is about. ``str()`` tells it all.
    """

    def __init__(self, claim: str, packets: Sequence[Packet], subjects: Sequence[Subject]) -> None:
        self.packets = tuple(packets)
        states = []
        for subject in subjects:
            switch = subject.switch.copy()
            switch.run(batch_of(self.packets[:-1], switch.names.tlv_map))
            states.append(switch.state)
        self.traces: tuple[Trace, ...] = tuple(
            trace_packet(state, batch_of(self.packets[-1:], state.program.names.tlv_map))
            for state in states
        )
        lines = _lines(claim, self.packets, subjects, self.traces)
        super().__init__("\n".join(lines))


def _lines(
    claim: str, packets: Sequence[Packet], subjects: Sequence[Subject], traces: Sequence[Trace]
) -> Iterator[str]:
    yield claim
    yield ""
    if len(packets) > 1:
        switch = subjects[0].switch.copy()
        for number, packet in enumerate(packets[:-1], 1):
            alone = batch_of([packet], switch.names.tlv_map)
            trace = trace_packet(switch.state, alone)
            switch.run(alone)
            yield from _packet(f"Packet {number}", packet, trace)
        yield from _packet(f"Packet {len(packets)}, the one that matters", packets[-1], traces[0])
    else:
        yield from _packet("Packet", packets[0], traces[0])
    for subject, trace in zip(subjects, traces, strict=True):
        yield ""
        yield f"=== {subject.title}: {trace.reason}"
        yield str(trace)


def _packet(title: str, packet: Packet, trace: Trace) -> Iterator[str]:
    when = f" at {packet.time / 1e9:g} s" if packet.time else ""
    yield f"{title}{when}: {trace.flow}"
    yield f"    frame {packet.frame.hex()}"
