"""TLV maps: their text, the places they give, and what is inferred without one."""

from __future__ import annotations

import pickle

import pytest

from flowvm.columns import TUN_METADATA_WORDS, Column
from flowvm.fields import field
from flowvm.flow import Flow
from flowvm.packet.batch import PacketBatch
from flowvm.packet.frames import Frames
from flowvm.switch import Switch
from flowvm.text.dump import parse_dump
from flowvm.text.errors import FlowSyntaxError
from flowvm.text.flow_mods import parse_flow_mods
from flowvm.text.tlv_map import parse_tlv_map
from flowvm.tlv_map import TlvMap, TlvOption

DUMPED = """\
NXT_TLV_TABLE_REPLY (xid=0x2):
 max option space=256 max fields=64
 allocated option space=12

 mapping table:
  class  type  length  match field
 ------  ----  ------  --------------
  0x102  0x80       4  tun_metadata0
      0     0       8  tun_metadata7
"""
FRAME = bytes.fromhex("52540000000b 52540000000a 88b5") + bytes(46)


def flows(text: str) -> tuple[Flow, ...]:
    return parse_dump(text).flows


def inferred(text: str) -> dict[str, int]:
    """The lengths that flows tell, by name."""
    tlv_map = Switch(flows(text)).names.tlv_map
    return {option.name: option.length for option in tlv_map.options}


def test_a_dumped_map_and_what_add_tlv_map_takes_are_the_same() -> None:
    """Rows of dump-tlv-map mean what the words of add-tlv-map mean."""
    words = "{class=0x102,type=0x80,len=4}->tun_metadata0,{class=0,type=0,len=8}->tun_metadata7"
    dumped = parse_tlv_map(DUMPED)
    assert dumped == parse_tlv_map(words)
    assert dumped.options == (TlvOption(0, 4, 0x102, 0x80), TlvOption(7, 8, 0, 0))
    assert parse_tlv_map(str(dumped)) == dumped


@pytest.mark.parametrize(
    ("text", "column", "problem"),
    [
        ("{class=1,type=1,len=3}->tun_metadata0", 1, "multiple of 4"),
        ("{class=1,type=1,len=128}->tun_metadata0", 1, "multiple of 4"),
        ("{class=1,type=1,len=4}->tun_metadata64", 1, "no field tun_metadata64"),
        ("{class=0x10000,type=1,len=4}->tun_metadata0", 1, "a class has 16 bits"),
        ("{class=1,type=1,len=4}->tun_metadata0,{class=2}", 39, "does not map an option"),
        (
            "{class=1,type=1,len=4}->tun_metadata0, {class=1,type=1,len=4}->tun_metadata1",
            40,
            "class and type are mapped twice",
        ),
        (
            "{class=1,type=1,len=4}->tun_metadata0,{class=1,type=2,len=4}->tun_metadata0",
            39,
            "tun_metadata0 is mapped twice",
        ),
        (
            "{class=1,type=1,len=124}->tun_metadata0,{class=1,type=2,len=124}->tun_metadata1,"
            "{class=1,type=3,len=12}->tun_metadata2",
            81,
            "256 bytes",
        ),
    ],
)
def test_a_map_that_open_vswitch_would_refuse_is_refused(
    text: str, column: int, problem: str
) -> None:
    """The error shows the mapping that is wrong."""
    with pytest.raises(FlowSyntaxError, match=problem) as caught:
        parse_tlv_map(f"# options\n{text}", file="map.txt")
    assert (caught.value.line, caught.value.column) == (2, column)


def test_options_have_places_of_their_own() -> None:
    """No two fields of a map share a bit, and all 256 bytes are used."""
    lengths = (4, 0, 12, 20, 124, 8, 4, 84)
    options = tuple(TlvOption(i, length, 1, i) for i, length in enumerate(lengths))
    taken: set[tuple[int, int]] = set()
    for row in TlvMap(options, inferred=False).rows.values():
        assert row.bits is not None
        for column, word in row.bits.words((1 << row.width) - 1):
            bits = {(int(column), bit) for bit in range(64) if word >> bit & 1}
            assert not bits & taken
            taken |= bits
    first = Column.TUN_METADATA
    assert taken == {
        (column, bit) for column in range(first, first + TUN_METADATA_WORDS) for bit in range(64)
    }


def test_a_value_comes_back_from_its_place() -> None:
    """What is written for a wide option that begins within a word is what is read there."""
    row = TlvMap((TlvOption(0, 4), TlvOption(1, 20))).rows["tun_metadata1"]
    assert row.bits is not None
    key = [0] * len(Column)
    value = 0x0102030405060708090A0B0C0D0E0F1011121314
    for column, word in row.bits.words(value):
        key[column] |= word
    assert row.bits.value(key) == value
    assert pickle.loads(pickle.dumps(row)) == row


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tun_metadata0=0x5 actions=drop", {"tun_metadata0": 4}),
        ("tun_metadata3 actions=drop", {"tun_metadata3": 4}),
        ("tun_metadata0=0x123456789 actions=drop", {"tun_metadata0": 8}),
        ("tun_metadata0=0/0xf00000000 actions=drop", {"tun_metadata0": 8}),
        ("tun_metadata0[64..70]=1 actions=drop", {"tun_metadata0": 12}),
        ("actions=set_field:0x5->tun_metadata1", {"tun_metadata1": 4}),
        ("actions=set_field:0x5/0xff->tun_metadata1", {"tun_metadata1": 4}),
        ("actions=set_field:0x5/0xffffffff->tun_metadata1", {"tun_metadata1": 8}),
        ("actions=load:5->NXM_NX_TUN_METADATA1[]", {"tun_metadata1": 4}),
        ("actions=load:5->NXM_NX_TUN_METADATA1[30..33]", {"tun_metadata1": 8}),
        ("actions=clone(push:NXM_NX_TUN_METADATA1[60..99])", {"tun_metadata1": 16}),
        ("actions=delete_field:tun_metadata9", {"tun_metadata9": 4}),
        (
            "actions=learn(table=1,load:NXM_NX_REG0[]->NXM_NX_TUN_METADATA1[0..31])",
            {"tun_metadata1": 4},
        ),
        (
            "tun_metadata0=1 actions=move:NXM_NX_TUN_METADATA2[0..39]->OXM_OF_PKT_REG0[0..39]\n"
            "tun_metadata0=0x100000000 actions=drop",
            {"tun_metadata0": 8, "tun_metadata2": 8},
        ),
        ("reg0=1 actions=drop", {}),
    ],
)
def test_lengths_are_inferred_from_what_flows_use(text: str, expected: dict[str, int]) -> None:
    """The fewest whole words that hold every bit that matches and actions name."""
    assert inferred(text) == expected


def test_it_is_known_which_lengths_nothing_tells() -> None:
    """A presence alone says nothing about the length."""
    tlv_map = Switch(flows("tun_metadata0,tun_metadata1=5 actions=drop")).names.tlv_map
    assert [option.name for option in tlv_map.guessed] == ["tun_metadata0"]


def test_an_option_that_the_map_lacks_stops_packets() -> None:
    """A flow that Open vSwitch would not have taken is unsupported, by name."""
    tlv_map = parse_tlv_map(DUMPED)
    for text, reason in (
        ("tun_metadata1=1 actions=2", "matching tun_metadata1"),
        ("tun_metadata0=0x100000000 actions=2", "matching tun_metadata0"),
        ("actions=set_field:0x100000000->tun_metadata0", "set_field:0x100000000->tun_metadata0"),
        ("actions=load:1->NXM_NX_TUN_METADATA0[32]", "load:0x1->NXM_NX_TUN_METADATA0[32]"),
        ("actions=delete_field:tun_metadata5", "delete_field:tun_metadata5"),
        ("actions=push:NXM_NX_TUN_METADATA0[]", "push:NXM_NX_TUN_METADATA0[]"),
    ):
        trace = Switch(flows(text), tlv_map=tlv_map).trace("in_port=1")
        assert (trace.verdict, trace.reason) == ("unsupported", reason)


def test_learning_a_match_on_an_option_is_unsupported() -> None:
    """Open vSwitch 3.1 learns flows that match other bytes than the packet has."""
    text = "actions=learn(table=1,NXM_NX_TUN_METADATA0[0..31],output:NXM_OF_IN_PORT[])"
    trace = Switch(flows(text)).trace("in_port=1")
    assert (trace.verdict, trace.reason) == (
        "unsupported",
        "learn of a match on tun_metadata0",
    )


@pytest.mark.parametrize(
    ("tlv_map", "problem"),
    [
        (None, "has 4 bytes, too few for 0x100000000 .as flows use it; a TLV map may give it more"),
        (parse_tlv_map(DUMPED), "has 4 bytes, too few for 0x100000000$"),
    ],
)
def test_a_packet_with_a_longer_option_is_refused(tlv_map: TlvMap | None, problem: str) -> None:
    """What the map has no room for is never cut."""
    switch = Switch(flows("tun_metadata0=1 actions=2"), tlv_map=tlv_map)
    with pytest.raises(ValueError, match=problem):
        switch.trace("in_port=1,tun_metadata0=0x100000000")
    with pytest.raises(ValueError, match="tun_metadata9 is not in the TLV map"):
        switch.trace("in_port=1,tun_metadata9=1")


def test_packets_of_another_map_are_refused() -> None:
    """Options at other places than the program's are not looked at as if they were its own."""
    switch = Switch(flows("tun_metadata7=1 actions=2"), tlv_map=parse_tlv_map(DUMPED))
    other = Switch(flows("tun_metadata7=1 actions=2")).names.tlv_map
    batch = PacketBatch.of(Frames.of([FRAME]), 1, 0, [{"tun_metadata7": 1}], tlv_map=other)
    with pytest.raises(ValueError, match="another TLV map"):
        switch.run(batch)
    batch = PacketBatch.of(
        Frames.of([FRAME]), 1, 0, [{"tun_metadata7": 1}], tlv_map=switch.names.tlv_map
    )
    assert switch.run(batch).emissions.port.tolist() == [2]


def test_a_flow_that_is_added_later_may_use_more_options() -> None:
    """An inferred map grows by fields; those that it has stay where they are."""
    switch = Switch(flows("tun_metadata7=1 actions=2"))
    before = switch.names.tlv_map
    mods = parse_flow_mods("add priority=9,tun_metadata1=5,actions=3")
    switch.apply(mods)
    assert switch.names.tlv_map.includes(before)
    assert switch.trace("in_port=1,tun_metadata7=1").ports == (2,)
    assert switch.trace("in_port=1,tun_metadata1=5").ports == (3,)


def test_presence_is_not_a_value() -> None:
    """An option of all zeros is there; one that is not there has no value to match."""
    switch = Switch(
        flows("priority=2,tun_metadata0=0 actions=2\npriority=1,tun_metadata1 actions=3")
    )
    assert switch.trace("in_port=1,tun_metadata0=0").ports == (2,)
    assert switch.trace("in_port=1,tun_metadata1=0").ports == (3,)
    assert switch.trace("in_port=1").ports == ()


def test_outputs_tell_what_a_tunnel_would_get() -> None:
    """Every tunnel field that is not zero, and the options that are there."""
    text = (
        "actions=set_field:1->tun_gbp_id,set_field:oam->tun_flags,set_field:fe80::1->tun_ipv6_dst,"
        "set_field:0x10002->tun_metadata0,output:2,delete_field:tun_metadata0,output:3"
    )
    trace = Switch(flows(text), tlv_map=parse_tlv_map(DUMPED)).trace(
        "in_port=1,tun_id=7,tun_metadata7=0"
    )
    both = {
        "tun_id": "0x7",
        "tun_ipv6_dst": "fe80::1",
        "tun_flags": "oam",
        "tun_gbp_id": "1",
    }
    options = "{class=0x102,type=0x80,len=4,0x10002}", "{class=0,type=0,len=8,0}"
    assert [dict(output.tunnel) for output in trace.outputs] == [
        both | {"tun_metadata0": "0x10002", "tun_metadata7": "0", "geneve": "".join(options)},
        both | {"tun_metadata7": "0", "geneve": options[1]},
    ]
    line = "3: 14 bytes, tun_id=0x7, tun_ipv6_dst=fe80::1, tun_flags=oam, tun_gbp_id=1"
    assert f"    {line}, tun_metadata7=0, geneve({options[1]})\n" in str(trace)


def test_flags_that_no_flow_sees_come_along() -> None:
    """Of tun_flags flows read and write oam alone; a packet of a tunnel has others besides."""
    text = (
        "priority=2,tun_flags=oam actions=3\n"
        "priority=1 actions=push:NXM_NX_TUN_FLAGS[],pop:NXM_NX_REG0[0],set_field:oam->tun_flags,2"
    )
    trace = Switch(flows(text)).trace("in_port=1,tun_dst=192.0.2.1,tun_flags=df|key,tun_id=5")
    assert "tun_flags=df|key," in trace.flow
    assert "tun_flags=oam|df|key," in trace.final_flow
    assert "reg0" not in trace.final_flow
    (output,) = trace.outputs
    assert (output.port, output.tunnel["tun_flags"]) == (2, "oam|df|key")
    again = f"in_port=1,{trace.final_flow.partition(',in_port')[0]}"
    assert Switch(flows(text)).trace(again).ports == (3,)


def test_the_tos_of_a_tunnel_is_shown_as_open_vswitch_shows_it() -> None:
    """In hexadecimal, though it is read in decimal."""
    trace = Switch(flows("actions=2")).trace("in_port=1,tun_dst=192.0.2.1,tun_tos=20,tun_ttl=64")
    assert "tun_tos=14,tun_ttl=64," in trace.flow


def test_a_field_without_a_place_is_named() -> None:
    """The registry alone does not say where an option is."""
    with pytest.raises(ValueError, match="no place"):
        list(field("tun_metadata0").match_words(1, 1))
