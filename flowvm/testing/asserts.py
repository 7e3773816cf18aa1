"""Asserts about flow tables, that look for a packet to prove them wrong.

They try packets that Hypothesis makes for them, aimed at the rules of the tables: where two tables
differ above all, along the ways that lead there, and at what was learned on the way. A packet that
shows the assert to be wrong is shrunk, and the assert fails by telling of it. Passing is evidence,
not proof: ``examples`` says how long to look. The same call always tries the same packets, unless
``seed`` changes. Inside a test that is Hypothesis's own, that test has to be told so:
``@settings(suppress_health_check=[HealthCheck.nested_given])``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from hypothesis import strategies as st

from flowvm.flow import Match, Port
from flowvm.pipeline.engine import Run
from flowvm.pipeline.paths import Paths
from flowvm.pipeline.result import ETHERNET_HEADER, Result, Stretch, Verdict
from flowvm.pipeline.state import State
from flowvm.testing.candidates import Candidates, crowds
from flowvm.testing.comparison import Comparison
from flowvm.testing.frames import Packet
from flowvm.testing.search import some_witness
from flowvm.testing.sequences import batch_of
from flowvm.testing.shrinking import Where, shrink
from flowvm.testing.subjects import Demand, Flows, Subject, subjects
from flowvm.testing.witness import WitnessError

EXAMPLES = 300
"""How many sequences of packets an assert tries unless told."""


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
    demand = Demand.of(packets, both[0].switch)
    comparison = Comparison([subject.switch for subject in both], demand, pauses)
    found = _witness(comparison.sequences(), comparison.first_different, examples, seed)
    names = " and ".join(subject.title for subject in both)
    if found is not None:
        raise WitnessError(f"{names} are not equivalent", found, both)
    if comparison.undecided and not skip_unsupported:
        found = _witness(comparison.sequences(), comparison.first_undecided, examples, seed)
        assert found is not None
        claim = f"{names} cannot be compared: flowvm does not execute all that a packet meets"
        raise WitnessError(claim, found, both)
    comparison.candidates.check_met()


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
    candidates = Candidates([switch], demand)

    def first_wrong(some: Sequence[Packet]) -> int | None:
        if not some or len(candidates.meeting(some)) < len(some):
            return None
        return next(iter(wrong(_each_alone(switch.state.copy(), some))), None)

    found = _witness(crowds(candidates, (0,), switch.now), first_wrong, examples, seed)
    if found is not None:
        raise WitnessError(f"{subject.title}: a packet like {demand} {claim}", found, [subject])
    candidates.check_met()


def _witness(
    strategy: st.SearchStrategy[tuple[Packet, ...]], where: Where, examples: int, seed: int
) -> tuple[Packet, ...] | None:
    """The smallest packets whose last one ``where`` finds, if it finds one at all."""
    found = some_witness(strategy, lambda packets: where(packets) is not None, examples, seed)
    return None if found is None else shrink(found, where)


def _each_alone(state: State, packets: Sequence[Packet]) -> Result:
    """What becomes of each packet if it is the only one to come."""
    batch = batch_of(packets, state.program.names.tlv_map)
    run = Run(state, list(batch.columns))
    run.halted[batch.frames.lengths < ETHERNET_HEADER] = True
    run.run()
    return Result(batch, [Stretch(0, Paths.of(run), np.arange(len(batch)))], state)
