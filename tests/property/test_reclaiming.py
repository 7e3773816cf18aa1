"""Learned rules that are gone leave nothing behind, and nobody notices that they are forgotten."""

from __future__ import annotations

import pytest

from flowvm.clock import SECOND
from flowvm.packet.batch import PacketBatch
from flowvm.packet.frames import Frames
from flowvm.pipeline import reclaim
from flowvm.switch import Switch
from flowvm.text.dump import parse_dump
from flowvm.text.flow_mods import parse_flow_mods
from tests.property.test_expiry import test_batches_of_any_size_agree

__all__ = ["test_batches_of_any_size_agree"]

TABLES = """\
 table=0, in_port=1 actions=learn(table=1,hard_timeout=2,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],\
output:NXM_OF_IN_PORT[]),resubmit(,1)
 table=1, priority=0 actions=output:9
"""


@pytest.fixture(autouse=True)
def _any_number_is_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget as soon as there is anything to forget."""
    monkeypatch.setattr(reclaim, "MANY", 1)


def send(to: Switch, second: int, senders: range) -> list[int]:
    """The ports by which packets leave: one from each of ``senders`` to the first of them."""
    first, *_ = macs = [bytes([2, 0, 0, 0]) + sender.to_bytes(2, "big") for sender in senders]
    frames = Frames.of([first + mac + b"\x08\x06" + bytes(46) for mac in macs])
    batch = PacketBatch.of(frames, 1, second * SECOND)
    return [int(port) for port in to.run(batch).emissions.port]


def test_memory_is_bounded_by_what_is_there() -> None:
    """However many rules have come and gone."""
    switch = Switch(parse_dump(TABLES).flows)
    for second in range(0, 200, 3):
        assert send(switch, second, range(second, second + 10)) == [9]
    assert len(switch.state.rules) <= 2 + 3 * 10
    assert [len(subtable.index) <= 30 for subtable in switch.state.learned.values()] == [True]
    learned = [flow for flow in switch.flows() if flow.table == 1 and flow.priority]
    assert len(learned) == 10


def test_what_is_left_is_what_it_was() -> None:
    """Its match, actions, counters and timeouts, and it is found."""
    switch, others = Switch(parse_dump(TABLES).flows), range(100, 140)
    send(switch, 0, others)
    send(switch, 1, range(2, 4))
    send(switch, 2, range(2, 5))
    before = len(switch.state.rules)
    switch.advance(int(2.5 * SECOND))
    text = [str(flow) for flow in switch.flows()]
    switch.run(PacketBatch.of(Frames.of([]), 1))
    assert len(switch.state.rules) < before
    assert [str(flow) for flow in switch.flows()] == text
    assert len(text) == 2 + 3


def test_flow_mods_keep_their_rules() -> None:
    """A rule that was put in is known by its number, so nothing is forgotten."""
    switch = Switch(parse_dump(TABLES).flows)
    send(switch, 0, range(10))
    switch.apply(parse_flow_mods("add table=1,priority=7,in_port=1 actions=output:5"))
    switch.advance(20 * SECOND)
    assert send(switch, 21, range(1)) == [5]
    assert sum(flow.priority == 7 for flow in switch.flows()) == 1
