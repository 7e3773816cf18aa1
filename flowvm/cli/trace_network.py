"""``flowvm trace --node``: a packet through a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from flowvm.cli.inputs import InputError, syntax_errors
from flowvm.cli.nodes import read_network

if TYPE_CHECKING:
    from flowvm.network.journey import Journey
    from flowvm.network.running import Network
    from flowvm.network.wiring import Place
    from flowvm.packet.batch import PacketBatch


def trace_network(
    nodes: Sequence[str],
    links: Sequence[str],
    sender: str | None,
    br_flow: str,
    frame: str | None,
    capture: str | None,
    at: str | None,
    *,
    as_json: bool,
    lenient: bool,
) -> None:
    """Follow a packet, or those of a capture one after the other, and print what becomes of it."""
    if sender is None:
        raise InputError("flowvm: --node needs --from NODE:PORT")
    if frame is not None and capture is not None:
        raise InputError("flowvm: --frame does not go with --pcap")
    if not br_flow and frame is None and capture is None:
        raise InputError("flowvm: give the packet: BR_FLOW, --frame HEX or --pcap FILE")

    network = read_network(nodes, links, lenient=lenient)
    place = place_of(network, "--from", sender)
    packets = (
        iter([_packet(network, place, br_flow, frame, at)])
        if capture is None
        else _captured(network, place, br_flow, capture, at)
    )
    journeys = (network.send(place, packet, record=True) for packet in packets)
    if as_json:
        _print_json(journeys, several=capture is not None)
        return
    for number, journey in enumerate(journeys):
        if number:
            print()
        print(journey)


def place_of(network: Network, option: str, text: str) -> Place:
    """The port that an option names."""
    from flowvm.network.wiring import NetworkError

    try:
        place = network.wiring.place(text)
    except NetworkError as error:
        raise InputError(f"flowvm: {option}: {error}") from None
    if network.state(place.spot) is None:
        raise InputError(
            f"flowvm: {option}: the flows of {place.bridge} of {place.node} are not known: "
            f"ovs-ofctl dump-flows {place.bridge} tells them"
        )
    return place


def _packet(
    network: Network, place: Place, br_flow: str, frame: str | None, at: str | None
) -> PacketBatch:
    from flowvm.arrival import PacketError, arrive
    from flowvm.cli.trace import frame_bytes

    state = network.state(place.spot)
    assert state is not None
    packet = br_flow if frame is None else frame_bytes(frame)
    try:
        with syntax_errors("BR_FLOW"):
            return arrive(state, packet, "" if frame is None else br_flow, place.port, at)
    except PacketError as error:
        raise InputError(f"flowvm: {error}") from None


def _captured(
    network: Network, place: Place, br_flow: str, capture: str, at: str | None
) -> Iterator[PacketBatch]:
    """The packets of a capture, the first of which arrives at ``at``, 0 by default."""
    from flowvm.arrival import nanoseconds
    from flowvm.network.replay import captured_packets
    from flowvm.packet.pcap.read import CaptureError

    if br_flow:
        raise InputError("flowvm: BR_FLOW does not go with --pcap")
    errors: list[CaptureError] = []
    try:
        begin = network.now if at is None else nanoseconds(at)
        for packet in captured_packets([capture], begin, errors):
            yield packet.batch(place.port)
    except CaptureError as error:
        raise InputError(str(error)) from None
    except ValueError as error:
        raise InputError(f"flowvm: --at: {error}") from None
    if errors:
        raise InputError(str(errors[0]))


def _print_json(journeys: Iterator[Journey], *, several: bool) -> None:
    import json

    from flowvm.report.network_json import journey_object

    found = [journey_object(journey) for journey in journeys]
    print(json.dumps(found if several else found[0], indent=2, ensure_ascii=False))
