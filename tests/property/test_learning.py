"""Learned flows over time, beside a model of them: addresses with their ports and ages."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from flowvm.actions.output import Output
from flowvm.flow import FieldMatch
from flowvm.switch import Switch
from flowvm.testing import Packet, batch_of
from flowvm.text.dump import parse_dump

HARD, IDLE = 10_000, 4_000
UNKNOWN = 9
FLOWS = f"""\
 table=0, actions=learn(table=1,hard_timeout={HARD // 1000},idle_timeout={IDLE // 1000},priority=1,\
NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[]),resubmit(,1)
 table=1, priority=0 actions=output:{UNKNOWN}
"""

hosts = st.integers(1, 4)
ports = st.integers(1, 3)
MILLISECOND = 1_000_000


@dataclass
class Entry:
    """A learned flow. Times are milliseconds."""

    port: int
    modified: int
    used: int
    n_packets: int = 0

    def over(self, now: int) -> bool:
        return now > self.modified + HARD or now > self.used + IDLE


def frame(src: int, dst: int) -> bytes:
    return dst.to_bytes(6, "big") + src.to_bytes(6, "big") + b"\x88\xb5"


class LearningSwitch(RuleBasedStateMachine):
    """A switch that learns which port an address is at, and one packet, batch or wait at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.switch = Switch(parse_dump(FLOWS).flows)
        self.now = 0
        self.entries: dict[int, Entry] = {}

    def expect(self, src: int, dst: int, port: int) -> list[int]:
        """Where the model says that a packet leaves; it does not see what it teaches itself."""
        ports = [UNKNOWN]
        if dst in self.entries:
            entry = self.entries[dst]
            entry.used = self.now
            entry.n_packets += 1
            ports = [entry.port] if entry.port != port else []
        taught = self.entries.setdefault(src, Entry(port, self.now, self.now))
        taught.port, taught.modified = port, self.now
        return ports

    def forget(self) -> None:
        self.entries = {host: e for host, e in self.entries.items() if not e.over(self.now)}

    @rule(src=hosts, dst=hosts, port=ports)
    def send(self, src: int, dst: int, port: int) -> None:
        expected = self.expect(src, dst, port)
        packet = Packet(frame(src, dst), port, self.now * MILLISECOND)
        assert self.switch.run(batch_of([packet])).emissions.port.tolist() == expected

    @rule(
        packets=st.lists(st.tuples(hosts, hosts, ports, st.sampled_from((0, 0, 0, 1, IDLE + 1)))),
    )
    def send_many(self, packets: list[tuple[int, int, int, int]]) -> None:
        """All at once, though time passes between them."""
        batch, expected = [], []
        for number, (src, dst, port, wait) in enumerate(packets):
            self.now += wait
            self.forget()
            batch.append(Packet(frame(src, dst), port, self.now * MILLISECOND))
            expected += [(number, to) for to in self.expect(src, dst, port)]
        emissions = self.switch.run(batch_of(batch)).emissions
        left = list(zip(emissions.packet.tolist(), emissions.port.tolist(), strict=True))
        assert left == expected

    @rule(wait=st.sampled_from((1, 999, 1000, IDLE - 1, IDLE, IDLE + 1, HARD, HARD + 1)))
    def wait(self, wait: int) -> None:
        self.now += wait
        self.switch.advance(self.now * MILLISECOND)
        self.forget()

    @precondition(lambda self: self.entries)
    @rule(data=st.data())
    def wait_until_the_last_moment(self, data: st.DataObject) -> None:
        """A flow is there when its time is up, and is gone a millisecond later."""
        entry = self.entries[data.draw(st.sampled_from(sorted(self.entries)))]
        self.now = min(entry.modified + HARD, entry.used + IDLE)
        self.switch.advance(self.now * MILLISECOND)
        self.forget()
        assert entry in self.entries.values()

    @rule()
    def go_on_with_a_copy(self) -> None:
        self.switch = self.switch.copy()

    @invariant()
    def the_learned_flows_are_those_of_the_model(self) -> None:
        """With ports, counters and ages."""
        found = {}
        for flow in self.switch.flows()[2:]:
            (term,) = flow.match.terms
            assert isinstance(term, FieldMatch)
            (action,) = flow.actions
            assert isinstance(action, Output)
            hard_age = flow.hard_age if flow.hard_age is not None else int(flow.duration or 0)
            found[term.value] = (action.port, flow.n_packets, flow.idle_age, hard_age)
        assert found == {
            host: (
                e.port,
                e.n_packets,
                (self.now - e.used) // 1000,
                (self.now - e.modified) // 1000,
            )
            for host, e in self.entries.items()
        }


TestLearningSwitch = LearningSwitch.TestCase
TestLearningSwitch.settings = settings(
    max_examples=150,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate, Phase.shrink],
)
