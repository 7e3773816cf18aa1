"""What Open vSwitch and flowvm make of a case, in terms that can be compared."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from flowvm.testing import TLV_MAP, Packet
from tests.oracle import LOCAL, Bridge, OracleRefusedError

from .cases import MILLISECOND, VERSIONS, Case

Emitted = tuple[int, str]
PacketIn = tuple[str, int, int, int, str]
Step = tuple[int, int | None, int]


class DifferenceError(AssertionError):
    """flowvm and Open vSwitch disagree."""


@dataclass
class Seen:
    """What one of the two made of a case."""

    loaded: str = ""
    emitted: list[list[Emitted]] = field(default_factory=list)
    ordered: list[bool] = field(default_factory=list)
    packet_ins: list[list[PacketIn]] = field(default_factory=list)
    paths: list[list[Step] | None] = field(default_factory=list)
    connections: list[str] = field(default_factory=list)
    macs: list[str] = field(default_factory=list)
    dumps: tuple[str, ...] = ()


# -- Open vSwitch -----------------------------------------------------------------------------


def load(bridge: Bridge, case: Case, tun_metadata: bool) -> str:
    """What Open vSwitch dumps when it has nothing but ``case``; with a TLV map if there is need.

    Raises OracleRefusedError if it does not load.
    """
    bridge.reset()
    if tun_metadata:
        bridge.add_tlv_map(str(TLV_MAP))
    bridge.add_meters("\n".join(case.meters))
    if case.groups:
        bridge.ofctl("add-groups", "-", "-O", VERSIONS["1.5"], text="\n".join(case.groups))
    version = VERSIONS[case.openflow]
    bridge.ofctl("add-flows", "-", "-O", version, text="\n".join(case.flows))
    return bridge.dump_flows(version)


def observe(bridge: Bridge, blank: Bridge, case: Case) -> Seen:
    """What Open vSwitch makes of ``case``. Raises OracleRefusedError if it does not load.

    ``blank`` is a bridge without flows: its traces tell how a frame is read, and no more.
    """
    version = VERSIONS[case.openflow]
    seen = Seen(load(bridge, case, "tun_metadata" in "".join(case.flows).lower()))
    now = 0
    # Without a packet a learn action does not run, so that its result is not known either.
    traced = case.traced and "result_dst" not in seen.loaded
    for packet in case.packets:
        if packet.time > now:
            bridge.warp((packet.time - now) // MILLISECOND)
            now = packet.time
        seen.paths.append(path_of(bridge, blank, packet) if traced else None)
        outcome = bridge.send(packet.in_port, packet.frame)
        seen.emitted.append([(e.port, e.frame.hex()) for e in outcome])
        seen.ordered.append(outcome.ordered)
        found = [
            (p.frame.hex(), int(p.reason), p.table_id, p.cookie, p.userdata.hex())
            for p in bridge.packet_ins()
        ]
        seen.packet_ins.append(found)
    if "ct(" in seen.loaded:
        seen.connections = sorted(bridge.conntrack().splitlines())
    if "NORMAL" in seen.loaded:
        seen.macs = ageless(bridge.fdb())
    if case.pause:
        bridge.warp(case.pause)
    dumps = [bridge.dump_flows(version)]
    if "learn(" in seen.loaded and case.openflow != "1.0":
        old = bridge.dump_flows(VERSIONS["1.0"])
        dumps.append(old if "idle_age" in dumps[0] else _AGES.sub("", old))
    # Open vSwitch sends some learned matches in a form that its own ovs-ofctl cannot read.
    seen.dumps = () if any("decode error" in dump for dump in dumps) else tuple(dumps)
    return seen


_AGES = re.compile(r" (?:idle|hard)_age=\d+,")
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


def ageless(fdb: str) -> list[str]:
    """The rows of a MAC table without ages, of which each side rounds its own; in order."""
    return [line.rpartition(" ")[0].strip() for line in fdb.splitlines()]


# -- comparing --------------------------------------------------------------------------------


def differences(case: Case, ours: Seen, theirs: Seen) -> Iterator[str]:
    """What the two disagree on, in words."""
    floods = any(port in theirs.loaded for port in ("ALL", "FLOOD", "NORMAL"))
    for number in range(len(case.packets)):
        where = f"packet {number}"
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
    if ours.connections != theirs.connections:
        yield "\n  ".join(["connections", *ours.connections, "instead of", *theirs.connections])
    # An address is known anew at most once in a second, and when a second begins is not known.
    order = sorted if any(packet.time for packet in case.packets) else list
    if order(ours.macs) != order(theirs.macs):
        yield "\n  ".join(["MAC addresses", *ours.macs, "instead of", *theirs.macs])
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


def _rows(dump: str) -> dict[tuple[str, str, int], str]:
    """The flows of a dump by table, priority and match, and which of those that say the same.

    An old dump may say the same of two matches.
    """
    found: dict[tuple[str, str, int], str] = {}
    alike: Counter[tuple[str, str]] = Counter()
    for line in dump.splitlines():
        if "actions=" not in line:
            continue
        head, _, _ = line.partition(" actions=")
        table = re.search(r"table=(\d+)", head)
        key = (table[1] if table else "0", head.rsplit(" ", 1)[1])
        found[*key, alike[key]] = line.strip()
        alike[key] += 1
    return found
