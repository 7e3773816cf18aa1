"""Flows that put packets behind headers and take headers off them, a table's worth at once.

What such actions leave behind decides which others Open vSwitch takes, or survives: version 3.1
ends if ``encap(mpls)`` is not followed by ``encap(ethernet)``, if a packet has not left before the
end of a clone that it got a header in, or if one without an Ethernet header gets a tag. So these
flows have lists of their own, and the packets that are left without Ethernet a table of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flowvm.actions.base import Action
from flowvm.actions.controller import Controller
from flowvm.actions.encap import Decap, Encap, NshTlv
from flowvm.actions.mod import ModField
from flowvm.actions.mpls import SetMplsLabel, SetMplsTtl
from flowvm.actions.nest import Clone
from flowvm.actions.output import Output
from flowvm.actions.resubmit import Resubmit
from flowvm.actions.set_field import Load, Move, SetField
from flowvm.actions.ttl import DecNshTtl, DecTtl
from flowvm.fields import ETH_TYPE_IP, ETH_TYPE_IPV6, ETH_TYPE_MPLS, ETH_TYPE_NSH, field
from flowvm.flow import FieldMatch, Match, MatchTerm, ProtocolMatch, ReservedPort
from flowvm.testing.choices import Choices
from flowvm.testing.setting import subfield
from flowvm.testing.values import IPV4S, MACS, value_of

BARE_TABLE = 200
"""Where packets go on that may have no Ethernet header."""

MOST_FLOWS = 6
"""So many come at most."""

_ETHERNET = 0
_OF_ETHERTYPE = 1 << 16
_LOCAL_MAC = 0x0200_0000_0000
_WRITTEN = ("nsh_flags", "nsh_ttl", "nsh_spi", "nsh_si", "nsh_c1", "nsh_c2", "nsh_c3", "nsh_c4")
_MATCHED = ("nsh_np", "nsh_np", "nsh_spi", "nsh_si", "nsh_ttl", "nsh_flags", "nsh_mdtype")

Planned = tuple[int, Match, tuple[Action, ...]]
"""A table, a match and actions."""


def choose_layered(
    choose: Choices, ports: Sequence[int], tables: Sequence[int]
) -> Iterator[Planned]:
    """Flows with ``encap`` and ``decap``; ``tables`` are those of packets with Ethernet."""
    protocol = ProtocolMatch(choose.one(("ip", "arp", "udp", "ipv6", "tcp")))
    yield 0, Match((protocol,)), _putting(choose, ports, tables[1:])
    nsh = FieldMatch.exact("eth_type", ETH_TYPE_NSH)
    yield 0, Match((nsh, *_nsh_terms(choose))), _taking(choose, ports)
    kinds = (ETH_TYPE_NSH, _ETHERNET, ETH_TYPE_IP, ETH_TYPE_IPV6, ETH_TYPE_MPLS)
    for kind in choose.some(kinds, 2, MOST_FLOWS - 2):
        yield BARE_TABLE, *_bare(choose, ports, tables[1:], kind)


def _nsh_terms(choose: Choices) -> list[FieldMatch]:
    """At times a match on a field of the network service header."""
    if choose.percent(50):
        return []
    row = field(choose.one(_MATCHED))
    return [FieldMatch.exact(row.name, value_of(choose, row, ()))]


def _putting(choose: Choices, ports: Sequence[int], later: Sequence[int]) -> tuple[Action, ...]:
    """Put a packet with Ethernet behind headers, the outermost of them Ethernet again."""
    found: list[Action] = []
    if choose.percent(25):
        found.append(Decap())
    elif choose.percent(25):
        found += [
            Encap(choose.one(("mpls", "mpls_mc"))),
            SetMplsLabel(choose.one((3, 77))),
            SetMplsTtl(choose.one((1, 64))),
        ]
        return _ended(choose, ports, later, found)
    for _ in range(choose.weighted(((5, 1), (1, 2)))):
        found.append(_encap_nsh(choose))
        found += [_set_nsh(choose) for _ in range(choose.number(0, 2))]
        if choose.percent(25):
            found.append(DecNshTtl())
    return _ended(choose, ports, later, found)


def _encap_nsh(choose: Choices) -> Encap:
    md_type = choose.one((None, 1, 2, 2))
    if md_type != 2:
        return Encap("nsh", md_type)
    count = choose.number(0, 2)
    tlvs = (NshTlv(choose.one((1, 0x1000)), choose.one((1, 10)), b"\1\2\3\4") for _ in range(count))
    return Encap("nsh", md_type, tuple(tlvs))


def _set_nsh(choose: Choices) -> Action:
    row = field(choose.one(_WRITTEN))
    return SetField(row, value_of(choose, row, ()), None, row.name)


def _ended(
    choose: Choices, ports: Sequence[int], later: Sequence[int], found: list[Action]
) -> tuple[Action, ...]:
    """``found``, and then Ethernet and an output, at times in a clone."""
    found.append(Encap("ethernet"))
    if choose.percent(60):
        found.append(_set_address(choose))
    if choose.percent(20):
        # A port that the packet came in by would not send it.
        found.append(Output(ReservedPort.IN_PORT))
        return (Clone(tuple(found)), Output(choose.one(ports)))
    found.append(Output(choose.one(ports)))
    if choose.percent(30):
        found.append(Controller(0xFFFF))
    if choose.percent(30):
        found += [Output(ReservedPort.IN_PORT), Decap(), Resubmit(None, BARE_TABLE)]
    elif later and choose.percent(30):
        found += [Output(ReservedPort.IN_PORT), Resubmit(None, choose.one(later))]
    return tuple(found)


def _set_address(choose: Choices) -> Action:
    row = field(choose.one(("eth_src", "eth_dst")))
    return SetField(row, choose.one(MACS), None, row.name)


def _taking(choose: Choices, ports: Sequence[int]) -> tuple[Action, ...]:
    """Take Ethernet off a network service header, and often that off what is in it."""
    found: list[Action] = []
    if choose.percent(30):
        found.append(_set_nsh(choose))
    found.append(Decap(choose.one((None, None, (1, ETH_TYPE_NSH)))))
    if choose.percent(20):
        found.append(DecNshTtl())
    if choose.percent(60):
        found.append(Decap())
        if choose.percent(30):
            # It is known what that is once it has been looked at.
            return (*found, Output(choose.one(ports)), Resubmit(None, BARE_TABLE))
    return (*found, Resubmit(None, BARE_TABLE))


def _bare(
    choose: Choices, ports: Sequence[int], later: Sequence[int], kind: int
) -> tuple[Match, tuple[Action, ...]]:
    """What is done to packets of one type, which ``kind`` says: an EtherType, or Ethernet."""
    terms: list[MatchTerm] = [FieldMatch.exact("packet_type", _OF_ETHERTYPE | kind)]
    if kind == _ETHERNET:
        # A dump does not tell a match on the packet type of Ethernet from none.
        terms = [FieldMatch(field("eth_src"), _LOCAL_MAC, _LOCAL_MAC, "eth_src")]
    found: list[Action] = []
    if choose.percent(30):
        to = subfield(field("reg0"), 0, 32)
        found.append(Move(subfield(field("packet_type"), 0, 32), to))
    if choose.percent(20):
        found.append(Load(choose.one((1, 7)), subfield(field("reg1"), 0, 32)))
    if kind == _ETHERNET:
        found.append(Output(choose.one(ports)))
        if later and choose.percent(60):
            found.append(Resubmit(None, choose.one(later)))
        return Match(tuple(terms)), tuple(found)
    if kind == ETH_TYPE_NSH:
        terms += _nsh_terms(choose)
        found += [choose.one((DecNshTtl(), _set_nsh(choose))) for _ in range(choose.number(0, 2))]
        if choose.percent(50):
            return Match(tuple(terms)), (*found, Decap(), Resubmit(None, BARE_TABLE))
    if kind in (ETH_TYPE_IP, ETH_TYPE_IPV6):
        found += [DecTtl(), ModField("mod_nw_ecn", choose.number(0, 3))][: choose.number(0, 2)]
    if kind == ETH_TYPE_IP and choose.percent(40):
        found.append(ModField(choose.one(("mod_nw_src", "mod_nw_dst")), choose.one(IPV4S)))
    if choose.percent(20):
        found.append(Controller(0xFFFF))
    found += [Encap("ethernet"), _set_address(choose), Output(choose.one(ports))]
    return Match(tuple(terms)), tuple(found)
