"""Planted bugs must be found: each breaks the engine, and the conformance check has to say so.

Open vSwitch is asked once about a few scripted cases. Then the engine is broken in one way after
the other, and what it makes of them is compared as the conformance fuzzer compares it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property

import numpy as np
import pytest
from numpy.typing import NDArray

from flowvm.actions import output, vlan
from flowvm.actions.base import Operation
from flowvm.actions.learning import LearnFlow
from flowvm.actions.ttl import DecrementTtl
from flowvm.clock import NEVER
from flowvm.columns import Column
from flowvm.packet import rewrite_l3
from flowvm.packet.words import U64
from flowvm.pipeline import assemble, engine, learning, state
from flowvm.pipeline.bits import ONES, Columns
from flowvm.pipeline.engine import Run
from flowvm.pipeline.learned import LearnedSubtable
from flowvm.pipeline.learning import History
from flowvm.pipeline.machine import Machine
from flowvm.pipeline.program import Subtable
from flowvm.pipeline.rules import RuleColumns
from flowvm.pipeline.state import State
from flowvm.pipeline.steps import NONE, Numbers, Steps
from flowvm.pipeline.subtable import Mask
from flowvm.testing import Packet
from flowvm.testing.headers import Headers, build
from tests.conformance.cases import Case
from tests.conformance.exercise import Exercised
from tests.conformance.fuzz import blank_bridge
from tests.conformance.predicted import N_PORTS, predict
from tests.conformance.seen import DifferenceError, Seen, differences, observe
from tests.oracle import OpenVSwitch

pytestmark = pytest.mark.oracle

Plant = Callable[[pytest.MonkeyPatch], None]
MILLISECOND = 1_000_000

ALICE, BOB, GROUP = 0x0200_0000_000A, 0x0200_0000_000B, 0x0100_5E00_0001


def tcp(src: int, dst: int, tags: tuple[int, ...] = (), **values: int) -> bytes:
    """A TCP segment over IPv4, with right checksums."""
    usual = {"nw_proto": 6, "nw_ttl": 64, "ip_src": 0x0A000001, "ip_dst": 0x0A000102}
    usual |= {"eth_type": 0x0800, "eth_src": src, "eth_dst": dst, "tcp_src": 1000, "tcp_dst": 80}
    fragment = values.pop("fragment", 0)
    tagged = tuple((0x8100, tci) for tci in tags)
    return build(Headers(usual | values, tagged, b"payload", fragment))


def at(milliseconds: int, port: int, frame: bytes) -> Packet:
    return Packet(frame, port, milliseconds * MILLISECOND)


LEARNING = Case(
    "1.0",
    (
        "table=0,priority=9,in_port=2,actions=learn(table=1,hard_timeout=10,idle_timeout=4,"
        "priority=5,NXM_OF_VLAN_TCI[0..11],NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],"
        "output:NXM_OF_IN_PORT[]),output:1",
        "table=0,priority=9,in_port=4,actions=learn(table=1,hard_timeout=10,idle_timeout=4,"
        "priority=5,NXM_OF_VLAN_TCI[0..11],NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],"
        "output:NXM_OF_IN_PORT[]),output:1",
        "table=0,priority=1,actions=resubmit(,1)",
        "table=1,priority=0,cookie=0x5,actions=output:2,output:3",
    ),
    (
        at(0, 1, tcp(BOB, ALICE)),
        at(0, 2, tcp(ALICE, BOB)),
        at(1000, 1, tcp(BOB, ALICE)),
        at(1000, 1, tcp(BOB, ALICE, (0x6000,))),
        at(4000, 1, tcp(BOB, ALICE)),
        at(6000, 2, tcp(ALICE, BOB)),
        at(7500, 1, tcp(BOB, ALICE)),
        at(11000, 1, tcp(BOB, ALICE)),
        at(12000, 4, tcp(ALICE, BOB)),
        at(12000, 1, tcp(BOB, ALICE)),
        at(16000, 1, tcp(BOB, ALICE)),
        at(20001, 1, tcp(BOB, ALICE)),
    ),
    pause=1000,
)
"""A learned flow that is found, used, learned again, moves, and expires."""

REWRITING = Case(
    "1.0",
    (
        "table=0,priority=20,tcp,in_port=1,nw_dst=10.0.1.0/24,tp_dst=80,actions="
        "mod_nw_src:10.9.9.9,mod_tp_dst:8080,dec_ttl,resubmit(7,2),output:2,output:1,IN_PORT",
        "table=0,priority=10,ip,in_port=1,actions=mod_vlan_vid:5,output:3,strip_vlan,output:4",
        "table=0,priority=15,dl_dst=01:00:00:00:00:00/01:00:00:00:00:00,"
        "actions=strip_vlan,output:2,output:3,output:4",
        "table=0,priority=5,in_port=2,dl_vlan=7,actions=load:0x1->NXM_NX_REG0[],resubmit(,2),"
        "output:3",
        "table=0,priority=0,actions=drop",
        "table=2,priority=3,in_port=7,actions=output:5",
        "table=2,priority=2,reg0=0x1,actions=mod_dl_src:02:00:00:00:00:0c,output:4",
    ),
    (
        at(0, 1, tcp(ALICE, BOB)),
        at(0, 1, tcp(ALICE, BOB, nw_ttl=1)),
        at(0, 1, tcp(ALICE, BOB, fragment=0x2000)),
        at(0, 1, tcp(ALICE, BOB, ip_dst=0x0A000202)),
        at(0, 1, tcp(ALICE, BOB, tcp_dst=81)),
        at(0, 1, tcp(ALICE, BOB, (0x2009,), tcp_dst=81)),
        at(0, 2, tcp(ALICE, GROUP, (0x2009,))),
        at(0, 1, tcp(ALICE, GROUP, tcp_dst=81)),
        at(0, 2, tcp(ALICE, BOB, (7,))),
        at(0, 2, tcp(ALICE, BOB, (8,))),
    ),
    pause=0,
)
"""Masks and priorities that overlap, rewriting, resubmits, and a way back out of the same port."""

CASES = {"learning": LEARNING, "rewriting": REWRITING}


@pytest.fixture(scope="module")
def truth() -> Iterator[dict[str, Seen]]:
    """What Open vSwitch makes of each case."""
    with OpenVSwitch(N_PORTS) as switch:
        blank = blank_bridge(switch)
        yield {name: observe(switch.bridge, blank, case) for name, case in CASES.items()}


def complaints(truth: dict[str, Seen]) -> list[str]:
    """What the conformance check has to say about the engine as it is now."""
    found = []
    for name, case in CASES.items():
        try:
            ours, _ = predict(truth[name].loaded, case, Exercised())
            found += list(differences(case, ours, truth[name]))
        except DifferenceError as error:
            found.append(str(error))
    return found


def test_the_engine_as_it_is_passes(truth: dict[str, Seen]) -> None:
    """Or else the check would find anything."""
    assert complaints(truth) == []


# -- the bugs ---------------------------------------------------------------------------------


def wrong_mask(plant: pytest.MonkeyPatch) -> None:
    """Lookups leave out the highest bit that a subtable compares."""
    right = state.masked_keys

    def masked_keys(columns: Columns, mask: Mask, packets: Numbers) -> NDArray[np.uint64]:
        narrow = tuple(bits & ~(1 << bits.bit_length() - 1) for bits in mask.masks)
        return right(columns, Mask(mask.columns, narrow), packets)

    plant.setattr(state, "masked_keys", masked_keys)


class _Unranked:
    """A subtable that may have rules of any priority."""

    max_priority = 65536

    def __init__(self, real: Subtable | LearnedSubtable) -> None:
        self.mask, self.index, self.heads = real.mask, real.index, real.heads


def lowest_priority_wins(plant: pytest.MonkeyPatch) -> None:
    subtables, right = State.subtables, State.lookup

    def unranked(self: State, table: int) -> tuple[_Unranked, ...]:
        return tuple(map(_Unranked, subtables(self, table)))

    def lookup(self: State, table: int, columns: Columns, packets: Numbers) -> Numbers:
        priorities = self.rules.priority.copy()
        self.rules.own("priority")
        self.rules.priority[:] = 65535 - priorities
        found = right(self, table, columns, packets)
        self.rules.priority[:] = priorities
        return found

    plant.setattr(State, "subtables", unranked)
    plant.setattr(State, "lookup", lookup)


def keeping(name: str) -> Plant:
    """Hits do not change this column of the rules."""

    def plant_it(plant: pytest.MonkeyPatch) -> None:
        right = Steps.count

        def count(self: Steps, changed: State, good: int, lost: Numbers = NONE) -> None:
            before = getattr(changed.rules, name).copy()
            right(self, changed, good, lost)
            getattr(changed.rules, name)[:] = before

        plant.setattr(Steps, "count", count)

    return plant_it


def no_refresh_by_learning(plant: pytest.MonkeyPatch) -> None:
    """Learning a flow that is there leaves its hard timeout running."""
    right = learning.apply

    def apply(changed: State, histories: Sequence[History], times: Numbers) -> None:
        before = changed.rules.modified.copy()
        right(changed, histories, times)
        changed.rules.own("modified")
        changed.rules.modified[: len(before)] = before

    plant.setattr(learning, "apply", apply)
    plant.setattr(learning, "refresh", lambda *_: None)


def output_to_the_ingress_port(plant: pytest.MonkeyPatch) -> None:
    plant.setattr(output, "_emit_to_others", output._emit_to_existing)


def learning_the_whole_tci(plant: pytest.MonkeyPatch) -> None:
    """`NXM_OF_VLAN_TCI[0..11]` compares PCP and CFI too."""
    cached: cached_property[Mask] = vars(LearnFlow)["mask"]
    right = cached.func

    def mask(self: LearnFlow) -> Mask:
        found = right(self)
        masks = dict(zip(found.columns, found.masks, strict=True))
        masks[Column.VLAN] |= 0xFFFF << 32
        return Mask(found.columns, tuple(masks[column] for column in found.columns))

    plant.setattr(LearnFlow, "mask", property(mask))


def no_checksum_update(plant: pytest.MonkeyPatch) -> None:
    def update(checksum: U64, *_: object) -> U64:
        return checksum

    plant.setattr(rewrite_l3, "update", update)
    plant.setattr(rewrite_l3, "update16", update)


def expiry_a_moment_early(plant: pytest.MonkeyPatch) -> None:
    """A rule goes when its time is up, not when it is past."""
    _change_deadlines(plant, lambda deadlines: deadlines - 1)


def no_expiry(plant: pytest.MonkeyPatch) -> None:
    _change_deadlines(plant, lambda deadlines: np.full_like(deadlines, NEVER))


def _change_deadlines(plant: pytest.MonkeyPatch, change: Callable[[Numbers], Numbers]) -> None:
    right = RuleColumns.deadlines

    def deadlines(self: RuleColumns, rules: Numbers | slice = slice(None)) -> Numbers:
        return change(right(self, rules))

    plant.setattr(RuleColumns, "deadlines", deadlines)


def strip_without_effect(plant: pytest.MonkeyPatch) -> None:
    plant.setattr(vlan.PopTag, "execute", lambda *_: None)


def ttl_without_end(plant: pytest.MonkeyPatch) -> None:
    """`dec_ttl` lets packets of TTL 1 go on as they are."""
    plant.setattr(DecrementTtl, "execute", lambda *_: None)


def ports_of_fragments(plant: pytest.MonkeyPatch) -> None:
    """Lookups see the transport ports of fragments."""
    plant.setattr(engine, "_PORTS_MASK", np.uint64(ONES))


def resubmit_keeps_the_port(plant: pytest.MonkeyPatch) -> None:
    """`resubmit(PORT,TABLE)` looks up with the packet's own port."""
    right = Run._lookup

    def lookup(
        self: Run, table: int, packets: Numbers, _: NDArray[np.uint64], *, by_original: bool
    ) -> Numbers:
        ports = self.columns[Column.IN_PORT][packets]
        return right(self, table, packets, ports, by_original=by_original)

    plant.setattr(Run, "_lookup", lookup)


def paths_never_forgotten(plant: pytest.MonkeyPatch) -> None:
    """What was learned does not change the way of packets that came before."""
    plant.setattr(Machine, "_forget", lambda *_: None)


def paths_of_different_packets_mixed_up(plant: pytest.MonkeyPatch) -> None:
    """Packets that differ only in transport ports and fragmentation are taken for the same."""
    right = assemble._key

    def key(masks: Iterable[Mask], operations: list[Operation]) -> Mask:
        found = right(masks, operations)
        kept = {c: m for c, m in zip(found.columns, found.masks, strict=True) if c != Column.TP}
        return Mask(tuple(kept), tuple(kept.values()))

    plant.setattr(assemble, "_key", key)


BUGS: dict[str, Plant] = {
    "wrong mask in a lookup": wrong_mask,
    "the lowest priority wins": lowest_priority_wins,
    "packets are not counted": keeping("n_packets"),
    "bytes are not counted": keeping("n_bytes"),
    "no timer refresh on use": keeping("used"),
    "no timer refresh by learning": no_refresh_by_learning,
    "output to the ingress port": output_to_the_ingress_port,
    "learned flows compare too much of the tag": learning_the_whole_tci,
    "no checksum update": no_checksum_update,
    "expiry a moment early": expiry_a_moment_early,
    "no expiry": no_expiry,
    "strip_vlan without effect": strip_without_effect,
    "dec_ttl without effect": ttl_without_end,
    "fragments show their ports": ports_of_fragments,
    "resubmit with the packet's own port": resubmit_keeps_the_port,
    "paths are never forgotten": paths_never_forgotten,
    "paths of different packets mixed up": paths_of_different_packets_mixed_up,
}


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_found(
    name: str, truth: dict[str, Seen], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The conformance check has something to say about each."""
    BUGS[name](monkeypatch)
    assert complaints(truth) != []
