"""``fin_timeout``: shorter timeouts once a TCP connection ends.

Semantics: ovs-actions(7), "fin_timeout".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from flowvm.actions.base import (
    Action,
    ColumnBits,
    Kept,
    Lowered,
    Operands,
    Operation,
    Packets,
    Resolver,
)
from flowvm.fields import TCP_FLAGS_BITS
from flowvm.pipeline.prerequisites import value
from flowvm.text.errors import WordError
from flowvm.text.tree import Item
from flowvm.text.values import parse_number

if TYPE_CHECKING:
    from flowvm.pipeline.engine import Run

FIN, RST = 0x001, 0x004


@dataclass(frozen=True)
class FinTimeout(Action):
    """``fin_timeout(idle_timeout=S,hard_timeout=S)``; 0 leaves that timeout as it is."""

    idle_timeout: int = 0
    hard_timeout: int = 0

    def __str__(self) -> str:
        parts = []
        if self.idle_timeout:
            parts.append(f"idle_timeout={self.idle_timeout}")
        if self.hard_timeout:
            parts.append(f"hard_timeout={self.hard_timeout}")
        return f"fin_timeout({','.join(parts)})"

    def lower(self, resolver: Resolver) -> Lowered:  # noqa: ARG002
        return Lowered(CutTimeouts(self.idle_timeout, self.hard_timeout))


@dataclass(frozen=True)
class CutTimeouts(Operation):
    """Shorten the timeouts of the rule at hand for packets with FIN or RST.

    OVS looks where TCP's flags would be, whatever the protocol: where a neighbor discovery packet
    has ``nd_options_type``, of which 1 (source link-layer address) reads as FIN.
    """

    idle_timeout: int
    hard_timeout: int

    @property
    def reads(self) -> ColumnBits:
        return TCP_FLAGS_BITS.mask

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:  # noqa: ARG002
        flags = value(run.original, packets, TCP_FLAGS_BITS)
        ending = packets[(flags & np.uint64(FIN | RST)) != 0]
        run.cut_timeouts(ending, self.idle_timeout, self.hard_timeout)
        return None


def make_fin_timeout(item: Item) -> FinTimeout:
    timeouts = {"idle_timeout": 0, "hard_timeout": 0}
    for part in item.parts():
        if part.key not in timeouts:
            raise WordError(
                part.key,
                f'unknown key "{part.key}" in fin_timeout',
                "idle_timeout= or hard_timeout=",
            )
        timeouts[part.key] = parse_number(part.argument("seconds"), 16, "seconds")
    return FinTimeout(**timeouts)
