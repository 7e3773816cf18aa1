"""Fragments that connection tracking holds, as far as no oracle is needed."""

from __future__ import annotations

from scapy.layers.inet import IP, UDP, fragment
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from flowvm.clock import SECOND
from flowvm.packet.batch import PacketBatch
from flowvm.packet.frames import Frames
from flowvm.pipeline.result import Result
from flowvm.switch import Switch
from flowvm.text.dump import parse_dump

FLOWS = """
ip actions=ct(table=1)
table=1,ct_state=+new actions=output:2
table=1,priority=1 actions=output:3
"""


def switch() -> Switch:
    return Switch(parse_dump(FLOWS).flows, {f"p{number}": number for number in range(1, 4)})


def pieces(n_bytes: int = 2000, ident: int = 1) -> list[bytes]:
    datagram = IP(src="10.0.0.1", dst="10.0.0.2", id=ident) / UDP(sport=1000, dport=53)
    parts = fragment(datagram / Raw(bytes(n_bytes)), 1480)
    return [bytes(Ether(src="52:54:00:00:00:0a", dst="52:54:00:00:00:0b") / part) for part in parts]


def send(tables: Switch, *frames: bytes, time: int = 0) -> Result:
    return tables.run(PacketBatch.of(Frames.of(frames), 1, time))


def test_a_fragment_that_waits_is_held() -> None:
    """It is neither dropped nor put out, and a trace says so."""
    tables = switch()
    first, last = pieces()
    told = tables.trace(first, in_port=1)
    assert (told.verdict, told.ports) == ("held", ())
    assert told.reason == "held by connection tracking for the other fragments of its datagram"
    result = send(tables, first, last)
    assert [str(result.verdict(number)) for number in (0, 1)] == ["held", "output"]
    assert result.emissions.packet.tolist() == [1, 1]
    assert list(result.emissions.frames) == [first, last]


def test_a_trace_leaves_what_is_held_alone() -> None:
    """The last fragment can be traced as often as one likes."""
    tables = switch()
    first, last = pieces()
    send(tables, first)
    for _ in range(2):
        assert tables.trace(last, in_port=1).ports == (2, 2)
    twin = tables.copy()
    assert send(tables, last).port_counts() == {2: 2}
    assert send(twin, last).port_counts() == {2: 2}


def test_what_open_vswitch_may_have_forgotten_is_unsupported() -> None:
    """It throws old fragments away once a minute, and when depends on when it was started."""
    tables = switch()
    first, last = pieces()
    send(tables, first)
    result = send(tables, last, time=26 * SECOND)
    assert str(result.verdict(0)) == "unsupported"
    assert "more than 25 s after the first" in result.reason(0)


def test_flows_count_every_fragment_once_a_table() -> None:
    """The first table when it comes in, the next when it goes on."""
    tables = switch()
    send(tables, *pieces(4000))
    counts = {str(flow.table or 0): flow.n_packets for flow in tables.flows() if flow.n_packets}
    assert counts == {"0": 3, "1": 3}
