"""``ct`` as an action: what it refuses, and what a trace pretends."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from flowvm.packet.batch import PacketBatch
from flowvm.packet.frames import Frames
from flowvm.switch import Switch
from flowvm.text.dump import parse_dump

ASK = IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1000, dport=53) / b"?"
PORTS = {f"p{number}": number for number in range(1, 9)}


def switch(*flows: str) -> Switch:
    return Switch(parse_dump("\n".join(flows)).flows, PORTS)


def frame(packet: Packet) -> bytes:
    return bytes(Ether(src="52:54:00:00:00:0a", dst="52:54:00:00:00:0b") / packet)


def test_a_choice_that_cannot_be_told_is_unsupported() -> None:
    """With the reason; what left before that has left, and nothing is tracked."""
    tables = switch(
        "ip actions=output:2,ct(commit,nat(src=10.0.0.1-10.0.0.9),table=1),output:3",
        "table=1 actions=output:4",
    )
    reason = "nat to one of several addresses, which is a secret of the switch (--nat-basis)"
    told = tables.trace(frame(ASK), in_port=1)
    assert (told.verdict, told.reason) == ("unsupported", reason)
    assert told.ports == (2,)
    result = tables.run(PacketBatch.of(Frames.of([frame(ASK)]), 1))
    assert result.reason(0) == reason
    assert tables.connections() == []


def test_ftp_of_a_dumped_connection_with_nat_is_unsupported() -> None:
    """By how much its numbers have changed, no dump tells."""
    tables = switch("tcp actions=ct(zone=1,nat,table=1)", "table=1 actions=output:2")
    tables.track(
        "tcp,orig=(src=10.0.0.1,dst=10.0.0.2,sport=1000,dport=21),"
        "reply=(src=10.0.0.2,dst=10.1.1.1,sport=21,dport=1000),zone=1,helper=ftp,"
        "protoinfo=(state=ESTABLISHED)"
    )
    segment = IP(src="10.0.0.1", dst="10.0.0.2") / TCP(sport=1000, dport=21, flags="A")
    told = tables.trace(frame(segment), in_port=1)
    assert told.verdict == "unsupported"
    assert told.reason == "FTP with nat on a connection from a dump"


def test_nat_picks_from_ranges_by_a_number_that_is_told() -> None:
    """The same address and port every time; another number picks others."""
    picked = set()
    for basis in (0, 0, 0xFFFFFFFF):
        tables = switch("ip actions=ct(commit,nat(src=10.1.1.1-10.1.1.254:1024-65535)),output:2")
        tables.nat_basis = basis
        (sent,) = tables.trace(frame(ASK), in_port=1).outputs
        ip = Ether(sent.frame)[IP]
        assert (ip.dst, ip.dport) == ("10.0.0.2", 53)
        assert 1 <= int(ip.src.removeprefix("10.1.1.")) <= 254
        assert ip.sport >= 1024
        picked.add((ip.src, ip.sport))
    assert len(picked) == 2


def test_the_number_that_nat_picks_by_has_32_bits() -> None:
    """Others are refused, and leave the one that was known."""
    tables = switch("ip actions=output:2")
    tables.nat_basis = 7
    with pytest.raises(ValueError, match="not a number of 32 bits"):
        tables.nat_basis = 1 << 32
    assert tables.copy().nat_basis == 7


def test_a_filled_action_set_cannot_be_taken_along() -> None:
    """Open vSwitch 3.1 ends with a failed assertion."""
    tables = switch(
        "ip actions=write_actions(output:2),goto_table:1",
        "table=1,ip actions=ct(table=2)",
        "table=2 actions=output:3",
    )
    told = tables.trace(frame(ASK), in_port=1)
    assert told.verdict == "unsupported"
    assert "filled action set" in told.reason


def test_recirculation_ends_at_a_depth_of_six() -> None:
    """The copy that would be the seventh is lost; the others leave."""
    tables = switch("ip actions=ct(table=0),output:2")
    told = tables.trace(frame(ASK), in_port=1)
    assert (told.verdict, told.ports) == ("error", (2,) * 7)


def test_a_pretended_translation_is_that_of_the_first_address() -> None:
    """For the copy that goes on and for the rest of the list alike."""
    tables = switch(
        "udp actions=ct(commit,nat(src=10.1.1.1-10.1.1.9:7),table=1),output:2",
        "table=1,udp,nw_src=10.1.1.1,tp_src=7 actions=output:3",
    )
    told = tables.trace(frame(ASK), in_port=1, ct_next=[])
    assert told.ports == (3, 2)
    for output in told.outputs:
        packet = Ether(output.frame)
        assert (packet[IP].src, packet[UDP].sport) == ("10.1.1.1", 7)


def test_a_trace_changes_no_connection() -> None:
    """It runs on a copy of the table."""
    tables = switch("ip actions=ct(commit),output:2")
    tables.trace(frame(ASK), in_port=1)
    assert tables.connections() == []


def test_connections_are_entered_from_text() -> None:
    """They are met as if their packets had been run."""
    tables = switch(
        "ip actions=ct(table=1)",
        "table=1,ct_state=+est,ip,ct_mark=9 actions=output:2",
        "table=1,priority=1 actions=output:3",
    )
    tables.track(
        "udp,orig=(src=10.0.0.1,dst=10.0.0.2,sport=1000,dport=53),"
        "reply=(src=10.0.0.2,dst=10.0.0.1,sport=53,dport=1000),timeout=20,mark=9"
    )
    assert tables.connections()[0].endswith("timeout=20,mark=9")
    assert tables.trace(frame(ASK), in_port=1).ports == (2,)
    assert tables.trace(frame(ASK), in_port=1, at=20).ports == (3,)
