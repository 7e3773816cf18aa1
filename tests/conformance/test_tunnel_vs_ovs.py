"""Tunnel metadata and options: matched, changed, and seen by who gets the packet, as in OVS.

What a packet leaves with shows in packets to the controller, which Open vSwitch sends with all
pipeline fields that are not zero.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import pytest

from flowvm.fields import FIELDS
from flowvm.fields import field as field_named
from flowvm.flow import Flow, ReservedPort
from flowvm.packet.batch import PacketBatch
from flowvm.packet.frames import Frames
from flowvm.pipeline.result import Result
from flowvm.report.tunnel import tunnel_fields
from flowvm.switch import Switch
from flowvm.text.dump import parse_dump
from flowvm.text.format import format_actions
from flowvm.text.tlv_map import parse_tlv_map
from flowvm.text.values import format_value, parse_value

from ..oracle import Bridge
from .tunnel_cases import N_TABLES, TLV_MAP, arriving_with, frames, table

pytestmark = pytest.mark.oracle

NICIRA, EXPERIMENTER, BASIC = 0x0001, 0xFFFF, 0x8000
CODES: Mapping[tuple[int, int], str] = {
    (BASIC, 38): "tun_id",
    (NICIRA, 31): "tun_src",
    (NICIRA, 32): "tun_dst",
    (NICIRA, 38): "tun_gbp_id",
    (NICIRA, 39): "tun_gbp_flags",
    (NICIRA, 104): "tun_flags",
    (NICIRA, 109): "tun_ipv6_src",
    (NICIRA, 110): "tun_ipv6_dst",
    (EXPERIMENTER, 11): "tun_erspan_idx",
    (EXPERIMENTER, 12): "tun_erspan_ver",
    (EXPERIMENTER, 13): "tun_erspan_dir",
    (EXPERIMENTER, 14): "tun_erspan_hwid",
    **{(NICIRA, 40 + i): f"tun_metadata{i}" for i in range(64)},
}
"""Classes and numbers of tunnel fields in OXM (include/openvswitch/meta-flow.h)."""

Told = tuple[str, dict[str, int | str]]
"""The frame of a packet to the controller, and the tunnel fields it comes with."""


def _decode(metadata: bytes) -> Iterator[tuple[str, int]]:
    at = 0
    while at + 4 <= len(metadata):
        oxm_class, number, length = struct.unpack_from("!HBB", metadata, at)
        value = metadata[at + 4 : at + 4 + length]
        if oxm_class == EXPERIMENTER:
            value = value[4:]
        if number & 1:
            value = value[: len(value) // 2]  # and the mask
        name = CODES.get((oxm_class, number >> 1))
        if name is not None:
            yield name, int.from_bytes(value, "big")
        at += 4 + length


def _told(result: Result, switch: Switch) -> list[Told]:
    emissions = result.emissions
    tunnel = emissions.tunnel()
    found = []
    for i in np.flatnonzero(emissions.port == ReservedPort.CONTROLLER).tolist():
        fields = tunnel_fields(tunnel, i, switch.names.tlv_map)
        fields.pop("geneve", None)
        values = {name: parse_value(field_named(name), text)[0] for name, text in fields.items()}
        found.append((emissions.frames[i].hex(), values))
    return found


def _left(result: Result) -> list[tuple[int, str]]:
    emissions = result.emissions
    pairs = zip(emissions.port.tolist(), emissions.frames, strict=True)
    return [(port, frame.hex()) for port, frame in pairs if port != ReservedPort.CONTROLLER]


def _texts(fields: Mapping[str, int]) -> dict[str, int | str]:
    rows = {row.name: row for row in FIELDS}
    return {
        name: format_value(rows[name], value, rows[name].full_mask)
        for name, value in fields.items()
    }


@pytest.mark.parametrize("seed", range(24))
def test_packets_leave_with_the_same_tunnel_metadata(seed: int, bridge: Bridge) -> None:
    """Random tables of tunnel fields and options do the same to the same packets."""
    rng = random.Random(seed)
    text = table(rng)
    bridge.add_tlv_map(",".join(TLV_MAP))
    bridge.add_flows(text)
    tlv_map = parse_tlv_map(bridge.ofctl("dump-tlv-map"))
    assert str(tlv_map) == str(parse_tlv_map(",".join(TLV_MAP)))
    ports = {name: number for number, name in bridge.ports.items()}
    flows = parse_dump(text).flows
    switch = Switch(flows, ports, tlv_map=tlv_map)
    # The lengths do not matter to what happens, if they are enough.
    inferring = Switch(parse_dump(f"{text}\n{_longest()}").flows, ports)
    for _ in range(12):
        fields = arriving_with(rng)
        frame = rng.choice(frames())
        entry = bridge.entry_port(1, _texts(fields))
        outcome = bridge.send(entry, frame)
        told = [(p.frame.hex(), dict(_decode(p.metadata))) for p in bridge.packet_ins()]
        left = [(emission.port, emission.frame.hex()) for emission in outcome]
        for ours in (switch, inferring):
            batch = PacketBatch.of(Frames.of([frame]), 1, 0, [fields], tlv_map=ours.names.tlv_map)
            result = ours.run(batch)
            assert str(result.verdict(0)) != "unsupported", result.reason(0)
            emitted = _left(result)
            assert (emitted if outcome.ordered else sorted(emitted)) == (
                left if outcome.ordered else sorted(left)
            ), (fields, frame.hex())
            assert _told(result, ours) == told, (fields, frame.hex())
    theirs = _counted(parse_dump(bridge.dump_flows("OpenFlow10")).flows)
    assert _counted(switch.flows()) == theirs


def _counted(flows: Iterable[Flow]) -> list[tuple[int, int, int, int, str]]:
    """Table, priority and counters of each flow; of those that were learned also what they are."""
    return sorted(
        (
            int(flow.table or 0),
            flow.priority,
            flow.n_packets or 0,
            flow.n_bytes or 0,
            f"{flow.match} {format_actions(flow.actions)}" if flow.table == N_TABLES else "",
        )
        for flow in flows
    )


def _longest() -> str:
    """A flow of no consequence that uses options at their full lengths."""
    return "table=200,actions=" + ",".join(
        f"push:NXM_NX_TUN_METADATA{i}[{bit}]" for i, bit in ((0, 31), (1, 63), (5, 159), (63, 95))
    )
