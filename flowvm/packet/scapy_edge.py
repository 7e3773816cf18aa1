"""Scapy packets in and out. Scapy takes long to import, so nothing is imported before it is used.

Nothing else in flowvm knows Scapy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scapy.packet import Packet


def frame_bytes(packet: Packet) -> bytes:
    """The bytes of a Scapy packet whose outermost layer is Ethernet (``Ether`` or ``Dot3``).

    Scapy fills in the lengths and checksums that ``packet`` leaves open. Raises TypeError for what
    is no Scapy packet, and ValueError for one that does not begin with Ethernet or that Scapy
    cannot build.
    """
    from scapy.layers.l2 import Dot3, Ether
    from scapy.packet import Packet

    if not isinstance(packet, Packet):
        kind = type(packet).__name__
        raise TypeError(f"a packet is text, bytes or a Scapy packet, not an object of type {kind}")
    if not isinstance(packet, Ether | Dot3):
        raise ValueError(f"{packet.summary()} does not begin with Ethernet: write Ether()/...")
    try:
        return bytes(packet)
    except Exception as error:  # whatever the fields of the layers raise
        raise ValueError(f"Scapy cannot build this packet: {error}") from error


def show(frame: bytes) -> str:
    """What Scapy calls the frame, in one line for people: ``Ether / IP / UDP 10.0.0.1:1 > ...``."""
    # These teach Scapy what may come inside Ethernet and IP.
    import scapy.layers.inet6
    import scapy.layers.sctp  # noqa: F401
    from scapy.layers.l2 import Ether

    summary: str = Ether(frame).summary()
    return summary
