"""MPLS labels: what is pushed, what is popped, and what follows."""

from __future__ import annotations

import random

import pytest
from scapy.contrib.mpls import MPLS
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether

from flowvm.switch import Switch
from flowvm.text.dump import parse_dump

from ..conformance.label_cases import frame, table
from .one_at_a_time import assert_one_at_a_time, batch

ETHER = Ether(src="00:00:00:00:00:01", dst="00:00:00:00:00:02")
UDP4 = IP(src="10.0.0.1", dst="10.0.0.2", ttl=9, tos=0x14) / UDP(sport=1, dport=2) / b"data"


def sent(flows: str, frame: object) -> list[tuple[int, bytes]]:
    """What leaves for a frame that comes in on port 1."""
    emissions = Switch(parse_dump(flows).flows).run(batch([bytes(frame)])).emissions  # type: ignore[call-overload]
    return list(zip(emissions.port.tolist(), emissions.frames, strict=True))


@pytest.mark.parametrize(
    ("payload", "label"),
    [
        (UDP4, MPLS(label=0, cos=5, ttl=9, s=1)),
        (IPv6(hlim=7, tc=0x20) / UDP(sport=1, dport=2), MPLS(label=2, cos=0, ttl=7, s=1)),
        (IP(ttl=0, tos=0) / b"x", MPLS(label=0, cos=0, ttl=64, s=1)),
    ],
)
def test_the_first_label_tells_of_what_is_behind(payload: object, label: object) -> None:
    """Label, traffic class (the low bits of the DSCP) and TTL, as ovs-actions(7) has them."""
    before, after = ETHER / Dot1Q(vlan=3) / payload, ETHER / Dot1Q(vlan=3) / label / payload
    assert sent("actions=push_mpls:0x8847,output:2", before) == [(2, bytes(after))]


def test_further_labels_are_copies_of_the_outermost() -> None:
    """But for the bit that marks the bottom of the stack."""
    frame = ETHER / MPLS(label=7, cos=1, ttl=5, s=1) / UDP4
    after = ETHER / MPLS(label=7, cos=1, ttl=5, s=0) / MPLS(label=7, cos=1, ttl=5, s=1) / UDP4
    assert sent("actions=push_mpls:0x8847,output:2", frame) == [(2, bytes(after))]


def test_what_was_behind_a_label_is_seen_after_a_pop() -> None:
    """By actions, and by lookups."""
    flows = (
        "mpls actions=pop_mpls:0x0800,dec_ttl,resubmit(,1)\n"
        "table=1,udp,tp_dst=2,nw_ttl=8 actions=output:2"
    )
    inner = UDP4.copy()
    inner.ttl = 8
    assert sent(flows, ETHER / MPLS(label=7, s=1) / UDP4) == [(2, bytes(ETHER / inner))]


def test_a_fourth_label_is_too_many() -> None:
    """The packet is dropped whole, with what was output before."""
    flows = "actions=output:3," + "push_mpls:0x8847," * 4 + "output:2"
    switch = Switch(parse_dump(flows).flows)
    trace = switch.trace(bytes(ETHER / UDP4), br_flow="in_port=1")
    assert trace.verdict == "error"
    assert "more MPLS LSEs than the 3 supported" in trace.reason
    assert trace.outputs == ()


def test_where_open_vswitch_ends_is_not_supported() -> None:
    """A pop in a clone that cannot be done."""
    flows = "mpls actions=clone(pop_mpls:0x0800,ct(commit),output:2)"
    deep = ETHER
    for level in range(4):
        deep = deep / MPLS(label=1, s=level == 3)
    trace = Switch(parse_dump(flows).flows).trace(bytes(deep / UDP4), br_flow="in_port=1")
    # At the end of the list the datapath needs no copy.
    assert trace.verdict == "error"
    flows += ",output:3"
    trace = Switch(parse_dump(flows).flows).trace(bytes(deep / UDP4), br_flow="in_port=1")
    assert trace.verdict == "unsupported"


@pytest.mark.parametrize("seed", range(20))
def test_a_batch_is_its_packets_one_at_a_time(seed: int) -> None:
    """In frames, ports and counters."""
    rng = random.Random(seed)
    flows = parse_dump(table(rng)).flows
    assert_one_at_a_time(flows, [frame(rng) for _ in range(40)])
