"""flowvm: predict, test and replay what Open vSwitch does with a packet, offline.

>>> import flowvm
>>> switch = flowvm.load("example:br-tun")
>>> trace = switch.trace("in_port=1,ip,dl_vlan=2,dl_dst=ff:ff:ff:ff:ff:ff")
>>> trace.verdict, trace.tables, trace.ports
('output', (0, 1, 21), (2,))

``print(trace)`` tells all of it, in the layout of ``ofproto/trace``.

Names are imported when they are first used, so that ``import flowvm`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowvm.flow import Flow, Match
    from flowvm.packet.batch import PacketBatch
    from flowvm.packet.frames import Frames
    from flowvm.pipeline.result import Result, Verdict
    from flowvm.switch import Switch, load
    from flowvm.text.dump import parse_dump
    from flowvm.text.errors import FlowSyntaxError
    from flowvm.text.parse import parse_flow, parse_match
    from flowvm.text.show import parse_show
    from flowvm.trace import Emission, Step, Trace

__version__ = "0.1.0"

__all__ = [
    "Emission",
    "Flow",
    "FlowSyntaxError",
    "Frames",
    "Match",
    "PacketBatch",
    "Result",
    "Step",
    "Switch",
    "Trace",
    "Verdict",
    "__version__",
    "load",
    "parse_dump",
    "parse_flow",
    "parse_match",
    "parse_show",
]

_HOMES = {
    "Emission": "flowvm.trace",
    "Flow": "flowvm.flow",
    "FlowSyntaxError": "flowvm.text.errors",
    "Frames": "flowvm.packet.frames",
    "Match": "flowvm.flow",
    "PacketBatch": "flowvm.packet.batch",
    "Result": "flowvm.pipeline.result",
    "Step": "flowvm.trace",
    "Switch": "flowvm.switch",
    "Trace": "flowvm.trace",
    "Verdict": "flowvm.pipeline.result",
    "load": "flowvm.switch",
    "parse_dump": "flowvm.text.dump",
    "parse_flow": "flowvm.text.parse",
    "parse_match": "flowvm.text.parse",
    "parse_show": "flowvm.text.show",
}


def __getattr__(name: str) -> Any:
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
