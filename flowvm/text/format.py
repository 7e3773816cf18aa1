"""Flows to text, as ``ovs-ofctl dump-flows`` writes them.

A line that Open vSwitch 3.1 printed comes back byte for byte. Any other comes back in a normal
form: a leading space; statistics in Open vSwitch's order, each followed by ``, ``; a space before
``actions=``; no spaces between the terms of the match; numbers in the base that ovs-ofctl uses for
that field; names of fields as the text spelled them; the default priority left out.

How single terms look is said in :mod:`flowvm.text.terms`; which terms Open vSwitch would choose, in
:mod:`flowvm.text.canonical`.
"""

from __future__ import annotations

from collections.abc import Iterator

from flowvm.actions.base import format_actions
from flowvm.flow import DEFAULT_PRIORITY, Flow, Match
from flowvm.text.canonical import canonical_match, format_words
from flowvm.text.terms import format_term
from flowvm.text.values import format_table

__all__ = [
    "canonical_match",
    "format_actions",
    "format_flow",
    "format_learned",
    "format_match",
    "format_words",
]

_UNKNOWN_COUNT = 0xFFFF_FFFF_FFFF_FFFF


def format_match(match: Match, priority: int = DEFAULT_PRIORITY) -> str:
    """``priority=1,in_port=2``: the priority unless it is the default, and the terms."""
    terms = [format_term(term) for term in match.terms]
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
    match = format_match(flow.match, flow.priority)
    actions = f"actions={format_actions(flow.actions)}"
    return f" {''.join(_statistics(flow))}{match}{' ' if match else ''}{actions}"


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
