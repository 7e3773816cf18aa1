"""The way of a packet through a network as a JSON object, for programs to read."""

from __future__ import annotations

import json
from typing import Any

from flowvm.clock import SECOND
from flowvm.network.journey import End, Exit, Hop, Journey
from flowvm.network.tunnels import CarriedOption, Outer
from flowvm.report.json import trace_object
from flowvm.report.network_text import answer_lines
from flowvm.trace import port_label


def journey_object(journey: Journey) -> dict[str, Any]:
    """The journey in types that JSON has.

    ``hops`` are the bridges that copies came to, by number: each is what a trace of that bridge
    alone is, with ``node``, ``bridge``, how it came in, and ``exits``, the outputs with where they
    led. ``ends`` are where the ways ended, ``answer`` says it in sentences.
    """
    return {
        "time": journey.time / SECOND,
        "hops": [_hop(hop) for hop in journey.hops()],
        "ends": [end_object(end) for end in journey.ends()],
        "answer": answer_lines(journey),
    }


def format_journey_json(journey: Journey) -> str:
    """The object as text, over several lines."""
    return json.dumps(journey_object(journey), indent=2, ensure_ascii=False)


def end_object(end: End) -> dict[str, Any]:
    """One end: what became of a copy, where it was last, and where it got to or why not."""
    exit = end.exit
    return {
        "fate": end.fate.value,
        "node": end.hop.place.node,
        "bridge": end.hop.place.bridge,
        "hop": end.hop.number,
        "port": None if exit is None else port_label(exit.place.port),
        "name": None if exit is None else exit.name,
        "vlan": None if exit is None else exit.vlan,
        "text": end.text,
    }


def _hop(hop: Hop) -> dict[str, Any]:
    told = {"verdict": hop.verdict, "reason": hop.reason}
    return {
        "number": hop.number,
        "node": hop.place.node,
        "bridge": hop.place.bridge,
        "in_port": port_label(hop.place.port),
        "in_name": hop.name,
        "via": hop.via.value,
        "repeats": hop.repeats,
        "frame": hop.frame.hex(),
        **(told if hop.trace is None else trace_object(hop.trace)),
        "exits": [_exit(exit) for exit in hop.exits],
    }


def _exit(exit: Exit) -> dict[str, Any]:
    return {
        "port": port_label(exit.place.port),
        "name": exit.name,
        "fate": exit.fate.value,
        "text": exit.text,
        "vlan": exit.vlan,
        "frame": exit.frame.hex(),
        "outer": None if exit.outer is None else _outer(exit.outer, exit.outer_frame or b""),
        "hops": [hop.number for hop in exit.hops],
    }


def _outer(outer: Outer, frame: bytes) -> dict[str, Any]:
    return {
        "type": outer.kind,
        "src": str(outer.src),
        "dst": str(outer.dst),
        "key": None if outer.key is None else f"{outer.key:#x}",
        "tos": outer.tos,
        "ttl": outer.ttl,
        "df": outer.dont_fragment,
        "csum": outer.csum,
        **({"options": [_option(option) for option in outer.options]} if outer.options else {}),
        "frame": frame.hex(),
    }


def _option(option: CarriedOption) -> dict[str, Any]:
    kind = option.kind
    return {
        "field": f"tun_metadata{option.index}",
        "class": None if kind is None else f"{kind[0]:#x}",
        "type": None if kind is None else f"{kind[1]:#x}",
        "data": option.data.hex(),
    }
