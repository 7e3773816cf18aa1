"""Two switches side by side: packets that may tell them apart, and whether they do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from hypothesis import strategies as st

from flowvm.clock import NEVER
from flowvm.flow import ReservedPort
from flowvm.pipeline.result import Result, Verdict
from flowvm.switch import Switch
from flowvm.testing.aiming import Target
from flowvm.testing.candidates import Candidates, crowds
from flowvm.testing.choices import Choices
from flowvm.testing.frames import Packet
from flowvm.testing.sequences import MILLISECOND, SHORT_STEPS, batch_of, limits_of
from flowvm.testing.subjects import Demand

_LESSON = 4
"""So many come before something is learned, and so many after it."""

_MOST_DEADLINES = 16


class Comparison:
    """Two switches that are run side by side."""

    def __init__(self, switches: Sequence[Switch], demand: Demand, pauses: bool) -> None:
        self._switches = tuple(switches)
        self.candidates = Candidates(self._switches, demand)
        self.undecided = False
        self._start = max(switch.now for switch in self._switches)
        self._limits = self._limits_of_both() if pauses else (0,)
        self._steps = (*SHORT_STEPS, *self._limits) if pauses else (0,)

    def _limits_of_both(self) -> tuple[int, ...]:
        """How long (ms) to wait for something to end, and for it not to."""
        flows = [flow for switch in self._switches for flow in switch.program.flows]
        left: set[int] = set()
        for switch in self._switches:
            deadlines = switch.state.rules.deadlines()
            left |= {int(at) - self._start for at in deadlines[deadlines < NEVER]}
        soon = sorted(time // MILLISECOND for time in left if time >= 0)[:_MOST_DEADLINES]
        return (*limits_of(flows), *(step for time in soon for step in (time, time + 1))) or (0,)

    def sequences(self) -> st.SearchStrategy[tuple[Packet, ...]]:
        """Packets one after the other; later ones aimed at what earlier ones taught."""
        if any(switch.program.learnable for switch in self._switches):
            return _lessons(self)
        return crowds(self.candidates, self._steps, self._start)

    def lesson(self, choose: Choices) -> tuple[Packet, ...]:
        """One sequence in which something is taught, if that comes about."""
        first = self.candidates.sequence(choose, self._steps, _LESSON, self._start)
        learned = self._learned_from(first)
        if not learned:
            return first
        step = choose.one(self._limits if choose.percent(40) else self._steps)
        time = first[-1].time + step * MILLISECOND
        return first + self.candidates.sequence(choose, self._steps, _LESSON, time, learned)

    def _learned_from(self, packets: Sequence[Packet]) -> tuple[Target, ...]:
        found = {}
        for switch in self._switches if packets else ():
            twin = switch.copy()
            twin.run(batch_of(packets, twin.names.tlv_map))
            for target, subtable in twin.state.learned.items():
                for key in subtable.index.keys.T.tolist():
                    pairs = zip(key, target.mask.masks, strict=True)
                    words = dict(zip(target.mask.columns, pairs, strict=True))
                    found[target, tuple(key)] = Target(target.table, words)
        return tuple(found.values())

    def first_different(self, packets: Sequence[Packet]) -> int | None:
        """Which of ``packets`` is the first to fare differently."""
        number, unsupported = self._first(packets)
        return None if unsupported else number

    def first_undecided(self, packets: Sequence[Packet]) -> int | None:
        """Which of ``packets`` is the first to meet an action that is not supported."""
        number, unsupported = self._first(packets)
        return number if unsupported else None

    def _first(self, packets: Sequence[Packet]) -> tuple[int | None, bool]:
        """The first packet that does not fare the same, or nobody knows (True)."""
        if not packets or len(self.candidates.meeting(packets)) < len(packets):
            return None, False
        results = [
            switch.copy().run(batch_of(packets, switch.names.tlv_map)) for switch in self._switches
        ]
        fates = [_fates(result) for result in results]
        for number in range(len(packets)):
            if any(result.verdict(number) is Verdict.UNSUPPORTED for result in results):
                self.undecided = True
                return number, True
            if fates[0][number] != fates[1][number]:
                return number, False
        return None, False


@st.composite
def _lessons(draw: st.DrawFn, comparison: Comparison) -> tuple[Packet, ...]:
    return comparison.lesson(Choices(draw))


Fate = Mapping[int, Sequence[tuple[object, ...]]]
"""What leaves by each port, in order."""


def _fates(result: Result) -> Sequence[Fate]:
    """The fate of each packet."""
    emissions = result.emissions
    found: list[dict[int, list[tuple[object, ...]]]] = [{} for _ in range(len(result))]
    columns: Iterable[tuple[int, ...]] = zip(
        emissions.packet.tolist(),
        emissions.port.tolist(),
        emissions.reason.tolist(),
        emissions.tun_id.tolist(),
        emissions.tun_src.tolist(),
        emissions.tun_dst.tolist(),
        strict=True,
    )
    for frame, (packet, port, *rest) in zip(emissions.frames, columns, strict=True):
        # What a packet-in says of the tunnel is in the headers that came with it.
        kept = rest[:1] if port == ReservedPort.CONTROLLER else rest
        found[packet].setdefault(port, []).append((frame, *kept))
    return found
