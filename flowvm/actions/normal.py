"""``NORMAL``: forward as an Ethernet switch with VLANs that learns addresses does.

Semantics: ovs-actions(7), "The normal port"; ``xlate_normal`` in ofproto/ofproto-dpif-xlate.c.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flowvm.actions.base import ColumnBits, Kept, Operands, Operation, Packets
from flowvm.columns import Column
from flowvm.fields import (
    ETH_TYPE_ARP,
    ETH_TYPE_BITS,
    ETH_TYPE_QINQ,
    ETH_TYPE_VLAN,
    IPV4_DST_BITS,
    IPV4_SRC_BITS,
    NW_PROTO_BITS,
)
from flowvm.pipeline.bits import ONES
from flowvm.pipeline.bundles import UNKNOWN, Bundles, tags_of, vid
from flowvm.pipeline.departure import may_leave
from flowvm.pipeline.mac_table import NO_PORT, Keys
from flowvm.pipeline.prerequisites import has_eth_type, is_ethernet, union, value
from flowvm.port_settings import BridgeSettings, VlanMode
from flowvm.text.values import format_mac

if TYPE_CHECKING:
    from flowvm.pipeline.engine import Run

LACKS_PORTS = "NORMAL without knowing the bridge's ports (--ports, --vsctl)"

NORMAL_READS = union(
    {Column.ETH_SRC: ONES, Column.ETH_DST: ONES, Column.VLAN: ONES, Column.IPV4: ONES},
    ETH_TYPE_BITS.mask,
    NW_PROTO_BITS.mask,
)
"""The bits of a packet, beside the port it comes from, that NORMAL goes by."""

NORMAL_WRITES: ColumnBits = {Column.VLAN: ONES}

_VLAN_SHIFT = np.uint64(48)
_GROUP = np.uint64(1 << 40)
_BROADCAST = np.uint64((1 << 48) - 1)
_ARP_REQUEST, _ARP_REPLY = 1, 2
_PACKET_TYPE_SHIFT = np.uint64(32)

_RESERVED = np.array(
    [
        *range(0x0180C2000000, 0x0180C2000010),  # 802.1D and 802.1Q: STP, pause frames, LLDP
        *(0x00E02B000000, 0x00E02B000004, 0x00E02B000006),  # Extreme: EDP, EAPS
        *(0x01000C000000, 0x01000CCCCCCC, 0x01000CCCCCCD, 0x01000CCDCDCD),  # Cisco
        *range(0x01000CCCCCC0, 0x01000CCCCCC8),  # Cisco: CFM
    ],
    np.uint64,
)
"""Addresses of protocols between neighbours, which a bridge does not forward."""


@dataclass(frozen=True)
class Normal(Operation):
    """Forward as a switch does."""

    @property
    def reads(self) -> ColumnBits:
        return NORMAL_READS

    @property
    def writes(self) -> ColumnBits:
        return NORMAL_WRITES

    @property
    def needs_headers(self) -> bool:
        return False

    @property
    def needs_rule(self) -> bool:
        return True

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:  # noqa: ARG002
        forward_normally(run, packets)
        return None


def forward_normally(run: Run, packets: Packets) -> None:
    """Forward ``packets`` as a switch does, if it is known what there is to forward to."""
    settings = run.state.program.bridge
    ethernet = is_ethernet(run.columns, packets)
    run.stop_unsupported(packets[~ethernet], "NORMAL of a packet without an Ethernet header")
    packets = packets[ethernet]
    if settings is None:
        run.stop_unsupported(packets, LACKS_PORTS)
    elif settings.unsupported is not None:
        run.stop_unsupported(packets, f"NORMAL with {settings.unsupported}")
    else:
        _Forwarding(run, settings, run.state.program.bundles).forward(packets)


class _Forwarding:
    """One execution of NORMAL."""

    def __init__(self, run: Run, settings: BridgeSettings, bundles: Bundles) -> None:
        self._run = run
        self._settings = settings
        self._bundles = bundles

    def _of(self, column: Column, packets: Packets) -> NDArray[np.uint64]:
        return self._run.columns[column][packets]

    def forward(self, packets: Packets) -> None:
        packets = self._well_formed(packets, self._sources(packets))
        sources = self._sources(packets)
        tags = tags_of(self._of(Column.VLAN, packets))
        accepted = self._accepted(packets, sources, vid(tags))
        packets, sources = packets[accepted], sources[accepted]
        if not len(packets):
            return
        tags = self._bundles.inside(sources, tags[accepted])
        vlans = vid(tags)
        learning = np.ones(4096, bool)
        learning[list(self._settings.flood_vlans)] = False
        self._learn(packets, sources, vlans, learning[vlans])
        ports = self._look_up(packets, vlans, learning[vlans])
        known = ports != NO_PORT
        self._unicast(packets[known], sources[known], tags[known], ports[known])
        self._flood(packets[~known], sources[~known], tags[~known])

    def _sources(self, packets: Packets) -> NDArray[np.int64]:
        return self._bundles.places_of(self._of(Column.IN_PORT, packets).astype(np.int64))

    # -- what comes in ----------------------------------------------------------------------------

    def _well_formed(self, packets: Packets, sources: NDArray[np.int64]) -> Packets:
        """Those of ``packets`` that come from a port of the bridge, with whole tags."""
        recorder = self._run.recorder
        known = sources != UNKNOWN
        if recorder and not known.all():
            port = int(self._of(Column.IN_PORT, packets)[0])
            recorder.error(f"received packet on unknown port {port}")
            recorder.warning("no input bundle, dropping")
        packets, sources = packets[known], sources[known]
        partial = has_eth_type(self._run.columns, packets, ETH_TYPE_VLAN, ETH_TYPE_QINQ)
        partial &= tags_of(self._of(Column.VLAN, packets)) == 0
        if recorder and partial.any():
            name = self._bundles.names[sources[0]]
            recorder.error(f"dropping packet with partial VLAN tag received on port {name}")
            recorder.warning("partial VLAN tag, dropping")
        bonded = self._bundles.is_bond[sources] & ~partial
        self._stop_at_bond(packets[bonded], sources[bonded])
        return packets[~partial & ~bonded]

    def _stop_at_bond(self, packets: Packets, places: NDArray[np.int64]) -> None:
        for place in np.unique(places).tolist():
            name = self._bundles.names[place]
            self._run.stop_unsupported(packets[places == place], f"NORMAL with a bond ({name})")

    def _accepted(
        self, packets: Packets, sources: NDArray[np.int64], vlans: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Which of ``packets`` may come in where they do."""
        recorder = self._run.recorder
        accepted = self._bundles.accept(sources, vlans)
        if recorder and not accepted.all():
            recorder.error(self._refusal(int(sources[0]), int(vlans[0])))
            recorder.warning("disallowed VLAN VID for this input port, dropping")
        if not self._settings.forward_bpdu:
            reserved = np.isin(self._of(Column.ETH_DST, packets), _RESERVED)
            reserved &= accepted & (sources != self._bundles.nowhere)
            if recorder and reserved.any():
                recorder.detail("packet has reserved destination MAC, dropping")
            accepted = accepted & ~reserved
        return accepted

    def _refusal(self, place: int, vlan: int) -> str:
        name = self._bundles.names[place]
        match self._bundles.modes[place]:
            case VlanMode.ACCESS:
                return (
                    f"dropping VLAN {vlan} tagged packet received on port {name} configured as "
                    f"VLAN {self._bundles.vlan[place]} access port"
                )
            case VlanMode.DOT1Q_TUNNEL:
                return (
                    f"dropping VLAN {vlan} packet received on dot1q-tunnel port {name} that "
                    "excludes this VLAN"
                )
            case _:
                return (
                    f"dropping VLAN {vlan} packet received on port {name} not configured for "
                    f"trunking VLAN {vlan}"
                )

    # -- addresses --------------------------------------------------------------------------------

    def _learn(
        self,
        packets: Packets,
        sources: NDArray[np.int64],
        vlans: NDArray[np.int64],
        learning: NDArray[np.bool_],
    ) -> None:
        addresses = self._of(Column.ETH_SRC, packets)
        learning = learning & (addresses & _GROUP == 0) & (sources != self._bundles.nowhere)
        learning &= self._of(Column.PACKET_TYPE, packets) >> _PACKET_TYPE_SHIFT == 0
        packets, sources, vlans = packets[learning], sources[learning], vlans[learning]
        if not len(packets):
            return
        keys = _keys(vlans, addresses[learning])
        ports = self._bundles.number[sources]
        news = self._run.macs.see(packets, keys, ports, self._are_gratuitous(packets))
        if self._run.recorder and news.any():
            address = format_mac(int(addresses[learning][0]))
            where = f"port {self._bundles.names[sources[0]]} in VLAN {vlans[0]}"
            self._run.recorder.detail(f"learned that {address} is on {where}")

    def _are_gratuitous(self, packets: Packets) -> NDArray[np.bool_]:
        """Which of ``packets`` are ARP packets that tell all where their sender is."""
        columns = self._run.columns
        operation = value(columns, packets, NW_PROTO_BITS)
        sender = value(columns, packets, IPV4_SRC_BITS)
        own = (operation == _ARP_REQUEST) & (sender == value(columns, packets, IPV4_DST_BITS))
        found = has_eth_type(columns, packets, ETH_TYPE_ARP)
        found &= self._of(Column.ETH_DST, packets) == _BROADCAST
        found &= own | (operation == _ARP_REPLY)
        return found

    def _look_up(
        self, packets: Packets, vlans: NDArray[np.int64], learning: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """The port that each packet's destination was seen at, or ``NO_PORT``."""
        addresses = self._of(Column.ETH_DST, packets)
        single = learning & (addresses & _GROUP == 0)
        ports = np.full(len(packets), NO_PORT)
        if single.any():
            keys = _keys(vlans[single], addresses[single])
            ports[single] = self._run.macs.look_up(packets[single], keys)
        return ports

    # -- what goes out ----------------------------------------------------------------------------

    def _unicast(
        self,
        packets: Packets,
        sources: NDArray[np.int64],
        tags: NDArray[np.uint64],
        ports: NDArray[np.int64],
    ) -> None:
        places = self._bundles.places_of(ports)
        elsewhere = (places != UNKNOWN) & (places != sources)
        recorder = self._run.recorder
        if recorder and len(packets):
            if elsewhere[0]:
                recorder.detail("forwarding to learned port")
            elif places[0] == UNKNOWN:
                recorder.warning("learned port is unknown, dropping")
            else:
                recorder.detail("learned port is input port, dropping")
        for place in np.unique(places[elsewhere]).tolist():
            mine = places == place
            mine &= elsewhere
            self._output(place, packets[mine], tags[mine])

    def _flood(
        self, packets: Packets, sources: NDArray[np.int64], tags: NDArray[np.uint64]
    ) -> None:
        if not len(packets):
            return
        if self._run.recorder:
            self._run.recorder.detail("no learned MAC for destination, flooding")
        bundles = self._bundles
        targets = [
            (sources != place) & bundles.includes(place, tags) & bundles.floods[place]
            for place in range(bundles.nowhere)
        ]
        for place, chosen in enumerate(targets):
            if bundles.is_bond[place]:
                self._stop_at_bond(packets[chosen], np.full(int(chosen.sum()), place))
        going = ~self._run.halted[packets]
        for place, chosen in enumerate(targets):
            mine = chosen & going
            self._output(place, packets[mine], tags[mine])

    def _output(self, place: int, packets: Packets, tags: NDArray[np.uint64]) -> None:
        """Output to a port, with the tags that belong there."""
        run, bundles = self._run, self._bundles
        if bundles.is_bond[place]:
            self._stop_at_bond(packets, np.full(len(packets), place))
            return
        ports = np.full(len(packets), bundles.number[place])
        allowed = may_leave(run, packets, ports)
        packets, tags, ports = packets[allowed], tags[allowed], ports[allowed]
        if not len(packets):
            return
        column = run.columns[Column.VLAN]
        before = column[packets]
        column[packets] = bundles.outside(place, tags, before)
        changed = packets[column[packets] != before]
        run.emissions.touch(changed)
        run.emissions.emit(packets, ports)
        column[packets] = before
        run.emissions.touch(changed)


def _keys(vlans: NDArray[np.int64], addresses: NDArray[np.uint64]) -> Keys:
    return vlans.astype(np.uint64) << _VLAN_SHIFT | addresses
