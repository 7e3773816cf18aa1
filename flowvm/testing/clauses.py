"""Flows that make up conjunctive matches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flowvm.actions.conjunction import Conjunction
from flowvm.fields import Field, field
from flowvm.flow import FieldMatch, Match, MatchTerm
from flowvm.testing.choices import Choices
from flowvm.testing.kinds import Kind
from flowvm.testing.matching import choose_protocol, choose_term

_ANYWHERE = ("in_port", "eth_src", "eth_dst", "reg0", "metadata", "tun_id")
_OF_PROTOCOL = ("ip_src", "ip_dst", "tcp_src", "tcp_dst", "udp_dst", "nw_ttl", "ipv6_src")


def choose_clauses(
    choose: Choices, number: int, ports: Sequence[int]
) -> Iterator[tuple[Match, Conjunction | None]]:
    """The clauses of the conjunction of that number, and with no clause the flow that it makes.

    All clauses go by one priority, which no other flow of their table may have.
    """
    protocol = choose_protocol(choose) if choose.percent(60) else []
    kind = Kind.of(Match(tuple(protocol)))
    names = [*_ANYWHERE, *(name for name in _OF_PROTOCOL if kind.has(field(name)))]
    dimensions: list[Field] = [field(name) for name in choose.some(names, 2, 3)]
    for k, row in enumerate(dimensions, start=1):
        matches: dict[Match, None] = {}
        for _ in range(choose.number(1, 3)):
            terms: list[MatchTerm] = [*protocol, choose_term(choose, row, ports)]
            matches[Match(tuple(terms))] = None
        for match in matches:
            yield match, Conjunction(number, k, len(dimensions))
    found: list[MatchTerm] = [FieldMatch.exact("conj_id", number)]
    yield Match(tuple([*found, *protocol] if choose.percent(50) else found)), None
