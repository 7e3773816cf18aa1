"""Strategies for matches, actions, flows and whole tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import strategies as st

from flowvm.actions.base import Action
from flowvm.flow import FieldMatch, Flow, Match, MatchTerm, ProtocolMatch
from flowvm.testing.acting import choose_actions
from flowvm.testing.choices import Choices
from flowvm.testing.clauses import choose_clauses
from flowvm.testing.kinds import Kind
from flowvm.testing.layered import MOST_FLOWS, choose_layered
from flowvm.testing.matching import choose_match
from flowvm.testing.setting import Family, Setting
from flowvm.testing.teaching import Teacher
from flowvm.testing.tracked import choose_ct_to, choose_tracked_terms, is_invalid, is_tracked
from flowvm.testing.values import TLV_MAP, value_of

PORTS = (1, 2, 3, 4)
"""The ports that generated flows and packets use unless told."""

_TIMEOUTS = (0, 0, 0, 0, 0, 1, 3, 5, 10)
_OPENFLOW = ("1.0", "1.5")
_TRACKING_FLOWS = 6
_NOT_VARIED = ("vlan", "dl_", "eth_type", "ct_")
_SHARE = 22  # percent of tables with a family of actions
_TRACKABLE = ("ip", "tcp", "udp", "ip", "icmp", "tcp6", "ipv6", "ipv6", "udp6", "icmp6")


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
    groups: Sequence[int] = (),
    meters: Sequence[int] = (),
    least: int = 1,
    most: int = 12,
) -> list[Flow]:
    """Whole flow tables: what Open vSwitch would take, and treat in one way only.

    No two flows of one priority overlap, learned ones included and clauses of conjunctive matches
    apart; actions have the fields they name; every flow has a cookie of its own. Resubmits mostly
    go forward, but some go in circles.

    ``ports`` are the ports that packets come from and go to. ``openflow`` is "1.0" or "1.5", the
    dialect that says it all (either if ``None``). ``learn``, ``floods`` (``ALL``, ``FLOOD`` and
    ``NORMAL``, whose order is not defined) and ``timeouts`` leave those out if false. ``groups``
    and ``meters`` are IDs of groups and meters that the switch has. ``least`` and ``most`` bound
    the number of flows.
    """
    choose = Choices(draw)
    modern = choose.one(_checked(openflow)) == "1.5"
    return choose_table(choose, ports, modern, learn, floods, timeouts, groups, meters, least, most)


def choose_table(
    choose: Choices,
    ports: Sequence[int] = PORTS,
    modern: bool = True,
    learn: bool = True,
    floods: bool = True,
    timeouts: bool = True,
    groups: Sequence[int] = (),
    meters: Sequence[int] = (),
    least: int = 1,
    most: int = 12,
) -> list[Flow]:
    """A whole flow table in OpenFlow 1.5 if ``modern``, else 1.0: see :func:`tables`."""
    count = choose.number(1, 4)
    numbers = (0, *sorted(choose.some((1, 2, 3, 10, 20, 253), count - 1, count - 1)))
    timeouts = timeouts and choose.percent(35)
    families = frozenset(family for family in Family if choose.percent(_SHARE))
    priorities: dict[tuple[int, int], None] = {}
    teacher = Teacher(numbers, lambda table, priority: (table, priority) in priorities)
    planned: list[tuple[int, int, Match, tuple[Action, ...] | None]] = []
    trackers: dict[int, int] = {}
    tracking = Family.TRACKING in families and count > 1 and least + _TRACKING_FLOWS <= most
    layered = Family.LAYERS in families and modern and not tracking and least + MOST_FLOWS <= most
    reserved = _TRACKING_FLOWS if tracking else MOST_FLOWS if layered else 0
    for _ in range(choose.number(least, most - reserved)):
        if len(planned) >= most:
            break
        table = choose.one((0, *numbers))
        priority = _priority(choose, table, priorities)
        match = _match_of_table(choose, ports, Family.TRACKING in families)
        siblings = _siblings(choose, match, ports) if choose.percent(15) else [match]
        some = siblings[: most - len(planned)]
        planned += [(table, priority, one, None) for one in some]
    if tracking:
        # Most of what follows a connection is behind a rule that tracks packets.
        beyond = choose.one(numbers[1:])
        for word in ("ip", "ipv6")[: choose.number(1, 2)]:
            trackers[len(planned)] = beyond
            # Mostly above the others, or few packets were tracked.
            highest = 65535 if choose.percent(70) else None
            planned.append((0, _priority(choose, 0, priorities, highest), _of_protocol(word), None))
        for _ in range(choose.number(2, 4)):
            match = _of_protocol(choose.one(_TRACKABLE))
            match = Match((*choose_tracked_terms(choose, Kind.of(match)), *match.terms))
            planned.append((beyond, _priority(choose, beyond, priorities), match, None))
    for table, match, actions in choose_layered(choose, ports, numbers) if layered else ():
        planned.append((table, _priority(choose, table, priorities), match, actions))
    # They come last, so that a table shrinks to one without them.
    for _ in range(choose.number(1, 2) if Family.CONJUNCTIONS in families else 0):
        clauses = list(choose_clauses(choose, 1 + len(planned), ports))
        table = choose.one((0, *numbers))
        priority = _priority(choose, table, priorities)
        for match, clause in clauses if len(planned) + len(clauses) <= most else ():
            above = priority if clause else _priority(choose, table, priorities)
            planned.append((table, above, match, None if clause is None else (clause,)))

    found = []
    for number, (table, priority, match, settled) in enumerate(planned):
        if settled is not None:
            found.append(Flow(match, settled, priority, table, number + 1))
            continue
        later = tuple(other for other in numbers if other > table)
        setting = Setting(
            Kind.of(match),
            modern,
            ports,
            numbers,
            later,
            teacher.choose if learn else None,
            floods=floods,
            groups=groups if Family.GROUPS in families else (),
            meters=meters if Family.METERS in families else (),
            families=families,
            tracked=is_tracked(match),
            invalid=is_invalid(match),
        )
        flow = _flow(choose, match, setting, table, priority, number + 1, timeouts=timeouts)
        if number in trackers:
            flow = replace(flow, actions=(choose_ct_to(choose, setting, trackers[number]),))
        found.append(flow)
    return found


def _priority(
    choose: Choices, table: int, taken: dict[tuple[int, int], None], wanted: int | None = None
) -> int:
    """A priority that no other flow of the table has; it is ``taken`` from now on.

    ``wanted``, or the next one that is free.
    """
    priority = choose.one((32768, 1, 2, 10, 100, 65535, 0)) if wanted is None else wanted
    while (table, priority) in taken:
        priority -= 1 if priority > 200 else -1
    taken[table, priority] = None
    return priority


def _of_protocol(word: str) -> Match:
    return Match((ProtocolMatch(word),))


def _match_of_table(choose: Choices, ports: Sequence[int], tracked: bool) -> Match:
    """Often a wide match, so that packets get through to later tables."""
    if tracked and choose.percent(40):
        return choose_match(choose, ports, most=1, protocol=choose.one(_TRACKABLE))
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
    free = [
        term for term in free if not term.spelling.startswith(("vlan", "dl_", "eth_type", "ct_"))
    ]
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
