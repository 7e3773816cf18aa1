"""``flowvm replay``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowvm.cli.bridge import BridgeOptions
from flowvm.cli.inputs import STDIN, InputError, label, refuse
from flowvm.cli.options import (
    Connections,
    Fdb,
    Groups,
    Lenient,
    Links,
    Meters,
    NatBasis,
    NetworkFlows,
    Nodes,
    Ports,
    TlvMap,
    Vsctl,
)
from flowvm.cli.streams import reading, writing

if TYPE_CHECKING:
    from flowvm.replay import Tally
    from flowvm.switch import Switch


def replay(
    flows: NetworkFlows = None,
    captures: Annotated[
        list[str] | None,
        typer.Option(
            "--in",
            metavar="PORT=FILE",
            help="A capture (pcap or pcapng, also packed by gzip or xz) of what comes in by a "
            "port (with --node NODE:PORT). May be repeated: packets are merged by their times.",
        ),
    ] = None,
    tunnel: Annotated[
        list[str] | None,
        typer.Option(
            "--tunnel",
            metavar="PORT:FIELDS",
            help="What packets of a port have besides their frames: "
            "2:tun_id=0x1,tun_src=192.0.2.1.",
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Where to put PORT.pcap for what leaves by each port, drops.pcap, flows.txt and "
            "summary.json.",
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--start",
            metavar="T",
            help="Seconds after the dump at which the first packet of the captures arrives. "
            "[default: 0]",
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            "--until",
            metavar="T",
            help="Seconds after the dump at which to stop: later packets are left out, and "
            "flows.txt is as of then.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print summary.json instead of a few lines.")
    ] = False,
    events: Annotated[
        str | None,
        typer.Option(
            "--events",
            metavar="IN.jsonl",
            help="Instead of captures: packets in time order, one a line, "
            '{"time": 0.5, "in_port": 2, "frame": "5254...", "tun_id": "0x1"}.',
        ),
    ] = None,
    out_events: Annotated[
        str | None,
        typer.Option("--out-events", metavar="OUT.jsonl", help="Where to put what leaves."),
    ] = None,
    dump_after: Annotated[
        str | None,
        typer.Option("--dump-after", metavar="FILE", help="Where to put the flows as they end up."),
    ] = None,
    ports: Ports = None,
    groups: Groups = None,
    meters: Meters = None,
    vsctl: Vsctl = None,
    fdb: Fdb = None,
    tlv_map: TlvMap = None,
    conntrack: Connections = None,
    nat_basis: NatBasis = None,
    nodes: Nodes = None,
    links: Links = None,
    lenient: Lenient = False,
) -> None:
    """Run packets through the flows, one after the other, and write down what leaves.

    With --node through the network of several nodes: what is delivered, and where.

    Packets come from captures (--in, --out) or from a file of events (--events, --out-events).
    Learned flows, timeouts and counters carry over from packet to packet. "-" stands for standard
    input or output.
    """
    bridge = BridgeOptions(
        ports=ports, tlv_map=tlv_map, groups=groups, meters=meters,
        conntrack=conntrack, vsctl=vsctl, fdb=fdb, nat_basis=nat_basis,
    )  # fmt: skip
    if nodes:
        bridge.refuse("--node")
        refuse("--node", tunnel=tunnel, dump_after=dump_after)
        if flows is not None:
            raise InputError("flowvm: with --node there are no FLOWS")
        from flowvm.cli.replay_network import replay_network

        replay_network(
            nodes, links or (), captures, out, start, until, events, out_events,
            as_json=as_json, lenient=lenient,
        )  # fmt: skip
        return
    refuse("FLOWS, only with --node", link=links)
    if flows is None:
        raise typer.BadParameter("FLOWS is missing")
    read = partial(bridge.switch, flows, lenient=lenient)
    from_stdin = flows == STDIN or bridge.read_stdin()
    if captures and out is not None:
        refuse("--in", events=events, out_events=out_events, dump_after=dump_after)
        if from_stdin and any(text.endswith(f"={STDIN}") for text in captures):
            raise InputError("flowvm: a capture and flows cannot both come from standard input")
        from flowvm.cli.replay_captures import replay_captures

        switch = read()
        replay_captures(switch, captures, tunnel or (), out, start, until, as_json=as_json)
    elif events is not None and out_events is not None:
        captures_only = {"in": captures, "tunnel": tunnel, "out": out, "start": start}
        refuse("--events", **captures_only, until=until, json=as_json or None)
        if from_stdin and events == STDIN:
            raise InputError("flowvm: events and flows cannot both come from standard input")
        _replay_events(read, events, out_events, dump_after)
    else:
        raise InputError("flowvm: give --in and --out, or --events and --out-events")


def _replay_events(
    read: Callable[[], Switch], events: str, out_events: str, dump_after: str | None
) -> None:
    for other, what in ((events, "the events"), (dump_after, "the flows")):
        if other is not None and _same_file(out_events, other):
            raise InputError(f"flowvm: {out_events} cannot be for {what} and for what leaves")
    switch = read()

    from flowvm.replay import EventError, Tally, emission_lines
    from flowvm.replay import replay as run

    tally = Tally()
    with reading(events) as source, writing(out_events) as out:
        try:
            for first, result in run(switch, source, file=label(events)):
                tally.add(result)
                out.writelines(f"{line}\n" for line in emission_lines(first, result, switch.names))
        except EventError as error:
            raise InputError(str(error)) from None
    if dump_after is not None:
        from flowvm.text.format import format_flows

        with writing(dump_after) as out:
            out.writelines(f"{line}\n" for line in format_flows(switch.flows()))
    _tell(tally)


def _tell(tally: Tally) -> None:
    """Say on standard error which packets came to no proper end."""
    for (verdict, why), count in tally.stopped.items():
        first = tally.first[verdict, why]
        print(
            f"flowvm: {verdict}: {why}: {count} of {tally.packets} packets, the first is {first}",
            file=sys.stderr,
        )


def _same_file(one: str, other: str) -> bool:
    try:
        return one != STDIN and Path(one).is_file() and Path(one).samefile(other)
    except OSError:
        return False
