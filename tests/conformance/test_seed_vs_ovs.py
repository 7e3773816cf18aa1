"""The pipelines of a Neutron node's br-tun, scripted: what a cloud does all day, on both switches.

Port 1 leads to the virtual machines of the node, port 2 into the tunnel to other nodes. Frames
from the tunnel teach table 20 where their sender is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from flowvm.examples import read_source
from flowvm.packet.batch import PacketBatch
from flowvm.packet.frames import Frames
from flowvm.switch import Switch
from flowvm.text.dump import parse_dump
from tests.oracle import Bridge

pytestmark = pytest.mark.oracle

VM, TUNNEL = 1, 2
MILLISECOND = 1_000_000
LOCAL_MAC, REMOTE_MAC = "52540000aa01", "52540000bb02"
BROADCAST = "ffffffffffff"
IP = "0800" + "4500001c00010000401166ce0a0000010a00000100010001000800 00".replace(" ", "")


@dataclass
class Both:
    """flowvm and Open vSwitch with the same flows, at the same time."""

    bridge: Bridge
    switch: Switch
    now: int = 0

    @classmethod
    def load(cls, bridge: Bridge, dump: str) -> Both:
        bridge.add_flows("\n".join(str(flow) for flow in parse_dump(dump).flows))
        return cls(bridge, Switch(parse_dump(bridge.dump_flows()).flows))

    def wait(self, milliseconds: int) -> None:
        self.bridge.warp(milliseconds)
        self.now += milliseconds

    def send(self, port: int, frame: str, tun_id: int | None = None) -> list[tuple[int, str]]:
        """The ports and frames (hexadecimal) that leave, which are the same on both."""
        raw = bytes.fromhex(frame)
        fields = {} if tun_id is None else {"tun_id": tun_id}
        entry = self.bridge.entry_port(port, fields) if fields else port
        theirs = [(e.port, e.frame.hex()) for e in self.bridge.send(entry, raw)]
        batch = PacketBatch.of(Frames.of([raw]), port, self.now * MILLISECOND, [fields])
        emissions = self.switch.run(batch).emissions
        ports = emissions.port.tolist()
        assert [(p, emissions.frames[i].hex()) for i, p in enumerate(ports)] == theirs
        return theirs

    def learned(self) -> list[str]:
        """The learned flows, which are the same in both dumps, as is everything else."""
        self.switch.advance(self.now * MILLISECOND)
        ours = sorted(map(str, self.switch.flows()))
        theirs = self.bridge.dump_flows().splitlines()[1:]
        assert ours == sorted(theirs)
        return [flow for flow in ours if "table=20" in flow and "dl_dst" in flow]


@dataclass(frozen=True)
class Node:
    """A node's br-tun, and the local tag it has for the network with tunnel ID 1."""

    name: str
    tag: int

    def dump(self, request: pytest.FixtureRequest) -> str:
        if self.name == "example":
            text = read_source("example:br-tun")
        else:
            captures: Path = request.getfixturevalue("captures")
            text = (captures / f"seed-{self.name}-br-tun.txt").read_text(encoding="utf-8")
        # The example comes with a learned row; here the tables begin without.
        lines = [line for line in text.splitlines() if "dl_dst=52:54" not in line]
        if not any("in_port=2" in line for line in lines):
            # The network node's dump lost the row of its tunnel, whose packets table 2 counted.
            lines.append("priority=1,in_port=2 actions=resubmit(,2)")
        return "\n".join(lines)

    def tagged(self, dst: str, src: str) -> str:
        return dst + src + f"8100{self.tag:04x}" + IP


@pytest.fixture(
    params=[
        Node("example", 2),
        pytest.param(Node("computenode", 2), marks=pytest.mark.captures),
        pytest.param(Node("networknode", 1), marks=pytest.mark.captures),
    ],
    ids=lambda node: node.name,
)
def node(request: pytest.FixtureRequest) -> Node:
    chosen = request.param
    assert isinstance(chosen, Node)
    return chosen


@pytest.fixture
def both(node: Node, bridge: Bridge, request: pytest.FixtureRequest) -> Both:
    return Both.load(bridge, node.dump(request))


def test_a_frame_from_the_tunnel_is_tagged_and_teaches_where_its_sender_is(
    node: Node, both: Both
) -> None:
    frame = LOCAL_MAC + REMOTE_MAC + IP
    assert both.send(TUNNEL, frame, 1) == [(VM, node.tagged(LOCAL_MAC, REMOTE_MAC))]
    (learned,) = both.learned()
    assert learned.endswith(
        f"hard_timeout=300, idle_age=0, priority=1,vlan_tci=0x{node.tag:04x}/0x0fff,"
        "dl_dst=52:54:00:00:bb:02 "
        "actions=load:0->NXM_OF_VLAN_TCI[],load:0x1->NXM_NX_TUN_ID[],output:2"
    )


def test_unicast_goes_back_by_the_learned_row(node: Node, both: Both) -> None:
    both.send(TUNNEL, BROADCAST + REMOTE_MAC + IP, 1)
    answer = node.tagged(REMOTE_MAC, LOCAL_MAC)
    assert both.send(VM, answer) == [(TUNNEL, REMOTE_MAC + LOCAL_MAC + IP)]
    both.wait(1000)
    both.send(VM, answer)
    (learned,) = both.learned()
    assert "n_packets=2, " in learned


def test_unknown_unicast_is_flooded_in_its_network(node: Node, both: Both) -> None:
    frame = node.tagged(REMOTE_MAC, LOCAL_MAC)
    assert both.send(VM, frame) == [(TUNNEL, REMOTE_MAC + LOCAL_MAC + IP)]
    assert both.learned() == []


def test_multicast_is_flooded_in_its_network(node: Node, both: Both) -> None:
    frame = node.tagged(BROADCAST, LOCAL_MAC)
    assert both.send(VM, frame) == [(TUNNEL, BROADCAST + LOCAL_MAC + IP)]


def test_another_tag_goes_nowhere(node: Node, both: Both) -> None:
    other = BROADCAST + LOCAL_MAC + f"8100{node.tag + 1:04x}" + IP
    assert both.send(VM, other) == []
    assert both.send(VM, BROADCAST + LOCAL_MAC + IP) == []


def test_another_tunnel_id_goes_nowhere_and_teaches_nothing(both: Both) -> None:
    assert both.send(TUNNEL, LOCAL_MAC + REMOTE_MAC + IP, 7) == []
    assert both.learned() == []


def test_seen_again_the_sender_is_learned_again(node: Node, both: Both) -> None:
    frame = LOCAL_MAC + REMOTE_MAC + IP
    both.send(TUNNEL, frame, 1)
    both.wait(200_000)
    both.send(TUNNEL, frame, 1)
    both.wait(200_000)
    (learned,) = both.learned()
    assert "duration=400s" in learned
    assert "hard_age=200" in learned
    assert both.send(VM, node.tagged(REMOTE_MAC, LOCAL_MAC)) != []


def test_what_was_learned_is_forgotten_after_300_seconds(node: Node, both: Both) -> None:
    both.send(TUNNEL, LOCAL_MAC + REMOTE_MAC + IP, 1)
    both.wait(300_000)
    assert len(both.learned()) == 1
    both.wait(1)
    assert both.learned() == []
    # The network floods again.
    assert both.send(VM, node.tagged(REMOTE_MAC, LOCAL_MAC)) == [
        (TUNNEL, REMOTE_MAC + LOCAL_MAC + IP)
    ]
