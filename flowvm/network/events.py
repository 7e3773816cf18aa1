"""Replaying events through a network: packets one a line, in time order, and what becomes of them.

As :mod:`flowvm.replay`, but a packet says the node and the interface that it comes ``in`` by.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from flowvm.flow import Port
from flowvm.network.journey import Fate, Journey
from flowvm.network.running import Network
from flowvm.network.wiring import NetworkError, Place
from flowvm.replay import EventError, EventReader, batch_of
from flowvm.text.errors import WordError
from flowvm.trace import port_label


def replay_events(
    network: Network, lines: Iterable[str], *, file: str = "<events>"
) -> Iterator[Journey]:
    """Run the packets that ``lines`` describe, one after the other.

    ``file`` is the name that errors give. Raises EventError for a line that cannot be used; packets
    of lines before it have then been run.
    """
    place: Place | None = None

    def port(name: Port) -> int:
        nonlocal place
        try:
            place = network.wiring.place(str(name))
        except NetworkError as error:
            raise WordError(str(name), str(error), "a node and an interface") from None
        return place.port

    reader = EventReader(port, file, network.now, "in")
    for number, line in enumerate(lines, start=1):
        if line.strip():
            event = reader.read(number, line)
            assert place is not None
            yield network.send(place, batch_of([event]))


def journey_lines(number: int, journey: Journey) -> Iterator[str]:
    """One JSON object for each end of a copy that left a bridge, as text without an end of line.

    ``number`` is the packet's, counting from 0. A packet that no copy left is not told.
    """
    for end in journey.ends():
        exit = end.exit
        if exit is not None and end.fate is not Fate.ON:
            told = {
                "packet": number,
                "node": exit.place.node,
                "bridge": exit.place.bridge,
                "port": port_label(exit.place.port),
                "name": exit.name,
                "fate": end.fate.value,
                "text": end.text,
                "vlan": exit.vlan,
                "frame": exit.frame.hex(),
                "outer": None if exit.outer_frame is None else exit.outer_frame.hex(),
            }
            yield json.dumps(told, ensure_ascii=False)


__all__ = ["EventError", "journey_lines", "replay_events"]
