"""VLAN tags: ``mod_vlan_vid``, ``mod_vlan_pcp``, ``strip_vlan``, ``push_vlan``.

Semantics: ovs-actions(7), "strip_vlan", "push_vlan"; ovs-ofctl(8), "mod_vlan_vid".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from flowvm.actions.base import (
    Action,
    ColumnBits,
    Kept,
    Lowered,
    Operands,
    Operation,
    Packets,
    Resolver,
)
from flowvm.actions.write import settle_vlan
from flowvm.columns import VLAN_CFI, VLAN_PCP_MASK, VLAN_VID_MASK, Column
from flowvm.fields import ETH_TYPE_QINQ, ETH_TYPE_VLAN, INNER_TCI, OUTER_TCI, OUTER_TPID
from flowvm.pipeline.bits import ONES
from flowvm.pipeline.prerequisites import is_ethernet
from flowvm.text.errors import WordError
from flowvm.text.tree import Item
from flowvm.text.values import format_hex, parse_number

if TYPE_CHECKING:
    from flowvm.pipeline.engine import Run


@dataclass(frozen=True)
class ModVlanVid(Action):
    """``mod_vlan_vid:VID``; spelled ``set_vlan_vid`` it does not push a tag if there is none."""

    vid: int
    push_if_needed: bool = True

    def __str__(self) -> str:
        return f"{'mod' if self.push_if_needed else 'set'}_vlan_vid:{self.vid}"

    def lower(self, resolver: Resolver) -> Lowered:  # noqa: ARG002
        return Lowered(SetTag(VLAN_VID_MASK, self.push_if_needed), (self.vid,))

    @property
    def operand_limit(self) -> int:
        return VLAN_VID_MASK + 1


@dataclass(frozen=True)
class ModVlanPcp(Action):
    """``mod_vlan_pcp:PCP``; spelled ``set_vlan_pcp`` it does not push a tag if there is none."""

    pcp: int
    push_if_needed: bool = True

    def __str__(self) -> str:
        return f"{'mod' if self.push_if_needed else 'set'}_vlan_pcp:{self.pcp}"

    def lower(self, resolver: Resolver) -> Lowered:  # noqa: ARG002
        return Lowered(SetTag(VLAN_PCP_MASK, self.push_if_needed), (self.pcp << 13,))


@dataclass(frozen=True)
class StripVlan(Action):
    """``strip_vlan`` or ``pop_vlan``: the same thing in OpenFlow 1.0 and later."""

    spelling: str = "strip_vlan"

    def __str__(self) -> str:
        return self.spelling

    def lower(self, resolver: Resolver) -> Lowered:  # noqa: ARG002
        return Lowered(PopTag())


@dataclass(frozen=True)
class PushVlan(Action):
    """``push_vlan:ETHERTYPE``."""

    ethertype: int = ETH_TYPE_VLAN

    def __str__(self) -> str:
        return f"push_vlan:{format_hex(self.ethertype)}"

    def lower(self, resolver: Resolver) -> Lowered:  # noqa: ARG002
        return Lowered(PushTag(), (self.ethertype,))


_LINKLESS = "a VLAN tag on a packet without an Ethernet header"
_OUTER_PRESENT = np.uint64(VLAN_CFI << OUTER_TCI.shift)
_INNER_PRESENT = np.uint64(VLAN_CFI << INNER_TCI.shift)
_TAG = np.uint64(32)


@dataclass(frozen=True)
class _TagOperation(Operation):
    @property
    def reads(self) -> ColumnBits:
        return {Column.VLAN: ONES}

    @property
    def writes(self) -> ColumnBits:
        return {Column.VLAN: ONES}


def _stop_linkless(run: Run, packets: Packets) -> None:
    """Stop those of ``packets`` that have no Ethernet header for a tag to be in.

    Open vSwitch 3.1 puts the tag into what there is, and at times does not survive it.
    """
    run.stop_unsupported(packets[~is_ethernet(run.columns, packets)], _LINKLESS)


@dataclass(frozen=True)
class SetTag(_TagOperation):
    """Write the operand into the bits ``mask`` of the outer TCI, pushing a tag if told to."""

    mask: int
    push_if_needed: bool

    @property
    def needs_headers(self) -> bool:
        return False

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:
        column, value = run.columns[Column.VLAN], operands[0]
        if not self.push_if_needed:
            tagged = (column[packets] & _OUTER_PRESENT) != 0
            packets, value = packets[tagged], value[tagged]
        _stop_linkless(run, packets)
        kept = column[packets] & np.uint64(~(self.mask << OUTER_TCI.shift) & ONES)
        column[packets] = kept | value << np.uint64(OUTER_TCI.shift)
        settle_vlan(run, packets, int(_OUTER_PRESENT))
        run.emissions.touch(packets)
        return None


@dataclass(frozen=True)
class PopTag(_TagOperation):
    """Take the outer tag off, if there is one."""

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:  # noqa: ARG002
        column = run.columns[Column.VLAN]
        word = column[packets]
        inner = np.where(word & _INNER_PRESENT, word << _TAG, np.uint64(0))
        column[packets] = np.where(word & _OUTER_PRESENT, inner, word)
        run.emissions.touch(packets)
        return None


@dataclass(frozen=True)
class PushTag(_TagOperation):
    """Put a tag of VLAN 0 outside; the operand is its Ethernet type. OVS knows two tags at most."""

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:
        _stop_linkless(run, packets)
        column = run.columns[Column.VLAN]
        outer = operands[0] << np.uint64(OUTER_TPID.shift) | _OUTER_PRESENT
        run.reentries.hides_tags[packets] |= column[packets] & _INNER_PRESENT != 0
        column[packets] = column[packets] >> _TAG | outer
        run.emissions.touch(packets)
        return None


def make_vlan_vid(item: Item) -> ModVlanVid:
    vid = parse_number(item.argument("a VLAN ID"), 12, "a VLAN ID from 0 to 4095")
    return ModVlanVid(vid, item.name == "mod_vlan_vid")


def make_vlan_pcp(item: Item) -> ModVlanPcp:
    pcp = parse_number(item.argument("a priority"), 3, "a priority from 0 to 7")
    return ModVlanPcp(pcp, item.name == "mod_vlan_pcp")


def make_strip_vlan(item: Item) -> StripVlan:
    item.no_argument()
    return StripVlan(item.name)


def make_push_vlan(item: Item) -> PushVlan:
    word = item.argument("an Ethernet type")
    ethertype = parse_number(word, 16, "an Ethernet type")
    if ethertype not in (ETH_TYPE_VLAN, ETH_TYPE_QINQ):
        raise WordError(word, f"{word} is not the type of a VLAN tag", "0x8100 or 0x88a8")
    return PushVlan(ethertype)
