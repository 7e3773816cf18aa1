"""Packets to try: aimed at what some switches do, and having what an assert demands."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from flowvm.columns import Column
from flowvm.fields import FIELDS, field
from flowvm.flow import Flow
from flowvm.pipeline.compile import match_words
from flowvm.switch import Switch
from flowvm.testing.aiming import Routes, Target, Words, aim_at_some, targets_of
from flowvm.testing.choices import Choices
from flowvm.testing.frames import Packet, Source
from flowvm.testing.sequences import batch_of, choose_sequence
from flowvm.testing.subjects import Demand, ports_about

CROWD = 8
"""So many packets are tried at once."""

_ARRIVING = tuple(
    row.name
    for row in FIELDS
    if row.bits is not None
    and (Column.TUN_ID <= row.bits.column <= Column.TUN_EXTRA or row.name == "pkt_mark")
)
"""What packets bring along from a tunnel; registers are 0 when they come, unless demanded."""


class Candidates:
    """Makes packets aimed at the rules of some switches that have what is demanded."""

    def __init__(self, switches: Sequence[Switch], demand: Demand) -> None:
        self._demand = demand
        self._met = False
        per_switch = [targets_of(s.program.flows, s.names) for s in switches]
        self._tlv_map = switches[0].names.tlv_map
        self._all = tuple(target for targets in per_switch for target in targets)
        self._routes = Routes(self._all)
        self._different = _different(switches)
        in_port = demand.words.get(Column.IN_PORT)
        self._ports = ports_about(switches) if in_port is None else [in_port[0]]

    def _source(self, learned: Sequence[Target]) -> Source:
        """Packets; most of them aimed at what was ``learned``, if there is any."""
        demanded = (name for name in self._demand.fields if field(name).bits is not None)
        fields = dict.fromkeys((*_ARRIVING, *demanded))
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

        return Source(aim, self._ports, tuple(fields), tlv_map=self._tlv_map)

    def meeting(self, packets: Sequence[Packet]) -> tuple[Packet, ...]:
        """Those packets that have what is demanded."""
        met = self._demand.met_by(batch_of(packets, self._tlv_map))
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
def crowds(
    draw: st.DrawFn, candidates: Candidates, steps: Sequence[int], start: int
) -> tuple[Packet, ...]:
    """Packets that come one after the other, in ``steps`` (ms) from ``start`` (ns) on."""
    return candidates.sequence(Choices(draw), steps, CROWD, start)


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
