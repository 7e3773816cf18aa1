"""Asserts about flow tables, that look for a packet to prove them wrong.

They try packets that Hypothesis makes for them, aimed at the rules of the tables: where two tables
differ above all, along the ways that lead there, and at what was learned on the way. A packet that
shows the assert to be wrong is shrunk, and the assert fails by telling of it. Passing is evidence,
not proof: ``examples`` says how long to look. The same call always tries the same packets, unless
``seed`` changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from hypothesis import strategies as st

from flowvm.columns import Column
from flowvm.fields import FIELDS
from flowvm.flow import Flow, Match, Port, ReservedPort
from flowvm.pipeline.compile import match_words
from flowvm.pipeline.engine import Run
from flowvm.pipeline.paths import Paths
from flowvm.pipeline.result import ETHERNET_HEADER, Result, Stretch, Verdict
from flowvm.pipeline.rules import NEVER
from flowvm.pipeline.state import State
from flowvm.switch import Switch
from flowvm.testing.aiming import Routes, Target, Words, aim_at_some, targets_of
from flowvm.testing.choices import Choices
from flowvm.testing.frames import Packet, Source
from flowvm.testing.search import some_witness
from flowvm.testing.sequences import MILLISECOND, batch_of, choose_sequence, steps_of
from flowvm.testing.shrinking import Where, shrink
from flowvm.testing.subjects import Demand, Flows, Subject, ports_about, subjects
from flowvm.testing.witness import WitnessError

EXAMPLES = 300
"""How many sequences of packets an assert tries unless told."""

_ARRIVING = tuple(
    row.name
    for row in FIELDS
    if row.bits is not None
    and (Column.TUN_ID <= row.bits.column <= Column.TUN_EXTRA or row.name == "pkt_mark")
)
"""What packets bring along from a tunnel; registers are 0 when they come, unless demanded."""

_LONGEST = 4
"""So many packets come before something is learned, and so many after it."""

_MOST_DEADLINES = 16

Found = TypeVar("Found")


def assert_equivalent(
    before: Flows,
    after: Flows,
    *,
    packets: str | Match = "",
    ports: Mapping[str, int] | None = None,
    pauses: bool = True,
    skip_unsupported: bool = False,
    examples: int = EXAMPLES,
    seed: int = 0,
) -> None:
    """Assert that two sets of flows do the same to every packet.

    The same is: by each port leave the same frames in the same order, with the same tunnel
    metadata; the controller gets the same frames for the same reasons. Tables, priorities, cookies
    and counters may differ, and so may the order of outputs to different ports. What is compared
    are sequences of packets, so that what ``learn`` does counts too.

    ``before`` and ``after`` are each a :class:`~flowvm.Switch`, the path of a dump, its text, or
    flows. ``packets`` limits the packets: a match as ovs-ofctl writes it ("in_port=1,ip"), masks
    and all. ``ports`` maps port names to numbers, as for :func:`flowvm.load`. Without ``pauses`` no
    time passes between packets, so that timeouts and the ages of two dumps do not matter.

    Raises :class:`WitnessError`, an AssertionError, with the smallest packets that make a
    difference and both traces of the last one; also where an action that flowvm does not execute
    leaves it undecided, unless ``skip_unsupported`` says to pass over such packets. Raises
    ValueError if ``packets`` cannot be read or no frame has what it demands.
    """
    __tracebackhide__ = True
    both = subjects([("before", before), ("after", after)], ports)
    comparison = _Comparison(both, Demand.of(packets, both[0].switch), pauses)
    found = _witness(comparison.sequences(), comparison.first_different, examples, seed)
    names = " and ".join(subject.title for subject in both)
    if found is not None:
        raise WitnessError(f"{names} are not equivalent", found, both)
    if comparison.undecided and not skip_unsupported:
        found = _witness(comparison.sequences(), comparison.first_undecided, examples, seed)
        assert found is not None
        claim = f"{names} cannot be compared: flowvm does not execute all that a packet meets"
        raise WitnessError(claim, found, both)
    comparison.aim.check_met()


def assert_reaches(
    flows: Flows,
    packets: str | Match,
    port: Port,
    *,
    ports: Mapping[str, int] | None = None,
    examples: int = EXAMPLES,
    seed: int = 0,
) -> None:
    """Assert that every packet like that leaves by ``port`` (and perhaps by others).

    ``packets`` is a match as ovs-ofctl writes it: "in_port=2,tun_id=0x1,dl_dst=fa:16:3e:00:00:01";
    what it does not name can be anything. ``port`` is a number, or a name: one of ``ports``, one
    that the dump uses, "LOCAL" or "CONTROLLER". Each packet comes alone, to the switch as it is: as
    dumped, or as a :class:`~flowvm.Switch` is that has run packets. The other arguments, and what
    is raised, are those of :func:`assert_equivalent`; ValueError also for an unknown ``port``.
    """
    __tracebackhide__ = True
    (subject,) = subjects([("flows", flows)], ports)
    try:
        number = subject.switch.port(port)
    except KeyError:
        raise ValueError(f'there is no port "{port}"') from None

    def stays_away(result: Result) -> list[int]:
        emissions = result.emissions
        arrived = np.zeros(len(result), bool)
        arrived[emissions.packet[emissions.port == number]] = True
        arrived &= result.verdicts != Verdict.UNSUPPORTED
        return np.flatnonzero(~arrived).tolist()

    _assert_of_each(subject, packets, stays_away, f"does not leave by port {port}", examples, seed)


def assert_dropped(
    flows: Flows,
    packets: str | Match,
    *,
    ports: Mapping[str, int] | None = None,
    examples: int = EXAMPLES,
    seed: int = 0,
) -> None:
    """Assert that no packet like that leaves the switch, to the controller neither.

    All is as for :func:`assert_reaches`.
    """
    __tracebackhide__ = True
    (subject,) = subjects([("flows", flows)], ports)

    def not_dropped(result: Result) -> list[int]:
        dropped = np.isin(result.verdicts, (Verdict.DROP, Verdict.ERROR))
        return np.flatnonzero(~dropped).tolist()

    _assert_of_each(subject, packets, not_dropped, "is not dropped", examples, seed)


def _assert_of_each(
    subject: Subject,
    packets: str | Match,
    wrong: Callable[[Result], list[int]],
    claim: str,
    examples: int,
    seed: int,
) -> None:
    """Raise WitnessError for a packet of those that ``wrong`` finds in a result."""
    __tracebackhide__ = True
    switch = subject.switch
    demand = Demand.of(packets, switch)
    aim = _Aim([switch], demand)

    def first_wrong(some: Sequence[Packet]) -> int | None:
        if not some or len(aim.meeting(some)) < len(some):
            return None
        return next(iter(wrong(_each_alone(switch.state.copy(), some))), None)

    found = _witness(_sequences(aim, (0,), 1, switch.now), first_wrong, examples, seed)
    if found is not None:
        raise WitnessError(f"{subject.title}: a packet like {demand} {claim}", found, [subject])
    aim.check_met()


def _witness(
    strategy: st.SearchStrategy[tuple[Packet, ...]], where: Where, examples: int, seed: int
) -> tuple[Packet, ...] | None:
    """The smallest packets whose last one ``where`` finds, if it finds one at all."""
    found = some_witness(strategy, lambda packets: where(packets) is not None, examples, seed)
    return None if found is None else shrink(found, where)


def _each_alone(state: State, packets: Sequence[Packet]) -> Result:
    """What becomes of each packet if it is the only one to come."""
    batch = batch_of(packets)
    run = Run(state, list(batch.columns))
    run.halted[batch.frames.lengths < ETHERNET_HEADER] = True
    run.run()
    return Result(batch, [Stretch(0, Paths.of(run), np.arange(len(batch)))], state)


class _Aim:
    """Packets aimed at the rules of some switches that have what is demanded."""

    def __init__(self, switches: Sequence[Switch], demand: Demand) -> None:
        self._demand = demand
        self._met = False
        per_switch = [targets_of(s.program.flows, s.names) for s in switches]
        self._all = tuple(target for targets in per_switch for target in targets)
        self._routes = Routes(self._all)
        self._different = _different(switches)
        self._learned: tuple[Target, ...] = ()
        in_port = demand.words.get(Column.IN_PORT)
        self._ports = ports_about(switches) if in_port is None else [in_port[0]]

    def _source(self, learned: Sequence[Target]) -> Source:
        """Packets; most of them aimed at what was ``learned``, if there is any."""
        fields = dict.fromkeys((*_ARRIVING, *self._demand.fields))
        routes = Routes((*self._all, *learned)) if learned else self._routes

        def aim(choose: Choices) -> Words:
            if not self._all or choose.percent(15):
                return aim_at_some(choose, self._all, self._demand.words)
            goals: Sequence[Target] = self._different or self._all
            if choose.percent(35):
                goals = self._all
            if learned and not choose.percent(25):
                goals = learned
            return routes.aim(choose, goals, self._demand.words)

        return Source(aim, self._ports, tuple(fields))

    def meeting(self, packets: Sequence[Packet]) -> tuple[Packet, ...]:
        """Those packets that have what is demanded."""
        met = self._demand.met_by(batch_of(packets))
        self._met |= bool(met.any())
        return tuple(packet for packet, fine in zip(packets, met.tolist(), strict=True) if fine)

    def check_met(self) -> None:
        """Raise ValueError if no packet ever had what is demanded: nothing was tried then."""
        if not self._met:
            raise ValueError(f"no frame was found that has all of {self._demand}")

    def sequence(
        self,
        choose: Choices,
        steps: Sequence[int],
        most: int,
        start: int,
        learned: Sequence[Target] = (),
    ) -> tuple[Packet, ...]:
        """At most so many packets, see :func:`choose_sequence`."""
        return self.meeting(choose_sequence(choose, self._source(learned), steps, 1, most, start))


@st.composite
def _sequences(
    draw: st.DrawFn, aim: _Aim, steps: Sequence[int], most: int, start: int
) -> tuple[Packet, ...]:
    return aim.sequence(Choices(draw), steps, most, start)


def _different(switches: Sequence[Switch]) -> tuple[Target, ...]:
    """The rules that not all of ``switches`` have."""

    def key(switch: Switch, flow: Flow) -> tuple[object, ...]:
        words = frozenset(match_words(flow.match, switch.names)[0].items())
        timeouts = flow.idle_timeout, flow.hard_timeout
        return flow.table or 0, flow.priority, words, flow.actions, timeouts

    keys = [{key(switch, flow) for flow in switch.program.flows} for switch in switches]
    common = frozenset[tuple[object, ...]]().union(*keys).intersection(*keys)
    found: tuple[Target, ...] = ()
    for switch in switches:
        flows = [flow for flow in switch.program.flows if key(switch, flow) not in common]
        found += targets_of(flows, switch.names)
    return found


class _Comparison:
    """Two switches that are run side by side."""

    def __init__(self, both: tuple[Subject, ...], demand: Demand, pauses: bool) -> None:
        self._both = both
        self._switches = [subject.switch for subject in both]
        self.aim = _Aim(self._switches, demand)
        self.undecided = False
        self._start = max(switch.now for switch in self._switches)
        self._steps = self._steps_between() if pauses else (0,)
        self._ages = any(switch.state.deadline < NEVER for switch in self._switches)

    def _steps_between(self) -> tuple[int, ...]:
        flows = [flow for switch in self._switches for flow in switch.program.flows]
        left: set[int] = set()
        for switch in self._switches:
            deadlines = switch.state.rules.deadlines()
            left |= {int(at) - self._start for at in deadlines[deadlines < NEVER]}
        soon = sorted(time // MILLISECOND for time in left if time >= 0)[:_MOST_DEADLINES]
        return (*steps_of(flows), *(step for time in soon for step in (time, time + 1)))

    def sequences(self) -> st.SearchStrategy[tuple[Packet, ...]]:
        """Packets one after the other; later ones aimed at what earlier ones taught."""
        if any(switch.program.learnable for switch in self._switches):
            return _lessons(self)
        # Packets that leave nothing behind are best tried one by one.
        longest = _LONGEST if self._ages else 1
        return _sequences(self.aim, self._steps, longest, self._start)

    def lesson(self, choose: Choices) -> tuple[Packet, ...]:
        """One sequence in which something is taught, if that comes about."""
        first = self.aim.sequence(choose, self._steps, _LONGEST, self._start)
        learned = self._learned_from(first)
        if not learned:
            return first
        time = first[-1].time + choose.one(self._steps) * MILLISECOND
        return first + self.aim.sequence(choose, self._steps, _LONGEST, time, learned)

    def _learned_from(self, packets: Sequence[Packet]) -> tuple[Target, ...]:
        found = {}
        for switch in self._switches if packets else ():
            twin = switch.copy()
            twin.run(batch_of(packets))
            for target, subtable in twin.state.learned.items():
                for key in subtable.index.keys.T.tolist():
                    pairs = zip(key, target.mask.masks, strict=True)
                    words = dict(zip(target.mask.columns, pairs, strict=True))
                    found[target, tuple(key)] = Target(target.table, words)
        return tuple(found.values())

    def first_different(self, packets: Sequence[Packet]) -> int | None:
        """Which of ``packets`` is the first to fare differently."""
        number, unsupported = self._first(packets)
        return None if unsupported else number

    def first_undecided(self, packets: Sequence[Packet]) -> int | None:
        """Which of ``packets`` is the first to meet an action that is not supported."""
        number, unsupported = self._first(packets)
        return number if unsupported else None

    def _first(self, packets: Sequence[Packet]) -> tuple[int | None, bool]:
        """The first packet that does not fare the same, or nobody knows (True)."""
        if not packets or len(self.aim.meeting(packets)) < len(packets):
            return None, False
        results = [switch.copy().run(batch_of(packets)) for switch in self._switches]
        fates = [_fates(result) for result in results]
        for number in range(len(packets)):
            if any(result.verdict(number) is Verdict.UNSUPPORTED for result in results):
                self.undecided = True
                return number, True
            if fates[0][number] != fates[1][number]:
                return number, False
        return None, False


@st.composite
def _lessons(draw: st.DrawFn, comparison: _Comparison) -> tuple[Packet, ...]:
    return comparison.lesson(Choices(draw))


Fate = Mapping[int, Sequence[tuple[object, ...]]]
"""What leaves by each port, in order."""


def _fates(result: Result) -> Sequence[Fate]:
    """The fate of each packet."""
    emissions = result.emissions
    found: list[dict[int, list[tuple[object, ...]]]] = [{} for _ in range(len(result))]
    columns: Iterable[tuple[int, ...]] = zip(
        emissions.packet.tolist(),
        emissions.port.tolist(),
        emissions.reason.tolist(),
        emissions.tun_id.tolist(),
        emissions.tun_src.tolist(),
        emissions.tun_dst.tolist(),
        strict=True,
    )
    for frame, (packet, port, *rest) in zip(emissions.frames, columns, strict=True):
        # What a packet-in says of the tunnel is in the headers that came with it.
        kept = rest[:1] if port == ReservedPort.CONTROLLER else rest
        found[packet].setdefault(port, []).append((frame, *kept))
    return found
