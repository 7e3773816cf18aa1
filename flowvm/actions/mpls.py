"""MPLS label stack entries.

Semantics: ovs-actions(7), "push_mpls", "pop_mpls", "set_mpls_label", "dec_mpls_ttl".
"""

from __future__ import annotations

from dataclasses import dataclass

from flowvm.actions.base import Action, Lowered, Resolver
from flowvm.actions.labels import PopLabel, PushLabel, SetLabel
from flowvm.actions.ttl import DecrementHeaderTtl
from flowvm.fields import ETH_TYPE_MPLS, ETH_TYPE_MPLS_MCAST, MPLS_TTL_BITS, field
from flowvm.text.errors import WordError
from flowvm.text.tree import Item
from flowvm.text.values import parse_number


@dataclass(frozen=True)
class PushMpls(Action):
    """``push_mpls:ETHERTYPE``."""

    ethertype: int

    def __str__(self) -> str:
        return f"push_mpls:{self.ethertype:#06x}"

    def lower(self, resolver: Resolver) -> Lowered:  # noqa: ARG002
        return Lowered(PushLabel(), (self.ethertype,))


@dataclass(frozen=True)
class PopMpls(Action):
    """``pop_mpls:ETHERTYPE``: the packet's type afterwards."""

    ethertype: int

    def __str__(self) -> str:
        return f"pop_mpls:{self.ethertype:#06x}"

    def lower(self, resolver: Resolver) -> Lowered:  # noqa: ARG002
        return Lowered(PopLabel(), (self.ethertype,))


@dataclass(frozen=True)
class SetMplsLabel(Action):
    """``set_mpls_label(LABEL)``."""

    label: int

    def __str__(self) -> str:
        return f"set_mpls_label({self.label})"

    def lower(self, resolver: Resolver) -> Lowered:  # noqa: ARG002
        return Lowered(SetLabel(field("mpls_label"), 0, 20), (self.label,))


@dataclass(frozen=True)
class SetMplsTc(Action):
    """``set_mpls_tc(TC)``."""

    tc: int

    def __str__(self) -> str:
        return f"set_mpls_tc({self.tc})"

    def lower(self, resolver: Resolver) -> Lowered:  # noqa: ARG002
        return Lowered(SetLabel(field("mpls_tc"), 0, 3), (self.tc,))


@dataclass(frozen=True)
class SetMplsTtl(Action):
    """``set_mpls_ttl(TTL)``."""

    ttl: int

    def __str__(self) -> str:
        return f"set_mpls_ttl({self.ttl})"

    def lower(self, resolver: Resolver) -> Lowered:  # noqa: ARG002
        return Lowered(SetLabel(field("mpls_ttl"), 0, 8), (self.ttl,))


@dataclass(frozen=True)
class DecMplsTtl(Action):
    """``dec_mpls_ttl``."""

    def __str__(self) -> str:
        return "dec_mpls_ttl"

    def lower(self, resolver: Resolver) -> Lowered:  # noqa: ARG002
        types = ETH_TYPE_MPLS, ETH_TYPE_MPLS_MCAST
        return Lowered(DecrementHeaderTtl("MPLS", types, MPLS_TTL_BITS))


def make_push_mpls(item: Item) -> PushMpls:
    word = item.argument("an Ethernet type")
    ethertype = parse_number(word, 16, "an Ethernet type")
    if ethertype not in (ETH_TYPE_MPLS, ETH_TYPE_MPLS_MCAST):
        raise WordError(word, f"{word} is not an MPLS Ethernet type", "0x8847 or 0x8848")
    return PushMpls(ethertype)


def make_pop_mpls(item: Item) -> PopMpls:
    return PopMpls(parse_number(item.argument("an Ethernet type"), 16, "an Ethernet type"))


def make_set_mpls_label(item: Item) -> SetMplsLabel:
    return SetMplsLabel(parse_number(item.argument("a label"), 20, "a label of 20 bits"))


def make_set_mpls_tc(item: Item) -> SetMplsTc:
    return SetMplsTc(parse_number(item.argument("a traffic class"), 3, "a number from 0 to 7"))


def make_set_mpls_ttl(item: Item) -> SetMplsTtl:
    return SetMplsTtl(parse_number(item.argument("a TTL"), 8, "a number from 0 to 255"))


def make_dec_mpls_ttl(item: Item) -> DecMplsTtl:
    item.no_argument()
    return DecMplsTtl()
