"""``flowvm trace``."""

from __future__ import annotations

from typing import Annotated

import typer

from flowvm.cli.bridge import BridgeOptions
from flowvm.cli.inputs import InputError, refuse, syntax_errors
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


def trace(
    flows: NetworkFlows = None,
    br_flow: Annotated[
        str,
        typer.Argument(
            metavar="BR_FLOW",
            help="The packet, as for ofproto/trace: in_port=1,tcp,dl_dst=...,nw_src=... "
            "With --frame, only what the frame does not say: in_port, tun_id, reg0, ...",
            show_default=False,
        ),
    ] = "",
    frame: Annotated[
        str | None,
        typer.Option("--frame", metavar="HEX", help="The packet's bytes, in hexadecimal."),
    ] = None,
    in_port: Annotated[
        str | None,
        typer.Option("--in-port", metavar="PORT", help="Where it comes in: a number or a name."),
    ] = None,
    ports: Ports = None,
    groups: Groups = None,
    meters: Meters = None,
    vsctl: Vsctl = None,
    fdb: Fdb = None,
    tlv_map: TlvMap = None,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="SECONDS", help="How long after the dump it arrives."),
    ] = None,
    conntrack: Connections = None,
    nat_basis: NatBasis = None,
    ct_next: Annotated[
        list[str] | None,
        typer.Option(
            "--ct-next",
            metavar="FLAGS",
            help="The connection state that the next ct action finds, such as trk,est; "
            "can be given several times. By default what --conntrack says, or trk,new.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of text.")
    ] = False,
    nodes: Nodes = None,
    links: Links = None,
    sender: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="NODE:PORT", help="With --node: the port where it comes in."
        ),
    ] = None,
    capture: Annotated[
        str | None,
        typer.Option(
            "--pcap", metavar="FILE", help="With --node: a capture of packets, one after the other."
        ),
    ] = None,
    lenient: Lenient = False,
) -> None:
    """Tell what happens to a packet, and why: on one bridge, or in the network of several nodes.

    For example: flowvm trace example:br-tun in_port=2,tun_id=0x1,icmp,dl_dst=52:54:00:5e:10:01,
    or flowvm trace --node compute=DIR --node network=DIR --from compute:tap0 icmp,dl_dst=...
    """
    bridge = BridgeOptions(
        ports=ports, tlv_map=tlv_map, groups=groups, meters=meters,
        conntrack=conntrack, vsctl=vsctl, fdb=fdb, nat_basis=nat_basis,
    )  # fmt: skip
    if nodes:
        bridge.refuse("--node")
        refuse("--node", in_port=in_port, ct_next=ct_next)
        if br_flow:
            raise InputError("flowvm: with --node there are no FLOWS, only BR_FLOW")
        from flowvm.cli.trace_network import trace_network

        trace_network(
            nodes, links or (), sender, flows or "", frame, capture, at,
            as_json=as_json, lenient=lenient,
        )  # fmt: skip
        return
    refuse("FLOWS, only with --node", **{"link": links, "from": sender, "pcap": capture})
    if flows is None:
        raise typer.BadParameter("FLOWS is missing")
    if not br_flow and frame is None:
        raise InputError("flowvm: give the packet: BR_FLOW, or --frame HEX")
    from flowvm.arrival import PacketError

    packet = br_flow if frame is None else frame_bytes(frame)
    port = _port(in_port)
    switch = bridge.switch(flows, lenient=lenient)
    try:
        with syntax_errors("BR_FLOW"):
            answer = switch.trace(
                packet,
                br_flow="" if frame is None else br_flow,
                in_port=port,
                at=at,
                ct_next=ct_next or None,
            )
    except PacketError as error:
        raise InputError(f"flowvm: {error}") from None
    if as_json:
        from flowvm.report.json import format_trace_json

        print(format_trace_json(answer))
    else:
        print(answer)


def frame_bytes(digits: str) -> bytes:
    """The bytes of ``--frame``."""
    from flowvm.arrival import parse_frame

    try:
        return parse_frame(digits)
    except ValueError as error:
        raise InputError(f"flowvm: --frame: {error}") from None


def _port(word: str | None) -> int | str | None:
    from flowvm.text.errors import WordError
    from flowvm.text.values import parse_port

    if word is None:
        return None
    try:
        return parse_port(word)
    except WordError as error:
        raise InputError(f"flowvm: --in-port: {error.problem}") from None
