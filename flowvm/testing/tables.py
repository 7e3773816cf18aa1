"""Strategies for matches, actions, flows and whole tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import strategies as st

from flowvm.actions.base import Action
from flowvm.flow import FieldMatch, Flow, Match, MatchTerm
from flowvm.testing.acting import Setting, choose_actions
from flowvm.testing.choices import Choices
from flowvm.testing.kinds import Kind
from flowvm.testing.matching import choose_match
from flowvm.testing.teaching import Teacher
from flowvm.testing.values import TLV_MAP, value_of

PORTS = (1, 2, 3, 4)
"""The ports that generated flows and packets use unless told."""

_TIMEOUTS = (0, 0, 0, 0, 0, 1, 3, 5, 10)
_OPENFLOW = ("1.0", "1.5")


def _checked(openflow: str | None) -> tuple[str, ...]:
    if openflow is None:
        return _OPENFLOW[::-1]
    if openflow not in _OPENFLOW:
        raise ValueError(f"openflow={openflow!r} is none of {', '.join(_OPENFLOW)}")
    return (openflow,)


@st.composite
def matches(
    draw: st.DrawFn, *, ports: Sequence[int] = PORTS, protocol: str | None = None, most: int = 4
) -> Match:
    """Matches with the prerequisites of what they match, and random masks.

    ``ports`` are the values for ``in_port``; ``protocol`` is a protocol word (``"tcp6"``; ``""``
    for none) that all of them begin with; ``most`` bounds the number of fields.
    """
    return choose_match(Choices(draw), ports, most=most, protocol=protocol)


@st.composite
def actions(
    draw: st.DrawFn,
    match: Match | None = None,
    *,
    ports: Sequence[int] = PORTS,
    tables: Sequence[int] = (0,),
    openflow: str | None = None,
    learn: bool = True,
    most: int = 5,
) -> tuple[Action, ...]:
    """Action lists that are valid for packets of ``match``.

    ``ports`` are what they output to, ``tables`` (ascending) where they resubmit and learn to: as
    if from a flow in the first of them. ``openflow`` is "1.0" or "1.5", either if ``None``: the
    dialect in which Open vSwitch takes the list. ``most`` bounds the length roughly.
    """
    choose = Choices(draw)
    teacher = Teacher(tables, lambda *_: False)
    setting = Setting(
        Kind.of(match or Match()),
        choose.one(_checked(openflow)) == "1.5",
        ports,
        tables,
        tables[1:],
        teacher.choose if learn else None,
    )
    return choose_actions(choose, setting, most)


@st.composite
def flows(
    draw: st.DrawFn,
    *,
    table: int = 0,
    ports: Sequence[int] = PORTS,
    tables: Sequence[int] = (0,),
    openflow: str | None = None,
    learn: bool = True,
) -> Flow:
    """Single flows of ``table``; the other arguments are those of :func:`actions`."""
    choose = Choices(draw)
    modern = choose.one(_checked(openflow)) == "1.5"
    match = choose_match(choose, ports)
    later = tuple(number for number in tables if number > table)
    teacher = Teacher(tables, lambda *_: False)
    setting = Setting(
        Kind.of(match), modern, ports, tables, later, teacher.choose if learn else None
    )
    return _flow(choose, match, setting, table, choose.number(0, 65535), 0)


@st.composite
def tables(
    draw: st.DrawFn,
    *,
    ports: Sequence[int] = PORTS,
    openflow: str | None = None,
    learn: bool = True,
    floods: bool = True,
    timeouts: bool = True,
    least: int = 1,
    most: int = 12,
) -> list[Flow]:
    """Whole flow tables: what Open vSwitch would take, and treat in one way only.

    No two flows of one priority overlap, learned ones included; actions have the fields they name;
    every flow has a cookie of its own. Resubmits mostly go forward, but some go in circles.

    ``ports`` are the ports that packets come from and go to. ``openflow`` is "1.0" or "1.5", the
    dialect that says it all (either if ``None``). ``learn``, ``floods`` (``ALL`` and ``FLOOD``,
    whose order is not defined) and ``timeouts`` leave those out if false. ``least`` and ``most``
    bound the number of flows.
    """
    choose = Choices(draw)
    modern = choose.one(_checked(openflow)) == "1.5"
    count = choose.number(1, 4)
    numbers = (0, *sorted(choose.some((1, 2, 3, 10, 20, 253), count - 1, count - 1)))
    timeouts = timeouts and choose.percent(35)
    priorities: dict[tuple[int, int], None] = {}
    teacher = Teacher(numbers, lambda table, priority: (table, priority) in priorities)
    planned: list[tuple[int, int, Match]] = []
    for _ in range(choose.number(least, most)):
        if len(planned) >= most:
            break
        table = choose.one((0, *numbers))
        priority = choose.one((32768, 1, 2, 10, 100, 65535, 0))
        while (table, priority) in priorities:
            priority -= 1 if priority > 200 else -1
        priorities[table, priority] = None
        match = _match_of_table(choose, ports)
        siblings = _siblings(choose, match, ports) if choose.percent(15) else [match]
        planned += [(table, priority, one) for one in siblings[: most - len(planned)]]

    found = []
    for number, (table, priority, match) in enumerate(planned):
        later = tuple(other for other in numbers if other > table)
        setting = Setting(
            Kind.of(match),
            modern,
            ports,
            numbers,
            later,
            teacher.choose if learn else None,
            floods=floods,
        )
        flow = _flow(choose, match, setting, table, priority, number + 1, timeouts=timeouts)
        found.append(flow)
    return found


def _match_of_table(choose: Choices, ports: Sequence[int]) -> Match:
    """Often a wide match, so that packets get through to later tables."""
    wide = choose.number(0, 3)
    if wide == 0:
        return Match()
    if wide == 1:
        return Match((FieldMatch.exact("in_port", choose.one(ports)),))
    return choose_match(choose, ports)


def _siblings(choose: Choices, match: Match, ports: Sequence[int]) -> list[Match]:
    """Matches on the same bits with other values: no packet matches two of them."""
    rows = [term for term in match.terms if isinstance(term, FieldMatch)]
    free = [term for term in rows if term.field.implied == 0 and term.field.width > 8]
    free = [term for term in free if not term.spelling.startswith(("vlan", "dl_", "eth_type"))]
    if not free:
        return [match]
    varied = choose.one(free)
    row = TLV_MAP.place(varied.field)
    values: dict[int, None] = {}
    for _ in range(choose.number(2, 8)):
        values[value_of(choose, row, ports) & varied.mask] = None
        values[choose.bits(row.width) & varied.mask] = None
    found = []
    for value in values:
        terms: list[MatchTerm] = [
            replace(varied, value=value) if term is varied else term for term in match.terms
        ]
        found.append(Match(tuple(terms)))
    return found


def _flow(
    choose: Choices,
    match: Match,
    setting: Setting,
    table: int,
    priority: int,
    cookie: int,
    *,
    timeouts: bool = True,
) -> Flow:
    return Flow(
        match,
        choose_actions(choose, setting),
        priority,
        table,
        cookie,
        idle_timeout=choose.one(_TIMEOUTS) if timeouts else 0,
        hard_timeout=choose.one(_TIMEOUTS) if timeouts else 0,
        flags=("send_flow_rem",) if choose.percent(5) else (),
    )
