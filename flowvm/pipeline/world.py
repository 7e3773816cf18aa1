"""What packets share on their way through the datapath."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from flowvm.conntrack.fragments import FragmentStore
from flowvm.conntrack.request import Request
from flowvm.conntrack.table import ConnectionTable
from flowvm.pipeline.legs import Journal, Leg
from flowvm.pipeline.metering import MeterTable
from flowvm.pipeline.paths import Paths
from flowvm.pipeline.recirculation import DatapathStep, Frozen, Numbered


class Guide(Protocol):
    """Knows the paths."""

    @property
    def paths(self) -> Paths: ...

    def take(self, leg: Leg) -> int:
        """The path of ``leg``, which it takes at once."""


@dataclass(eq=False)
class World:
    """What packets on their way share: the clock (ms), the connections, the steps."""

    guide: Guide
    journal: Journal
    connections: ConnectionTable
    fragments: FragmentStore
    steps: Numbered[DatapathStep]
    frozen: Numbered[Frozen]
    written: Sequence[tuple[int, int]]
    contexts: Numbered[bytes]
    now: int = 0
    meters: MeterTable | None = None
    ct_next: deque[int] | None = None
    """States that connections are given in turn, instead of those of the table."""

    waiting: deque[tuple[Leg, Request]] = field(default_factory=deque)
