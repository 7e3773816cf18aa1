"""How a packet of a network comes into a bridge."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """How a packet of a network comes in; what leaves is then noted with where it was by then.

    By a patch port it comes in the middle of another bridge's translation, and so deep, after so
    many resubmits. It is ``nested`` then: an error takes back nothing that was done before it
    (``patch_port_output`` in ofproto/ofproto-dpif-xlate.c), and flows count as many bytes as the
    packet had, its ``length``, when it came to the first bridge. So many ``recirculations``, one
    within the other, it has been through. Whether nested or not, what an
    error takes back of the outputs is left to the network.
    """

    depth: int = 0
    resubmits: int = 0
    nested: bool = False
    length: int | None = None
    recirculations: int = 0
