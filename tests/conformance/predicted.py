"""What flowvm makes of a case."""

from __future__ import annotations

from flowvm.conntrack.text import format_connection
from flowvm.flow import ReservedPort
from flowvm.pipeline.emission import Reason
from flowvm.pipeline.result import Result
from flowvm.port_settings import PortSettings
from flowvm.switch import Switch
from flowvm.testing import TLV_MAP, batch_of
from flowvm.text.dump import parse_dump
from flowvm.text.fdb import format_fdb
from flowvm.text.groups import parse_group
from flowvm.text.meters import parse_meters
from tests.oracle import LOCAL

from .cases import MILLISECOND, Case
from .exercise import Exercised, Recorder
from .seen import DifferenceError, PacketIn, Seen, Step, ageless

N_PORTS = 8
PORT_NAMES = {f"p{n}": n for n in range(1, N_PORTS + 1)}
MIN_FRAME = 14
_PORTS = {"LOCAL": LOCAL, **PORT_NAMES}
_BRIDGE = tuple(PortSettings(name, (number,)) for name, number in _PORTS.items())


def switch_of(dump: str, case: Case) -> Switch:
    """The switch of which that is the dump, with the groups and meters of ``case``."""
    groups = tuple(map(parse_group, case.groups))
    meters = parse_meters("\n".join(case.meters))
    return Switch(parse_dump(dump).flows, PORT_NAMES, groups, meters, _BRIDGE, tlv_map=TLV_MAP)


def predict(dump: str, case: Case, exercised: Exercised) -> tuple[Seen, Result]:
    """What flowvm makes of ``case``, from the dump of it as loaded; and what that exercises."""
    switch = switch_of(dump, case)
    twin = switch.copy()
    result = switch.run(batch_of(case.packets))
    seen = Seen(dump)
    for number, packet in enumerate(case.packets):
        emitted, packet_ins = left_by(result, number)
        recorder = Recorder(twin.state, exercised)
        alone = twin.run(batch_of([packet]), recorder)
        if left_by(alone, 0) != (emitted, packet_ins):
            raise DifferenceError(f"packet {number} alone: {left_by(alone, 0)}\n{case}")
        seen.emitted.append(emitted)
        seen.packet_ins.append(packet_ins)
        seen.paths.append(_path(recorder))
    if "ct(" in dump:
        table = switch.state.connections
        now = case.packets[-1].time // MILLISECOND if case.packets else 0
        seen.connections = sorted(format_connection(one) for one in table.connections(now))
    if "NORMAL" in dump:
        seen.macs = ageless(format_fdb(switch.macs()))
    last = case.packets[-1].time if case.packets else 0
    dumps = []
    for one in (switch, twin):
        one.advance(last + case.pause * MILLISECOND)
        dumps.append("\n".join(map(str, one.flows())))
    # The batch law, for all that OVS is asked about.
    if dumps[0] != dumps[1]:
        raise DifferenceError(f"as a batch\n{dumps[0]}\none by one\n{dumps[1]}\n{case}")
    seen.dumps = (dumps[0],)
    return seen, result


def left_by(result: Result, packet: int) -> tuple[list[tuple[int, str]], list[PacketIn]]:
    """The frames that leave for a packet, and what the controllers with ID 0 are sent."""
    emissions = result.emissions
    frames, packet_ins = [], []
    failed: set[int] = set()
    for i in (emissions.packet == packet).nonzero()[0].tolist():
        port = int(emissions.port[i])
        if port != ReservedPort.CONTROLLER:
            # What is left of a frame may be too little for a port of the oracle to send; it gives
            # up then, and drops what it was sent with that.
            if emissions.frames.lengths[i] < MIN_FRAME:
                failed.add(port)
            if port not in failed:
                frames.append((port, emissions.frames[i].hex()))
        elif result.packet_in(i).controller_id == 0:
            packet_ins.append(_packet_in(result, i))
    return frames, packet_ins


def _packet_in(result: Result, i: int) -> PacketIn:
    emissions = result.emissions
    reason = Reason(int(emissions.reason[i]))
    if reason is Reason.EXPLICIT_MISS:
        reason = Reason.NO_MATCH  # what it is called in OpenFlow 1.4
    return (
        emissions.frames[i].hex(),
        int(reason),
        int(emissions.table[i]),
        int(emissions.cookie[i]),
        result.packet_in(i).userdata.hex(),
    )


def _path(recorder: Recorder) -> list[Step]:
    steps = [*recorder.steps()]
    for _, twin in recorder.resumed:
        steps += twin.steps()
    return [
        (step.table, None, 0)
        if step.flow is None
        else (step.table, step.flow.priority, step.flow.cookie or 0)
        for step in steps
        if step.table is not None
    ]
