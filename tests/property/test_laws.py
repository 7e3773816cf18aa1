"""The laws of the engine, for tables and packets that the kit makes up.

What holds of a switch whatever is in it: a batch is its packets one by one, a trace is a run, the
order of rows means nothing, lookups find what reading the rows one after the other finds.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from flowvm.actions.learn import Learn
from flowvm.actions.output import Output
from flowvm.columns import Column
from flowvm.fields import NW_FRAG_BITS, TP_DST_BITS, TP_SRC_BITS, field
from flowvm.flow import FieldMatch, Flow, Match
from flowvm.packet.batch import PacketBatch
from flowvm.pipeline.compile import all_actions, compile_flows, flow_names
from flowvm.pipeline.machine import Machine
from flowvm.pipeline.result import Result
from flowvm.pipeline.state import State
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
from flowvm.text.parse import parse_flow
from flowvm.trace import port_label

PORT_NAMES = {f"p{n}": n for n in range(1, 5)}

law = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


class Scene:
    """Flows, and packets that have to do with them."""

    def __init__(self, table: list[Flow], some: tuple[Packet, ...]) -> None:
        self.table = table
        self.packets = some

    def __repr__(self) -> str:
        return "\n".join(["", *map(str, self.table), *map(str, self.packets)])


@st.composite
def scenes(draw: st.DrawFn, *, learn: bool = True, timeouts: bool = True, most: int = 8) -> Scene:
    table = draw(tables(learn=learn, timeouts=timeouts))
    return Scene(table, draw(packet_sequences(table, min_length=0, min_size=2, max_size=most)))


def switch_with(table: Sequence[Flow]) -> Switch:
    return Switch(table, PORT_NAMES)


def state_with(table: Sequence[Flow]) -> State:
    return State(compile_flows(table, flow_names(table, PORT_NAMES)))


def outcomes(result: Result) -> list[object]:
    """What became of each packet, in full."""
    found: list[list[object]] = [
        [result.verdict(i), result.stopped.get(i), int(result.last_table[i])]
        for i in range(len(result))
    ]
    emissions = result.emissions
    for i, frame in enumerate(emissions.frames):
        names = ("port", "tun_id", "tun_src", "tun_dst", "reason", "table", "cookie")
        values = [int(getattr(emissions, name)[i]) for name in names]
        found[int(emissions.packet[i])].append((frame, *values))
    return list(found)


def dump(switch: Switch) -> list[str]:
    return [str(flow) for flow in switch.flows()]


def one_by_one(switch: Switch, some: Sequence[Packet]) -> list[object]:
    return [outcome for packet in some for outcome in outcomes(switch.run(batch_of([packet])))]


# -- batches ----------------------------------------------------------------------------------


@given(scenes())
@law
def test_a_batch_is_its_packets_one_by_one(scene: Scene) -> None:
    """In what leaves, verdicts, learned flows, counters and ages."""
    table, some = scene.table, scene.packets
    together, apart = switch_with(table), switch_with(table)
    assert outcomes(together.run(batch_of(some))) == one_by_one(apart, some)
    assert dump(together) == dump(apart)


@given(scenes(most=12), st.integers(1, 5))
@law
def test_the_size_of_chunks_makes_no_difference(scene: Scene, size: int) -> None:
    """A machine may take a batch in pieces of any size."""
    table, some = scene.table, scene.packets
    whole, pieces = state_with(table), state_with(table)
    batch = batch_of(some)
    assert outcomes(Machine(whole).run(batch)) == outcomes(Machine(pieces, size).run(batch))
    assert same_rules(whole, pieces)


def same_rules(one: State, other: State) -> bool:
    names = ("alive", "cookie", "n_packets", "n_bytes", "created", "modified", "used")
    return all(np.array_equal(getattr(one.rules, n), getattr(other.rules, n)) for n in names)


@given(scenes(), st.data())
@law
def test_a_run_can_be_split_anywhere(scene: Scene, data: st.DataObject) -> None:
    """Running a and then b is running both at once."""
    table, some = scene.table, scene.packets
    at = data.draw(st.integers(0, len(some)))
    whole, split = switch_with(table), switch_with(table)
    first, second = (outcomes(split.run(batch_of(part))) for part in (some[:at], some[at:]))
    assert first + second == outcomes(whole.run(batch_of(some)))
    assert dump(split) == dump(whole)


@given(scenes(timeouts=False, most=4), st.integers(2, 40))
@law
def test_many_packets_of_a_kind_are_each_counted(scene: Scene, times: int) -> None:
    """Packets that share their fate with earlier ones leave the same traces in the tables."""
    table, some = scene.table, scene.packets
    many = sorted(some * times, key=lambda packet: packet.time)
    together, apart = switch_with(table), switch_with(table)
    assert outcomes(together.run(batch_of(many))) == one_by_one(apart, many)
    assert dump(together) == dump(apart)


@given(scenes())
@law
def test_a_copy_goes_its_own_way(scene: Scene) -> None:
    """What a copy runs does not show in the original, which then does the same."""
    table, some = scene.table, scene.packets
    switch = switch_with(table)
    half = len(some) // 2
    switch.run(batch_of(some[:half]))
    before = dump(switch)
    twin = switch.copy()
    of_twin = outcomes(twin.run(batch_of(some[half:])))
    assert dump(switch) == before
    assert outcomes(switch.run(batch_of(some[half:]))) == of_twin
    assert dump(switch) == dump(twin)


# -- traces -----------------------------------------------------------------------------------


@given(scenes())
@law
def test_a_trace_is_a_run_that_changes_nothing(scene: Scene) -> None:
    """It tells of the packet what the run after it does, and of each rule that is counted."""
    table, some = scene.table, scene.packets
    switch = switch_with(table)
    for packet in some:
        before = dump(switch)
        counts = switch.state.rules.n_packets.copy()
        if not packet.fields:
            at = f"{packet.time // 10**9}.{packet.time % 10**9:09}"
            trace = switch.trace(packet.frame, in_port=packet.in_port, at=at)
            assert dump(switch) == before
        result = switch.run(batch_of([packet]))
        if packet.fields:
            continue
        emissions = result.emissions
        assert trace.verdict == str(result.verdict(0))
        assert [(o.port, o.frame, o.tun_id) for o in trace.outputs] == [
            (port_label(int(port)), frame, int(tun_id))
            for port, frame, tun_id in zip(
                emissions.port, emissions.frames, emissions.tun_id, strict=True
            )
        ]
        hits = [step for step in trace.lookups() if not step.missed]
        now = switch.state.rules.n_packets[: len(counts)]
        # Learned rules that the packet itself makes are not hit by it when it makes them.
        assert len(hits) >= int((now - counts).sum())
        assert (now >= counts).all()


# -- tables -----------------------------------------------------------------------------------


@given(scenes(), st.randoms(use_true_random=False))
@law
def test_the_order_of_rows_means_nothing(scene: Scene, random: Random) -> None:
    """No two flows of one priority overlap here, so that there is nothing to choose."""
    table, some = scene.table, scene.packets
    shuffled = list(table)
    random.shuffle(shuffled)
    one, other = switch_with(table), switch_with(shuffled)
    assert outcomes(one.run(batch_of(some))) == outcomes(other.run(batch_of(some)))
    assert sorted(dump(one)) == sorted(dump(other))


@given(scenes(), flows(table=77, learn=False))
@law
def test_a_row_in_a_table_that_nothing_leads_to_changes_nothing(scene: Scene, row: Flow) -> None:
    """Though it takes part in what is compiled: more columns, more shapes."""
    table, some = scene.table, scene.packets
    one, other = switch_with(table), switch_with([row, *table])
    assert outcomes(one.run(batch_of(some))) == outcomes(other.run(batch_of(some)))
    rest = [line for line in dump(other) if "table=77," not in line]
    assert dump(one) == rest


@given(scenes(learn=False, timeouts=False), st.data())
@law
def test_a_row_in_the_shadow_of_another_changes_nothing(scene: Scene, data: st.DataObject) -> None:
    """Whatever it would match and do, the flow above it has all of its packets."""
    table, some = scene.table, scene.packets
    above = data.draw(st.sampled_from(table))
    taken = {flow.priority for flow in table if flow.table == above.table}
    free = [p for p in range(above.priority) if p not in taken]
    if not free:
        return
    hidden = above.replace(priority=data.draw(st.sampled_from(free)), actions=(Output(9),))
    one, other = switch_with(table), switch_with([*table, hidden])
    assert outcomes(one.run(batch_of(some))) == outcomes(other.run(batch_of(some)))


@given(scenes())
@law
def test_a_table_survives_being_printed(scene: Scene) -> None:
    """What is read from what was printed prints the same, and does the same."""
    table, some = scene.table, scene.packets
    again = [parse_flow(str(flow)) for flow in table]
    assert [str(flow) for flow in again] == [str(flow) for flow in table]
    one, other = switch_with(table), switch_with(again)
    assert outcomes(one.run(batch_of(some))) == outcomes(other.run(batch_of(some)))
    assert dump(one) == dump(other)


@given(scenes(timeouts=False))
@law
def test_a_dump_taken_on_the_way_goes_on_as_the_switch_does(scene: Scene) -> None:
    """The flows of a switch, printed and read again, treat the packets that come then the same."""
    table, some = scene.table, scene.packets
    if any(
        isinstance(a, Learn) and a.delete_learned for f in table for a in all_actions(f.actions)
    ):
        return  # a dump does not tell which flows a learn action owns
    half = len(some) // 2
    switch = switch_with(table)
    switch.run(batch_of(some[:half]))
    again = switch_with([parse_flow(line) for line in dump(switch)])
    rest = [Packet(p.frame, p.in_port, p.time - switch.now, p.fields) for p in some[half:]]
    assert one_by_one(again, rest) == one_by_one(switch, some[half:])


# -- lookups ----------------------------------------------------------------------------------


def matches_packet(match: Match, batch: PacketBatch, packet: int) -> bool:
    """Whether a packet has all that a match demands, term by term."""
    for row, value, mask in match.constraints():
        for column, wanted, compared in TLV_MAP.words(row, int(value), mask):
            word = int(batch.columns[column, packet])
            fragment = int(batch.columns[Column.NW, packet]) >> NW_FRAG_BITS.shift & 1
            if fragment and column == Column.TP:
                word &= ~(0xFFFF << TP_SRC_BITS.shift | 0xFFFF << TP_DST_BITS.shift)
            if word & compared != wanted & compared:
                return False
    return True


def scan(table: Sequence[Flow], batch: PacketBatch, packet: int) -> list[int]:
    """The numbers of the flows that may be hit: those of the highest priority that match."""
    hits = [n for n, flow in enumerate(table) if matches_packet(flow.match, batch, packet)]
    best = max((table[n].priority for n in hits), default=-1)
    return [n for n in hits if table[n].priority == best]


@st.composite
def one_table(draw: st.DrawFn) -> Scene:
    """Rules in one table, some of them many of a kind, that do nothing but be counted."""
    found = list(draw(st.lists(matches(), min_size=1, max_size=12)))
    name = draw(st.sampled_from(("eth_dst", "tun_id", "in_port", "reg0", "ipv6_dst")))
    row = field(name)
    mask = row.full_mask
    if row.maskable and draw(st.booleans()):
        mask = draw(st.integers(1, mask))
    prefix = Match(()) if name != "ipv6_dst" else Match((FieldMatch.exact("eth_type", 0x86DD),))
    for value in draw(st.lists(st.integers(0, (1 << row.width) - 1), max_size=40)):
        found.append(Match((*prefix.terms, FieldMatch(row, value & mask, mask, name))))
    distinct = {frozenset(m.words({}, TLV_MAP).items()): m for m in found}
    priorities = st.sampled_from((0, 1, 5, 5, 100, 65535))
    table = [Flow(match, (Output(9),), draw(priorities), 0) for match in distinct.values()]
    return Scene(table, tuple(draw(st.lists(packets(table), min_size=1, max_size=10))))


@given(one_table())
@law
def test_lookups_find_what_reading_every_row_finds(scene: Scene) -> None:
    """However rules are sorted into subtables and packets into paths."""
    table, some = scene.table, scene.packets
    switch = switch_with(table)
    batch = batch_of(some)
    result = switch.run(batch)
    counted = [0] * len(table)
    for packet in range(len(some)):
        allowed = scan(table, batch, packet)
        hit = int(result.last_rule[packet])
        assert hit in allowed or (hit == -1 and not allowed)
        if hit >= 0:
            counted[hit] += 1
    assert switch.state.rules.n_packets.tolist() == counted
