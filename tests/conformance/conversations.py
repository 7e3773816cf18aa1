"""Conversations as a state machine that Hypothesis drives: what it did is a case to be compared.

A rule sends the next packet of a conversation, one out of turn, or lets time go by. At the end the
whole script goes to flowvm and Open vSwitch, and where they differ Hypothesis looks for a shorter
one. It is printed in the format of the cases on file, which `python -m tests.conformance.fuzz
--case FILE` checks again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet as ScapyPacket
from scapy.packet import Raw

from flowvm.testing import Packet

from .cases import MILLISECOND, Case
from .fuzz import Fuzzer

WORD = 1 << 32
MACS = ("52:54:00:00:00:0a", "52:54:00:00:00:0b")
PORTS = (1, 2)
MOST_TALKS = 3
STEPS = (1, 400, 1000, 2001, 5001, 31_000, 61_000)
"""Times (ms) that may go by."""


@dataclass(frozen=True)
class Scene:
    """Flows, and what goes with them; ``seen_as`` is the client's address to its servers."""

    flows: str
    meters: str = ""
    seen_as: str = "10.0.0.1"


FIREWALL = """
table=0,priority=9,ip actions=ct(table=1)
table=0,priority=1,in_port=1 actions=output:2
table=0,priority=1,in_port=2 actions=output:1
table=1,priority=9,ct_state=+trk+inv,ip actions=output:3
table=1,priority=8,ct_state=+trk+new,ip,in_port=1 actions=\
ct(commit,exec(set_field:7->ct_mark)),output:2
table=1,priority=7,ct_state=+trk+rel,ip actions=output:4
table=1,priority=6,ct_state=+trk+est+rpl,ip,ct_mark=7 actions=output:1
table=1,priority=5,ct_state=+trk+est,ip actions=output:2
table=1,priority=0 actions=drop
"""
NAT = """
table=0,priority=9,ip,in_port=1 actions=ct(commit,table=1,zone=5,nat(src=10.9.9.1))
table=0,priority=8,ip,in_port=2 actions=ct(table=1,zone=5,nat)
table=1,priority=3,ct_state=+trk+inv actions=output:3
table=1,priority=2,ip,in_port=1 actions=output:2
table=1,priority=1,ct_state=+trk+est,ip,in_port=2 actions=output:1
table=1,priority=0 actions=output:4
"""
TEACHING = """
table=0,priority=1,tcp actions=learn(table=10,idle_timeout=2,hard_timeout=5,priority=5,cookie=0x5,\
fin_idle_timeout=1,eth_type=0x800,nw_proto=6,NXM_OF_IP_DST[]=NXM_OF_IP_SRC[],\
NXM_OF_TCP_DST[]=NXM_OF_TCP_SRC[],output:NXM_OF_IN_PORT[]),resubmit(,5),resubmit(,10)
table=0,priority=9,udp actions=learn(table=10,hard_timeout=5,priority=6,cookie=0x6,limit=2,\
delete_learned,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],NXM_OF_IN_PORT[],\
load:NXM_OF_IN_PORT[]->NXM_NX_REG0[0..15],output:NXM_NX_REG1[0..15]),output:4,resubmit(,10)
table=5,priority=1,idle_timeout=6,tcp actions=fin_timeout(idle_timeout=2),output:3
table=10,priority=0 actions=output:5
"""
METERING = """
table=0,priority=2,ip,in_port=1 actions=meter:1,output:2,resubmit(,1)
table=0,priority=1,ip actions=meter:2,output:1
table=1,priority=1,tcp actions=controller(meter_id=2),output:3
table=1,priority=0 actions=output:4
"""
EXPIRING = """
table=0,priority=4,hard_timeout=40,tcp,in_port=1 actions=output:2
table=0,priority=3,idle_timeout=3,hard_timeout=9,ip,in_port=1 actions=output:3
table=0,priority=2,idle_timeout=5,send_flow_rem,tcp actions=fin_timeout(hard_timeout=2),output:1
table=0,priority=1 actions=learn(table=0,idle_timeout=3,priority=9,NXM_OF_IN_PORT[],\
output:NXM_NX_REG0[]),output:4
"""
SCENES = {
    "firewall": Scene(FIREWALL),
    "nat": Scene(NAT, seen_as="10.9.9.1"),
    "learn": Scene(TEACHING),
    "meters": Scene(
        METERING,
        "meter=1,pktps,burst,stats,bands=type=drop,rate=2,burst_size=3\n"
        "meter=2,kbps,stats,bands=type=drop,rate=1",
    ),
    "timeouts": Scene(EXPIRING),
}


class Conversations(RuleBasedStateMachine):
    """Two ends, some conversations between them, and a clock."""

    fuzzer: ClassVar[Fuzzer]
    scene: ClassVar[Scene]

    def __init__(self) -> None:
        super().__init__()
        self._now = 0
        self._packets: list[Packet] = []
        self._sent: dict[int, bytes] = {}
        self._steps = [0] * MOST_TALKS
        self._sequences = [[1000, 5000] for _ in range(MOST_TALKS)]

    @initialize(starts=st.lists(st.integers(0, WORD - 1), min_size=2, max_size=2))
    def begin(self, starts: list[int]) -> None:
        """The first conversation begins with any sequence numbers."""
        self._sequences[0] = starts

    @rule(step=st.sampled_from(STEPS))
    def wait(self, step: int) -> None:
        """Time goes by."""
        self._now += step

    @rule(talk=st.integers(0, MOST_TALKS - 1), size=st.sampled_from((0, 1, 700)))
    def tcp(self, talk: int, size: int) -> None:
        """The next segment that is due: the handshake, data from either side, the end."""
        step = self._steps[talk]
        self._steps[talk] += 1
        if step < 3:
            self._segment(talk, (0, 1, 0)[step], ("S", "SA", "A")[step])
        elif step % 9 == 8:
            self._segment(talk, step % 2, "FA")
        else:
            self._segment(talk, step % 2, "PA" if size else "A", size)

    @rule(
        talk=st.integers(0, MOST_TALKS - 1),
        end=st.integers(0, 1),
        flags=st.sampled_from(("S", "A", "R", "FA", "SA", "")),
        jump=st.sampled_from((0, 1, -1, 100_000)),
    )
    def odd_tcp(self, talk: int, end: int, flags: str, jump: int) -> None:
        """A segment out of turn."""
        self._segment(talk, end, flags, jump=jump)

    @rule(talk=st.integers(0, MOST_TALKS - 1), end=st.integers(0, 1))
    def udp(self, talk: int, end: int) -> None:
        """A datagram from either side."""
        ports = (2000 + talk, 53)
        self._send(end, talk, UDP(sport=ports[end], dport=ports[1 - end]) / Raw(b"data"))

    @rule(talk=st.integers(0, MOST_TALKS - 1), end=st.integers(0, 1))
    def ping(self, talk: int, end: int) -> None:
        """A request, or the reply to one, asked for or not."""
        self._send(end, talk, ICMP(type=(8, 0)[end], id=77 + talk, seq=1) / Raw(b"ping"))

    @rule(talk=st.integers(0, MOST_TALKS - 1), quoted=st.sampled_from((8, 20)))
    def error(self, talk: int, quoted: int) -> None:
        """The server says that it cannot be reached, if anything was sent to it."""
        if talk in self._sent:
            inner = self._sent[talk][14:][: 20 + quoted]
            self._send(1, talk, ICMP(type=3, code=3) / Raw(inner), remember=False)

    def teardown(self) -> None:
        """Compare it all."""
        case = Case(
            "1.5",
            tuple(line for line in self.scene.flows.splitlines() if line),
            tuple(self._packets),
            traced=False,
            meters=tuple(self.scene.meters.splitlines()),
        )
        note(str(case))
        self.fuzzer.check(case)

    def _segment(self, talk: int, end: int, flags: str, size: int = 0, jump: int = 0) -> None:
        sequences = self._sequences[talk]
        ports = (1000 + talk, 80)
        segment = TCP(
            sport=ports[end],
            dport=ports[1 - end],
            flags=flags,
            seq=(sequences[end] + jump) % WORD,
            ack=sequences[1 - end] if "A" in flags else 0,
        )
        if not jump:
            sequences[end] = (sequences[end] + size + ("S" in flags) + ("F" in flags)) % WORD
        self._send(end, talk, segment / Raw(b"d" * size))

    def _send(self, end: int, talk: int, body: ScapyPacket, *, remember: bool = True) -> None:
        server = f"10.0.0.{2 + talk}"
        # The server answers the address that it sees.
        addresses = ("10.0.0.1", server) if end == 0 else (server, self.scene.seen_as)
        ether = Ether(src=MACS[end], dst=MACS[1 - end])
        frame = bytes(ether / IP(src=addresses[0], dst=addresses[1]) / body)
        if end == 0 and remember:
            seen = IP(src=self.scene.seen_as, dst=server) / body
            self._sent[talk] = bytes(ether / seen)
        self._packets.append(Packet(frame, PORTS[end], self._now * MILLISECOND))
