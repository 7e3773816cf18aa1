"""The ports of a bridge as its database describes them: what ``NORMAL`` goes by.

Semantics: ovs-vswitchd.conf.db(5), the "Port" table, "VLAN Configuration".
"""

from __future__ import annotations

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
