"""The differential fuzzer: random tables and packets, put to flowvm and to a real Open vSwitch.

A case is a table, loaded in one dialect of OpenFlow, and packets aimed at it. What Open vSwitch
dumps right after loading is what flowvm is given; from then on both must agree on everything: the
frames that leave, where and in which order, packets-in, the path through the tables, and the
dump afterwards, to the character.

`python -m tests.conformance.fuzz --cases 200000 --seed 1` runs for as long as it takes;
`--seed S --cases 1` repeats the block of a seed that a test has printed.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from flowvm.actions.base import Action, format_actions
from flowvm.flow import Flow, ReservedPort
from flowvm.pipeline.emission import Reason
from flowvm.pipeline.result import Result, Verdict
from flowvm.switch import Switch
from flowvm.testing import TLV_MAP, Packet, batch_of, packet_sequences, tables
from flowvm.text.dump import parse_dump
from flowvm.text.parse import parse_actions
from flowvm.trace import trace_packet
from tests.oracle import (
    LOCAL,
    Bridge,
    OpenVSwitch,
    OracleRefusedError,
    UnixctlError,
)

PORTS = (1, 2, 3, 4, LOCAL)
N_PORTS = 8
PORT_NAMES = {f"p{n}": n for n in range(1, N_PORTS + 1)}
VERSIONS = {"1.0": "OpenFlow10", "1.5": "OpenFlow15"}
MIN_FRAME = 14
BLOCK = 50
"""Cases that one seed makes."""

MILLISECOND = 1_000_000

Item = TypeVar("Item")
Emitted = tuple[int, str]
PacketIn = tuple[str, int, int, int]
Step = tuple[int, int | None, int]


@dataclass(frozen=True)
class Case:
    """A table (a flow a line), the dialect it is loaded in, packets, and a last pause (ms)."""

    openflow: str
    flows: tuple[str, ...]
    packets: tuple[Packet, ...]
    pause: int = 0

    def __str__(self) -> str:
        packets = [f"# {packet}" for packet in self.packets]
        return "\n".join(
            [f"# OpenFlow {self.openflow}", *self.flows, *packets, f"# pause {self.pause} ms"]
        )


@dataclass
class Seen:
    """What one of the two made of a case."""

    loaded: str = ""
    emitted: list[list[Emitted]] = field(default_factory=list)
    ordered: list[bool] = field(default_factory=list)
    packet_ins: list[list[PacketIn]] = field(default_factory=list)
    paths: list[list[Step] | None] = field(default_factory=list)
    dumps: tuple[str, ...] = ()


class DifferenceError(AssertionError):
    """flowvm and Open vSwitch disagree."""


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Random cases."""
    openflow = draw(st.sampled_from(sorted(VERSIONS, reverse=True)))
    flows = draw(tables(ports=PORTS, openflow=openflow))
    packets = draw(packet_sequences(flows, ports=PORTS, metadata=False, min_size=2, max_size=10))
    pause = draw(st.sampled_from((0, 1000, 3000, 5001)))
    kept = tuple(packet for packet in packets if _survivable(packet, flows))
    return Case(openflow, tuple(map(str, flows)), kept, pause)


def _survivable(packet: Packet, flows: Sequence[Flow]) -> bool:
    """Whether Open vSwitch is: it ends when it sets fields of a cut ARP header."""
    writes_arp = any("arp" in str(flow).partition("actions=")[2].lower() for flow in flows)
    kind = packet.frame[12:14]
    at = 14
    while kind in (b"\x81\0", b"\x88\xa8"):
        kind = packet.frame[at + 2 : at + 4]
        at += 4
    is_arp = kind in (b"\x08\x06", b"\x80\x35")
    return not (writes_arp and is_arp and len(packet.frame) - at < 28)


class Fuzzer:
    """Runs cases against one Open vSwitch and counts what became of them.

    If that is ``owned`` it is started again should a case end it.
    """

    def __init__(self, switch: OpenVSwitch, *, owned: bool = False) -> None:
        self.switch = switch
        self.counts: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.verdicts: Counter[str] = Counter()
        self._blank = blank_bridge(switch)
        self._owned = owned

    @property
    def bridge(self) -> Bridge:
        return self.switch.bridge

    def check(self, case: Case) -> None:
        """Raise DifferenceError if the two disagree on ``case``."""
        self.counts["cases"] += 1
        theirs = self._ask(case)
        if theirs is None:
            return
        try:
            self._compare(case, theirs)
        except DifferenceError:
            # Open vSwitch may, very rarely, differ from itself: ask it again.
            again = self._ask(case)
            if again is None:
                return
            self._compare(case, again)
            self.counts["unsteady"] += 1

    def _ask(self, case: Case) -> Seen | None:
        try:
            return observe(self.bridge, self._blank, case)
        except OracleRefusedError as error:
            self.counts["refused"] += 1
            message = str(error).splitlines()[0]
            self.refusals[re.sub(r"^[-:.TZ0-9]+\|\d+\|", "", message)] += 1
            return None
        except (UnixctlError, OSError) as error:
            self.counts["crashed"] += 1
            print(f"Open vSwitch ended ({error}) on\n{case}", file=sys.stderr)
            if not self._owned:
                raise
            self.switch.restart()
            self._blank = blank_bridge(self.switch)
            return None

    def _compare(self, case: Case, theirs: Seen) -> None:
        ours, result = predict(theirs.loaded, case)
        self.verdicts.update(str(result.verdict(packet)) for packet in range(len(result)))
        self.counts["packets"] += len(case.packets)
        for complaint in differences(case, ours, theirs, result):
            raise DifferenceError(f"{complaint}\n{case}\n--- as loaded\n{theirs.loaded}")


def blank_bridge(switch: OpenVSwitch) -> Bridge:
    """A bridge without flows: its traces tell how Open vSwitch reads a frame, and no more."""
    return switch.add_bridge("blank", {f"q{n}": n for n in range(1, N_PORTS + 1)})


# -- Open vSwitch -----------------------------------------------------------------------------


def observe(bridge: Bridge, blank: Bridge, case: Case) -> Seen:
    """What Open vSwitch makes of ``case``. Raises OracleRefusedError if it does not load."""
    version = VERSIONS[case.openflow]
    bridge.reset()
    if any("tun_metadata" in flow.lower() for flow in case.flows):
        bridge.add_tlv_map(str(TLV_MAP))
    bridge.ofctl("add-flows", "-", "-O", version, text="\n".join(case.flows))
    seen = Seen(bridge.dump_flows(version))
    now = 0
    # Without a packet a learn action does not run, so that its result is not known either.
    traced = "result_dst" not in seen.loaded
    for packet in case.packets:
        if packet.time > now:
            bridge.warp((packet.time - now) // MILLISECOND)
            now = packet.time
        seen.paths.append(path_of(bridge, blank, packet) if traced else None)
        outcome = bridge.send(packet.in_port, packet.frame)
        seen.emitted.append([(e.port, e.frame.hex()) for e in outcome])
        seen.ordered.append(outcome.ordered)
        found = [(p.frame.hex(), int(p.reason), p.table_id, p.cookie) for p in bridge.packet_ins()]
        seen.packet_ins.append(found)
    if case.pause:
        bridge.warp(case.pause)
    dumps = [bridge.dump_flows(version)]
    if "learn(" in seen.loaded and case.openflow != "1.0":
        dumps.append(bridge.dump_flows(VERSIONS["1.0"]))
    # Open vSwitch sends some learned matches in a form that its own ovs-ofctl cannot read.
    seen.dumps = () if any("decode error" in dump for dump in dumps) else tuple(dumps)
    return seen


_STEP = re.compile(r" *(\d+)\. (.*)")
_PRIORITY = re.compile(r"(?:^|, )priority (\d+)")
_COOKIE = re.compile(r", cookie (0x[0-9a-f]+)")


def path_of(bridge: Bridge, blank: Bridge, packet: Packet) -> list[Step] | None:
    """The lookups of a packet as `ofproto/trace` lists them; None if it cannot be asked.

    The trace is one of a flow, without a frame, since with one it would run learn actions.
    """
    port = "LOCAL" if packet.in_port == LOCAL else str(packet.in_port)
    text = blank.trace(f"in_port={port}", packet.frame)
    flow = next(line for line in text.splitlines() if line.startswith("Flow: "))[6:]
    try:
        trace = bridge.trace(flow)
    except OracleRefusedError:
        return None
    steps: list[Step] = []
    for line in trace.splitlines():
        found = _STEP.fullmatch(line)
        if found:
            priority, cookie = _PRIORITY.search(found[2]), _COOKIE.search(found[2])
            missed = found[2].startswith("No match")
            steps.append(
                (
                    int(found[1]),
                    None if missed or priority is None else int(priority[1]),
                    int(cookie[1], 16) if cookie else 0,
                )
            )
    return steps


# -- flowvm -----------------------------------------------------------------------------------


def predict(dump: str, case: Case) -> tuple[Seen, Result]:
    """What flowvm makes of ``case``, from the dump of it as loaded."""
    flows = parse_dump(dump).flows
    switch = Switch(flows, PORT_NAMES, tlv_map=TLV_MAP)
    twin = switch.copy()
    result = switch.run(batch_of(case.packets))
    seen = Seen(dump)
    emissions = result.emissions
    for number, packet in enumerate(case.packets):
        mine = [int(i) for i in (emissions.packet == number).nonzero()[0]]
        ports = [(i, int(emissions.port[i])) for i in mine]
        frames = [
            (i, p)
            for i, p in ports
            # What is left of a frame may be too little for a port of the oracle to send.
            if p != ReservedPort.CONTROLLER and emissions.frames.lengths[i] >= MIN_FRAME
        ]
        seen.emitted.append([(p, emissions.frames[i].hex()) for i, p in frames])
        seen.packet_ins.append(
            [_packet_in(result, i) for i, p in ports if p == ReservedPort.CONTROLLER]
        )
        alone = batch_of([packet])
        seen.paths.append(
            [
                (step.table or 0, step.flow and step.flow.priority, step.flow.cookie or 0)
                if step.flow
                else (step.table or 0, None, 0)
                for step in trace_packet(twin.state, alone).lookups()
            ]
        )
        twin.run(alone)
    last = case.packets[-1].time if case.packets else 0
    dumps = []
    for one in (switch, twin):
        one.state.advance(last + case.pause * MILLISECOND)
        dumps.append("\n".join(map(str, one.flows())))
    # The batch law, for all that OVS is asked about.
    if dumps[0] != dumps[1]:
        raise DifferenceError(f"as a batch\n{dumps[0]}\none by one\n{dumps[1]}\n{case}")
    seen.dumps = (dumps[0],)
    return seen, result


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
    )


# -- comparing --------------------------------------------------------------------------------


def differences(case: Case, ours: Seen, theirs: Seen, result: Result) -> Iterator[str]:
    """What the two disagree on, in words."""
    floods = "ALL" in theirs.loaded or "FLOOD" in theirs.loaded
    for number in range(len(case.packets)):
        where = f"packet {number}"
        if result.verdict(number) is Verdict.UNSUPPORTED:
            yield f"{where}: unsupported: {result.reason(number)}"
        mine, real = ours.emitted[number], theirs.emitted[number]
        if floods or not theirs.ordered[number]:
            same = _by_port(mine) == _by_port(real)
        else:
            same = mine == real
        if not same:
            yield f"{where} leaves as\n  {mine}\ninstead of\n  {real}"
        if ours.packet_ins[number] != theirs.packet_ins[number]:
            yield (
                f"{where} goes to the controller as\n  {ours.packet_ins[number]}\ninstead of\n"
                f"  {theirs.packet_ins[number]}"
            )
        path = theirs.paths[number]
        if path is not None and ours.paths[number] != path:
            yield f"{where} takes\n  {ours.paths[number]}\ninstead of\n  {path}"
    yield from _dump_differences(ours.dumps[0], theirs.dumps)


def _by_port(emitted: Sequence[Emitted]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for port, frame in emitted:
        found.setdefault(port, []).append(frame)
    return found


def _dump_differences(ours: str, theirs: Sequence[str]) -> Iterator[str]:
    """Where dumps differ; a flow may be as any of ``theirs`` has it.

    A learned flow is what an OpenFlow 1.0 dump says, but with the flags that such a dump lacks; one
    that was loaded is what the dump of its own version says.
    """
    mine = _rows(ours)
    real = [_rows(dump) for dump in theirs]
    for key, row in mine.items():
        lines = [rows[key] for rows in real if key in rows]
        if real and not lines:
            yield f"afterwards there is\n {row}\nwhich should not be there"
        elif lines and row not in lines and row.replace(" send_flow_rem ", " ") not in lines:
            yield f"afterwards there is\n {row}\ninstead of\n {lines[-1]}\n {lines[0]}"
    # A few matches are not the same in both versions, so what is left over can only be counted.
    if real and len(mine) < len(real[0]):
        missing = [row for key, row in real[0].items() if key not in mine]
        yield "\n ".join(["afterwards there is no", *missing])


def _rows(dump: str) -> dict[tuple[str, str], str]:
    """The flows of a dump by table, and priority and match."""
    found = {}
    for line in dump.splitlines():
        if "actions=" not in line:
            continue
        head, _, _ = line.partition(" actions=")
        table = re.search(r"table=(\d+)", head)
        key = (table[1] if table else "0", head.rsplit(" ", 1)[1])
        assert key not in found, f"two flows {key}"
        found[key] = line.strip()
    return found


# -- running ----------------------------------------------------------------------------------


def run_block(fuzzer: Fuzzer, number: int, count: int = BLOCK) -> None:
    """The cases of one seed. Raises DifferenceError with the first that differs, made smaller."""
    found: list[Case] = []

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        print_blob=False,
    )
    @given(cases())
    def run(case: Case) -> None:
        try:
            fuzzer.check(case)
        except DifferenceError:
            found.append(case)
            raise

    try:
        run()
    except DifferenceError:
        fuzzer.check(smaller(fuzzer, found[0]))
        raise


def smaller(fuzzer: Fuzzer, case: Case) -> Case:
    """``case`` without the flows, packets and actions that the difference does not need.

    Hypothesis would do it better, but takes minutes where this takes seconds.
    """

    def differs(case: Case) -> bool:
        try:
            fuzzer.check(case)
        except DifferenceError:
            return True
        return False

    def without(items: tuple[Item, ...], rest: Callable[[tuple[Item, ...]], Case]) -> Case:
        for item in items:
            fewer = tuple(other for other in items if other is not item)
            if differs(rest(fewer)):
                items = fewer
        return rest(items)

    case = without(case.packets, lambda packets: replace(case, packets=packets))
    case = without(case.flows, lambda flows: replace(case, flows=flows))
    for at, flow in enumerate(case.flows):
        actions = parse_actions(flow.partition("actions=")[2])
        case = without(actions, partial(_with_actions, case, at))
    return case


def _with_actions(case: Case, at: int, actions: tuple[Action, ...]) -> Case:
    flow = case.flows[at].partition("actions=")[0] + "actions=" + format_actions(actions)
    return replace(case, flows=(*case.flows[:at], flow, *case.flows[at + 1 :]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run blocks of cases from a seed on, and report every block that differs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--stop-after", type=int, default=10, help="differences, then stop")
    options = parser.parse_args(arguments)
    failures = 0
    began = time.monotonic()
    with OpenVSwitch(N_PORTS) as switch:
        fuzzer = Fuzzer(switch, owned=True)
        block = options.seed
        while fuzzer.counts["cases"] < options.cases and failures < options.stop_after:
            try:
                run_block(fuzzer, block)
            except DifferenceError as error:
                failures += 1
                print(f"=== seed {block}\n{error}\n", flush=True)
            block += 1
            if (block - options.seed) % 20 == 0:
                rate = fuzzer.counts["cases"] / (time.monotonic() - began)
                print(f"{dict(fuzzer.counts)} {rate:.0f} cases/s", file=sys.stderr, flush=True)
        fuzzer.switch.stop()
    print(f"seeds {options.seed} to {block - 1}: {dict(fuzzer.counts)}, {failures} differ")
    print(f"verdicts: {dict(fuzzer.verdicts)}")
    for message, count in fuzzer.refusals.most_common(10):
        print(f"refused {count} times: {message}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
