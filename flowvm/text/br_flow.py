"""The flow that ``ofproto/trace`` takes: a packet's headers, written like a match.

Semantics: ovs-vswitchd(8), "ofproto/trace". Every value is exact, no field is set twice, and a
field's prerequisites must be among the rest. Two freedoms go beyond Open vSwitch: the order does
not matter, and ``tp_src``, ``tp_dst``, ``icmp_type`` and ``icmp_code`` are taken with any protocol
that has them, so that what ``ofproto/trace`` prints can be given back to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from itertools import chain
from types import MappingProxyType

from flowvm.columns import Column
from flowvm.fields import (
    ETH_TYPE_ARP,
    ETH_TYPE_IP,
    ETH_TYPE_IPV6,
    ETH_TYPE_MPLS,
    ETH_TYPE_MPLS_MCAST,
    ETH_TYPE_NSH,
    ETH_TYPE_RARP,
    Field,
    Format,
    Prerequisite,
    field_names,
    packet_field,
)
from flowvm.flow import FieldMatch, Match, MatchTerm, ProtocolMatch
from flowvm.protocols import ICMP, ICMPV6, SCTP, TCP, UDP
from flowvm.text.errors import FlowSyntaxError, WordError
from flowvm.text.parse import make_term, read
from flowvm.text.tree import Item, Items
from flowvm.text.values import parse_tunnel_flags
from flowvm.tlv_map import option_index

_NESTING = re.compile(r'["(\s]')
_Said = tuple[Item, MatchTerm]

_IP = (ETH_TYPE_IP, ETH_TYPE_IPV6)
_MPLS = (ETH_TYPE_MPLS, ETH_TYPE_MPLS_MCAST)

_NEEDS: Mapping[Prerequisite, tuple[tuple[int, ...], tuple[int, ...]]] = MappingProxyType(
    {
        Prerequisite.ARP: ((ETH_TYPE_ARP, ETH_TYPE_RARP), ()),
        Prerequisite.IPV4: ((ETH_TYPE_IP,), ()),
        Prerequisite.IPV6: ((ETH_TYPE_IPV6,), ()),
        Prerequisite.IP: (_IP, ()),
        Prerequisite.MPLS: (_MPLS, ()),
        Prerequisite.NSH: ((ETH_TYPE_NSH,), ()),
        Prerequisite.TCP: (_IP, (TCP,)),
        Prerequisite.UDP: (_IP, (UDP,)),
        Prerequisite.SCTP: (_IP, (SCTP,)),
        Prerequisite.ICMPV4: ((ETH_TYPE_IP,), (ICMP,)),
        Prerequisite.ICMPV6: ((ETH_TYPE_IPV6,), (ICMPV6,)),
        Prerequisite.ND: ((ETH_TYPE_IPV6,), (ICMPV6,)),
        Prerequisite.ND_SOLICIT: ((ETH_TYPE_IPV6,), (ICMPV6,)),
        Prerequisite.ND_ADVERT: ((ETH_TYPE_IPV6,), (ICMPV6,)),
    }
)
"""The Ethernet types and IP protocols that a prerequisite allows; none means any."""

_TYPE_NEEDED: Mapping[Prerequisite, tuple[int, ...]] = MappingProxyType(
    {
        Prerequisite.ND: (135, 136),
        Prerequisite.ND_SOLICIT: (135,),
        Prerequisite.ND_ADVERT: (136,),
    }
)
"""The ICMPv6 types that a prerequisite allows."""

_COMMON: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "tp_src": (TCP, UDP, SCTP),
        "tp_dst": (TCP, UDP, SCTP),
        "icmp_type": (ICMP, ICMPV6),
        "icmp_code": (ICMP, ICMPV6),
    }
)
"""Spellings that ovs-ofctl prints for several protocols, and those protocols."""


def parse_br_flow(text: str, ports: Mapping[str, int] | None = None) -> Match:
    """The packet's headers, as a match that is exact in every field the text names.

    With ``ports`` given, ports' names become their numbers. Raises FlowSyntaxError.
    """
    if not _NESTING.search(text):
        # Each comma is between two terms then, of which most recur from packet to packet.
        with suppress(FlowSyntaxError, WordError):
            return _make_br_flow(chain(*map(_terms_of, text.split(","))), ports)
    # An error has its place in the whole text.
    return read(text, "list", lambda items: _make_br_flow(_make_terms(items), ports))


@lru_cache(1 << 12)
def _terms_of(text: str) -> tuple[_Said, ...]:
    return read(text, "list", _make_terms)


def _make_terms(items: Items) -> tuple[_Said, ...]:
    return tuple((item, _make_exact(item)) for item in items if item is not None)


def _make_br_flow(terms: Iterable[_Said], ports: Mapping[str, int] | None) -> Match:
    said = [(item, _resolved(item, term, ports)) for item, term in terms]
    seen: dict[Column, int] = {}
    values: dict[str, int] = {}
    for item, term in said:
        for row, value, mask in term.constraints():
            _mark_set(item, row, mask, seen)
            if isinstance(value, int):
                values[row.name] = value
    for item, term in said:
        if isinstance(term, FieldMatch) and not _prerequisites_met(term, values):
            raise WordError(
                item.key,
                f"{item.key} does not exist in such a packet",
                f"{term.field.prerequisite.value} among the other fields",
            )
    return Match(tuple(term for _, term in said))


def _make_exact(item: Item) -> MatchTerm:
    row = field_names().get(item.key.lower())
    if row is not None and row.format is Format.TUN_FLAGS and item.value:
        row = packet_field(row.name)
        value = parse_tunnel_flags(row, item.value)
        return FieldMatch(row, value, row.full_mask, str(item.key))
    term = make_term(item)
    if isinstance(term, ProtocolMatch):
        return term
    word = item.value or item.key
    if term.field.bits is None and not item.value:
        return FieldMatch(term.field, 0, term.field.full_mask, term.spelling)
    whole_frag = term.field.name == "ip_frag" and term.mask == 3
    if term.mask != term.field.full_mask and not whole_frag:
        raise WordError(word, "a packet's headers have no masks", "an exact value")
    return term


def _resolved(item: Item, term: MatchTerm, ports: Mapping[str, int] | None) -> MatchTerm:
    """The term with the number of the port that it names, if ``ports`` are given."""
    if ports is None or isinstance(term, ProtocolMatch) or not isinstance(term.value, str):
        return term
    if term.value not in ports:
        word = item.value or item.key
        raise WordError(word, f'there is no port "{term.value}"', "a port's number or name")
    return FieldMatch(term.field, ports[term.value], term.mask, term.spelling)


def _mark_set(item: Item, row: Field, mask: int, seen: dict[Column, int]) -> None:
    """Note which bits the field has; fields that share bits cannot both be set."""
    for column, bits in _taken_by(row, mask):
        if seen.get(column, 0) & bits:
            raise WordError(item.key, f"{item.key} sets {row.name} a second time")
        seen[column] = seen.get(column, 0) | bits


@lru_cache(1 << 10)
def _taken_by(row: Field, mask: int) -> tuple[tuple[Column, int], ...]:
    """The bits that no other field can be set in, by column."""
    if row.bits is None:
        # Where it is depends on a TLV map, but no other field is there.
        return ((Column.TUN_METADATA_PRESENT, 1 << option_index(row)),)
    return tuple((column, word & ~row.implied) for column, _, word in row.match_words(0, mask))


def _prerequisites_met(term: FieldMatch, values: Mapping[str, int]) -> bool:
    need = term.field.prerequisite
    eth_type, nw_proto = values.get("eth_type", 0), values.get("nw_proto", 0)
    packet_type = values.get("packet_type", 0)
    if packet_type >> 16 == 1:
        eth_type = packet_type & 0xFFFF
    if need is Prerequisite.ETHERNET:
        return packet_type == 0
    if need is Prerequisite.VLAN_VID:
        return any(name in values for name in ("vlan_vid", "vlan_tci", "dl_vlan"))
    if need is Prerequisite.CT:
        return bool(values.get("ct_state"))
    if need not in _NEEDS:
        return True
    eth_types, protocols = _NEEDS[need]
    if term.spelling in _COMMON:
        eth_types, protocols = _IP, _COMMON[term.spelling]
    if eth_type not in eth_types or (protocols and nw_proto not in protocols):
        return False
    types = _TYPE_NEEDED.get(need)
    return types is None or values.get("icmpv6_type", values.get("icmp_type", 0)) in types
