"""The laws of the engine for tables that say NORMAL: whatever packets teach, and forget.

The bridge is small on purpose: few addresses fit into its table, and they are soon forgotten.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from flowvm.actions.base import Action
from flowvm.actions.output import Output
from flowvm.clock import SECOND
from flowvm.flow import Flow, ReservedPort
from flowvm.pipeline.assemble import with_bridge
from flowvm.pipeline.compile import compile_flows, flow_names
from flowvm.pipeline.machine import Machine
from flowvm.pipeline.result import Result
from flowvm.pipeline.state import State
from flowvm.port_settings import BridgeSettings, MacEntry, PortSettings, VlanMode
from flowvm.switch import Switch
from flowvm.testing import Packet, batch_of, packet_sequences, tables

from .test_laws import PORT_NAMES, outcomes
from .test_laws import law as usual

MODES = tuple(VlanMode)

law = settings(usual, max_examples=20)


class Scene:
    """Flows with NORMAL in them, a bridge, and packets from few addresses."""

    def __init__(self, flows: list[Flow], bridge: BridgeSettings, some: list[Packet]) -> None:
        self.flows = flows
        self.bridge = bridge
        self.packets = some

    def __repr__(self) -> str:
        return "\n".join(["", *map(str, self.flows), str(self.bridge), *map(str, self.packets)])

    def switch(self) -> Switch:
        return Switch(self.flows, PORT_NAMES, bridge=self.bridge)

    def state(self) -> State:
        program = compile_flows(self.flows, flow_names(self.flows, PORT_NAMES))
        return State(with_bridge(program, self.bridge))


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    random = Random(draw(st.integers(0, 1 << 20)))
    table = draw(tables(learn=True, timeouts=True))
    flows = [flow.replace(actions=_with_normal(random, flow.actions)) for flow in table]
    flows.append(Flow(priority=0, actions=(Output(ReservedPort.NORMAL),)))
    ports = tuple(_port(random, name, number) for name, number in PORT_NAMES.items())
    bridge = BridgeSettings(ports, mac_aging_time=15, mac_table_size=10)
    some = draw(packet_sequences(table, min_length=4, min_size=10, max_size=18))
    # Longer times between packets than any flow asks for.
    wait, packets = 0, []
    for packet in some:
        wait += random.choice((0, 0, 0, 0, 1, 15)) * SECOND
        packets.append(
            replace(packet, frame=_from_few(random, packet.frame), time=packet.time + wait)
        )
    return Scene(flows, bridge, packets)


def _with_normal(random: Random, actions: tuple[Action, ...]) -> tuple[Action, ...]:
    """``actions`` with some outputs made NORMAL, and perhaps one more."""
    normal = Output(ReservedPort.NORMAL)
    changed = [
        normal if isinstance(action, Output) and random.random() < 0.6 else action
        for action in actions
    ]
    return (normal, *changed) if random.random() < 0.3 else tuple(changed)


def _port(random: Random, name: str, number: int) -> PortSettings:
    mode = random.choice((VlanMode.TRUNK, VlanMode.TRUNK, *MODES))
    tag = 0 if mode is VlanMode.TRUNK else random.choice((0, 1, 2))
    return PortSettings(name, (number,), mode, tag, protected=random.random() < 0.2)


def _from_few(random: Random, frame: bytes) -> bytes:
    """``frame`` with addresses of a few hosts most of the time."""
    if len(frame) < 14 or random.random() < 0.1:
        return frame
    low = frame[0] & 1
    destination = frame[:6] if low else bytes((10, 0, 0, 0, 0, random.randrange(13)))
    return destination + bytes((10, 0, 0, 0, 0, random.randrange(13))) + frame[12:]


def macs(switch: Switch) -> list[MacEntry]:
    return switch.macs()


def one_by_one(switch: Switch, some: list[Packet]) -> tuple[list[object], Switch]:
    """What becomes of each packet, run by a switch that remembers no paths; and that switch."""
    found: list[object] = []
    for packet in some:
        switch = switch.copy()
        found += outcomes(switch.run(batch_of([packet])))
    return found, switch


def dump(switch: Switch) -> list[str]:
    return [str(flow) for flow in switch.flows()]


@given(scenes())
@law
def test_a_batch_is_its_packets_one_by_one(scene: Scene) -> None:
    """In what leaves, in the flows after it, and in the MAC table with its order and ages."""
    together = scene.switch()
    expected, apart = one_by_one(scene.switch(), scene.packets)
    assert outcomes(together.run(batch_of(scene.packets))) == expected
    assert dump(together) == dump(apart)
    assert macs(together) == macs(apart)


@given(scenes(), st.integers(1, 5))
@law
def test_the_size_of_chunks_makes_no_difference(scene: Scene, size: int) -> None:
    """A machine may take a batch in pieces of any size."""
    batch = batch_of(scene.packets)
    whole, pieces = scene.state(), scene.state()
    assert outcomes(Machine(whole).run(batch)) == outcomes(Machine(pieces, size).run(batch))
    assert rows(whole) == rows(pieces)


def rows(state: State) -> list[MacEntry]:
    assert state.macs is not None
    return state.macs.rows(state.now // SECOND)


@given(scenes(), st.data())
@law
def test_a_run_can_be_split_anywhere(scene: Scene, data: st.DataObject) -> None:
    """Running a and then b is running both at once; a copy made between them knows as much."""
    at = data.draw(st.integers(0, len(scene.packets)))
    whole, split = scene.switch(), scene.switch()
    first = outcomes(split.run(batch_of(scene.packets[:at])))
    twin = split.copy()
    second: Result = split.run(batch_of(scene.packets[at:]))
    assert first + outcomes(second) == outcomes(whole.run(batch_of(scene.packets)))
    assert outcomes(twin.run(batch_of(scene.packets[at:]))) == outcomes(second)
    assert macs(split) == macs(twin) == macs(whole)


@given(scenes(), st.integers(2, 5))
@law
def test_many_packets_of_a_kind_each_refresh_what_is_known(scene: Scene, times: int) -> None:
    """Packets that share their fate with earlier ones teach the same."""
    many = sorted(scene.packets * times, key=lambda packet: packet.time)
    together = scene.switch()
    expected, apart = one_by_one(scene.switch(), many)
    assert outcomes(together.run(batch_of(many))) == expected
    assert macs(together) == macs(apart)


@given(scenes())
@law
def test_a_trace_is_a_run_that_changes_nothing(scene: Scene) -> None:
    """It says what the run after it does, and leaves the MAC table alone."""
    switch = scene.switch()
    for packet in scene.packets:
        if not packet.fields:
            before = macs(switch)
            at = f"{packet.time // SECOND}.{packet.time % SECOND:09}"
            trace = switch.trace(packet.frame, in_port=packet.in_port, at=at)
            assert macs(switch) == before
        result = switch.run(batch_of([packet]))
        if not packet.fields:
            assert [o.frame for o in trace.outputs] == list(result.emissions.frames)


_crowd = st.lists(
    st.tuples(st.integers(0, 13), st.integers(0, 13), st.integers(1, 4)), min_size=20, max_size=80
)


@given(_crowd)
@settings(usual, max_examples=25)
def test_a_crowd_is_its_hosts_one_by_one(crowd: list[tuple[int, int, int]]) -> None:
    """More hosts than fit into the table push each other out as they come, in a batch too."""
    flows = [Flow(priority=0, actions=(Output(ReservedPort.NORMAL),))]
    ports = [PortSettings(name, (number,)) for name, number in PORT_NAMES.items()]
    settings = BridgeSettings(tuple(ports), mac_table_size=10)
    some = [
        Packet(bytes((10, 0, 0, 0, 0, to, 10, 0, 0, 0, 0, source)) + bytes(48), port)
        for source, to, port in crowd
    ]
    together = Switch(flows, PORT_NAMES, bridge=settings)
    expected, apart = one_by_one(together.copy(), some)
    assert outcomes(together.run(batch_of(some))) == expected
    assert macs(together) == macs(apart)
