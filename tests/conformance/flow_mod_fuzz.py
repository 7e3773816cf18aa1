"""Random changes of random tables between random packets: flow mods against a real Open vSwitch.

`python -m tests.conformance.flow_mod_fuzz --seed S --cases N` runs for as long as it takes.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations, count
from random import Random

from flowvm.actions.conjunction import Conjunction
from flowvm.flow import Flow
from flowvm.flow_mod import Command
from flowvm.testing import TLV_MAP
from flowvm.testing.sequences import batch_of
from flowvm.text.dump import parse_dump
from flowvm.text.flow_mods import parse_flow_mods
from tests.oracle import Bridge, OpenVSwitch, OracleRefusedError, UnixctlError

from .cases import MILLISECOND, VERSIONS, Case, random_case
from .fuzz import unsupported
from .predicted import N_PORTS, left_by, switch_of
from .seen import DifferenceError, load

OPTIONS = {
    Command.ADD: ("add-flows",),
    Command.MODIFY: ("mod-flows",),
    Command.MODIFY_STRICT: ("mod-flows", "--strict"),
    Command.DELETE: ("del-flows",),
    Command.DELETE_STRICT: ("del-flows", "--strict"),
}
"""The commands of ovs-ofctl."""

_ACTIONS = (
    *("drop", "output:2", "output:3,output:1", "IN_PORT", "load:0x5->NXM_NX_REG1[],output:4"),
    *("resubmit(,2),output:1", "resubmit(,3)", "resubmit(,10)", "mod_vlan_vid:5,output:2"),
)
# delete_learned makes Open vSwitch end; it prints tlv() as it does not read it, and not all matches
# on fields of GTP-U.
_LEFT_OUT = ("delete_learned", "tlv(", "tun_gtpu")

Change = tuple[Command, str]


def random_pair(seed: int) -> tuple[Case, Case]:
    """A case, and another in the same dialect, whose flows are to be added to it."""
    dice = Random(seed)
    found: list[Case] = []
    for number in count():
        case = random_case(dice.randrange(1 << 32), number)
        if any(word in str(case) for word in _LEFT_OUT) or not case.flows:
            continue
        if not found or case.openflow == found[0].openflow:
            found.append(case)
        if len(found) == 2:
            return found[0], found[1]
    raise AssertionError


def random_changes(dice: Random, flows: Sequence[str]) -> Iterator[Change]:
    """Up to two flow mods that concern some of ``flows``."""
    for _ in range(dice.choice((0, 1, 1, 2))):
        flow = dice.choice(flows)
        command = dice.choice(tuple(Command))
        if command is Command.ADD:
            yield command, flow.strip()
            continue
        head, _, actions = flow.partition(" actions=")
        *said, last = head.strip().split(", ")
        match = last.removeprefix("send_flow_rem ").split(",")
        priority = [term for term in match if term.startswith("priority=")]
        terms = [term for term in match if not term.startswith(("priority=", "cookie=", "table="))]
        parts = [term for term in (*said, last) if term.startswith("table=")][: _mostly(dice)]
        if command.is_strict:
            parts += priority
        if dice.random() < 0.8:
            parts += terms
        if dice.random() < 0.3:
            mask = (
                f"/{dice.choice(('0x3', '-1'))}" if command.deletes or dice.random() < 0.5 else ""
            )
            parts.append(f"cookie={dice.randrange(9):#x}{mask}")
        if command.deletes:
            parts += ["out_port=2"][_mostly(dice) :]
        else:
            parts.append(f"actions={actions if dice.random() < 0.5 else dice.choice(_ACTIONS)}")
        yield command, ",".join(parts) or " "


def _mostly(dice: Random) -> int:
    return int(dice.random() < 0.75)


def any_overlap(flows: Sequence[Flow]) -> bool:
    """Whether a packet can match two of ``flows`` of one priority: nobody says which it hits.

    Clauses of conjunctive matches may overlap.
    """
    for one, other in combinations(flows, 2):
        if (one.table or 0, one.priority) != (other.table or 0, other.priority):
            continue
        if _is_clause(one) and _is_clause(other):
            continue
        words, others = (flow.match.words({}, TLV_MAP) for flow in (one, other))
        if not any(
            (value ^ others[column][0]) & mask & others[column][1]
            for column, (value, mask) in words.items()
            if column in others
        ):
            return True
    return False


def _is_clause(flow: Flow) -> bool:
    return any(isinstance(action, Conjunction) for action in flow.actions)


def check(bridge: Bridge, seed: int) -> str:
    """Change and send as ``seed`` says; "ok", or why nothing could be compared.

    Raises DifferenceError.
    """
    case, other = random_pair(seed)
    groups, meters = case.groups or other.groups, case.meters or other.meters
    both = Case(case.openflow, case.flows, case.packets, groups=groups, meters=meters)
    dice = Random(seed)
    version = VERSIONS[case.openflow]
    try:
        loaded = load(bridge, both, "tun_metadata" in f"{case}{other}".lower())
    except OracleRefusedError:
        return "refused"
    switch = switch_of(loaded, both)
    log = [str(both)]
    now = 0
    for packet in case.packets:
        if packet.time > now:
            bridge.warp((packet.time - now) // MILLISECOND)
            now = packet.time
        switch.advance(now)
        for command, text in random_changes(dice, (*case.flows, *other.flows)):
            name, *strict = OPTIONS[command]
            try:
                bridge.ofctl(name, "-", *strict, "-O", version, text=f"{text}\n")
            except OracleRefusedError:
                continue
            log.append(f"{command.value} {text}")
            mods = parse_flow_mods(f"{text}\n", None if command is Command.ADD else command)
            switch.apply(mods, openflow=version)
        if any_overlap(switch.flows()):
            return "ambiguous"
        log.append(f"packet {packet.in_port} {packet.frame.hex()}")
        theirs = [
            (sent.port, sent.frame.hex()) for sent in bridge.send(packet.in_port, packet.frame)
        ]
        result = switch.run(batch_of([packet]))
        if unsupported(result):
            return "unsupported"
        ours, _ = left_by(result, 0)
        if sorted(ours) != sorted(theirs):
            raise DifferenceError(_complaint(seed, log, ours, theirs))
    dumps = [bridge.dump_flows(version), bridge.dump_flows()]
    if any("decode error" in dump for dump in dumps):
        return "undecodable"
    mine = sorted(map(_said, switch.flows()))
    real = [sorted(map(_said, parse_dump(dump).flows)) for dump in dumps]
    if mine not in real:
        extra = [flow for flow in mine if flow not in real[0]]
        raise DifferenceError(
            _complaint(seed, log, extra, [flow for flow in real[0] if flow not in mine])
        )
    return "ok"


def _complaint(seed: int, log: Sequence[str], ours: object, theirs: object) -> str:
    return "\n".join([f"seed {seed}: {ours}", "instead of", str(theirs), *log])


def _said(flow: Flow) -> tuple[object, ...]:
    """Which flow it is, however its match is spelled, and what became of it.

    Actions are told by other words in other dialects; what they do, the packets tell.
    """
    words = flow.match.words({}, TLV_MAP)
    return (
        *(flow.table or 0, flow.priority, tuple(sorted(words.items()))),
        *(flow.cookie, flow.duration, flow.n_packets, flow.n_bytes),
        *(flow.idle_timeout, flow.hard_timeout),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Check cases from a seed on, and report every one that differs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    counts: Counter[str] = Counter()
    with OpenVSwitch(N_PORTS) as switch:
        for seed in range(options.seed, options.seed + options.cases):
            try:
                counts[check(switch.bridge, seed)] += 1
            except DifferenceError as error:
                counts["differ"] += 1
                print(f"=== {error}\n", flush=True)
            except (UnixctlError, OSError):
                counts["crashed"] += 1
                switch.restart()
        switch.stop()
    print(dict(counts))
    return int(counts["differ"] > 0)


if __name__ == "__main__":
    sys.exit(main())
