"""Writing a part of a field whose rest Open vSwitch does not keep, or cannot see.

What becomes of the rest depends on what the rules on the way match; that is not predicted.
"""

from __future__ import annotations

import pytest

from flowvm.packet.batch import PacketBatch
from flowvm.packet.frames import Frames
from flowvm.switch import Switch
from flowvm.text.dump import parse_dump
from tests.oracle import Bridge

from .ct_pair import Pair
from .side_by_side import MODERN

pytestmark = pytest.mark.oracle

NEIGHBOR = (
    "020000000003020000000001" "86dd" "6030000200203a15"
    "fe800000000000000000000000000001fe800000000000000000000000000002"
    "88007816{reserved:08x}fe8000000000000000000000000000020201020000000003"
)  # fmt: skip
UDP = (
    "020000000003020000000001" "0800" "45230020008100{offset:02x}4011662b0a0000020a000001"
    "00019da5000c0000ba6aa9fa"
)  # fmt: skip
ND_RESERVED = "actions=load:0x15->ERICOXM_OF_ICMPV6_ND_RESERVED[21..31],output:2"
PORT = "udp actions=push:NXM_NX_REG0[0..7],pop:NXM_OF_UDP_DST[0..7],output:2"
WHOLE = "udp actions=push:NXM_NX_REG0[0..15],pop:NXM_OF_UDP_DST[],output:2"


@pytest.mark.parametrize(
    ("flow", "frame"),
    [
        (f"icmp6,icmp_type=136,icmp_code=0 {ND_RESERVED}", NEIGHBOR.format(reserved=0)),
        (f"icmp6,icmp_type=136,icmp_code=0 {ND_RESERVED}", NEIGHBOR.format(reserved=0x60000000)),
        (PORT, UDP.format(offset=0)),
        (WHOLE, UDP.format(offset=0x80)),
    ],
)
def test_what_is_written_whole_or_known_is_as_open_vswitch_writes_it(
    bridge: Bridge, flow: str, frame: str
) -> None:
    """So is a part, if nothing else is set, and a whole that nobody has looked at."""
    pair = Pair(bridge, flow)
    pair.send(1, bytes.fromhex(frame))
    pair.compare_counters(MODERN)


@pytest.mark.parametrize(
    ("flow", "frame", "reason"),
    [
        (
            f"icmp6,icmp_type=136,icmp_code=0 {ND_RESERVED}",
            NEIGHBOR.format(reserved=3),
            "setting a part of nd_reserved, the rest of which is not 0,",
        ),
        (PORT, UDP.format(offset=0x80), "setting a part of a port in a later fragment"),
    ],
)
def test_what_depends_on_the_rules_on_the_way_is_unsupported(
    bridge: Bridge, flow: str, frame: str, reason: str
) -> None:
    """As loaded by both versions of OpenFlow, which tell one of the actions by other words."""
    bridge.add_flows(flow)
    for version in (MODERN, "OpenFlow10"):
        switch = Switch(parse_dump(bridge.dump_flows(version)).flows)
        result = switch.run(PacketBatch.of(Frames.of([bytes.fromhex(frame)]), 1, 0))
        assert result.reason(0) == reason


def test_open_vswitch_clears_what_nobody_looks_at(bridge: Bridge) -> None:
    """The rest of nd_reserved is kept by it if an action has to do with it, and else is not."""
    frame = bytes.fromhex(NEIGHBOR.format(reserved=3))
    look = "move:ERICOXM_OF_ICMPV6_ND_RESERVED[]->NXM_NX_REG1[],"
    found = []
    for actions in ("actions=", f"actions={look}"):
        bridge.reset()
        flow = f"icmp6,icmp_type=136,icmp_code=0 {ND_RESERVED}"
        bridge.add_flows(flow.replace("actions=", actions))
        (emission,) = bridge.send(1, frame)
        found.append(emission.frame[58:62].hex())
    assert found == ["02a00000", "02a00003"]
