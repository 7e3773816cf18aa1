"""Captured dumps of real deployments, in flowvm and in a real Open vSwitch, rule by rule.

Each dump is loaded into both, and both are sent the same packets in turn: aimed at every rule,
answers and repetitions among them, so that connections and learned rows come into play. They must
agree on each frame that leaves (port, bytes, order), on what goes to the controller, and afterwards
on the counters of every flow, learned ones included, on the tracked connections, and on the MAC
addresses that NORMAL has learned. What the database has of a bridge no dump tells: its ports are
trunks here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from flowvm.conntrack.text import format_connection
from flowvm.fields import Field
from flowvm.fields import field as field_named
from flowvm.flow import Flow, ReservedPort
from flowvm.names import Names
from flowvm.pipeline.compile import match_words
from flowvm.pipeline.emission import Reason
from flowvm.pipeline.result import Result, Verdict
from flowvm.port_settings import PortSettings
from flowvm.switch import Switch
from flowvm.testing import Packet, batch_of
from flowvm.text.dump import parse_dump
from flowvm.text.fdb import format_fdb
from flowvm.text.groups import parse_group
from flowvm.text.tlv_map import parse_tlv_map
from flowvm.text.values import format_value

from ..oracle import Bridge, Outcome, PacketIn
from .capture_traffic import Found, aimed_packets

pytestmark = [pytest.mark.oracle, pytest.mark.captures]

N_PORTS = 8
SHARE = 0.9
"""Of the rules that may be reached, so many must be hit at least."""

Fields = Mapping[str, int]


@dataclass(frozen=True)
class Capture:
    """A dump, and what it does not tell.

    ``tunnels`` has for each port that is a tunnel what its packets bring along; ``groups`` and
    ``tlv_map`` are made up where the dump lacks them.
    """

    name: str
    tunnels: Mapping[str | int, Sequence[Fields]] = field(default_factory=dict)
    groups: str = ""
    tlv_map: str = ""

    def __str__(self) -> str:
        return self.name


def _segments(*tun_ids: int, **more: int) -> list[Fields]:
    return [{}, *({"tun_id": tun_id, **more} for tun_id in tun_ids)]


def _from_ovn(*ports: tuple[int, int]) -> list[Fields]:
    """What packets from and to logical ports of the datapath 3 bring along."""
    return [{"tun_id": 3, "tun_metadata0": source << 16 | to} for source, to in ports]


CAPTURES = (
    Capture("seed-computenode-br-tun", {2: _segments(1)}),
    Capture("seed-networknode-br-tun", {2: _segments(1)}),
    Capture("neutron-gre-compute-0", {2: _segments(1, 2)}),
    Capture("neutron-gre-network-0", {2: _segments(1, 2)}),
    Capture("neutron-vxlan-l2pop-compute-0", {2: _segments(1001)}),
    Capture("neutron-vxlan-l2pop-network-0", {2: _segments(1001)}),
    Capture("neutron-vlan-compute-0"),
    Capture("neutron-vlan-compute-1"),
    Capture("hotsos-neutron-fw-br-data"),
    Capture("hotsos-neutron-fw-br-tun", {2: _segments(0x3E9, 0x4D1), 3: _segments(0x3E9, 0x4D1)}),
    Capture(
        "hotsos-neutron-fw-br-tun-of14", {2: _segments(0x3E9, 0x4D1), 3: _segments(0x3E9, 0x4D1)}
    ),
    Capture("neutron-ovsfw-vxlan-br-int-76"),
    Capture("neutron-ovsfw-vxlan-br-tun-14", {"vxlan-ac10000b": _segments(0xEF)}),
    Capture(
        "neutron-ovn-geneve-br-int-264",
        {"ovn-3732c7-0": [{}, *_from_ovn((1, 2), (2, 1), (1, 0x8000), (1, 0x8004))]},
        tlv_map="{class=0x102,type=0x80,len=4}->tun_metadata0",
    ),
    Capture(
        "openshift-sdn-br0-of13",
        {1: [{}, *({"tun_id": i, "tun_src": 0xAC110003 + i % 2} for i in (0, 1, 2, 99))]},
    ),
    Capture(
        "openshift-sdn-br0-addflow-style-baseline",
        {1: [{}, *({"tun_id": i, "tun_src": 0x0A007B2D} for i in (0, 37, 42, 99))]},
        groups="group_id=37,type=all,bucket=actions=output:4,bucket=actions=output:5",
    ),
)


@dataclass(frozen=True)
class Loaded:
    """A capture in both switches."""

    bridge: Bridge
    switch: Switch
    packets_by_port: Mapping[int, Sequence[Fields]]

    @classmethod
    def of(cls, capture: Capture, directory: Path, bridge: Bridge) -> Loaded:
        text = (directory / f"{capture.name}.txt").read_text(encoding="utf-8")
        dump = parse_dump(text)
        named = sorted(set(re.findall(r'"([^"]+)"', text)))
        numbers = {name: number for number, name in enumerate(named, 1)}
        ports = {f"p{number}": number for number in range(len(named) + 1, N_PORTS + 1)} | numbers
        lines = text.splitlines()
        flows = "\n".join(lines[number - 1] for number in dump.flow_lines)
        order = bridge.flood_order()
        bridge.reset()
        bridge.add_groups(capture.groups)
        if capture.tlv_map:
            bridge.add_tlv_map(capture.tlv_map)
        bridge.add_flows(re.sub(r'"([^"]+)"', lambda found: str(numbers[found[1]]), flows))
        switch = Switch(
            (_as_new(flow) for flow in dump.flows),
            ports,
            [parse_group(line) for line in capture.groups.splitlines()],
            bridge=[PortSettings(bridge.ports[number], (number,)) for number in order],
            tlv_map=parse_tlv_map(capture.tlv_map),
        )
        tunnels = {switch.port(port): fields for port, fields in capture.tunnels.items()}
        brought = {port: tunnels.get(port, ({},)) for port in sorted(ports.values())}
        return cls(bridge, switch, brought)


def _as_new(flow: Flow) -> Flow:
    """``flow`` as when it is added: nothing counted, no time gone by."""
    return flow.replace(n_packets=0, n_bytes=0, duration=None, idle_age=None, hard_age=None)


class Entries:
    """The ports of the bridge by which packets with fields come in, made when one is wanted."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._ports: dict[tuple[int, tuple[tuple[str, int], ...]], int] = {}

    def port(self, packet: Packet) -> int:
        if not packet.fields:
            return packet.in_port
        key = packet.in_port, tuple(sorted(packet.fields.items()))
        if key not in self._ports:
            self._ports[key] = self._bridge.entry_port(
                packet.in_port,
                {name: _text(field_named(name), value) for name, value in key[1]},
            )
        return self._ports[key]


def _text(row: Field, value: int) -> str:
    return format_value(row, value, row.full_mask)


@pytest.mark.parametrize("capture", CAPTURES, ids=str)
def test_flowvm_does_as_open_vswitch_with(capture: Capture, captures: Path, bridge: Bridge) -> None:
    loaded = Loaded.of(capture, captures, bridge)
    found = aimed_packets(loaded.switch.copy(), loaded.packets_by_port)
    entries = Entries(bridge)
    result = loaded.switch.run(batch_of(found.packets, loaded.switch.names.tlv_map))
    for number, packet in enumerate(found.packets):
        outcome = bridge.send(entries.port(packet), packet.frame)
        for complaint in _differences(result, number, outcome, bridge.packet_ins()):
            history = "\n".join(map(str, found.packets[: number + 1]))
            pytest.fail(f"packet {number}: {complaint}\n{history}")
    _compare_counters(loaded)
    _compare_connections(loaded)
    assert format_fdb(loaded.switch.macs()) == bridge.fdb()
    _report(capture, loaded, found)
    assert found.hits.keys() <= found.reachable
    assert len(found.hits) >= SHARE * len(found.reachable)
    assert not found.unsupported


def _differences(
    result: Result, number: int, outcome: Outcome, packet_ins: Sequence[PacketIn]
) -> Iterator[str]:
    if result.verdict(number) is Verdict.UNSUPPORTED:
        yield f"unsupported: {result.reason(number)}"
    emissions = result.emissions
    mine = (emissions.packet == number).nonzero()[0].tolist()
    left = [
        (int(emissions.port[i]), emissions.frames[i].hex())
        for i in mine
        if emissions.port[i] != ReservedPort.CONTROLLER
    ]
    told = [
        (emissions.frames[i].hex(), _reason(emissions.reason[i]), int(emissions.table[i]))
        for i in mine
        if emissions.port[i] == ReservedPort.CONTROLLER
    ]
    real = [(emission.port, emission.frame.hex()) for emission in outcome]
    if not outcome.ordered:
        left, real = sorted(left), sorted(real)
    if left != real:
        yield f"leaves as\n  {left}\ninstead of\n  {real}\n{outcome.datapath}"
    heard = [(p.frame.hex(), int(p.reason), p.table_id) for p in packet_ins]
    if told != heard:
        yield f"goes to the controller as\n  {told}\ninstead of\n  {heard}"


def _reason(number: int) -> int:
    # An explicit miss is what OpenFlow 1.4 calls no match.
    return int(Reason.NO_MATCH if number == Reason.EXPLICIT_MISS else number)


def _compare_counters(loaded: Loaded) -> None:
    names = loaded.switch.names
    mine = _counts(loaded.switch.flows(), names)
    real = _counts(parse_dump(loaded.bridge.dump_flows()).flows, names)
    differing = [
        f"{flow}\n  has {mine.get(key, (None, None))[1]}, not {counts}"
        for key, (flow, counts) in real.items()
        if mine.get(key, (None, None))[1] != counts
    ]
    differing += [
        f"{flow}\n  should not be there" for k, (flow, _) in mine.items() if k not in real
    ]
    assert not differing, "\n".join(differing)


def _compare_connections(loaded: Loaded) -> None:
    table = loaded.switch.state.connections
    mine = sorted(format_connection(connection) for connection in table.connections(0))
    assert mine == sorted(loaded.bridge.conntrack().splitlines())


def _counts(flows: Sequence[Flow], names: Names) -> dict[object, tuple[Flow, tuple[int, int]]]:
    """The flows of a dump by table, priority and match, with the packets and bytes they counted."""
    return {
        (
            flow.table or 0,
            flow.priority,
            tuple(sorted(match_words(flow.match, names)[0].items())),
        ): (
            flow,
            (flow.n_packets or 0, flow.n_bytes or 0),
        )
        for flow in flows
    }


def _report(capture: Capture, loaded: Loaded, found: Found) -> None:
    print(
        f"{capture}: {len(found.hits)} of {len(found.reachable)} rules hit that may be reached"
        f" ({len(loaded.switch.program.flows)} in all), by {len(found.packets)} packets"
    )
    for reason, count in sorted(found.unsupported.items()):
        print(f"  unsupported: {reason} ({count} packets tried)")
    for rule in sorted(found.reachable - found.hits.keys()):
        print(f"  not hit: {loaded.switch.program.flows[rule]}")
