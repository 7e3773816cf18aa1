"""The strategies of flowvm.testing: what they make is valid, varied, and aimed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import combinations, pairwise
from random import Random
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, Phase, find, given, seed, settings
from hypothesis import strategies as st
from scapy.layers.inet import TCP, UDP
from scapy.layers.l2 import Ether

from flowvm.actions.conjunction import Conjunction
from flowvm.actions.learn import Learn
from flowvm.actions.output import Output
from flowvm.flow import FieldMatch, Flow, Match, ReservedPort
from flowvm.pipeline.compile import all_actions
from flowvm.pipeline.result import Verdict
from flowvm.switch import Switch
from flowvm.testing import (
    TLV_MAP,
    Packet,
    batch_of,
    flows,
    matches,
    packet_sequences,
    packets,
    tables,
)
from flowvm.testing import actions as action_lists
from flowvm.testing.frames import source_of
from flowvm.testing.headers import Headers, build
from flowvm.testing.shrinking import Where, shrink
from flowvm.testing.tables import choose_table
from flowvm.text.dump import parse_dump
from flowvm.text.parse import parse_flow, parse_match
from tests.conformance.random_choices import RandomChoices

T = TypeVar("T")

few = settings(max_examples=60, deadline=None, derandomize=True)


def sample(strategy: st.SearchStrategy[T], count: int = 200) -> list[T]:
    """So many values, always the same."""
    found: list[T] = []

    @seed(1)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(value: T) -> None:
        found.append(value)

    collect()
    return found


# -- tables -----------------------------------------------------------------------------------


@given(tables())
@few
def test_no_two_flows_of_one_priority_overlap(table: list[Flow]) -> None:
    """Some bit that both compare differs, so that there is one answer to each lookup.

    The clauses of a conjunctive match do not answer one, and may.
    """
    whole = [flow for flow in table if not any(isinstance(a, Conjunction) for a in flow.actions)]
    for one, other in combinations(whole, 2):
        if (one.table, one.priority) == (other.table, other.priority):
            mine, theirs = (flow.match.words({}, TLV_MAP) for flow in (one, other))
            assert any(
                (mine[column][0] ^ theirs[column][0]) & mine[column][1] & theirs[column][1]
                for column in mine.keys() & theirs.keys()
            )


@given(tables(ports=(1, 6), learn=False, floods=False, timeouts=False, least=2, most=5))
@few
def test_a_table_is_as_it_is_asked_for(table: list[Flow]) -> None:
    """Size, ports, and what it leaves out."""
    assert 2 <= len(table) <= 5
    assert len({flow.cookie for flow in table}) == len(table)
    for flow in table:
        assert not any(isinstance(action, Learn) for action in all_actions(flow.actions))
        assert not flow.idle_timeout
        assert not flow.hard_timeout
        assert "ALL" not in str(flow)
        outputs = [action for action in flow.actions if isinstance(action, Output)]
        assert {output.port for output in outputs} <= {1, 6, *ReservedPort.NAMES}


@given(flows(tables=(0, 3)))
@few
def test_a_flow_can_be_read_back(flow: Flow) -> None:
    """Its text says all of it."""
    assert str(parse_flow(str(flow))) == str(flow)


@given(matches(protocol="tcp6"))
@few
def test_a_match_begins_with_the_protocol_asked_for(match: Match) -> None:
    """And has no more than its prerequisites allow."""
    assert str(match).startswith("tcp6")
    assert str(parse_match(str(match))) == str(match)


def test_tables_are_varied() -> None:
    """All kinds of actions come up within a few hundred tables."""
    words = Counter[str]()
    choose = RandomChoices(Random(1))
    for number in range(900):
        table = choose_table(choose, modern=bool(number % 2), groups=(1,), meters=(1,))
        words.update(type(action).__name__ for f in table for action in all_actions(f.actions))
    wanted = (
        *("Output", "OutputReg", "OutputTrunc", "Controller", "Resubmit", "GotoTable", "Learn"),
        *("Load", "SetField", "Move", "Push", "Pop", "ModVlanVid", "ModVlanPcp", "StripVlan"),
        *("PushVlan", "SetTunnel", "ModField", "DecTtl", "Note", "Exit", "WriteActions"),
        *("ClearActions", "WriteMetadata", "Ct", "CtClear", "PushMpls", "PopMpls", "SetMplsLabel"),
        *("Multipath", "Bundle", "Clone", "CheckPktLarger", "Sample", "SetQueue", "Conjunction"),
        *("FinTimeout", "DecMplsTtl", "Group", "Meter", "Encap", "Decap", "DecNshTtl"),
    )
    assert set(wanted) <= words.keys()


def test_an_unknown_dialect_is_an_error() -> None:
    """Not one of those that it could be taken for."""
    for strategy in (tables(openflow="1.3"), action_lists(openflow="1.1"), flows(openflow="2")):
        with pytest.raises(ValueError, match="is none of"):
            sample(strategy, 1)


# -- frames -----------------------------------------------------------------------------------

NARROW = (
    "tcp,vlan_tci=0x1005/0x1fff,nw_src=10.7.0.0/16,nw_dst=10.0.0.9,tp_dst=8080",
    "icmp6,ipv6_dst=fe80::9,icmp_type=135,icmp_code=0,nd_target=fe80::77",
    "arp,arp_op=2,arp_spa=10.1.2.3,arp_sha=02:00:00:00:00:77",
    "in_port=3,tun_id=0x77/0xff,dl_dst=01:00:00:00:00:00/01:00:00:00:00:00",
    "sctp6,ipv6_src=2001:db8::/32,tp_src=99",
    "mpls,mpls_label=77,mpls_bos=1",
    "ip,nw_frag=later,nw_tos=32",
)


@pytest.mark.parametrize("match", NARROW)
def test_packets_are_aimed(match: str) -> None:
    """A good part of them hits a rule that chance would never hit; others just miss it."""
    rule = Flow(parse_match(match), (Output(1),))
    some = sample(packets([rule]))
    batch = batch_of(some)
    hits = int((Switch([rule]).run(batch).last_rule == 0).sum())
    assert 60 <= hits <= 190


def test_frames_differ_in_all_the_ways_that_matter() -> None:
    """Tags, protocols, fragments, options, and frames cut short."""
    choose, source = RandomChoices(Random(1)), source_of(())
    some = [source.frame(choose) for _ in range(2000)]
    assert {frame[12:14].hex() for frame in some} >= {"0800", "86dd", "0806", "8100", "88a8"}
    ipv4 = [frame[14:] for frame in some if frame[12:14] == b"\x08\0" and len(frame) >= 34]
    assert {header[9] for header in ipv4} >= {1, 6, 17, 132}
    assert any(header[0] > 0x45 for header in ipv4)
    assert any(header[6] & 0x20 for header in ipv4)
    ipv6 = [frame[14:] for frame in some if frame[12:14] == b"\x86\xdd" and len(frame) >= 54]
    cut = [int.from_bytes(header[2:4], "big") > len(header) for header in ipv4]
    cut += [int.from_bytes(header[4:6], "big") > len(header) - 40 for header in ipv6]
    assert any(cut)
    assert min(map(len, some)) == 14


@given(packets(ports=(7, 9), metadata=False, mutate=False, min_length=60))
@few
def test_packets_are_as_they_are_asked_for(packet: Packet) -> None:
    """Ports, length, and nothing beside the frame."""
    assert packet.in_port in (7, 9)
    assert len(packet.frame) >= 60
    assert packet.fields == {}
    assert packet.time == 0


@given(
    st.sampled_from((0x0800, 0x86DD)),
    st.sampled_from((6, 17)),
    st.integers(0, 2**16 - 1),
    st.binary(max_size=30),
    # Not two words: of TCP options that are all zero, Scapy writes one.
    st.sampled_from((0, 1, 3)),
)
@few
def test_built_frames_have_the_checksums_that_scapy_gives(
    eth_type: int, proto: int, port: int, payload: bytes, options: int
) -> None:
    """Built anew by Scapy without its checksums, a frame comes back as it was."""
    names = {6: "tcp_src", 17: "udp_src"}
    values = {"eth_type": eth_type, "nw_proto": proto, names[proto]: port, "ip_src": 0x0A000001}
    values |= {"ipv6_dst": 0xFE80 << 112 | 5, "nw_ttl": 64}
    frame = build(Headers(values, ((0x8100, 5),), payload, options=options * (eth_type == 0x0800)))
    packet = Ether(frame)
    for layer in (packet.getlayer("IP"), packet.getlayer(TCP), packet.getlayer(UDP)):
        if layer is not None:
            del layer.chksum
    assert bytes(packet) == frame


# -- sequences --------------------------------------------------------------------------------

LEARNING = parse_dump(
    " actions=learn(table=1,hard_timeout=7,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[]),resubmit(,1)\n"
    " table=1, idle_timeout=60, priority=1 actions=drop\n"
).flows


def test_time_passes_around_the_timeouts_of_the_flows() -> None:
    """Never back, often not at all, at times just as much as a timeout, and a little more."""
    gaps = Counter[int]()
    for sequence in sample(packet_sequences(LEARNING, min_size=3, max_size=6), 400):
        assert 3 <= len(sequence) <= 6
        assert sequence[0].time == 0
        gaps.update(b.time - a.time for a, b in pairwise(sequence))
    millisecond = 1_000_000
    assert min(gaps) == 0
    for timeout in (7_000, 60_000):
        assert gaps[timeout * millisecond] > 0
        assert gaps[(timeout + 1) * millisecond] > 0


def test_some_packets_are_answers_to_others() -> None:
    """With addresses swapped, so that what is learned from one matters to the other."""
    answers = sum(
        one.frame[:6] == other.frame[6:12] and one.frame[6:12] == other.frame[:6]
        for sequence in sample(packet_sequences(LEARNING, min_size=2), 200)
        for one, other in combinations(sequence, 2)
    )
    assert answers > 20


def test_packets_out_of_order_are_an_error() -> None:
    """A batch goes forward in time."""
    with pytest.raises(ValueError, match="order of their times"):
        batch_of([Packet(bytes(14), time=2), Packet(bytes(14), time=1)])


# -- shrinking --------------------------------------------------------------------------------


def where(is_wrong: Callable[[Packet], bool]) -> Where:
    return lambda some: next((i for i, packet in enumerate(some) if is_wrong(packet)), None)


def test_shrinking_leaves_what_matters() -> None:
    """One packet, 14 bytes, one bit, no field."""
    noise = Packet(bytes(range(80)), 4, 5, {"tun_id": 0x55, "reg0": 3})
    found = shrink((noise, noise, noise), where(lambda packet: 0x20 in packet.frame))
    assert sorted(found[0].frame) == [0] * 13 + [0x20]
    assert (len(found), len(found[0].frame), found[0].in_port, found[0].fields) == (1, 14, 1, {})


def test_shrinking_keeps_the_fields_and_bits_that_matter() -> None:
    """A field loses the bits that do not matter, and the port is as low as it can be."""
    packet = Packet(bytes(20), 6, 0, {"tun_id": 0xFF, "reg0": 1})
    found = shrink([packet], where(lambda p: p.fields.get("tun_id", 0) & 0x14 == 0x14))
    assert found == (Packet(bytes(14), 1, 0, {"tun_id": 0x14}),)


def test_shrinking_keeps_the_packets_that_matter_and_the_time_between() -> None:
    """The one that prepares, and the one that shows; packets after that are left out."""
    second = 1_000_000_000
    times = (0, 3 * second, 5 * second + 7, 9 * second, 12 * second)
    packets = [Packet(bytes([i]) * 14, 1, time) for i, time in enumerate(times)]

    def prepared(some: Sequence[Packet]) -> int | None:
        for number, packet in enumerate(some):
            early = [p for p in some[:number] if packet.time - p.time >= 2 * second]
            if packet.frame[0] & 1 and any(p.frame[0] & 2 for p in early):
                return number
        return None

    found = shrink(packets, prepared)
    assert [packet.frame[0] for packet in found] == [2, 1]
    assert found[1].time - found[0].time >= 2 * second


def test_generators_shrink_to_something_simple() -> None:
    """What Hypothesis shows of a user's own failing property can be read."""

    def outputs(table: list[Flow]) -> bool:
        return any(isinstance(action, Output) for flow in table for action in flow.actions)

    # What it begins with depends on the constants of all modules that are loaded.
    found = [find(tables(), outputs, random=Random(seed)) for seed in range(4)]
    table = min(found, key=len)
    assert len(table) == 1
    assert len(table[0].actions) == 1
    exact = FieldMatch.exact("tcp_dst", 443)
    flow = Flow(Match((*parse_match("tcp").terms, exact)), (Output(1),))
    switch = Switch([flow])
    packet = find(
        packets([flow]),
        lambda packet: switch.run(batch_of([packet])).verdict(0) is Verdict.OUTPUT,
        random=Random(1),
    )
    assert Ether(packet.frame)[TCP].dport == 443
