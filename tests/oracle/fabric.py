"""Several bridges of the real switch, joined by patch ports: one datapath, one translation."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from .bridge import Bridge
from .server import OpenVSwitch
from .unixctl import Call

_FEW = 2
"""With so many ports there is no telling in which order a packet is flooded to them."""

_FENCE: tuple[Call, ...] = (("version", ()),) * 24
_PURGE: Call = ("revalidator/purge", ())
_DATAPATH_FLOWS: Call = ("dpctl/dump-flows", ("--names",))


@dataclass(frozen=True)
class Left:
    """Frames that left, as (bridge, port, frame), and whether in that order.

    Otherwise they are sorted by bridge and port.
    """

    frames: tuple[tuple[str, int, bytes], ...]
    ordered: bool


class Fabric:
    """Bridges by name, with dummy ports of these numbers; a context manager that removes them.

    `patches` are pairs of (bridge, number); port `n` of bridge `b` is called `b-n`. The
    `flood_orders` are those of NORMAL.
    """

    def __init__(
        self,
        switch: OpenVSwitch,
        ports: Mapping[str, tuple[int, ...]],
        patches: tuple[tuple[tuple[str, int], tuple[str, int]], ...] = (),
    ) -> None:
        self.switch = switch
        self.bridges: dict[str, Bridge] = {
            name: switch.add_bridge(name, {f"{name}-{number}": number for number in numbers})
            for name, numbers in ports.items()
        }
        self.flood_orders = {
            name: bridge.flood_order()
            for name, bridge in self.bridges.items()
            if len(bridge.ports) > _FEW
        }
        for one, other in patches:
            for (bridge, number), (peer, peer_number) in ((one, other), (other, one)):
                port = f"{bridge}-{number}"
                switch.vsctl(
                    "add-port", bridge, port, "--", "set", "interface", port,
                    "type=patch", f"ofport_request={number}", f"options:peer={peer}-{peer_number}",
                )  # fmt: skip
                self.flood_orders.setdefault(bridge, []).append(number)
        for made in self.bridges.values():
            # Also what bridges of these names have sent before.
            made.reset()
        self._places = {
            port: (name, number)
            for name, bridge in self.bridges.items()
            for number, port in bridge.ports.items()
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for name in self.bridges:
            self.switch.remove_bridge(name)

    def reset(self) -> None:
        """Forget all flows, and what was learned, tracked and captured."""
        for bridge in self.bridges.values():
            bridge.reset()

    def send(self, bridge: str, port: int, frame: bytes) -> Left:
        """Let a frame arrive on a port, and return what leaves all bridges."""
        receive: Call = ("netdev-dummy/receive", (f"{bridge}-{port}", frame.hex()))
        answers = self.switch.ctl.pipeline([receive, *_FENCE, _DATAPATH_FLOWS, _PURGE])
        left = {
            self.bridges[name].ports[number]: deque(frames)
            for name in self.bridges
            for number, frames in self.bridges[name].left().items()
        }
        counts = {name: len(frames) for name, frames in sorted(left.items())}
        order = self.bridges[bridge].order(answers[-2], counts, frozenset(self._places))
        sequence = order if order is not None else tuple(Counter(counts).elements())
        frames = tuple((*self._places[name], left[name].popleft()) for name in sequence)
        return Left(frames, order is not None)
