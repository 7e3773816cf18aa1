"""How headers are put before a packet and taken off it again.

Semantics: ``xlate_generic_encap_action`` and ``xlate_generic_decap_action`` in
ofproto/ofproto-dpif-xlate.c.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flowvm.actions.base import ColumnBits, Kept, Operands, Operation, Packets
from flowvm.actions.labels import (
    fail_for_labels,
    fail_to_pop,
    label_stack,
    push_first,
    push_more,
    store_stack,
)
from flowvm.columns import VLAN_CFI, Column
from flowvm.fields import (
    ETH_TYPE_BITS,
    ETH_TYPE_IP,
    ETH_TYPE_IPV6,
    ETH_TYPE_MPLS,
    ETH_TYPE_MPLS_MCAST,
    ETH_TYPE_NSH,
    OUTER_TCI,
    PACKET_TYPE_BITS,
    Bits,
)
from flowvm.packet.keys import MAX_MPLS_LABELS, MPLS_BOTTOM, count_labels
from flowvm.packet.layers import Layer
from flowvm.pipeline.bits import ONES
from flowvm.pipeline.failures import Failure
from flowvm.pipeline.prerequisites import union, value
from flowvm.pipeline.recirculation import RECIRC_ID_BITS
from flowvm.text.values import format_hex

if TYPE_CHECKING:
    from flowvm.pipeline.engine import Run

ETHERNET = 0
ETH_TYPE_TEB = 0x6558
"""Transparent Ethernet bridging: what Open vSwitch calls an Ethernet frame behind labels."""

_BY_ETH_TYPE = 1 << 16
"""The namespace of packet types that are Ethernet types."""

_NSH_PROTOCOLS = {
    _BY_ETH_TYPE | ETH_TYPE_IP: 1,
    _BY_ETH_TYPE | ETH_TYPE_IPV6: 2,
    ETHERNET: 3,
    _BY_ETH_TYPE | ETH_TYPE_NSH: 4,
}
"""The next protocol of a network service header before each type of packet (RFC 8300)."""

_NSH_TTL = 63
_NSH_SERVICE_INDEX = 255
_NP_BITS = Bits(Column.NSH, 32, 8)
_HEADERS = tuple(column for column in Column if column >= Column.ETH_SRC)
_CONNECTION = tuple(range(Column.CT_IPV4, Column.CT_TP + 1))


def _type_text(packet_type: int) -> str:
    kind = packet_type & 0xFFFF
    return f"({packet_type >> 16},{format_hex(kind) if kind else '0x0'})"


@dataclass(frozen=True)
class _Layering(Operation):
    @property
    def reads(self) -> ColumnBits:
        return union(self.writes, RECIRC_ID_BITS.mask)

    @property
    def writes(self) -> ColumnBits:
        return union(dict.fromkeys(_HEADERS, ONES), PACKET_TYPE_BITS.mask)

    @property
    def resets(self) -> ColumnBits:
        return dict.fromkeys(_CONNECTION, ONES)


def _set_type(run: Run, packets: Packets, types: NDArray[np.uint64] | int) -> None:
    column = run.columns[PACKET_TYPE_BITS.column]
    kept = column[packets] & np.uint64(~PACKET_TYPE_BITS.mask[PACKET_TYPE_BITS.column] & ONES)
    column[packets] = kept | np.asarray(types, np.uint64) << np.uint64(PACKET_TYPE_BITS.shift)


def _clear_addresses(run: Run, packets: Packets) -> None:
    for column in (Column.ETH_SRC, Column.ETH_DST):
        run.columns[column][packets] = 0


def _refuse(run: Run, packets: Packets, said: str) -> None:
    if len(packets):
        run.refuse(packets, said, Failure.PACKET_TYPE)


@dataclass(frozen=True)
class EncapEthernet(_Layering):
    """Put an Ethernet header with zero addresses before a packet that has none."""

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:  # noqa: ARG002
        run.emissions.commit(packets)
        types = value(run.columns, packets, PACKET_TYPE_BITS)
        bare = types >> np.uint64(16) == 1
        said = "Dropping packet as encap(ethernet) is not supported for packet type ethernet."
        _refuse(run, packets[~bare], said)
        some, types = packets[bare], types[bare]
        _set_type(run, some, ETHERNET)
        _clear_addresses(run, some)
        _set_eth_type(run, some, types & np.uint64(0xFFFF))
        run.layers.change(some, Layer.PUSH_ETHERNET)
        return None


def _set_eth_type(run: Run, packets: Packets, eth_type: NDArray[np.uint64]) -> None:
    column = run.columns[ETH_TYPE_BITS.column]
    kept = column[packets] & np.uint64(~ETH_TYPE_BITS.mask[ETH_TYPE_BITS.column] & ONES)
    column[packets] = kept | eth_type << np.uint64(ETH_TYPE_BITS.shift)


@dataclass(frozen=True)
class EncapNsh(_Layering):
    """Put a network service header before the packet; ``context`` is that of metadata type 2."""

    md_type: int
    context: bytes = b""

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:  # noqa: ARG002
        run.emissions.commit(packets)
        types = value(run.columns, packets, PACKET_TYPE_BITS)
        for kind in np.unique(types).tolist():
            some = packets[types == kind]
            protocol = _NSH_PROTOCOLS.get(kind)
            if protocol is None:
                what = _type_text(kind)
                said = f"Dropping packet as encap(nsh) is not supported for packet type {what}"
                _refuse(run, some, said)
            else:
                self._push(run, some, protocol)
        return None

    def _push(self, run: Run, packets: Packets, protocol: int) -> None:
        for column in (*(c for c in _HEADERS if c != Column.LAYERS), *_CONNECTION):
            run.columns[column][packets] = 0
        _set_type(run, packets, _BY_ETH_TYPE | ETH_TYPE_NSH)
        run.columns[ETH_TYPE_BITS.column][packets] = ETH_TYPE_NSH << ETH_TYPE_BITS.shift
        first = _NSH_TTL << 48 | self.md_type << 40 | protocol << 32
        run.columns[Column.NSH][packets] = first | _NSH_SERVICE_INDEX
        context = run.state.contexts.number(self.context) if self.context else 0
        run.layers.change(packets, Layer.PUSH_NSH, context)


@dataclass(frozen=True)
class EncapMpls(_Layering):
    """Put a label before the packet, its Ethernet header included."""

    eth_type: int

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:  # noqa: ARG002
        run.emissions.commit(packets)
        columns = run.columns
        stack = label_stack(columns, packets)
        kinds = value(columns, packets, ETH_TYPE_BITS)
        count = count_labels(kinds, stack)
        full = count >= MAX_MPLS_LABELS
        if full.any():
            what = "encap MPLS action can't be performed as it would have"
            fail_for_labels(run, packets[full], f"an {what}")
        packets, stack, kinds = packets[~full], stack[:, ~full], kinds[~full]
        count = count[~full]
        ethernet = value(columns, packets, PACKET_TYPE_BITS) == ETHERNET
        # Labels behind the Ethernet header are forgotten (those for multicast are not), but that
        # there were any is not.
        afresh = ethernet & (kinds == ETH_TYPE_MPLS)
        stack = np.where(afresh, np.uint64(0), stack)
        store_stack(run, packets, stack)
        _set_type(run, packets, _BY_ETH_TYPE | self.eth_type)
        eth_type = np.full(len(packets), self.eth_type, np.uint64)
        first = count == 0
        push_first(run, packets[first], eth_type[first], stack[:, first], of_ip=False)
        more = ~first
        push_more(run, packets[more], eth_type[more], stack[:, more], count[more])
        _clear_addresses(run, packets)
        run.layers.change(packets[~afresh], Layer.PUSH_MPLS)
        run.layers.change(packets[afresh], Layer.PUSH_MPLS_AFRESH)
        return None


@dataclass(frozen=True)
class DecapHeader(_Layering):
    """Take off the header in front; ``packet_type`` is what is behind a label."""

    packet_type: int

    @property
    def is_done_once(self) -> bool:
        return True

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:  # noqa: ARG002
        run.emissions.commit(packets)
        types = value(run.columns, packets, PACKET_TYPE_BITS)
        for kind in np.unique(types).tolist():
            some = packets[types == kind]
            if kind == ETHERNET:
                self._pop_ethernet(run, some)
            elif kind == _BY_ETH_TYPE | ETH_TYPE_NSH:
                self._pop_nsh(run, some)
            elif kind in (_BY_ETH_TYPE | ETH_TYPE_MPLS, _BY_ETH_TYPE | ETH_TYPE_MPLS_MCAST):
                self._pop_label(run, some)
            else:
                what = _type_text(kind)
                said = f"Dropping packet as the decap() does not support packet type {what}"
                _refuse(run, some, said)
        return None

    @staticmethod
    def _pop_ethernet(run: Run, packets: Packets) -> None:
        tagged = value(run.columns, packets, OUTER_TCI) & np.uint64(VLAN_CFI) != 0
        _refuse(run, packets[tagged], "Dropping packet, cannot decap Ethernet if VLAN is present.")
        packets = packets[~tagged]
        kinds = value(run.columns, packets, ETH_TYPE_BITS)
        _set_type(run, packets, kinds | np.uint64(_BY_ETH_TYPE))
        _clear_addresses(run, packets)
        run.layers.change(packets, Layer.POP_ETHERNET)

    @staticmethod
    def _pop_nsh(run: Run, packets: Packets) -> None:
        protocols = value(run.columns, packets, _NP_BITS)
        for protocol in np.unique(protocols).tolist():
            some = packets[protocols == protocol]
            inner = [kind for kind, number in _NSH_PROTOCOLS.items() if number == protocol]
            if not inner:
                said = f"Dropping packet as NSH next protocol {protocol} is not supported"
                _refuse(run, some, said)
                continue
            _set_type(run, some, inner[0])
            run.layers.change(some, Layer.POP_NSH)
            run.freezer.freeze(some)

    def _pop_label(self, run: Run, packets: Packets) -> None:
        columns = run.columns
        stack = label_stack(columns, packets)
        count = count_labels(value(columns, packets, ETH_TYPE_BITS), stack)
        _set_type(run, packets, self.packet_type)
        endless = (count >= MAX_MPLS_LABELS) & (stack[-1] & np.uint64(MPLS_BOTTOM) == 0)
        if endless.any():
            fail_to_pop(run, packets[endless], "decap")
        eth_type = self.packet_type & 0xFFFF or ETH_TYPE_TEB
        deep = (count > 1) & ~endless
        if eth_type not in (ETH_TYPE_MPLS, ETH_TYPE_MPLS_MCAST):
            run.stop_unsupported(packets[deep], "decap of a label that is not the last")
            deep[:] = False
        run.stop_unsupported(packets[count == 0], "decap of a label that cannot be read")
        self._pop(run, packets[deep], stack[:, deep], eth_type)
        last = count == 1
        self._pop(run, packets[last], stack[:, last], eth_type)
        behind = ETHERNET if eth_type == ETH_TYPE_TEB else _BY_ETH_TYPE | eth_type
        run.freezer.freeze(packets[last], behind)

    @staticmethod
    def _pop(run: Run, packets: Packets, stack: NDArray[np.uint64], eth_type: int) -> None:
        nothing = np.zeros_like(stack[:1])
        count = count_labels(np.full(len(packets), ETH_TYPE_MPLS, np.uint64), stack)
        left = np.concatenate([stack[1:], nothing])
        rows = np.arange(len(left))[:, None]
        store_stack(run, packets, np.where(rows + 1 < count, left, 0).astype(np.uint64))
        _set_eth_type(run, packets, np.full(len(packets), eth_type, np.uint64))
        run.layers.change(packets, Layer.POP_MPLS)
