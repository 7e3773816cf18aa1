"""Flows that one packet replaces more than once by ``learn``, on both switches.

Open vSwitch lets what a replaced flow counts be counted by the flow that took its place, but not by
one that took the place of that. A packet goes on hitting the flow that was there when it came.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from flowvm.packet.batch import PacketBatch
from flowvm.packet.frames import Frames
from flowvm.switch import Switch
from flowvm.text.dump import parse_dump
from tests.oracle import Bridge

pytestmark = pytest.mark.oracle

FRAME = bytes.fromhex("0000000000020000000000010800") + bytes(46)
OTHER = bytes.fromhex("0000000000020000000000030800") + bytes(46)

HIT = "resubmit(,10)"


def teach(value: int, options: str = "") -> str:
    """An action that teaches the row of table 10 to set reg1 to ``value``."""
    return f"learn(table=10,{options}NXM_NX_REG5[],load:{value}->NXM_NX_REG1[])"


IDLE, COOKIE = "idle_timeout=9,", "cookie=1,"
HISTORIES = {
    "hit, replaced": f"{HIT},{teach(1)}",
    "replaced, hit": f"{teach(1)},{HIT}",
    "replaced twice, hit": f"{teach(1)},{teach(2)},{HIT}",
    "replaced, hit, replaced": f"{teach(1)},{HIT},{teach(2)}",
    "replaced, hit, replaced, hit": f"{teach(1)},{HIT},{teach(2)},{HIT}",
    "hit, replaced twice": f"{HIT},{teach(1)},{teach(2)}",
    "hit, replaced twice, hit": f"{HIT},{teach(1)},{teach(2)},{HIT}",
    "replaced three times, hit": f"{teach(1)},{teach(2)},{teach(3)},{HIT}",
    "replaced by the same, hit": f"{teach(1)},{teach(1)},{HIT}",
    "replaced, back again, hit": f"{teach(1)},{teach(2)},{teach(1)},{HIT}",
    "replaced twice, hit twice": f"{teach(1)},{HIT},{HIT},{teach(2)},{HIT},{HIT}",
    "idle, replaced twice, hit": f"{teach(1, IDLE)},{teach(2, IDLE)},{HIT}",
    "unlike timeouts, hit": f"{teach(1, IDLE)},{teach(1)},{teach(1)},{HIT}",
    "unlike cookies, hit": f"{teach(1, COOKIE)},{teach(1, 'cookie=2,')},{HIT}",
    "one cookie, hit": f"{teach(1, COOKIE)},{teach(1, COOKIE)},{HIT}",
    "one cookie and none, hit": f"{teach(1, COOKIE)},{teach(1)},{HIT}",
    "unlike flags, hit": f"{teach(1, 'send_flow_rem,')},{teach(1)},{teach(1)},{HIT}",
    "other rows too": f"{teach(1)},{teach(2)},load:1->NXM_NX_REG5[],{teach(3)},{HIT},{HIT}",
    "on the way through another table": f"{teach(1)},resubmit(,2),{HIT}",
}

MILLISECOND = 1_000_000
COUNTED = ("table", "cookie", "n_packets", "n_bytes", "idle_age", "hard_age")

ADDED = [("OpenFlow10", ""), ("OpenFlow15", "idle_timeout=30,")]


def assert_same_counts(
    bridge: Bridge, flows: str, frames: list[bytes], version: str = "OpenFlow10"
) -> None:
    """Both have the same counters and ages after ``frames``, one each 1,001 ms.

    flowvm takes them as a batch, and again one by one.
    """
    bridge.ofctl("add-flows", "-", "-O", version, text=flows)
    switch = Switch(parse_dump(bridge.dump_flows("OpenFlow15")).flows)
    twin = switch.copy()
    times = [1001 * MILLISECOND * n for n in range(len(frames))]
    switch.run(PacketBatch.of(Frames.of(frames), 1, times))
    for frame, time in zip(frames, times, strict=True):
        if time:
            bridge.warp(1001)
        bridge.send(1, frame)
        twin.run(PacketBatch.of(Frames.of([frame]), 1, time))
        theirs = _counts(bridge.dump_flows().splitlines()[1:])
        assert _counts(map(str, twin.flows())) == theirs, f"at {time // MILLISECOND} ms"
    assert _counts(map(str, switch.flows())) == theirs


def _counts(flows: Iterable[str]) -> list[tuple[str, ...]]:
    found = []
    for flow in flows:
        head = flow.partition(" actions=")[0]
        words = dict(word.partition("=")[::2] for word in head.replace(",", " ").split())
        found.append((*(words.get(name, "") for name in COUNTED), head.split()[-1]))
    return sorted(found)


@pytest.mark.parametrize("actions", HISTORIES.values(), ids=HISTORIES)
def test_learned_row(bridge: Bridge, actions: str) -> None:
    """A row that packets made counts what Open vSwitch counts."""
    flows = f"in_port=1,actions={actions}\ntable=2,actions={teach(2)}"
    assert_same_counts(bridge, flows, [FRAME] * 4)


@pytest.mark.parametrize("actions", HISTORIES.values(), ids=HISTORIES)
@pytest.mark.parametrize(("version", "options"), ADDED)
def test_added_row(bridge: Bridge, actions: str, version: str, options: str) -> None:
    """So does one that was there before, whose timeouts and flags stay what they are.

    OpenFlow 1.0 adds flows with the flag reset_counts.
    """
    row = f"table=10,{options}reg5=0,actions=load:1->NXM_NX_REG1[]"
    flows = f"in_port=1,actions={actions}\ntable=2,actions={teach(2)}\n{row}"
    assert_same_counts(bridge, flows, [FRAME] * 4, version)


def test_packets_of_several_senders(bridge: Bridge) -> None:
    """Hits are lost by row: packets that teach another one in between change nothing."""
    learn = "learn(table=10,NXM_OF_ETH_SRC[],load:{}->NXM_NX_REG1[])"
    flows = f"""
        actions={learn.format(1)},{HIT},{learn.format(2)},{HIT}
        table=10,priority=1,actions=drop
    """
    assert_same_counts(bridge, flows, [FRAME, OTHER, OTHER, FRAME, FRAME, OTHER])


def test_row_of_the_packets_own_tag(bridge: Bridge) -> None:
    """A table that a packet goes through twice, with another tag, teaches one row twice."""
    learn = "learn(table=10,NXM_NX_REG12[1..16],load:NXM_OF_VLAN_TCI[]->NXM_NX_REG5[14..29])"
    flows = f"""
        actions=resubmit(,2),resubmit(,2)
        table=2,actions={learn},mod_vlan_vid:5,{HIT}
    """
    assert_same_counts(bridge, flows, [FRAME] * 3)


def test_cookie_that_another_packet_has_set(bridge: Bridge) -> None:
    """It takes a hit to be lost that the row had another cookie before both lessons."""
    cookies = [f"cookie={number}," for number in (1, 2)]
    flows = f"""
        dl_src=00:00:00:00:00:03,actions={teach(1, cookies[0])}
        dl_src=00:00:00:00:00:01,actions={teach(1, cookies[0])},{teach(1, cookies[1])},{HIT}
    """
    assert_same_counts(bridge, flows, [OTHER, FRAME, FRAME, OTHER, FRAME, FRAME, FRAME])
