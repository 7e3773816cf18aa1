"""The way of a packet through a network as text: a tree of hops, each hop's trace, the answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from flowvm.flow import ReservedPort
from flowvm.network.journey import End, Exit, Fate, Hop, Journey, Via
from flowvm.network.wiring import Place
from flowvm.report.text import format_trace

_INDENT = 2
_RULE = "=" * 79

_ENDS = {
    Fate.DELIVERED: "Delivered to",
    Fate.OUTSIDE: "Leaves the network:",
    Fate.CONTROLLER: "To the controller",
    Fate.UNSUPPORTED: "Cannot be told",
    Fate.LOOP: "Goes round",
    Fate.DROPPED: "Dropped",
}
"""How the sentences begin, in the order in which they are told."""

_VIA = {
    Via.START: "in by",
    Via.PATCH: "in by patch port",
    Via.TUNNEL: "in by tunnel port",
    Via.LINK: "in by",
}


def format_journey(journey: Journey) -> str:
    """All of it. What is told of a hop is what a trace of that bridge alone tells."""
    return "\n".join(_lines(journey))


def answer_lines(journey: Journey) -> list[str]:
    """Where the copies of the packet ended, a sentence each; those that got somewhere first."""
    order = list(_ENDS)
    told = Counter((end.fate, _sentence(end)) for end in journey.ends())
    sentences = sorted(told.items(), key=lambda entry: order.index(entry[0][0]))
    lines = [] if Fate.DELIVERED in {fate for fate, _ in told} else ["Delivered to nobody."]
    for (_, sentence), times in sentences:
        lines.append(f"{sentence}{f' ({times} times)' if times > 1 else ''}.")
    return lines


def _lines(journey: Journey) -> Iterator[str]:
    yield "Hops:"
    yield from _tree(journey.first)
    for hop in journey.hops():
        if hop.repeats is None:
            yield ""
            yield _RULE
            yield f"{hop.number}. {_at(hop)}"
            yield _RULE
            yield ""
            yield format_trace(hop.trace) if hop.trace else f"Verdict: {hop.reason}"
            yield from _around(hop)
    yield ""
    yield _RULE
    yield from answer_lines(journey)


def _tree(first: Hop) -> Iterator[str]:
    """The hops, each followed by its exits; a packet that goes round is not followed further."""
    waiting: list[tuple[int, Hop | Exit]] = [(1, first)]
    while waiting:
        depth, some = waiting.pop()
        indent = " " * _INDENT * depth
        if isinstance(some, Exit):
            yield f"{indent}{_out(some)}"
            waiting += [(depth + 1, hop) for hop in reversed(some.hops)]
        elif some.repeats is not None:
            rest = sum(exit is None for _, exit in some.ways()) - 1
            more = f", and {rest} hops more" if rest else ""
            yield f"{indent}{some.number}. {_at(some)}: as in hop {some.repeats}{more}"
        else:
            yield f"{indent}{some.number}. {_at(some)}{_end_of(some)}"
            waiting += [(depth + 1, exit) for exit in reversed(some.exits)]


def _around(hop: Hop) -> Iterator[str]:
    """What tunnels put around the frames that leave by them."""
    for exit in hop.exits:
        if exit.outer is not None and exit.outer_frame is not None:
            outer = exit.outer
            bits = [f"tos={outer.tos:#x}", f"ttl={outer.ttl}"]
            bits += ["df"] * outer.dont_fragment + ["csum"] * outer.csum
            yield f"Tunnel {exit.label}: {outer}, {', '.join(bits)}: {len(exit.outer_frame)} bytes"
            yield f"        {exit.outer_frame.hex()}"


def _end_of(hop: Hop) -> str:
    return f": {_said(hop.verdict, hop.reason)}" if not hop.exits else ""


def _said(verdict: str, reason: str) -> str:
    return reason if reason.startswith(verdict) else f"{verdict}: {reason}"


def _at(hop: Hop) -> str:
    return f"{hop.place.node}, {hop.place.bridge}: {_VIA[hop.via]} {_port(hop.place, hop.name)}"


def _out(exit: Exit) -> str:
    port = f"out by {_port(exit.place, exit.name)}"
    outer = f", {exit.outer}" if exit.outer else ""
    if exit.fate is Fate.ON:
        return f"{port}{outer}"
    if exit.fate is Fate.CONTROLLER:
        return exit.text
    tag = f", tag {exit.vlan}" if exit.vlan else ""
    return f"{port}{outer}: {exit.fate.value}: {exit.text}{tag}"


def _port(place: Place, name: str | None) -> str:
    number = ReservedPort.NAMES.get(place.port, str(place.port))
    return number if name in (None, number) else f"{name} ({number})"


def _sentence(end: End) -> str:
    begin, place = _ENDS[end.fate], end.hop.place
    where = f"on {place.node}, bridge {place.bridge}"
    match end.fate:
        case Fate.DELIVERED | Fate.OUTSIDE:
            assert end.exit is not None
            tag = f"tag {end.exit.vlan}" if end.exit.vlan else "without a tag"
            return f"{begin} {end.text}, {tag} {where}"
        case Fate.CONTROLLER:
            return f"{begin} {where}"
        case Fate.DROPPED:
            return f"{begin} {where}: {end.text.removeprefix('dropped by ')}"
    return f"{begin} {where}: {end.text}"
