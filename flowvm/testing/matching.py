"""Matches: protocols first, then fields that packets of those protocols have."""

from __future__ import annotations

from collections.abc import Sequence

from flowvm.columns import VLAN_CFI
from flowvm.fields import ETH_TYPE_NSH, Field, Prerequisite, field
from flowvm.flow import FieldMatch, Match, MatchTerm, ProtocolMatch
from flowvm.testing.choices import Choices
from flowvm.testing.kinds import Kind, fields_of
from flowvm.testing.values import MATCHABLE, TLV_MAP, mask_for, overlap, unplaced, value_of

_PROTOCOLS = (
    *("", "", "", "", "ip", "ip", "tcp", "tcp", "udp", "udp", "sctp", "icmp", "arp", "arp"),
    *("ipv6", "tcp6", "udp6", "sctp6", "icmp6", "icmp6", "rarp", "mpls", "mplsm"),
)


def choose_match(
    choose: Choices, ports: Sequence[int], *, most: int = 4, protocol: str | None = None
) -> Match:
    """A match of some fields, at most ``most`` besides the protocol."""
    terms = choose_protocol(choose, protocol)
    if choose.percent(20):
        terms.append(choose_tag(choose))
    for _ in range(choose.weighted(((3, 1), (3, 2), (2, 0), (1, 3), (1, most)))):
        row = _another_field(choose, terms)
        if row is not None and len(terms) <= most + 3:
            terms.append(choose_term(choose, row, ports))
    return Match(tuple(terms))


def choose_protocol(choose: Choices, word: str | None = None) -> list[MatchTerm]:
    """A protocol to match, ``word`` if given; at times none."""
    word = choose.one(_PROTOCOLS) if word is None else word
    terms: list[MatchTerm] = [ProtocolMatch(word)] if word else []
    if not word and choose.percent(40):
        terms.append(FieldMatch.exact("eth_type", ETH_TYPE_NSH))
    if word == "icmp6" and choose.percent(50):
        kind = choose.one((135, 136))
        terms.append(FieldMatch.exact("icmpv6_type", kind))
        terms.append(FieldMatch.exact("icmpv6_code", 0))
    return terms


def choose_tag(choose: Choices) -> FieldMatch:
    """A match on the VLAN tag that says whether there is one."""
    match choose.number(0, 5):
        case 0 | 1:
            return FieldMatch.exact("dl_vlan", choose.one((1, 5, 0, 4095)))
        case 2:
            return FieldMatch(field("vlan_vid"), VLAN_CFI, VLAN_CFI, "vlan_vid")
        case 3:
            return FieldMatch(field("vlan_tci"), VLAN_CFI, VLAN_CFI, "vlan_tci")
        case 4:
            return FieldMatch.exact("vlan_tci", 0)
        case _:
            return FieldMatch.exact("vlan_vid", VLAN_CFI | choose.one((1, 5)))


def choose_term(choose: Choices, row: Field, ports: Sequence[int]) -> FieldMatch:
    """A match on that field."""
    mask = mask_for(choose, row)
    value = value_of(choose, row, ports) & mask
    if row.presence is None:
        return FieldMatch(row, value, mask, row.name)
    option = unplaced(row)
    if choose.percent(20):
        return FieldMatch(option, 0, 0, row.name)
    return FieldMatch(option, value, option.full_mask if mask == row.full_mask else mask, row.name)


def _another_field(choose: Choices, terms: Sequence[MatchTerm]) -> Field | None:
    """A field that the terms so far allow and that shares no bits with theirs."""
    kind = Kind.of(Match(tuple(terms)))
    placed = [TLV_MAP.place(row) for term in terms for row, _, _ in term.constraints()]
    used = [row.bits for row in placed if row.bits]
    rows = [
        row
        for row in fields_of(kind, MATCHABLE)
        if row.bits is not None and not any(overlap(row.bits, other) for other in used)
    ]
    if not rows:
        return None
    # Header fields of the protocol at hand are what rules are mostly about.
    special = [row for row in rows if row.prerequisite not in _COMMON]
    return choose.one(special if special and choose.percent(60) else rows)


_COMMON = (Prerequisite.NONE, Prerequisite.ETHERNET)
