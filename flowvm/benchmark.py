"""How fast a program runs: lookups in each of its tables, and packets through the whole pipeline.

Times are of this process, best of several, in one thread; they hold for this machine as it is now.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowvm.columns import N_COLUMNS, Column
from flowvm.kernels import WORTHWHILE, load
from flowvm.packet.batch import PacketBatch, Room
from flowvm.pipeline.paths import distinct_keys
from flowvm.pipeline.program import Program
from flowvm.pipeline.result import Verdict
from flowvm.pipeline.state import State
from flowvm.switch import Switch
from flowvm.traffic import Traffic, synthesise
from flowvm.traffic.watch import Sighting, watch

BATCH = 1 << 15
"""Packets run at once, as in a replay."""

LOOKUPS = 1 << 14
"""Lookups in a table at once: as many as packets of a batch may make."""

_REPEATS = 5
_NS = 1e9


@dataclass(frozen=True)
class TableSpeed:
    """Lookups in one table, by packets that come through it.

    ``visits`` and ``hits`` are how often the flows of the traffic, one packet each, are looked up
    there and how often they match; ``ns`` is the time of one lookup, None for a table that no flow
    comes to.
    """

    table: int
    rules: int
    subtables: int
    visits: int
    hits: int
    ns: float | None

    @property
    def hit_rate(self) -> float | None:
        """The share of lookups that match."""
        return self.hits / self.visits if self.visits else None

    def object(self) -> dict[str, Any]:
        """In types that JSON has."""
        return {
            "table": self.table,
            "rules": self.rules,
            "subtables": self.subtables,
            "visits": self.visits,
            "hits": self.hits,
            "hit_rate": self.hit_rate,
            "ns_per_lookup": None if self.ns is None else round(self.ns, 2),
        }


@dataclass(frozen=True)
class PipelineSpeed:
    """Packets through the pipeline, from frames in memory to outputs counted.

    ``decode`` and ``run`` are the seconds of the two parts.
    """

    packets: int
    decode: float
    run: float

    @property
    def seconds(self) -> float:
        """The seconds of both parts."""
        return self.decode + self.run

    @property
    def rate(self) -> float:
        """Packets a second."""
        return self.packets / self.seconds

    def object(self) -> dict[str, Any]:
        """In types that JSON has."""
        return {
            "packets_per_second": round(self.rate),
            "ns_per_packet": round(_NS * self.seconds / self.packets, 2),
            "decode_ns_per_packet": round(_NS * self.decode / self.packets, 2),
            "run_ns_per_packet": round(_NS * self.run / self.packets, 2),
        }


@dataclass(frozen=True)
class Benchmark:
    """What :func:`run_benchmark` measured.

    ``classes`` is how many kinds of packets there are: those that agree on every bit that the
    pipeline can consult share one. ``cold`` is a replay that begins with the dump, ``warm`` one
    that goes on where it ended: all classes are known, all is learned. ``verdicts`` counts the
    packets of the cold one by what became of them, ``learned`` the flows that it learned.
    """

    rules: int
    packets: int
    flows: int
    classes: int
    cold: PipelineSpeed
    warm: PipelineSpeed
    verdicts: dict[Verdict, int]
    learned: int
    tables: tuple[TableSpeed, ...]

    @property
    def tables_reached(self) -> int:
        """The tables that the traffic comes to."""
        return sum(table.visits > 0 for table in self.tables)

    def object(self) -> dict[str, Any]:
        """In types that JSON has."""
        return {
            "rules": self.rules,
            "packets": self.packets,
            "flows": self.flows,
            "classes": self.classes,
            "cold": self.cold.object(),
            "warm": self.warm.object(),
            "verdicts": {str(verdict): count for verdict, count in self.verdicts.items()},
            "learned": self.learned,
            "tables_reached": self.tables_reached,
            "tables": [table.object() for table in self.tables],
        }


def run_benchmark(switch: Switch, packets: int, flows: int, seed: int = 0) -> Benchmark:
    """Run ``packets`` packets of ``flows`` flows, made up for the switch's program.

    The switch stays as it is. Raises ValueError for numbers below 1.
    """
    if packets >= WORTHWHILE:
        # So that it says from the first packet on how fast such numbers are.
        load()
    program = switch.program
    traffic = synthesise(program, packets, flows, seed)
    key = program.key
    keys = traffic.flows.columns[list(key.columns)] & key.array
    runner = switch.copy()
    cold, verdicts = replay_traffic(runner, traffic)
    learned = int(runner.state.rules.alive[len(program.rules) :].sum())
    warm, _ = replay_traffic(runner, traffic)
    return Benchmark(
        len(program.rules),
        len(traffic),
        len(traffic.flows),
        len(distinct_keys(keys)[0]),
        cold,
        warm,
        verdicts,
        learned,
        tuple(table_speeds(program, watch(program, traffic.flows))),
    )


def replay_traffic(
    switch: Switch, traffic: Traffic, batch: int = BATCH
) -> tuple[PipelineSpeed, dict[Verdict, int]]:
    """Run the packets from where ``switch`` stands, and count what leaves by which port.

    Returns the speed, and the packets by verdict.
    """
    program = switch.program
    wanted = program.wanted
    metadata = _carried_besides(traffic)
    room = Room({*wanted, *metadata})
    counts = np.zeros(len(Verdict), np.int64)
    times = traffic.times(switch.now)
    ports = traffic.flows.columns[Column.IN_PORT].astype(np.int64)
    decode = run = 0.0
    for first in range(0, len(traffic), batch):
        which = traffic.sequence[first : first + batch]
        frames = traffic.flows.frames.take(which)
        began = time.perf_counter()
        packets = PacketBatch.of(
            frames, ports[which], times[first : first + batch], wanted=wanted, room=room
        )
        for column in metadata:
            packets.columns[column] = traffic.flows.columns[column][which]
        decoded = time.perf_counter()
        result = switch.run(packets)
        result.port_counts()
        done = time.perf_counter()
        decode += decoded - began
        run += done - decoded
        counts += np.bincount(result.verdicts, minlength=len(Verdict))
    speed = PipelineSpeed(len(traffic), decode, run)
    return speed, {verdict: int(counts[verdict]) for verdict in Verdict}


def _carried_besides(traffic: Traffic) -> list[Column]:
    """The columns that come besides the frame, and that some flow has."""
    besides = range(Column.METADATA, Column.ETH_SRC)
    return [
        Column(column)
        for column in besides
        if column != Column.ACTSET_OUTPUT and traffic.flows.columns[column].any()
    ]


def table_speeds(program: Program, sightings: list[Sighting]) -> Iterator[TableSpeed]:
    """The speed of lookups in each table of ``program``, by the packets of ``sightings``."""
    state = State(program)
    rules = np.bincount(program.rules.table, minlength=1)
    for table in sorted(program.tables):
        mine = [sighting for sighting in sightings if sighting.table == table]
        found = np.concatenate([np.zeros(0, np.int64), *(sighting.rules for sighting in mine)])
        yield TableSpeed(
            table,
            int(rules[table]),
            len(program.tables[table]),
            len(found),
            int((found >= 0).sum()),
            _lookup_ns(state, table, mine) if len(found) else None,
        )


def _lookup_ns(state: State, table: int, sightings: list[Sighting]) -> float:
    seen = np.concatenate([sighting.columns for sighting in sightings], axis=1)
    which = np.resize(np.random.default_rng(0).permutation(seen.shape[1]), LOOKUPS)
    nothing = np.zeros(LOOKUPS, np.uint64)
    columns: list[NDArray[np.uint64]] = [nothing] * N_COLUMNS
    for row, column in enumerate(state.program.key.columns):
        columns[column] = seen[row][which]
    packets = np.arange(LOOKUPS)
    return _NS * best_time(lambda: state.lookup(table, columns, packets)) / LOOKUPS


def best_time(action: Callable[[], object], repeats: int = _REPEATS) -> float:
    """The seconds of the quickest of some calls."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return min(times)
