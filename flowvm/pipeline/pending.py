"""Lookups that no packet comes back from: packets that go on in the place of their caller."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from flowvm.actions.base import Packets


class Pending:
    """Packets waiting for a lookup, by table: where calls without a return are put."""

    def __init__(self) -> None:
        self._waiting: dict[int, list[tuple[Packets, NDArray[np.uint64]]]] = {}

    def add(self, table: int, packets: Packets, ports: NDArray[np.uint64]) -> None:
        if len(packets):
            self._waiting.setdefault(table, []).append((packets, ports))

    def next(self) -> tuple[int, Packets, NDArray[np.uint64]] | None:
        """All packets for the lowest table, in order, and the ports to look up with."""
        if not self._waiting:
            return None
        table = min(self._waiting)
        parts = self._waiting.pop(table)
        if len(parts) == 1:
            return table, *parts[0]
        packets = np.concatenate([p for p, _ in parts])
        order = np.argsort(packets)
        return table, packets[order], np.concatenate([ports for _, ports in parts])[order]
