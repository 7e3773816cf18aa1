"""Flows to text, as ``ovs-ofctl dump-flows`` writes them.

A line that Open vSwitch 3.1 printed comes back byte for byte. Any other comes back in a normal
form: a leading space; statistics in Open vSwitch's order, each followed by ``, ``; a space before
``actions=``; no spaces between the terms of the match; numbers in the base that ovs-ofctl uses for
that field; names of fields as the text spelled them; the default priority left out.

How single terms look is said in :mod:`flowvm.text.terms`; which terms Open vSwitch would choose, in
:mod:`flowvm.text.canonical`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from flowvm.actions.base import NO_ACTIONS, Action, format_actions
from flowvm.flow import DEFAULT_PRIORITY, Flow, Match, MatchTerm
from flowvm.text.canonical import canonical_match, format_words
from flowvm.text.terms import format_term
from flowvm.text.values import format_table

__all__ = [
    "canonical_match",
    "format_actions",
    "format_flow",
    "format_flows",
    "format_learned",
    "format_match",
    "format_words",
]

_UNKNOWN_COUNT = 0xFFFF_FFFF_FFFF_FFFF
_REMEMBERED = 1 << 16

Part = TypeVar("Part")


def format_match(match: Match, priority: int = DEFAULT_PRIORITY) -> str:
    """``priority=1,in_port=2``: the priority unless it is the default, and the terms."""
    return _match(match, priority, format_term)


def _match(match: Match, priority: int, term: Callable[[MatchTerm], str]) -> str:
    terms = [term(one) for one in match.terms]
    if priority != DEFAULT_PRIORITY:
        terms.insert(0, f"priority={priority}")
    return ",".join(terms)


def _statistics(flow: Flow) -> Iterator[str]:
    if flow.cookie is not None:
        yield f"cookie={flow.cookie:#x}, "
    if flow.duration is not None:
        yield f"duration={flow.duration:f}s, "
    if flow.table is not None:
        yield f"table={format_table(flow.table)}, "
    for name, count in (("n_packets", flow.n_packets), ("n_bytes", flow.n_bytes)):
        if count is not None:
            yield f"{name}={'?' if count == _UNKNOWN_COUNT else count}, "
    if flow.idle_timeout:
        yield f"idle_timeout={flow.idle_timeout}, "
    if flow.hard_timeout:
        yield f"hard_timeout={flow.hard_timeout}, "
    for flag in flow.flags:
        yield f"{flag} "
    if flow.importance:
        yield f"importance={flow.importance}, "
    if flow.idle_age is not None:
        yield f"idle_age={flow.idle_age}, "
    if flow.hard_age is not None:
        yield f"hard_age={flow.hard_age}, "


def format_flow(flow: Flow) -> str:
    """The flow as a line of ``ovs-ofctl dump-flows``, leading space included."""
    return _line(flow, format_term, str)


def format_flows(flows: Iterable[Flow]) -> Iterator[str]:
    """The line of each flow; terms and actions that are in several of them are written once."""
    term, action = _once(format_term), _once(str)
    for flow in flows:
        yield _line(flow, term, action)


def _line(flow: Flow, term: Callable[[MatchTerm], str], action: Callable[[Action], str]) -> str:
    match = _match(flow.match, flow.priority, term)
    actions = ",".join(map(action, flow.actions)) or NO_ACTIONS
    return f" {''.join(_statistics(flow))}{match}{' ' if match else ''}actions={actions}"


def _once(write: Callable[[Part], str]) -> Callable[[Part], str]:
    """``write``, which remembers what it made of an object, as far as there is room."""
    known: dict[int, tuple[Part, str]] = {}

    def text(part: Part) -> str:
        found = known.get(id(part))
        if found is None:
            if len(known) == _REMEMBERED:
                known.clear()
            # The object is kept too, so that no other comes to be where it was.
            found = known[id(part)] = part, write(part)
        return found[1]

    return text


def format_learned(flow: Flow) -> str:
    """The flow as ``ofproto/trace`` shows one that ``learn`` adds."""
    parts = [f"table={format_table(flow.table or 0)}"]
    match = format_match(flow.match)
    if match:
        parts.append(match)
    parts.append(f"priority={flow.priority}")
    if flow.cookie:
        parts.append(f"cookie={flow.cookie:#x}")
    if flow.idle_timeout:
        parts.append(f"idle={flow.idle_timeout}")
    if flow.hard_timeout:
        parts.append(f"hard={flow.hard_timeout}")
    parts.extend(flow.flags)
    parts.append(f"actions={format_actions(flow.actions)}")
    return " ".join(parts)
