"""``flowvm replay --node``: packets through a network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from flowvm.cli.inputs import InputError, label, refuse
from flowvm.cli.nodes import read_network
from flowvm.cli.streams import reading, writing
from flowvm.cli.trace_network import place_of

if TYPE_CHECKING:
    from flowvm.network.running import Network


def replay_network(
    nodes: Sequence[str],
    links: Sequence[str],
    captures: Sequence[str] | None,
    out: str | None,
    start: str | None,
    until: str | None,
    events: str | None,
    out_events: str | None,
    *,
    as_json: bool,
    lenient: bool,
) -> None:
    """Replay ``NODE:PORT=FILE`` captures into a directory, or events into a file."""
    if captures and out is not None:
        refuse("--in", events=events, out_events=out_events)
        network = read_network(nodes, links, lenient=lenient)
        _replay_captures(network, captures, out, start, until, as_json=as_json)
    elif events is not None and out_events is not None:
        refuse("--events", out=out, start=start, until=until, json=as_json or None)
        refuse("--events", **{"in": captures})
        network = read_network(nodes, links, lenient=lenient)
        _replay_events(network, events, out_events)
    else:
        raise InputError("flowvm: give --in and --out, or --events and --out-events")


def _replay_captures(
    network: Network,
    captures: Sequence[str],
    out: str,
    start: str | None,
    until: str | None,
    *,
    as_json: bool,
) -> None:
    from flowvm.arrival import nanoseconds
    from flowvm.packet.pcap.read import CaptureError

    inputs = []
    for capture in captures:
        name, _, file = capture.partition("=")
        if not (name and file):
            raise InputError(f'flowvm: --in: "{capture}" is not NODE:PORT=FILE')
        inputs.append((place_of(network, "--in", name), file))
    try:
        begin = 0 if start is None else nanoseconds(start)
        end = None if until is None else nanoseconds(until)
    except ValueError as error:
        raise InputError(f"flowvm: {error}") from None

    from flowvm.network.replay import replay_captures
    from flowvm.report.network_replay import format_summary

    try:
        summary, errors = replay_captures(network, inputs, out, start=begin, until=end)
    except CaptureError as error:
        raise InputError(str(error)) from None
    print(
        json.dumps(summary, indent=2, ensure_ascii=False) if as_json else format_summary(summary),
        end="\n" if as_json else "",
    )
    if errors:
        raise InputError("\n".join(map(str, errors)))


def _replay_events(network: Network, events: str, out_events: str) -> None:
    from flowvm.network.events import EventError, journey_lines, replay_events

    with reading(events) as source, writing(out_events) as out:
        try:
            for number, journey in enumerate(replay_events(network, source, file=label(events))):
                out.writelines(f"{line}\n" for line in journey_lines(number, journey))
        except EventError as error:
            raise InputError(str(error)) from None
