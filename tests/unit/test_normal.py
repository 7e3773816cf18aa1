"""NORMAL: what a switch with VLANs that learns addresses does."""

from __future__ import annotations

import pytest

from flowvm import Frames, PacketBatch, Switch
from flowvm.pipeline.result import Result
from flowvm.port_settings import BridgeSettings, MacEntry, PortSettings, VlanMode
from flowvm.text.dump import parse_dump
from flowvm.text.fdb import format_fdb

LOCAL = 0xFFFE
PORTS = (
    PortSettings("br0", (LOCAL,)),
    PortSettings("a", (1,), VlanMode.ACCESS, 10),
    PortSettings("b", (2,), VlanMode.ACCESS, 10),
    PortSettings("c", (3,), VlanMode.ACCESS, 20),
    PortSettings("t", (4,), trunks=frozenset({10, 20})),
)
NUMBERS = {port.name: port.interfaces[0] for port in PORTS}
ALL = 0xFFFFFFFFFFFF
A, B, C = 0x0A0000000001, 0x0A0000000002, 0x0A0000000003

Arrival = tuple[float, int, bytes]


def frame(dst: int, src: int, tag: str = "") -> bytes:
    return dst.to_bytes(6, "big") + src.to_bytes(6, "big") + bytes.fromhex(tag + "9999") + bytes(46)


def switch(
    settings: BridgeSettings | None = None,
    *macs: MacEntry,
    flows: str = "actions=NORMAL",
) -> Switch:
    bridge = BridgeSettings(PORTS) if settings is None else settings
    return Switch(parse_dump(flows).flows, NUMBERS, bridge=bridge, macs=macs)


def run(target: Switch, *arrivals: Arrival) -> Result:
    return target.run(
        PacketBatch.of(
            Frames.of([frame for _, _, frame in arrivals]),
            [port for _, port, _ in arrivals],
            [int(seconds * 10**9) for seconds, _, _ in arrivals],
        )
    )


def ports(result: Result) -> list[list[int]]:
    """The ports that each packet leaves by."""
    left: list[list[int]] = [[] for _ in range(len(result))]
    for packet, port in zip(
        result.emissions.packet.tolist(), result.emissions.port.tolist(), strict=True
    ):
        left[packet].append(port)
    return left


def test_unknown_addresses_are_flooded_within_the_vlan() -> None:
    """To the ports of the VLAN in their order, not back, with a tag on trunks and none off them."""
    result = run(switch(), (0, 1, frame(B, A)))
    emissions = result.emissions
    assert list(zip(emissions.port.tolist(), emissions.frames, strict=True)) == [
        (LOCAL, frame(B, A, "8100000a")),
        (2, frame(B, A)),
        (4, frame(B, A, "8100000a")),
    ]


def test_what_was_seen_is_where_it_goes() -> None:
    """Within one batch a reply goes to the port that the request came from, and to no other."""
    result = run(
        switch(),
        (0, 1, frame(ALL, A)),
        (0, 2, frame(A, B)),
        (0, 1, frame(B, A)),
        (0, 3, frame(A, C)),
    )
    assert ports(result) == [[LOCAL, 2, 4], [1], [2], [LOCAL, 4]]


def test_an_address_that_moves_is_followed() -> None:
    """The port that saw it last counts, and the port it is at gets nothing back."""
    result = run(
        switch(),
        (0, 1, frame(ALL, A)),
        (0, 2, frame(A, B)),
        (0, 2, frame(ALL, A)),
        (0, 2, frame(A, B)),
        (0, 4, frame(A, C, "8100000a")),
    )
    assert ports(result)[1:] == [[1], [LOCAL, 1, 4], [], [2]]


def test_addresses_are_forgotten() -> None:
    """An address not seen for as long as it may be idle is flooded to again."""
    idle = BridgeSettings.of(PORTS, {"mac-aging-time": "20"})
    result = run(
        switch(idle),
        (0, 1, frame(ALL, A)),
        (19.9, 2, frame(A, B)),
        (20, 2, frame(A, B)),
    )
    assert ports(result)[1:] == [[1], [LOCAL, 1, 4]]


def test_the_table_is_printed_as_by_ovs() -> None:
    """Entries stand in the order in which they were used, with whole seconds of age."""
    target = switch(None, MacEntry(3, 20, C, 100), MacEntry(2, 10, B, None))
    run(target, (1.5, 1, frame(ALL, A)), (1.9, 3, frame(ALL, C)), (2.5, 1, frame(ALL, A)))
    target.advance(4 * 10**9)
    assert (
        format_fdb(target.macs())
        == """\
 port  VLAN  MAC                Age
    2    10  0a:00:00:00:00:02  static
    3    20  0a:00:00:00:00:03    3
    1    10  0a:00:00:00:00:01    2
"""
    )


def test_a_static_entry_stays() -> None:
    """No packet moves it, and no time ends it."""
    result = run(
        switch(None, MacEntry(1, 10, A)),
        (0, 2, frame(ALL, A)),
        (9, 2, frame(A, B)),
    )
    assert ports(result)[1] == []
    kept = switch(None, MacEntry(1, 10, A, None))
    assert ports(run(kept, (0, 2, frame(ALL, A)), (9999, 2, frame(A, B))))[1] == [1]


def test_a_full_table_makes_room() -> None:
    """What the port with the most addresses used longest ago goes, and is flooded to again."""
    small = BridgeSettings.of(PORTS, {"mac-table-size": "10"})
    many = [(0.0, 1, frame(ALL, 0x0A0000000100 + i)) for i in range(9)]
    result = run(
        switch(small),
        *many,
        (0, 2, frame(ALL, B)),
        (0, 2, frame(0x0A0000000100, B)),
        (0, 2, frame(ALL, C)),
        (0, 2, frame(0x0A0000000100, B)),
        (0, 2, frame(0x0A0000000101, B)),
    )
    assert ports(result)[10:] == [[1], [LOCAL, 1, 4], [LOCAL, 1, 4], [1]]


def test_a_packet_may_push_out_where_it_goes() -> None:
    """Its sender takes the place of its destination, which is then flooded to."""
    small = BridgeSettings.of(PORTS, {"mac-table-size": "10"})
    many = [(0.0, 1, frame(ALL, 0x0A0000000100 + i)) for i in range(10)]
    result = run(switch(small), *many, (0, 2, frame(0x0A0000000100, B)))
    assert ports(result)[10] == [LOCAL, 1, 4]


def test_in_flooded_vlans_nothing_is_learned() -> None:
    """``flood_vlans`` are flooded whatever was seen."""
    target = switch(BridgeSettings(PORTS, frozenset({10})))
    result = run(target, (0, 1, frame(ALL, A)), (0, 2, frame(A, B)))
    assert ports(result)[1] == [LOCAL, 1, 4]
    assert target.macs() == []


@pytest.mark.parametrize("forward_bpdu", [False, True])
def test_protocols_between_neighbours_are_not_forwarded(forward_bpdu: bool) -> None:
    """Reserved addresses are dropped and nothing is learned, unless ``forward-bpdu`` is set."""
    config = {"forward-bpdu": str(forward_bpdu).lower()}
    target = switch(BridgeSettings.of(PORTS, config))
    result = run(target, (0, 1, frame(0x0180C200000E, A)))
    assert ports(result) == [[LOCAL, 2, 4] if forward_bpdu else []]
    assert len(target.macs()) == forward_bpdu


def test_bonds_are_unsupported() -> None:
    """A packet that a bond matters to stops, by name; others go their way."""
    bond = PortSettings("bond0", (5, 6), VlanMode.ACCESS, 20)
    target = switch(BridgeSettings((*PORTS, bond)))
    result = run(target, (0, 1, frame(ALL, A)), (0, 3, frame(ALL, C)), (0, 6, frame(ALL, B)))
    assert [str(result.verdict(i)) for i in range(3)] == ["output", "unsupported", "unsupported"]
    assert result.reason(1) == result.reason(2) == "NORMAL with a bond (bond0)"


def test_a_field_may_choose_normal() -> None:
    """A register that holds the number of NORMAL forwards normally, and addresses tell apart."""
    target = switch(flows="actions=load:0xfffa->NXM_NX_REG0[],output:NXM_NX_REG0[]")
    result = run(target, (0, 1, frame(ALL, A)), (0, 2, frame(A, B)), (0, 2, frame(C, B)))
    assert ports(result) == [[LOCAL, 2, 4], [1], [LOCAL, 1, 4]]


def test_a_packet_sees_what_it_taught_itself() -> None:
    """Twice through NORMAL, back to front the second time: its own address is known by then."""
    swap = "move:NXM_OF_ETH_DST[]->NXM_NX_XXREG0[0..47],move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[]"
    target = switch(flows=f"actions=NORMAL,{swap},NORMAL")
    assert ports(run(target, (0, 1, frame(B, A)))) == [[LOCAL, 2, 4]]


def test_a_copy_goes_its_own_way() -> None:
    """What a copy learns the switch does not know."""
    target = switch()
    run(target.copy(), (0, 1, frame(ALL, A)))
    assert target.macs() == []
    target.trace(frame(ALL, A), in_port="a")
    assert target.macs() == []


def test_macs_need_a_bridge() -> None:
    """Addresses for a bridge of unknown ports are refused."""
    with pytest.raises(ValueError, match="bridges only whose ports are"):
        Switch(parse_dump("actions=NORMAL").flows, macs=[MacEntry(1, 0, A)])
