"""A switch in hand: loading it, tracing a packet through it, running packets."""

from __future__ import annotations

import doctest
import io
from decimal import Decimal
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Dot1Q, Ether

import flowvm
import flowvm.switch
from flowvm.arrival import PacketError, nanoseconds
from flowvm.names import Ports

EXAMPLE = "example:br-tun"
ALICE, BOB = "52:54:00:5e:20:01", "52:54:00:5e:10:01"
REQUEST = Ether(src=ALICE, dst=BOB) / Dot1Q(vlan=2) / IP(src="10.0.0.1", dst="10.0.0.2") / UDP()
REPLY = Ether(src=BOB, dst=ALICE) / IP(src="10.0.0.2", dst="10.0.0.1") / UDP()


def run_one(switch: flowvm.Switch, time: int, in_port: int, packet: Ether, tun_id: int) -> None:
    frames = flowvm.Frames.of([bytes(packet)])
    switch.run(flowvm.PacketBatch.of(frames, in_port, time, [{"tun_id": tun_id}]))


@pytest.mark.parametrize("module", [flowvm, flowvm.switch])
def test_the_examples_of_the_documentation_work(module: object) -> None:
    """The docstrings of the package and of Switch."""
    results = doctest.testmod(module)  # type: ignore[arg-type]
    assert results.attempted > 0
    assert results.failed == 0


def test_every_public_name_is_there() -> None:
    """What ``__all__`` lists can be imported, and is listed by ``dir``."""
    assert all(hasattr(flowvm, name) for name in flowvm.__all__)
    assert set(flowvm.__all__) <= set(dir(flowvm))
    with pytest.raises(AttributeError, match="nonsense"):
        flowvm.nonsense  # noqa: B018


def test_a_dump_is_loaded_from_a_path_a_name_or_a_file(tmp_path: Path) -> None:
    """All of them make the same switch."""
    text = "in_port=1 actions=output:2\n"
    path = tmp_path / "flows.txt"
    path.write_text(text)
    for source in (path, str(path), io.StringIO(text)):
        assert flowvm.load(source).trace("in_port=1").ports == (2,)
    assert len(flowvm.load(EXAMPLE).flows()) == 13


def test_loading_tells_what_is_wrong(tmp_path: Path) -> None:
    """A bad line raises, or is warned of; a missing file or example raises OSError."""
    bad = "in_port=1 actions=nope\nin_port=1 actions=output:2\n"
    with pytest.raises(flowvm.FlowSyntaxError) as raised:
        flowvm.load(io.StringIO(bad))
    assert raised.value.line == 1
    with pytest.warns(UserWarning, match='1:19: unknown action "nope"'):
        switch = flowvm.load(io.StringIO(bad), lenient=True)
    assert switch.trace("in_port=1").ports == (2,)
    for source in (tmp_path / "missing", "example:missing"):
        with pytest.raises(FileNotFoundError):
            flowvm.load(source)


def test_a_packet_is_text_bytes_or_scapy() -> None:
    """Three ways to say the same."""
    switch = flowvm.load(EXAMPLE)
    of_scapy = switch.trace(REQUEST, in_port=1)
    of_bytes = switch.trace(bytes(REQUEST), br_flow="in_port=1")
    of_text = switch.trace(
        f"in_port=1,udp,dl_vlan=2,dl_src={ALICE},dl_dst={BOB},nw_src=10.0.0.1,nw_dst=10.0.0.2,"
        "tp_src=53,tp_dst=53"
    )
    assert of_scapy == of_bytes
    assert (of_scapy.flow, of_scapy.steps) == (of_text.flow, of_text.steps)
    assert str(of_scapy).startswith(f"Flow: {of_scapy.flow}\n\nbridge")


def test_a_trace_answers_in_objects() -> None:
    """Steps, outputs and learned flows can be asked for, not only printed."""
    switch = flowvm.load(EXAMPLE, {"patch-int": 1, "gre-1": 2})
    trace = switch.trace(REPLY, br_flow="tun_id=1,in_port=gre-1")
    assert (trace.verdict, trace.reason) == ("output", "output to 1 (patch-int)")
    assert (trace.tables, trace.ports) == ((0, 2, 10), (1,))
    (output,) = trace.outputs
    assert (output.port, output.name, output.tun_id) == (1, "patch-int", 1)
    assert output.frame == bytes(Ether(src=BOB, dst=ALICE) / Dot1Q(vlan=2) / REPLY.payload)
    (learned,) = trace.learned
    assert (learned.table, learned.hard_timeout, learned.priority) == (20, 300, 1)
    assert [step.flow.priority for step in trace.lookups() if step.flow] == [1, 1, 1]


def test_asking_changes_nothing() -> None:
    """A trace learns, counts and expires nothing in the switch."""
    switch = flowvm.load(EXAMPLE)
    before = switch.flows()
    switch.trace(REPLY, br_flow="tun_id=1,in_port=2", at=1000)
    assert switch.flows() == before
    assert switch.now == 0


def test_a_trace_sees_what_was_learned() -> None:
    """A switch that ran packets knows their senders; a copy of it goes its own way."""
    switch = flowvm.load(EXAMPLE)
    other = switch.copy()
    run_one(switch, 0, 2, REPLY, 1)
    known, flooded = switch.trace(REQUEST, in_port=1), other.trace(REQUEST, in_port=1)
    assert (known.tables, flooded.tables) == ((0, 1, 20), (0, 1, 20, 21))
    step = list(known.lookups())[-1]
    assert step.match == f"vlan_tci=0x0002/0x0fff,dl_dst={BOB}"
    assert step.text == f"20. {step.match}, priority 1"
    assert switch.trace(REQUEST, in_port=1, at="300.1").tables == flooded.tables


def test_a_learned_flow_is_shown_as_it_was_learned_last() -> None:
    """The sender moves to another tunnel: same match, other actions."""
    switch = flowvm.load(io.StringIO("in_port=2 actions=learn(table=1,NXM_OF_ETH_DST[]="
        "NXM_OF_ETH_SRC[],load:NXM_NX_TUN_ID[0..15]->NXM_NX_REG0[0..15])\n"
        "in_port=1 actions=resubmit(,1),output:9\n"))  # fmt: skip
    for tun_id in (5, 6):
        run_one(switch, 0, 2, REPLY, tun_id)
    texts = [step.text for step in switch.trace(REQUEST, in_port=1).steps]
    assert "load:0x6->NXM_NX_REG0[0..15]" in texts
    assert "load:0x5->NXM_NX_REG0[0..15]" not in texts


def test_ports_may_have_names_that_the_dump_uses() -> None:
    """A --names dump works without numbers, and with those of ``ovs-ofctl show``."""
    flows = 'in_port="vm 1" actions=output:uplink\n'
    alone = flowvm.load(io.StringIO(flows)).trace(b"\0" * 60, in_port="vm 1")
    assert alone.outputs[0].name == "uplink"
    ports = Ports({"vm 1": 3, "uplink": 7})
    numbered = flowvm.load(io.StringIO(flows), ports).trace("in_port=3")
    assert numbered.ports == (7,)
    assert next(iter(numbered.lookups())).match == 'in_port="vm 1"'


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"packet": "icmp", "br_flow": "in_port=1"}, "br_flow goes with a frame"),
        ({"packet": "icmp", "in_port": "eth9"}, 'no port "eth9"'),
        ({"packet": "in_port=1", "in_port": 2}, "two ports"),
        ({"packet": "icmp", "at": -0.5}, "-0.5 s is before the switch's time, 0 s"),
        ({"packet": "icmp", "at": "soon"}, '"soon" is not a number of seconds'),
        ({"packet": IP()}, "does not begin with Ethernet"),
    ],
)
def test_packets_that_cannot_arrive(arguments: dict[str, object], message: str) -> None:
    """They raise PacketError, a ValueError."""
    with pytest.raises(PacketError, match=message):
        flowvm.load(EXAMPLE).trace(**arguments)  # type: ignore[arg-type]


def test_a_packet_cannot_come_before_others() -> None:
    """The clock of a switch does not go back."""
    switch = flowvm.load(EXAMPLE)
    run_one(switch, 5_000_000_000, 2, REPLY, 1)
    with pytest.raises(PacketError, match="4 s is before the switch's time, 5 s"):
        switch.trace(REQUEST, in_port=1, at=4)
    assert switch.trace(REQUEST, in_port=1).tables == (0, 1, 20)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (1, 1_000_000_000),
        (0.1, 100_000_000),
        ("1e-9", 1),
        (Decimal("0.0000000014"), 1),
        (" 2.5 ", 2_500_000_000),
        (-3, -3_000_000_000),
    ],
)
def test_seconds_become_nanoseconds(seconds: flowvm.arrival.Seconds, expected: int) -> None:
    """Without the error of a binary fraction."""
    assert nanoseconds(seconds) == expected


@pytest.mark.parametrize("seconds", ["", "x", "nan", "inf", 1e300, "1e999999999", "9223372037"])
def test_times_that_are_none(seconds: object) -> None:
    """What is no number, or too large for the clock."""
    with pytest.raises(ValueError, match=r"number of seconds|further away"):
        nanoseconds(seconds)  # type: ignore[arg-type]


def test_a_short_frame_does_not_disturb_others() -> None:
    """A frame without an Ethernet header in a batch is dropped alone."""
    switch = flowvm.load(io.StringIO("actions=write_actions(output:2)\n"))
    frames = flowvm.Frames.of([b"\0" * 13, b"\0" * 60, b""])
    result = switch.run(flowvm.PacketBatch.of(frames, 1))
    assert result.emissions.packet.tolist() == [1]
    assert [str(result.verdict(i)) for i in range(3)] == ["drop", "output", "drop"]
