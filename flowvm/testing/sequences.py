"""Strategies for packets that come one after the other, and batches of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hypothesis import strategies as st

from flowvm.actions.learn import Learn
from flowvm.flow import Flow
from flowvm.packet.batch import PacketBatch
from flowvm.pipeline.compile import all_actions
from flowvm.testing.choices import Choices
from flowvm.testing.frames import Packet, Source, frames_of, source_of
from flowvm.testing.headers import answered
from flowvm.testing.tables import PORTS
from flowvm.tlv_map import NO_TLV_MAP, TlvMap

MILLISECOND = 1_000_000
SHORT_STEPS = (0, 0, 0, 1, 500, 1000, 1001, 2500)
"""Times (ms) that may pass between two packets whatever the flows are."""


def packet_sequences(
    table: Iterable[Flow] = (),
    *,
    ports: Sequence[int] = PORTS,
    metadata: bool = True,
    mutate: bool = True,
    min_length: int = 14,
    min_size: int = 1,
    max_size: int = 8,
) -> st.SearchStrategy[tuple[Packet, ...]]:
    """Packets aimed at the rules of ``table``, in the order of their times.

    Between two of them no time passes, or some, or just as much as one of the timeouts of the
    table (and of what it learns), or a millisecond more. Some packets come again later, and some
    come back: with addresses and ports swapped, from another port. The other arguments are those of
    :func:`~flowvm.testing.packets`.
    """
    flows = tuple(table)
    source = source_of(flows, ports, metadata, mutate, min_length)
    return _packet_sequences(source, (*SHORT_STEPS, *limits_of(flows)), min_size, max_size)


@st.composite
def _packet_sequences(
    draw: st.DrawFn, source: Source, steps: Sequence[int], min_size: int, max_size: int
) -> tuple[Packet, ...]:
    return choose_sequence(Choices(draw), source, steps, min_size, max_size)


def choose_sequence(
    choose: Choices,
    source: Source,
    steps: Sequence[int],
    min_size: int,
    max_size: int,
    start: int = 0,
) -> tuple[Packet, ...]:
    """Packets from ``source``, the first at ``start`` (ns), later ones after ``steps`` (ms)."""
    found: list[Packet] = []
    time = start
    for _ in range(choose.number(min_size, max_size)):
        if found and choose.percent(50):
            time += choose.one(steps) * MILLISECOND
        if found and choose.percent(25):
            found.append(_again(choose, choose.one(found), source.ports, time))
        else:
            found.append(source.packet(choose, time))
    return tuple(found)


def limits_of(flows: Iterable[Flow]) -> tuple[int, ...]:
    """Times (ms) in which a flow, or one that it learns, just does not end, and just does."""
    return tuple(limit for ends in _timeouts(flows) for limit in (1000 * ends, 1000 * ends + 1))


def batch_of(packets: Sequence[Packet], tlv_map: TlvMap = NO_TLV_MAP) -> PacketBatch:
    """``packets``, which come in the order of their times, as a batch that a switch runs.

    ``tlv_map`` is the switch's (``switch.names.tlv_map``); packets without ``tun_metadata`` need
    none. Raises ValueError if their times go back, and for ``tun_metadata`` it has no room for.
    """
    return PacketBatch.of(
        frames_of(packets),
        [packet.in_port for packet in packets],
        [packet.time for packet in packets],
        [packet.fields for packet in packets],
        tlv_map=tlv_map,
    )


def _again(choose: Choices, packet: Packet, ports: Sequence[int], time: int) -> Packet:
    frame = answered(packet.frame) if choose.percent(60) else packet.frame
    in_port = choose.one(ports) if choose.percent(50) else packet.in_port
    return Packet(frame, in_port, time, packet.fields)


def _timeouts(flows: Iterable[Flow]) -> list[int]:
    """The distinct timeouts of flows and of what they learn, in seconds."""
    found: set[int] = set()
    for flow in flows:
        found |= {flow.idle_timeout, flow.hard_timeout}
        for action in all_actions(flow.actions):
            if isinstance(action, Learn):
                found |= {action.idle_timeout, action.hard_timeout}
                found |= {action.fin_idle_timeout, action.fin_hard_timeout}
    return sorted(found - {0})
