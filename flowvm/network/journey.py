"""Journeys: where the copies of a packet came to in a network, and how."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from flowvm.network.tunnels import Outer
from flowvm.network.wiring import Place
from flowvm.trace import Trace


class Via(Enum):
    """How a packet comes to a bridge."""

    START = "start"
    PATCH = "patch"
    TUNNEL = "tunnel"
    LINK = "link"


class Fate(Enum):
    """What becomes of a copy."""

    ON = "on"
    """It comes to another bridge."""

    DELIVERED = "delivered"
    OUTSIDE = "outside"
    """It leaves the network by a device, or to an IP address, of which nothing is known."""

    DROPPED = "dropped"
    LOOP = "loop"
    CONTROLLER = "controller"
    UNSUPPORTED = "unsupported"
    """What becomes of it cannot be told."""


@dataclass(eq=False, repr=False, slots=True)
class Exit:
    """One copy that leaves a bridge by ``place`` (the controller's number included).

    ``text`` says where it gets to or why it does not. ``vlan`` is the tag that a copy which is
    delivered or goes outside has on that bridge. ``outer`` is what a tunnel puts around it,
    ``outer_frame`` the whole as it goes from node to node. ``hops`` are the bridges it comes to.
    """

    place: Place
    name: str | None
    frame: bytes
    fate: Fate = Fate.DROPPED
    text: str = ""
    vlan: int | None = None
    outer: Outer | None = None
    outer_frame: bytes | None = None
    hops: list[Hop] = field(default_factory=list)

    @property
    def label(self) -> str:
        """The port by its name, or else its number."""
        return self.name or str(self.place.port)


@dataclass(eq=False, repr=False, slots=True)
class Hop:
    """The packet at one bridge: how it came and what leaves.

    ``number`` counts from 1 in the order in which bridges are come to. ``verdict`` and ``reason``
    are as in a trace; a bridge whose flows are not known has the verdict "unknown". ``trace`` is
    there where it was asked for. ``repeats`` is the number of an earlier hop on the way to this one
    at which the same packet came in by the same port.
    """

    number: int
    place: Place
    name: str | None
    via: Via
    frame: bytes
    verdict: str = ""
    reason: str = ""
    trace: Trace | None = None
    repeats: int | None = None
    exits: list[Exit] = field(default_factory=list)

    def ways(self) -> Iterator[tuple[Hop, Exit | None]]:
        """This hop and all after it, and each followed by its exits, in the order of the outputs.

        What comes after an exit is between it and the next one.
        """
        # Ways can be longer than Python's stack.
        waiting: list[tuple[Hop, Exit | None]] = [(self, None)]
        while waiting:
            hop, exit = waiting.pop()
            yield hop, exit
            if exit is None:
                waiting += [(hop, one) for one in reversed(hop.exits)]
            else:
                waiting += [(one, None) for one in reversed(exit.hops)]


@dataclass(frozen=True, slots=True)
class End:
    """The end of one copy's way.

    ``hop`` is where it was last; ``exit`` is ``None`` for a packet that no copy left that bridge
    of.
    """

    fate: Fate
    hop: Hop
    exit: Exit | None
    text: str


@dataclass(frozen=True, eq=False, slots=True)
class Journey:
    """What became of a packet in a network: ``first`` is the bridge that it came to first."""

    first: Hop
    time: int

    def hops(self) -> list[Hop]:
        """All bridges that copies came to, by their numbers."""
        found = [hop for hop, exit in self.first.ways() if exit is None]
        return sorted(found, key=lambda hop: hop.number)

    def ends(self) -> list[End]:
        """Where all ways end, in the order of the outputs."""
        return list(_ends(self.first))

    def delivered(self) -> list[End]:
        """The ends at which a copy was delivered."""
        return [end for end in self.ends() if end.fate is Fate.DELIVERED]

    def __str__(self) -> str:
        from flowvm.report.network_text import format_journey

        return format_journey(self)


_STOPPED = {
    "drop": Fate.DROPPED,
    "error": Fate.DROPPED,
    "unsupported": Fate.UNSUPPORTED,
    "unknown": Fate.UNSUPPORTED,
}


def _ends(first: Hop) -> Iterator[End]:
    for hop, exit in first.ways():
        if exit is None:
            if hop.verdict in _STOPPED and not (hop.verdict == "drop" and hop.exits):
                yield End(_STOPPED[hop.verdict], hop, None, hop.reason)
        elif exit.fate is not Fate.ON:
            yield End(exit.fate, hop, exit, exit.text)
