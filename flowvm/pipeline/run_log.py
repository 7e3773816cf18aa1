"""What a run notes of its packets besides what leaves; the machine settles it in the end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from flowvm.actions.base import Packets


@dataclass(frozen=True)
class Hits:
    """One lookup of some packets in a table; ``rules`` is -1 for a miss.

    ``grown`` is how many bytes longer the packets are by then than they came in, ``freezings`` in
    which translation of each it is, ``lessons`` how many of the run's ``learned`` came before.
    """

    table: int
    packets: Packets
    rules: NDArray[np.int64]
    grown: NDArray[np.int64]
    freezings: NDArray[np.int64]
    lessons: int


@dataclass(frozen=True)
class Consulted:
    """A lookup in a table that flows are learned into, with the key it was made with.

    ``key`` has shape (learnable columns of the program, packets of the lookup).
    """

    hits: Hits
    key: NDArray[np.uint64]


@dataclass(frozen=True)
class TimeoutCut:
    """``fin_timeout`` took effect on ``rules`` because of ``packets``; seconds, 0 for no change.

    ``lessons`` is how many ``learn`` actions had run before.
    """

    packets: Packets
    rules: NDArray[np.int64]
    idle_timeout: int
    hard_timeout: int
    lessons: int

    def shifted(self, first: int) -> TimeoutCut:
        """The same, with packets counted from ``first``."""
        return replace(self, packets=self.packets + first)
