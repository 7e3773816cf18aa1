"""Steady traffic: learn finds its flow as it would make it, batch after batch."""

from __future__ import annotations

import pytest

from flowvm.clock import SECOND
from flowvm.packet.batch import PacketBatch
from flowvm.packet.frames import Frames
from flowvm.pipeline import learning
from flowvm.switch import Switch
from flowvm.text.dump import parse_dump

LEARN = (
    "learn(table=1,hard_timeout=10,cookie={},NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],"
    "load:1->NXM_NX_REG0[])"
)


def switch(*ports: str) -> Switch:
    """A switch that learns senders: for packets from port i + 1, with the i-th cookie."""
    rules = [
        f" in_port={number} actions={LEARN.format(cookie)}"
        for number, cookie in enumerate(ports, 1)
    ]
    return Switch(parse_dump("\n".join(rules)).flows)


def send(to: Switch, port: int, senders: int, seconds: float) -> None:
    """A batch of two packets from each of some senders."""
    macs = [bytes([2, 0, 0, 0, 0, sender]) for sender in range(senders)] * 2
    frames = Frames.of([bytes(6) + mac + b"\x08\x06" + bytes(46) for mac in macs])
    to.run(PacketBatch.of(frames, port, int(seconds * SECOND)))


def learned(of: Switch) -> list[tuple[int | None, float | None]]:
    """Cookie and hard age (seconds) of learned flows."""
    return [(flow.cookie, flow.hard_age) for flow in of.flows() if flow.table == 1]


def test_only_refreshes_take_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is taught again and again is looked up no more."""
    some = switch("0x5")
    for moment in range(3):
        send(some, 1, 4, moment)
    monkeypatch.setattr(learning, "apply", None)
    send(some, 1, 4, 3)
    send(some, 1, 3, 7)
    some.advance(12 * SECOND)
    assert learned(some) == [(5, 5)] * 3 + [(5, 9)]


def test_hard_timeouts_begin_again_with_each_batch() -> None:
    """A flow that is refreshed stays, one that is not goes in its time."""
    some = switch("0x5")
    for moment in range(0, 40, 8):
        send(some, 1, 3 if moment < 16 else 2, moment)
    assert len(learned(some)) == 2


def test_a_flow_that_went_is_learned_anew() -> None:
    """Although it was known before."""
    some = switch("0x5")
    for moment in (0, 1, 2, 30, 31):
        send(some, 1, 2, moment)
    assert len(learned(some)) == 2
    some.advance(42 * SECOND)
    assert learned(some) == []


def test_the_cookie_is_that_of_whoever_taught_last() -> None:
    """Two rules that teach the same flows, each in its turn."""
    some = switch("0x5", "0x6")
    for moment in range(0, 10, 2):
        send(some, 1, 2, moment)
        send(some, 1, 2, moment)
        assert {cookie for cookie, _ in learned(some)} == {5}
        send(some, 2, 2, moment + 1)
        send(some, 2, 2, moment + 1)
        assert {cookie for cookie, _ in learned(some)} == {6}
