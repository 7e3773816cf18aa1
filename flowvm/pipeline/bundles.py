"""The ports of a bridge as NORMAL sees them: which VLANs they carry, and with which tags.

Semantics: ofproto/ofproto-dpif-xlate.c, ``xvlan_input_translate`` and what is around it;
ovs-vswitchd.conf.db(5), the "Port" table. Tags of a packet within the bridge are words here like
those of the column of VLAN tags, without the bits that say that a tag is present.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from flowvm.columns import VLAN_CFI, VLAN_PCP_MASK, VLAN_VID_MASK
from flowvm.fields import ETH_TYPE_VLAN, INNER_TCI, OUTER_TCI, OUTER_TPID
from flowvm.flow import ReservedPort
from flowvm.port_settings import PortSettings, VlanMode

Numbers = NDArray[np.int64]
Tags = NDArray[np.uint64]
"""TPID 16 and TCI 16 of the outer tag, then of the inner; zero where there is no tag."""

UNKNOWN = -1
"""What stands for a port that is none of the bridge's."""

N_VLANS = 4096
_TAG = np.uint64(32)
_OUTER_SHIFT = np.uint64(OUTER_TCI.shift)
_OUTER_TPID = np.uint64(0xFFFF << OUTER_TPID.shift)
_OUTER_PCP = np.uint64(VLAN_PCP_MASK << OUTER_TCI.shift)
_OUTER_PRESENT = np.uint64(VLAN_CFI << OUTER_TCI.shift)
_INNER = np.uint64(0xFFFF_FFFF)
_INNER_PRESENT = np.uint64(VLAN_CFI << INNER_TCI.shift)
_PRESENT = _OUTER_PRESENT | _INNER_PRESENT
_VID = np.uint64(VLAN_VID_MASK)
_PRIORITY_TAGS = ("no", "if-nonzero", "always")
_ALWAYS = _PRIORITY_TAGS.index("always")
_SPECIAL_SOURCES = (ReservedPort.CONTROLLER, ReservedPort.NONE)


def vid(tags: Tags) -> Numbers:
    """The VLAN of the outer tag, 0 without one."""
    return (tags >> _OUTER_SHIFT & _VID).astype(np.int64)


def tags_of(column: NDArray[np.uint64]) -> Tags:
    """The tags that a column of VLAN tags has."""
    outer = np.where(column & _OUTER_PRESENT, column & ~_INNER, np.uint64(0))
    both = (column & _OUTER_PRESENT != 0) & (column & _INNER_PRESENT != 0)
    return (outer | np.where(both, column & _INNER, np.uint64(0))) & ~_PRESENT


class Bundles:
    """The ports that have an interface, in flooding order, by their place in it.

    Arrays have an entry a port, and one more for what comes from no port, a controller's packets:
    its place is ``nowhere``. Of a bond ``number`` is the first interface.
    """

    def __init__(self, settings: Iterable[PortSettings], no_flood: frozenset[int]) -> None:
        ports = [port for port in settings if port.interfaces]
        everywhere = [*ports, PortSettings("OFPP_NONE", ())]
        self.nowhere = len(ports)
        self.names = tuple(port.name for port in everywhere)
        self.number = np.array([port.interfaces[0] for port in ports], np.int64)
        self.is_bond = np.array([len(port.interfaces) > 1 for port in everywhere])
        self.protected = np.array([port.protected for port in everywhere])
        self.floods = np.array([no_flood.isdisjoint(port.interfaces) for port in everywhere])
        self.modes = [port.vlan_mode for port in everywhere]
        self.vlan = np.array([port.tag for port in everywhere], np.int64)
        self._qinq = np.array([port.qinq_ethtype for port in everywhere], np.uint64)
        self._priority_tags = [_PRIORITY_TAGS.index(port.priority_tags) for port in everywhere]
        self._carried = np.array([_carried(port) for port in everywhere])
        self._customer = np.array([_members(port.cvlans) for port in everywhere])
        self._access = self._are(VlanMode.ACCESS)
        self._native = self._are(VlanMode.NATIVE_TAGGED, VlanMode.NATIVE_UNTAGGED)
        self._tunnel = self._are(VlanMode.DOT1Q_TUNNEL)
        members = [(number, at) for at, port in enumerate(ports) for number in port.interfaces]
        members += [(number, self.nowhere) for number in _SPECIAL_SOURCES]
        interfaces, places = np.array(sorted(members), np.int64).T
        self._interfaces, self._places = interfaces, places

    def _are(self, *modes: VlanMode) -> NDArray[np.bool_]:
        return np.array([mode in modes for mode in self.modes])

    def places_of(self, ports: Numbers) -> Numbers:
        """Where the ports with these OpenFlow numbers are, or ``UNKNOWN``."""
        at = np.searchsorted(self._interfaces, ports).clip(max=len(self._interfaces) - 1)
        return np.where(self._interfaces[at] == ports, self._places[at], UNKNOWN)

    def accept(self, sources: Numbers, vlans: Numbers) -> NDArray[np.bool_]:
        """Whether packets with an outer tag of these VLANs (0: none) may come in there."""
        untagged = vlans == 0
        carried = self._carried[sources, vlans] | self._native[sources] & untagged
        carried = np.where(self._tunnel[sources], self._customer[sources, vlans], carried)
        return np.where(self._access[sources], untagged, carried)

    def inside(self, sources: Numbers, tags: Tags) -> Tags:
        """The tags that packets have within the bridge, by those with which they came in."""
        vlan = self.vlan[sources].astype(np.uint64) << _OUTER_SHIFT
        tpid = np.where(
            tags & _OUTER_TPID, tags & _OUTER_TPID, np.uint64(ETH_TYPE_VLAN << OUTER_TPID.shift)
        )
        own = tpid | tags & _OUTER_PCP | vlan
        tunnelled = self._qinq[sources] << np.uint64(OUTER_TPID.shift) | vlan | tags >> _TAG
        found = np.where(self._native[sources] & (vid(tags) == 0), own | tags & _INNER, tags)
        found = np.where(self._tunnel[sources], tunnelled, found)
        return np.where(self._access[sources], own, found)

    def includes(self, place: int, tags: Tags) -> NDArray[np.bool_]:
        """Whether packets with these tags within the bridge are flooded to that port."""
        vlans = vid(tags)
        inner = (tags & _VID).astype(np.int64)
        found = self._carried[place, vlans]
        match self.modes[place]:
            case VlanMode.ACCESS:
                found = (vlans == self.vlan[place]) & (inner == 0)
            case VlanMode.DOT1Q_TUNNEL:
                found = (vlans == self.vlan[place]) & self._customer[place, inner]
            case _:
                pass
        return np.asarray(found, bool)

    def outside(self, place: int, tags: Tags, column: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """The column of VLAN tags with which packets leave by that port; ``column`` is their own.

        ``tags`` are those within the bridge.
        """
        match self.modes[place]:
            case VlanMode.ACCESS:
                tags = np.zeros_like(tags)
            case VlanMode.NATIVE_UNTAGGED:
                tags = np.where(vid(tags) == self.vlan[place], tags << _TAG, tags)
            case VlanMode.DOT1Q_TUNNEL:
                tags = tags << _TAG
            case _:
                pass
        mode = self._priority_tags[place]
        if mode:
            tags = tags & ~_OUTER_PCP | column & _OUTER_PCP
        outer = _whole(tags >> _TAG, always=mode == _ALWAYS)
        inner = _whole(tags & _INNER, always=mode == _ALWAYS)
        # Without an outer tag there is none inside.
        return np.where(outer != 0, outer << _TAG | inner, np.uint64(0))


def _whole(tags: NDArray[np.uint64], *, always: bool) -> NDArray[np.uint64]:
    """Tags of 32 bits each as a packet has them: present if they say something."""
    present = tags & np.uint64(0xFFFF) != 0
    if always:
        present |= tags >> np.uint64(16) != 0
    typed = np.where(tags >> np.uint64(16), tags, tags | np.uint64(ETH_TYPE_VLAN << 16))
    return np.where(present, typed | np.uint64(VLAN_CFI), np.uint64(0))


def _members(vlans: frozenset[int]) -> NDArray[np.bool_]:
    """Which VLANs are among ``vlans``; all of them if there are none."""
    found = np.full(N_VLANS, not vlans)
    found[list(vlans)] = True
    return found


def _carried(port: PortSettings) -> NDArray[np.bool_]:
    """The VLANs that a trunk carries; a native VLAN other than 0 is there instead of VLAN 0."""
    carried = _members(port.trunks)
    native = port.vlan_mode in (VlanMode.NATIVE_TAGGED, VlanMode.NATIVE_UNTAGGED)
    if native and port.tag:
        carried[port.tag], carried[0] = True, False
    return carried
