"""Headers put before packets and taken off: bytes, lookups and what cannot be told."""

from __future__ import annotations

import random

import pytest

from flowvm.switch import Switch
from flowvm.text.dump import parse_dump

from ..conformance.encap_cases import frame, table
from ..conformance.nsh_cases import ETHERNET, INNER, MACS, UDP, header
from .one_at_a_time import assert_one_at_a_time, batch

PUSHED = bytes(12) + bytes.fromhex("894f")


def sent(flows: str, packet: bytes) -> list[tuple[int, bytes]]:
    """What leaves for a frame that comes in on port 1."""
    emissions = Switch(parse_dump(flows).flows).run(batch([packet])).emissions
    return list(zip(emissions.port.tolist(), emissions.frames, strict=True))


def test_a_service_header_begins_as_rfc_8300_has_it() -> None:
    """TTL 63, service index 255, and the next protocol of what is behind it."""
    flows = "actions=encap(nsh),encap(ethernet),output:2"
    context = bytes(16)
    behind = header(spi=0, context=context) + INNER
    assert sent(flows, INNER) == [(2, PUSHED + behind)]


def test_options_of_a_service_header_fill_whole_words() -> None:
    """Class, type, length, value; what it takes to the next word is zero."""
    flows = "actions=encap(nsh(md_type=2,tlv(0x1000,10,0xabcdef))),encap(ethernet),output:2"
    context = bytes.fromhex("10000a03abcdef00")
    expected = PUSHED + header(spi=0, md_type=2, context=context) + INNER
    assert sent(flows, INNER) == [(2, expected)]


def test_a_field_set_after_encap_is_one_of_the_new_header() -> None:
    """And the frame's own headers stay."""
    flows = (
        "actions=encap(nsh),set_field:7->nsh_spi,encap(ethernet),mod_dl_dst:2:2:2:2:2:2,output:2"
    )
    expected = b"\2" * 6 + bytes(6) + bytes.fromhex("894f") + header(spi=7, context=bytes(16))
    assert sent(flows, INNER) == [(2, expected + INNER)]


def test_a_label_goes_before_the_ethernet_header() -> None:
    """Of the packet behind it only the version of IP matters to it."""
    flows = "ip actions=encap(mpls),encap(ethernet),output:2"
    expected = bytes(12) + bytes.fromhex("8847 00000140") + INNER
    assert sent(flows, INNER) == [(2, expected)]


def test_what_a_service_header_hid_is_looked_up_anew() -> None:
    """In the table that comes next, or if there is none, in the first."""
    packet = ETHERNET + header() + INNER
    flows = "dl_type=0x894f actions=decap(),decap()\nudp,tp_dst=2 actions=output:3"
    assert sent(flows, packet) == [(3, INNER)]
    flows = "dl_type=0x894f actions=decap(),decap(),goto_table:1\ntable=1,udp actions=output:4"
    assert sent(flows, packet) == [(4, INNER)]


def test_a_match_on_headers_is_one_on_ethernet_packets() -> None:
    """Unless it names another type of packet."""
    flows = (
        "priority=9,ip actions=decap(),resubmit(,1)\n"
        "table=1,priority=9,ip actions=encap(ethernet),output:2\n"
        "table=1,priority=8,udp,tp_dst=2 actions=encap(ethernet),output:3\n"
        "table=1,priority=7,packet_type=(1,0x800),nw_dst=10.0.0.2 actions=encap(ethernet),output:4"
    )
    assert [port for port, _ in sent(flows, INNER)] == [4]


def test_a_type_that_is_said_anyway_makes_no_other_match() -> None:
    """Of two such flows the second is the one that counts."""
    flows = "packet_type=(0,0),ip actions=output:2\nip actions=output:3"
    assert [port for port, _ in sent(flows, INNER)] == [3]


def test_no_port_sends_a_packet_without_an_ethernet_header() -> None:
    """The controller gets it as it is."""
    flows = "ip actions=decap(),output:2,CONTROLLER:65535"
    assert sent(flows, INNER) == [(0xFFFD, UDP)]


@pytest.mark.parametrize(
    ("flows", "packet", "reason"),
    [
        ("actions=output:3,encap(ethernet),output:2", INNER, "encap(ethernet) is not supported"),
        ("actions=output:3,decap(),output:2", MACS + bytes.fromhex("8100000508004500"), "VLAN"),
        ("actions=decap(),decap()", INNER, "does not support packet type (1,0x800)"),
        ("actions=decap(),decap()", ETHERNET + header(next_protocol=9), "next protocol 9"),
    ],
)
def test_what_cannot_be_done_drops_the_packet(flows: str, packet: bytes, reason: str) -> None:
    """Whole, with what was output before."""
    trace = Switch(parse_dump(flows).flows).trace(packet, br_flow="in_port=1")
    assert trace.verdict == "error"
    assert trace.outputs == ()
    assert any(reason in step.text for step in trace.steps)


def test_a_packet_can_come_without_an_ethernet_header() -> None:
    """As ``ofproto/trace`` takes it."""
    flows = (
        "priority=2,ip actions=output:2\n"
        "priority=1,packet_type=(1,0x800),nw_dst=10.0.0.2 actions=encap(ethernet),output:3"
    )
    trace = Switch(parse_dump(flows).flows).trace(
        "in_port=1,packet_type=(1,0x800),nw_dst=10.0.0.2,nw_ttl=9"
    )
    assert trace.flow.startswith("packet_type=(1,0x800),in_port=1,nw_src=0.0.0.0,nw_dst=10.0.0.2")
    assert trace.ports == (3,)
    assert trace.outputs[0].frame[12:15].hex() == "080045"


def test_an_action_set_written_after_a_decap_is_told() -> None:
    """Line by line, as any other."""
    flows = (
        "dl_type=0x894f actions=decap(),decap(),goto_table:1\n"
        "table=1 actions=write_actions(set_field:1->reg0,output:3)"
    )
    trace = Switch(parse_dump(flows).flows).trace(ETHERNET + header() + INNER, in_port=1)
    assert [step.text for step in trace.all_steps()][-3:] == [
        "--. Executing action set:",
        "set_field:0x1->reg0",
        "output:3",
    ]


def test_of_two_reasons_to_stop_the_unsupported_one_is_told() -> None:
    """The packet meets what is not executed, and a copy of it cannot be encapsulated."""
    flows = (
        "ip actions=ct(commit,table=1),decap(),push_vlan:0x8100,output:2\n"
        "table=1 actions=encap(ethernet)"
    )
    trace = Switch(parse_dump(flows).flows).trace(INNER, in_port=1)
    assert trace.verdict == "unsupported"
    assert trace.reason == "a VLAN tag on a packet without an Ethernet header"


@pytest.mark.parametrize("seed", range(20))
def test_a_batch_is_its_packets_one_at_a_time(seed: int) -> None:
    """In frames, ports and counters."""
    rng = random.Random(seed)
    flows = parse_dump(table(rng)).flows
    assert_one_at_a_time(flows, [frame(rng) for _ in range(40)])
