"""What a ``ct`` action asks for, and what a packet has been found to be."""

from __future__ import annotations

from dataclasses import dataclass

from flowvm.conntrack.key import OriginalTuple
from flowvm.conntrack.nat import NatRequest
from flowvm.conntrack.table import Connection

NEW, ESTABLISHED, RELATED, REPLY, INVALID, TRACKED, SOURCE_NAT, DESTINATION_NAT = (
    1 << bit for bit in range(8)
)
"""The flags of ``ct_state``."""

NO_ORIGINAL = OriginalTuple()


@dataclass(frozen=True)
class Masked:
    """Bits to set: where ``mask`` is 1, to what ``value`` is there."""

    value: int
    mask: int

    def applied(self, old: int) -> int:
        """``old`` with those bits set."""
        return self.value & self.mask | old & ~self.mask


@dataclass(frozen=True)
class Request:
    """What a ``ct`` action asks for. ``helper`` is the name of an ALG, or ``""``."""

    zone: int = 0
    commit: bool = False
    force: bool = False
    mark: Masked | None = None
    label: Masked | None = None
    nat: NatRequest | None = None
    helper: str = ""


@dataclass(slots=True)
class Tracking:
    """What is known of a packet from the ``ct`` actions it went through (OVS's packet metadata)."""

    state: int = 0
    zone: int = 0
    mark: int = 0
    label: int = 0
    original: OriginalTuple = NO_ORIGINAL
    connection: Connection | None = None
    reply: bool = False
    related: bool = False

    def copy(self) -> Tracking:
        return Tracking(
            self.state,
            self.zone,
            self.mark,
            self.label,
            self.original,
            self.connection,
            self.reply,
            self.related,
        )

    def clear(self) -> None:
        """As ``ct_clear``: the packet is not tracked."""
        self.state = 0
        self.connection = None
