"""How MPLS labels are pushed, popped and changed.

Semantics: ``compose_mpls_push_action`` and its like in ofproto/ofproto-dpif-xlate.c,
``flow_push_mpls`` and ``flow_pop_mpls`` in lib/flow.c.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flowvm.actions.base import ColumnBits, Kept, Operands, Operation, Packets
from flowvm.actions.write import WriteBits
from flowvm.columns import Column
from flowvm.fields import (
    DP_HASH_BITS,
    DSCP_MASK,
    ETH_TYPE_BITS,
    ETH_TYPE_IPV6,
    ETH_TYPE_MPLS,
    ETH_TYPE_MPLS_MCAST,
    NW_TOS_BITS,
    NW_TTL_BITS,
    PACKET_TYPE_BITS,
)
from flowvm.packet.keys import MAX_MPLS_LABELS, MPLS_BOTTOM, count_labels
from flowvm.pipeline.bits import ONES, Columns
from flowvm.pipeline.failures import Failure
from flowvm.pipeline.prerequisites import has_eth_type, is_ip, union, value
from flowvm.pipeline.recirculation import RECIRC_ID_BITS

if TYPE_CHECKING:
    from flowvm.pipeline.engine import Run

Stack = NDArray[np.uint64]
"""The label stack entries of packets, outermost first: shape (3, packets)."""

IPV6_EXPLICIT_NULL = 2
DEFAULT_TTL = 64

_LABELS: ColumnBits = {Column.MPLS: ONES, Column.MPLS_2: ONES}
_CONNECTION = dict.fromkeys(range(Column.CT_IPV4, Column.CT_TP + 1), ONES)
_CLEARED = (
    *range(Column.CT_IPV4, Column.CT_TP + 1),
    *range(Column.IPV4, Column.ND_TARGET_LOW + 1),
    *range(Column.NSH, Column.NSH_C3_C4 + 1),
)
"""What is not known of a packet once it has a label, besides all of ``NW`` but the type."""

# In a clone Open vSwitch 3.1 does not survive it.
_IN_COPY = "pop_mpls of more than 3 labels in a clone or a group"
_LINKLESS = "push_mpls or pop_mpls without an Ethernet header in front"


def label_stack(columns: Columns, packets: Packets) -> Stack:
    first, second = columns[Column.MPLS][packets], columns[Column.MPLS_2][packets]
    low = np.uint64(0xFFFF_FFFF)
    return np.array([first >> np.uint64(32), first & low, second >> np.uint64(32)])


def store_stack(run: Run, packets: Packets, stack: Stack) -> None:
    half = np.uint64(32)
    columns = run.columns
    columns[Column.MPLS][packets] = stack[0] << half | stack[1]
    columns[Column.MPLS_2][packets] = stack[2] << half


def _set_eth_type(run: Run, packets: Packets, eth_type: NDArray[np.uint64], keep: int) -> None:
    """Set the Ethernet type; of the rest of ``NW`` the bits ``keep`` stay."""
    column = run.columns[Column.NW]
    column[packets] = column[packets] & np.uint64(keep) | eth_type << np.uint64(ETH_TYPE_BITS.shift)


def fail_for_labels(run: Run, packets: Packets, what: str) -> None:
    """Let ``packets`` fail because of ``what``, "more labels than are supported" left out."""
    detail = f"dropping packet on which {what} more MPLS LSEs than the {MAX_MPLS_LABELS} supported."
    run.fail(packets, detail, Failure.LABELS)


def fail_to_pop(run: Run, packets: Packets, what: str) -> None:
    """Let ``packets`` fail that have more labels than are known; ``what`` could not be done."""
    if run.freezer.in_copy or run.freezer.in_bucket:
        run.stop_unsupported(packets, _IN_COPY)
    else:
        fail_for_labels(run, packets, f"an MPLS {what} can't be performed as it has")


@dataclass(frozen=True)
class PushLabel(Operation):
    """Push a label; the operand is the packet's type then. The headers behind are not seen then."""

    @property
    def reads(self) -> ColumnBits:
        return union(ETH_TYPE_BITS.mask, NW_TOS_BITS.mask, NW_TTL_BITS.mask, _LABELS)

    @property
    def writes(self) -> ColumnBits:
        cleared = dict.fromkeys((c for c in _CLEARED if c >= Column.ETH_SRC), ONES)
        return union({Column.NW: ONES}, _LABELS, cleared)

    @property
    def resets(self) -> ColumnBits:
        return union(_CONNECTION, DP_HASH_BITS.mask)

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:
        stack = label_stack(run.columns, packets)
        count = count_labels(value(run.columns, packets, ETH_TYPE_BITS), stack)
        full = count >= MAX_MPLS_LABELS
        if full.any():
            what = "push action can't be performed as it would have"
            fail_for_labels(run, packets[full], f"an MPLS {what}")
        linkless = value(run.columns, packets, PACKET_TYPE_BITS) != 0
        run.stop_unsupported(packets[linkless & ~full], _LINKLESS)
        going = ~full & ~linkless
        first, more = (count == 0) & going, (count > 0) & going
        run.emissions.commit(packets[first])
        push_first(run, packets[first], operands[0, first], stack[:, first])
        push_more(run, packets[more], operands[0, more], stack[:, more], count[more])
        return None


def push_first(
    run: Run, packets: Packets, eth_type: NDArray[np.uint64], stack: Stack, *, of_ip: bool = True
) -> None:
    """Give ``packets`` a first label; what is behind is not seen any more.

    ``of_ip`` tells whether it has traffic class and TTL of an IP header behind.
    """
    columns = run.columns
    ip = is_ip(columns, packets) & of_ip
    ttl = value(columns, packets, NW_TTL_BITS)
    ttl = np.where(ip & (ttl != 0), ttl, np.uint64(DEFAULT_TTL))
    tos = value(columns, packets, NW_TOS_BITS) & np.uint64(DSCP_MASK)
    # The upper bits of the DSCP do not fit.
    tc = np.where(ip, tos >> np.uint64(2) & np.uint64(7), np.uint64(0))
    is_ipv6 = has_eth_type(columns, packets, ETH_TYPE_IPV6)
    label = np.where(is_ipv6, np.uint64(IPV6_EXPLICIT_NULL), np.uint64(0))
    entry = label << np.uint64(12) | tc << np.uint64(9) | np.uint64(MPLS_BOTTOM) | ttl
    store_stack(run, packets, np.array([entry, stack[1], stack[2]]))
    for column in _CLEARED:
        columns[column][packets] = 0
    # Nor is the hash known that the datapath has taken of it.
    columns[Column.RECIRC][packets] &= np.uint64(~DP_HASH_BITS.mask[Column.RECIRC] & ONES)
    _set_eth_type(run, packets, eth_type, 0)
    run.emissions.touch(packets)


def push_more(
    run: Run,
    packets: Packets,
    eth_type: NDArray[np.uint64],
    stack: Stack,
    count: NDArray[np.int64],
) -> None:
    """Give ``packets``, which have ``count`` labels, a copy of the outermost one."""
    outer = stack[0] & np.uint64(~MPLS_BOTTOM & 0xFFFF_FFFF)
    third = np.where(count > 1, stack[1], stack[2])
    store_stack(run, packets, np.array([outer, stack[0], third]))
    _set_eth_type(run, packets, eth_type, ~ETH_TYPE_BITS.mask[Column.NW] & ONES)
    run.emissions.touch(packets)


@dataclass(frozen=True)
class PopLabel(Operation):
    """Pop the outermost label, if there is one; the operand is the packet's type then."""

    @property
    def reads(self) -> ColumnBits:
        return union(ETH_TYPE_BITS.mask, _LABELS, RECIRC_ID_BITS.mask)

    @property
    def writes(self) -> ColumnBits:
        return union(ETH_TYPE_BITS.mask, _LABELS)

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:
        stack = label_stack(run.columns, packets)
        count = count_labels(value(run.columns, packets, ETH_TYPE_BITS), stack)
        endless = (count >= MAX_MPLS_LABELS) & (stack[-1] & np.uint64(MPLS_BOTTOM) == 0)
        if endless.any():
            fail_to_pop(run, packets[endless], "pop action")
        linkless = value(run.columns, packets, PACKET_TYPE_BITS) != 0
        run.stop_unsupported(packets[linkless & (count > 0) & ~endless], _LINKLESS)
        pops = (count > 0) & ~endless & ~linkless
        some, eth_type, count = packets[pops], operands[0, pops], count[pops]
        left = stack[:, pops].copy()
        for i in range(MAX_MPLS_LABELS):
            above = stack[i + 1, pops] if i + 1 < MAX_MPLS_LABELS else left[i]
            left[i] = np.where(i + 1 < count, above, np.where(i + 1 == count, 0, left[i]))
        store_stack(run, some, left)
        _set_eth_type(run, some, eth_type, ~ETH_TYPE_BITS.mask[Column.NW] & ONES)
        run.emissions.touch(some)
        last = ~np.isin(eth_type, (ETH_TYPE_MPLS, ETH_TYPE_MPLS_MCAST))
        if last.any():
            run.freezer.note_popped(some[last])
        return None


@dataclass(frozen=True)
class SetLabel(WriteBits):
    """Write the operand into a field of the outermost label, if there is one."""

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:
        self.execute_quietly(run, packets, operands)
        return None
