"""What a replay of captures counts: packets by port, table and rule, and what became of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowvm.pipeline.result import ETHERNET_HEADER, Result, Verdict
from flowvm.pipeline.state import State
from flowvm.pipeline.steps import matches
from flowvm.text.format import format_actions, format_match

N_TABLES = 256

SHORT, NO_MATCH, NO_OUTPUT = "shorter than an Ethernet header", "no match", "no output"

Numbers = NDArray[np.int64]


@dataclass
class Count:
    """Packets, and the bytes they had on the wire."""

    packets: int = 0
    bytes: int = 0

    def add(self, packets: int, n_bytes: int) -> None:
        self.packets += packets
        self.bytes += n_bytes

    def object(self) -> dict[str, int]:
        """In types that JSON has."""
        return {"packets": self.packets, "bytes": self.bytes}


@dataclass
class Stopped(Count):
    """Packets that stopped for one reason; ``first`` is the number of the first of them, from 0."""

    first: int = 0


class Tally:
    """Counts for a replay, batch by batch. ``state`` is that of the switch before the first."""

    def __init__(self, state: State) -> None:
        self.total = Count()
        self.verdicts = {verdict: Count() for verdict in Verdict}
        self.received: dict[int, Count] = {}
        self.sent: dict[int, Count] = {}
        self.drops: dict[tuple[int, str], Count] = {}
        """By the table that the packet was looked up in last, and reason."""
        self.unsupported: dict[str, Stopped] = {}
        self.hits = np.zeros(N_TABLES, np.int64)
        """Packets that matched, by table; one that comes through twice counts twice."""
        self._state = state
        self._n_rules = len(state.program.flows)
        self._n_packets_before = state.rules.n_packets[: self._n_rules].copy()
        self._n_bytes_before = state.rules.n_bytes[: self._n_rules].copy()
        self._removed_before = state.n_removed

    def add(self, result: Result, in_ports: Numbers, lengths: Numbers) -> None:
        """Count a batch; ``lengths`` are those on the wire."""
        for port, count in _grouped(in_ports, lengths):
            self.received.setdefault(port, Count()).add(*count)
        for verdict, count in _grouped(result.verdicts.astype(np.int64), lengths):
            self.verdicts[Verdict(verdict)].add(*count)
        self._add_drops(result, lengths)
        self._add_paths(result, lengths)
        self.total.add(len(result), int(lengths.sum()))

    def add_sent(self, port: int, lengths: Numbers) -> None:
        """Count packets that left by one port."""
        self.sent.setdefault(port, Count()).add(len(lengths), int(lengths.sum()))

    def _add_drops(self, result: Result, lengths: Numbers) -> None:
        dropped = np.flatnonzero(result.verdicts == Verdict.DROP)
        if not len(dropped):
            return
        whys = np.where(result.last_rule[dropped] < 0, 1, 2)
        whys[result.frames.lengths[dropped] < ETHERNET_HEADER] = 0
        keys = result.last_table[dropped].astype(np.int64) * 3 + whys
        for key, count in _grouped(keys, lengths[dropped]):
            table, why = divmod(key, 3)
            reason = (SHORT, NO_MATCH, NO_OUTPUT)[why]
            self.drops.setdefault((table, reason), Count()).add(*count)

    def _add_paths(self, result: Result, lengths: Numbers) -> None:
        for part in result.stretches:
            paths = part.paths
            owners, path_of = part.translations
            members = np.bincount(path_of, minlength=len(paths))
            taken = np.flatnonzero(members)
            self.hits += matches(paths.hits, members, self._state.rules.table, N_TABLES)
            stopped = taken[paths.verdict[taken] >= Verdict.UNSUPPORTED]
            for path in stopped.tolist():
                mine = part.first + owners[path_of == path]
                verdict = Verdict(int(paths.verdict[path]))
                self._stop(mine, lengths, verdict, int(paths.last_table[path]), paths.stopped[path])
            if part.travels is not None:
                for packet, why in part.travels.unsupported.items():
                    mine = np.array([part.first + packet])
                    self._stop(mine, lengths, Verdict.UNSUPPORTED, 0, why)
                for packet, why in part.travels.lost.items():
                    table = int(result.last_table[part.first + packet])
                    mine = np.array([part.first + packet])
                    self._stop(mine, lengths, Verdict.ERROR, table, why)

    def _stop(
        self, packets: Numbers, lengths: Numbers, verdict: Verdict, table: int, why: str
    ) -> None:
        """Count packets of the batch that stopped in ``table``."""
        count = len(packets), int(lengths[packets].sum())
        if verdict is Verdict.ERROR:
            self.drops.setdefault((table, why), Count()).add(*count)
        else:
            first = self.total.packets + int(packets[0])
            self.unsupported.setdefault(why, Stopped(first=first)).add(*count)

    def rules(self) -> Iterator[dict[str, Any]]:
        """The dump's flows that were hit, and how often."""
        program, rules = self._state.program, self._state.rules
        packets = rules.n_packets[: self._n_rules] - self._n_packets_before
        n_bytes = rules.n_bytes[: self._n_rules] - self._n_bytes_before
        for rule in np.flatnonzero(packets).tolist():
            flow = program.flows[rule]
            yield {
                "table": int(rules.table[rule]),
                "priority": flow.priority,
                "cookie": f"{flow.cookie or 0:#x}",
                "match": format_match(flow.match),
                "actions": format_actions(flow.actions),
                "packets": int(packets[rule]),
                "bytes": int(n_bytes[rule]),
            }

    def object(self) -> dict[str, Any]:
        """The counts in types that JSON has, but for those of ports."""
        state = self._state
        dropped = Count()
        by_table: dict[int, Count] = {}
        by_reason: dict[str, Count] = {}
        for (table, reason), count in sorted(self.drops.items()):
            every = (
                dropped,
                by_table.setdefault(table, Count()),
                by_reason.setdefault(reason, Count()),
            )
            for total in every:
                total.add(count.packets, count.bytes)
        return {
            **self.total.object(),
            "verdicts": {str(kind): count.packets for kind, count in self.verdicts.items()},
            "tables": [
                {"table": table, "hits": int(self.hits[table])}
                for table in np.flatnonzero(self.hits).tolist()
            ],
            "rules": list(self.rules()),
            "learned": {
                "flows": int(state.rules.alive[self._n_rules :].sum()),
                "removed": state.n_removed - self._removed_before,
            },
            "drops": {
                **dropped.object(),
                "by_table": {str(table): count.object() for table, count in by_table.items()},
                "by_reason": {reason: count.object() for reason, count in by_reason.items()},
            },
            "unsupported": {
                **self.verdicts[Verdict.UNSUPPORTED].object(),
                "by_action": {
                    why: {**count.object(), "first": count.first}
                    for why, count in self.unsupported.items()
                },
            },
        }


def _grouped(keys: Numbers, lengths: Numbers) -> Iterable[tuple[int, tuple[int, int]]]:
    """Each key, ascending, with how many there are and the sum of their lengths."""
    if len(keys) and keys.min() == keys.max():
        return [(int(keys[0]), (len(keys), int(lengths.sum())))]
    found, which = np.unique(keys, return_inverse=True)
    packets = np.bincount(which, minlength=len(found))
    n_bytes = np.bincount(which, lengths, len(found))
    counts = zip(packets.tolist(), map(int, n_bytes.tolist()), strict=True)
    return zip(found.tolist(), counts, strict=True)
