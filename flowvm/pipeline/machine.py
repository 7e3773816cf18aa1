"""The machine: runs batches of packets against a state, as if one packet came after the other.

A batch is run in chunks. A chunk runs against the state as it is when the chunk begins; then it is
found out how many of its packets, from the first on, saw what they would have seen had the packets
before them been settled. Those stand, and the rest is run again (ARCHITECTURE, "Sequential truth,
batch speed"). No rule expires within a chunk.
"""

from __future__ import annotations

import numpy as np

from flowvm.packet.batch import PacketBatch
from flowvm.pipeline import learning
from flowvm.pipeline.emission import Emissions
from flowvm.pipeline.engine import Recorder, Run
from flowvm.pipeline.learning import LearnEvents
from flowvm.pipeline.result import ETHERNET_HEADER, Result, Verdict, verdicts_of
from flowvm.pipeline.rules import NEVER, SECOND
from flowvm.pipeline.state import State
from flowvm.pipeline.subtable import Mask

MAX_CHUNK = 32_768


class Machine:
    """A state and what it takes to run packets through it."""

    def __init__(self, state: State, max_chunk: int = MAX_CHUNK) -> None:
        self.state = state
        self._max_chunk = max_chunk

    def run(self, batch: PacketBatch, recorder: Recorder | None = None) -> Result:
        """Run ``batch``, in its order; the state moves on with it.

        Times are nanoseconds since the dump was taken. A ``recorder`` needs a batch of one.
        Raises ValueError if the first packet is earlier than the state's clock.
        """
        if len(batch) and int(batch.times[0]) < self.state.now:
            raise ValueError("packets cannot be earlier than those before them")
        settled: list[Result] = []
        at, size = 0, self._max_chunk
        while at < len(batch):
            stop = self._chunk_end(batch, at, size)
            run = self._attempt(batch, at, stop, recorder)
            good = self._settled(run)
            settled.append(self._settle(run, batch, at, good))
            # Packets that meet what others learn are taken in small steps until they are through.
            size = min(self._max_chunk, 4 * good if at + good == stop else max(1, good))
            at += good
        return _joined(batch, settled)

    def _chunk_end(self, batch: PacketBatch, at: int, size: int) -> int:
        """Where a chunk from ``at`` ends: within it no rule expires, not even one learned in it."""
        now = int(batch.times[at])
        self.state.advance(now)
        horizon = self.state.deadline
        shortest = self.state.program.shortest_timeout
        if shortest is not None:
            horizon = min(horizon, now + shortest * SECOND)
        last = min(len(batch), at + size)
        return at + int(np.searchsorted(batch.times[at:last], min(horizon, NEVER), side="right"))

    def _attempt(self, batch: PacketBatch, at: int, stop: int, recorder: Recorder | None) -> Run:
        lengths = batch.frames.lengths[at:stop]
        run = Run(self.state, batch.columns[:, at:stop], lengths, recorder)
        # What is shorter than an Ethernet header never gets into the pipeline.
        run.halted[lengths < ETHERNET_HEADER] = True
        run.run()
        return run

    def _settled(self, run: Run) -> int:
        """How many packets of ``run``, from the first on, saw what they should have seen."""
        good = run.barrier
        if not run.consulted:
            return good
        for altered in learning.alterations(self.state, run.learned):
            index = altered.index()
            for lookup in run.consulted:
                hits = lookup.hits
                if hits.table != altered.target.table:
                    continue
                number = index.find(_masked(lookup.columns, altered.target.mask))
                later = (number >= 0) & (hits.packets > altered.since[number])
                priority = np.where(hits.rules >= 0, self.state.rules.priority[hits.rules], -1)
                later &= priority <= altered.target.priority
                good = min(good, int(hits.packets[later].min(initial=good)))
        return good

    def _settle(self, run: Run, batch: PacketBatch, at: int, good: int) -> Result:
        """Let what the first ``good`` packets of ``run`` did become part of the state."""
        state = self.state
        stop = at + good
        times = batch.times[at:stop]
        for hits in run.hits:
            some = (hits.rules >= 0) & (hits.packets < good)
            rules, packets = hits.rules[some], hits.packets[some]
            np.add.at(state.rules.n_packets, rules, 1)
            np.add.at(state.rules.n_bytes, rules, run.lengths[packets])
            np.maximum.at(state.rules.used, rules, times[packets])
        events = [e.before(good) for e in run.learned]
        learning.apply(state, events, times)
        self._cut_timeouts(run, good)
        state.now = max(state.now, int(times[-1]))

        stopped = {**run.unsupported, **run.errors}
        dropped = np.array(sorted(run.errors), np.int64)
        emissions = run.emissions.collect(batch.frames.take(np.arange(at, stop)), good, dropped)
        verdicts = verdicts_of(good, emissions)
        for packet in stopped:
            if packet < good:
                unsupported = packet not in run.errors
                verdicts[packet] = Verdict.UNSUPPORTED if unsupported else Verdict.ERROR
        return Result(
            batch.frames.take(np.arange(at, stop)),
            emissions,
            verdicts,
            run.last_table[:good],
            run.last_rule[:good],
            {packet: why for packet, why in stopped.items() if packet < good},
            tuple((0, e) for e in events if len(e.packets)),
        )

    def _cut_timeouts(self, run: Run, good: int) -> None:
        rules = self.state.rules
        for cut in run.timeout_cuts:
            mine = cut.rules[cut.packets < good]
            for column, seconds in (
                (rules.idle_timeout, cut.idle_timeout),
                (rules.hard_timeout, cut.hard_timeout),
            ):
                if seconds:
                    longer = (column[mine] == 0) | (column[mine] > seconds)
                    column[mine[longer]] = seconds
            self.state.note_deadlines(mine)


def _masked(columns: np.ndarray, mask: Mask) -> np.ndarray:
    return columns[list(mask.columns)] & mask.array


def _joined(batch: PacketBatch, parts: list[Result]) -> Result:
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return Result(
            batch.frames,
            Emissions.none(),
            np.zeros(0, np.int8),
            np.zeros(0, np.int32),
            np.zeros(0, np.int64),
            {},
            (),
        )
    firsts = np.cumsum([0, *(len(part) for part in parts[:-1])]).tolist()
    stopped: dict[int, str] = {}
    learned: list[tuple[int, LearnEvents]] = []
    emissions: list[Emissions] = []
    for first, part in zip(firsts, parts, strict=True):
        stopped.update({first + packet: why for packet, why in part.stopped.items()})
        learned += [(first + base, events) for base, events in part.learned]
        emissions.append(part.emissions.shifted(first))
    return Result(
        batch.frames,
        Emissions.concatenate(emissions),
        np.concatenate([part.verdicts for part in parts]),
        np.concatenate([part.last_table for part in parts]),
        np.concatenate([part.last_rule for part in parts]),
        stopped,
        tuple(learned),
    )
