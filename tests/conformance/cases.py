"""Cases of the differential fuzzer: random tables, and packets aimed at them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from flowvm.flow import Flow
from flowvm.testing import Packet
from flowvm.testing.frames import source_of
from flowvm.testing.sequences import SHORT_STEPS, choose_sequence, limits_of
from flowvm.testing.tables import choose_table
from tests.oracle import LOCAL

from .random_choices import RandomChoices
from .random_groups import choose_groups, choose_meters

PORTS = (1, 2, 3, 4, LOCAL)
VERSIONS = {version: f"OpenFlow1{version[2:]}" for version in ("1.0", "1.1", "1.3", "1.5")}
MILLISECOND = 1_000_000
BLOCK = 50
"""Cases that one seed makes."""

_PAUSES = (0, 1000, 3000, 5001)
_GROUPS = (1, 2, 77)
_METERS = (1, 2)
_TIMED = 40
_ARP_BYTES = 28
_NSH_BYTES = 24
_TRACED = 25  # percent, as above: a path costs more than a packet does


@dataclass(frozen=True)
class Case:
    """A table (a flow a line), the dialect it is loaded in, packets, and a last pause (ms).

    ``groups`` and ``meters``, a line each, are what the flows name.

    The paths of its packets are compared if it is to be ``traced``.
    """

    openflow: str
    flows: tuple[str, ...]
    packets: tuple[Packet, ...]
    pause: int = 0
    traced: bool = True
    groups: tuple[str, ...] = ()
    meters: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Text that :func:`parse_case` reads."""
        pause = f"{'pause' if self.traced else 'untraced, pause'} {self.pause}"
        packets = [f"packet {_packet_text(packet)}" for packet in self.packets]
        before = [f"OpenFlow {self.openflow}"]
        before += [f"group {group}" for group in self.groups]
        before += [f"meter {meter}" for meter in self.meters]
        return "\n".join([*before, *self.flows, *packets, pause])


def _packet_text(packet: Packet) -> str:
    return f"{packet.time // MILLISECOND} {packet.in_port} {packet.frame.hex()}"


def parse_case(text: str) -> Case:
    """The case that ``text`` says; blank lines and those that begin with # are left out."""
    openflow, flows, packets = "1.5", [], []
    named: dict[str, list[str]] = {"group": [], "meter": []}
    pause, traced = 0, True
    for line in map(str.strip, text.splitlines()):
        word, _, rest = line.partition(" ")
        if word == "OpenFlow":
            openflow = rest
        elif word in named:
            named[word].append(rest)
        elif word == "packet":
            time, port, frame = rest.split()
            packets.append(Packet(bytes.fromhex(frame), int(port), int(time) * MILLISECOND))
        elif word in ("pause", "untraced,"):
            pause, traced = int(rest.rpartition(" ")[2]), word == "pause"
        elif word and word[0] != "#":
            flows.append(line)
    return Case(
        openflow,
        tuple(flows),
        tuple(packets),
        pause,
        traced,
        tuple(named["group"]),
        tuple(named["meter"]),
    )


def random_case(seed: int, number: int) -> Case:
    """A case of the block of a seed: always the same."""
    choose = RandomChoices(Random(f"{seed}/{number}"))
    openflow = choose.one(("1.0", "1.0", "1.3", "1.5", "1.5"))
    flows = choose_table(choose, PORTS, openflow != "1.0", groups=_GROUPS, meters=_METERS)
    flows = [_lasting(flow) for flow in flows]
    text = "\n".join(map(str, flows))
    groups = tuple(choose_groups(choose, _GROUPS, PORTS)) if "group:" in text else ()
    meters = tuple(choose_meters(choose, _METERS)) if "meter" in text else ()
    source = source_of(flows, PORTS, metadata=False)
    # To move the clock of Open vSwitch takes longer than twenty packets do.
    timed = choose.percent(_TIMED)
    steps = (*SHORT_STEPS, *limits_of(flows)) if timed else (0,)
    packets = choose_sequence(choose, source, steps, 2, 10)
    kept = tuple(packet for packet in packets if _survivable(packet, flows))
    pause = choose.one(_PAUSES) if timed else 0
    traced = choose.percent(_TRACED) and not _untraceable(text, groups)
    return Case(openflow, tuple(map(str, flows)), kept, pause, traced, groups, meters)


def _untraceable(flows: str, groups: Sequence[str]) -> bool:
    """Whether a trace goes another way than packets: it tracks none, has no hash, ends at a pop.

    Of some packets that go through ``encap`` and ``decap`` Open vSwitch does not survive the trace.
    """
    by_hash = any("type=select" in group and "method=hash" not in group for group in groups)
    return by_hash or any(word in flows for word in ("ct(", "pop_mpls", "encap(", "decap("))


def _lasting(flow: Flow) -> Flow:
    """``flow``, but Open vSwitch ends when one expires that takes along what it taught."""
    if "delete_learned" not in str(flow):
        return flow
    return replace(flow, idle_timeout=0, hard_timeout=0)


def _survivable(packet: Packet, flows: Sequence[Flow]) -> bool:
    """Whether Open vSwitch is: it ends when it sets fields of a cut ARP or NSH header."""
    actions = [str(flow).partition("actions=")[2].lower() for flow in flows]
    kind = packet.frame[12:14]
    at = 14
    while kind in (b"\x81\0", b"\x88\xa8"):
        kind = packet.frame[at + 2 : at + 4]
        at += 4
    left = len(packet.frame) - at
    cut = ""
    if kind in (b"\x08\x06", b"\x80\x35") and left < _ARP_BYTES:
        cut = "arp"
    elif kind == b"\x89\x4f" and left < _NSH_BYTES:
        cut = "nsh"
    return not (cut and any(cut in some for some in actions))
