"""The search for packets that reach the rules of a program.

What a rule asks for is often what other rules wrote before (registers, tags, tunnels). Instead of
working actions backwards, packets are run and watched: from one that was looked up in a table
another is made that differs from it only in what a rule of that table asks for. So tables are
reached one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from flowvm.columns import N_COLUMNS, Column
from flowvm.fields import NW_PROTO_BITS
from flowvm.flow import ReservedPort
from flowvm.packet.batch import PacketBatch
from flowvm.packet.frames import Frames
from flowvm.packet.words import U64
from flowvm.pipeline.engine import START_TABLE
from flowvm.pipeline.machine import Machine
from flowvm.pipeline.program import Program
from flowvm.pipeline.result import Verdict
from flowvm.pipeline.state import State
from flowvm.pipeline.subtable import hash_keys
from flowvm.traffic.demands import Demands
from flowvm.traffic.headers import arriving, siblings, strangers
from flowvm.traffic.watch import Sighting, watch

_AT_ONCE = 2048
_PATIENCE = 3  # rounds in a row without news
_ROUNDS = 40
_KEPT = 4096  # sightings a table
_FRESH = 8  # of so many packets, one is a stranger
_MOST_AT_ONCE = 1 << 15
_SPARE = 6  # so many packets are tried for one that is wanted
_LOST = 0.05


@dataclass(frozen=True, eq=False)
class _Seen:
    """Packets that were seen at a table: as they came, what decided their way, and as seen.

    ``came`` and ``pinned`` have shape (columns, packets), ``seen`` (columns of the key, packets).
    """

    came: U64
    pinned: U64
    seen: U64

    def extended(self, other: _Seen, most: int) -> _Seen:
        """These and the others; of too many the oldest go."""
        return _Seen(
            np.concatenate([self.came, other.came], axis=1)[:, -most:],
            np.concatenate([self.pinned, other.pinned], axis=1)[:, -most:],
            np.concatenate([self.seen, other.seen], axis=1)[:, -most:],
        )


class Search:
    """Finds packets for ``program``; what it has found helps it to find more."""

    def __init__(self, program: Program, random: Generator) -> None:
        self._program = program
        self._random = random
        self._demands = Demands(program)
        self._key = np.array(program.key.columns, np.int64)
        written = [program.written.get(column, 0) for column in program.key.columns]
        self._written = np.array(written, np.uint64)
        self._ports = self._known_ports()
        self._hit = np.zeros(len(program.rules), bool)
        self._acts = np.array([bool(shape.operations) for shape in program.shapes], bool)[
            program.rules.shape
        ]
        self._at: dict[int, _Seen] = {}
        self._goals: dict[int, NDArray[np.int64]] = {}
        """The rules of each table that was reached."""
        self._explore()

    def _known_ports(self) -> U64:
        """The ports that the first table tells apart, those that have names, and any other."""
        targets = self._demands.targets(START_TABLE)
        values, masks = self._demands.of(targets)
        row = int(np.searchsorted(self._key, Column.IN_PORT))
        named = self._program.names.ports.values()
        known = {*values[row][masks[row] != 0].tolist(), *named}
        other = next(port for port in count(1) if port not in known)
        return np.array(
            sorted({*(port for port in known if port < ReservedPort.MAX), other}), np.uint64
        )

    def _explore(self) -> None:
        idle = 0
        for _ in range(_ROUNDS):
            before = len(self._at), int(self._hit.sum())
            self._watch(arriving(self._probes()))
            idle = idle + 1 if before == (len(self._at), int(self._hit.sum())) else 0
            if idle == _PATIENCE:
                break

    def flows(self, n: int) -> PacketBatch:
        """``n`` packets, or somewhat fewer if no more are found that differ.

        The first of them come through all tables that were reached. Few of the others come to
        nothing, if that can be helped.
        """
        parts = [arriving(self._witnesses()[:, :n])]
        found, spare = len(parts[0]), _SPARE * n
        while found < n:
            some = arriving(self._traffic(min(2 * (n - found), _MOST_AT_ONCE)))
            spare -= len(some)
            if spare > 0:
                some = _taken(some, self._welcome(some))
            parts.append(_taken(some, np.arange(min(len(some), n - found))))
            found += len(parts[-1])
        whole = _joined(parts)
        _, first = np.unique(whole.columns, axis=1, return_index=True)
        return _taken(whole, np.sort(first))

    def _welcome(self, batch: PacketBatch) -> NDArray[np.int64]:
        """The packets that come out somewhere, and some of the others."""
        verdicts = Machine(State(self._program)).run(batch).verdicts
        through = np.isin(verdicts, (Verdict.OUTPUT, Verdict.CONTROLLER))
        return np.flatnonzero(through | (self._random.random(len(batch)) < _LOST))

    def _witnesses(self) -> U64:
        """One packet for each table."""
        return np.concatenate([seen.came[:, -1:] for seen in self._at.values()], axis=1)

    def _watch(self, batch: PacketBatch) -> None:
        """Run packets, and remember where they were seen."""
        sightings = watch(self._program, batch)
        pinned = self._pinned(sightings, len(batch))
        for sighting in sightings:
            rules = sighting.rules[sighting.rules >= 0]
            self._hit[rules] = True
            keep = sighting.packets
            found = _Seen(batch.columns[:, keep], pinned[:, keep], sighting.columns)
            known = self._at.get(sighting.table)
            if known is None:
                self._goals[sighting.table] = self._demands.targets(sighting.table)
            self._at[sighting.table] = found if known is None else known.extended(found, _KEPT)

    def _pinned(self, sightings: list[Sighting], n: int) -> U64:
        """The bits that the rules compared that each packet hit."""
        pinned = np.zeros((N_COLUMNS, n), np.uint64)
        for sighting in sightings:
            hit = sighting.rules >= 0
            packets = sighting.packets[hit]
            masks = self._demands.masks[:, self._demands.subtable[sighting.rules[hit]]]
            pinned[np.ix_(self._key, packets)] |= masks
        return pinned

    # -- making packets -------------------------------------------------------------------------

    def _probes(self) -> U64:
        """Packets that may come to rules which none has hit so far, and some strangers."""
        goals = [(table, rules[~self._hit[rules]]) for table, rules in self._goals.items()]
        aimed = self._aimed_in_turn(goals, _AT_ONCE * (_FRESH - 1) // _FRESH)
        n_strangers = _AT_ONCE - aimed.shape[1]
        return np.concatenate([aimed, strangers(self._random, n_strangers, self._ports)], axis=1)

    def _traffic(self, n: int) -> U64:
        """``n`` packets that may come to a rule each which does something."""
        goals = [(table, rules[self._acts[rules]]) for table, rules in self._goals.items()]
        aimed = self._aimed_in_turn(goals, n)
        more = strangers(self._random, n - aimed.shape[1], self._ports)
        return np.concatenate([aimed, more], axis=1)

    def _aimed_in_turn(self, goals: list[tuple[int, NDArray[np.int64]]], n: int) -> U64:
        """``n`` packets for random ones of the rules, as many for each table that has any."""
        goals = [(table, rules) for table, rules in goals if len(rules)]
        parts = [np.zeros((N_COLUMNS, 0), np.uint64)]
        for i, (table, rules) in enumerate(goals):
            share = (n + i) // len(goals)
            parts.append(self._aimed(self._at[table], self._random.choice(rules, share)))
        return np.concatenate(parts, axis=1)

    def _aimed(self, seen: _Seen, rules: NDArray[np.int64]) -> U64:
        """Packets that differ from some of ``seen`` in what ``rules``, one each, ask for."""
        values, masks = self._demands.of(rules)
        models = self._models(seen, rules, values)
        wrong = (seen.seen[:, models] ^ values) & masks
        came = seen.came[:, models]
        columns, asked = came.copy(), np.zeros_like(came)
        columns[self._key] = columns[self._key] & ~wrong | values & wrong
        asked[self._key] = masks
        # What used to be ports is no type and code of another protocol.
        other = (columns[Column.NW] ^ came[Column.NW]) >> NW_PROTO_BITS.shift != 0
        columns[Column.TP, other] &= asked[Column.TP, other]
        return siblings(self._random, columns, seen.pinned[:, models] | asked)

    def _models(self, seen: _Seen, rules: NDArray[np.int64], values: U64) -> NDArray[np.int64]:
        """For each rule a packet that has what the rule asks for of what actions write.

        Any packet, where none of ``seen`` is such.
        """
        models = self._random.integers(0, seen.seen.shape[1], len(rules))
        shuffled = self._random.permutation(seen.seen.shape[1])
        subtables = self._demands.subtable[rules]
        for number in np.unique(subtables).tolist():
            bits = (self._demands.masks[:, number] & self._written)[:, None]
            rows = np.flatnonzero(bits)
            if not len(rows):
                continue
            mine = np.flatnonzero(subtables == number)
            have = hash_keys(seen.seen[rows][:, shuffled] & bits[rows])
            want = hash_keys(values[np.ix_(rows, mine)] & bits[rows])
            order = np.argsort(have, kind="stable")
            first = np.searchsorted(have, want, "left", sorter=order)
            fitting = np.searchsorted(have, want, "right", sorter=order) - first
            chosen = first + (self._random.random(len(mine)) * fitting).astype(np.int64)
            some = fitting > 0
            models[mine[some]] = shuffled[order[chosen[some]]]
        return models


def _taken(batch: PacketBatch, packets: NDArray[np.int64]) -> PacketBatch:
    """Some packets of a batch."""
    return PacketBatch(batch.frames.take(packets), batch.columns[:, packets], batch.times[packets])


def _joined(parts: list[PacketBatch]) -> PacketBatch:
    """The packets of all ``parts``."""
    return PacketBatch(
        Frames.concatenate([part.frames for part in parts]),
        np.concatenate([part.columns for part in parts], axis=1),
        np.concatenate([part.times for part in parts]),
    )
