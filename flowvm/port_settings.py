"""The ports of a bridge as its database describes them: what ``NORMAL`` goes by.

Semantics: ovs-vswitchd.conf.db(5), the "Port" table, "VLAN Configuration".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum


class VlanMode(Enum):
    """``vlan_mode`` of a port."""

    ACCESS = "access"
    TRUNK = "trunk"
    NATIVE_TAGGED = "native-tagged"
    NATIVE_UNTAGGED = "native-untagged"
    DOT1Q_TUNNEL = "dot1q-tunnel"


@dataclass(frozen=True, slots=True)
class PortSettings:
    """One port, and the OpenFlow numbers of its interfaces (more than one: a bond).

    ``trunks`` and ``cvlans`` are VLAN IDs, none for all of them. ``priority_tags`` is "no",
    "if-nonzero" or "always".
    """

    name: str
    interfaces: tuple[int, ...]
    vlan_mode: VlanMode = VlanMode.TRUNK
    tag: int = 0
    trunks: frozenset[int] = frozenset()
    cvlans: frozenset[int] = frozenset()
    qinq_ethtype: int = 0x88A8
    priority_tags: str = "no"
    protected: bool = False

    @staticmethod
    def mode_of(vlan_mode: str | None, tag: int | None) -> VlanMode:
        """The mode in effect where the database has these; without a mode, the tag tells.

        Raises ValueError for a mode that there is not.
        """
        if vlan_mode is not None:
            return VlanMode(vlan_mode)
        return VlanMode.TRUNK if tag is None else VlanMode.ACCESS


MAC_AGING_TIME = 300
"""Seconds that a MAC address is known for unless told otherwise (``mac-aging-time``)."""

MAC_TABLE_SIZE = 8192
"""How many MAC addresses a bridge knows at most unless told otherwise (``mac-table-size``)."""


@dataclass(frozen=True, slots=True)
class BridgeSettings:
    """What ``NORMAL`` goes by: the ports of a bridge, and what it does with MAC addresses.

    ``ports`` are all ports, the local one among them, in the order in which a packet is flooded to
    them (Open vSwitch's own order is that in which it came to know the ports; no text tells it).
    ``mac_aging_time`` is in seconds, 15 to 3,600; in ``flood_vlans`` nothing is learned.
    ``unsupported`` names a setting under which ``NORMAL`` is not executed (``"IGMP snooping"``).
    """

    ports: tuple[PortSettings, ...]
    flood_vlans: frozenset[int] = frozenset()
    mac_aging_time: int = MAC_AGING_TIME
    mac_table_size: int = MAC_TABLE_SIZE
    forward_bpdu: bool = False
    unsupported: str | None = None

    @classmethod
    def of(
        cls,
        ports: Iterable[PortSettings],
        other_config: Mapping[str, str] | None = None,
        flood_vlans: Iterable[int] = (),
        unsupported: str | None = None,
    ) -> BridgeSettings:
        """The settings where the database has this ``other_config`` of the bridge.

        As in Open vSwitch a number out of range counts as the nearest in it, and one that cannot
        be read not at all.
        """
        told = {} if other_config is None else other_config
        return cls(
            tuple(ports),
            frozenset(flood_vlans),
            _number(told.get("mac-aging-time"), MAC_AGING_TIME, 15, 3600),
            _number(told.get("mac-table-size"), MAC_TABLE_SIZE, 10, 1_000_000),
            told.get("forward-bpdu", "").lower() == "true",
            unsupported,
        )


@dataclass(frozen=True, slots=True)
class MacEntry:
    """A row of ``fdb/show``: where a MAC address is. ``port`` is an OpenFlow number.

    ``age`` is in seconds since the address was seen last; ``None`` for a static entry.
    """

    port: int
    vlan: int
    mac: int
    age: int | None = 0


def _number(text: str | None, default: int, least: int, most: int) -> int:
    try:
        number = int(text or "", 10)
    except ValueError:
        return default
    if number == 0:
        return default
    # Open vSwitch takes a negative number for a huge one.
    return most if number < 0 else min(max(number, least), most)
