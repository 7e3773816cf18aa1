"""flowvm and Open vSwitch side by side, in one run: ``python -m bench.against_ovs``, by hand.

- The same capture, in memory, through the seed's receive pipeline with learning: OVS-DPDK with one
  PMD core (see ``ovs_dpdk``), and flowvm on that core after it, for 100 and for 16,000 senders.
  Once with outputs counted, once from file to file.
- The same packets traced: ``ofproto/trace`` over its socket, and flowvm, one by one and in one
  call.
- Lookups in 100,000 rules of one priority: ``ovstest test-classifier benchmark``, where a build of
  Open vSwitch has left an ``ovstest`` on the PATH (Debian packages none), and flowvm.

Rates are per second of CPU time: of the PMD thread, of ovs-vswitchd's main thread, of this process;
so that other work on the machine disturbs them less. It still does: the load before the first and
the second of each pair is printed. What cannot run here is said and left out.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from bench import ovs_dpdk, seed
from bench.rules import program
from flowvm.captures.replay import INPUT_BYTES, CaptureInput, replay_captures
from flowvm.kernels import load as load_kernels
from flowvm.packet.batch import PacketBatch, Room
from flowvm.packet.frames import Frames
from flowvm.packet.pcap.read import read_capture
from flowvm.packet.pcap.write import CaptureWriter
from flowvm.pipeline.state import State
from flowvm.switch import Switch
from flowvm.text.dump import parse_dump
from flowvm.text.format import format_flow
from tests.oracle import OpenVSwitch, why_unavailable

SENDERS = (100, 16_000)
IN_CAPTURE = 32_000
"""Packets of the capture that is run through again and again: the PMD keeps them all in memory."""

ENTRY = (
    f"priority=65535,in_port={seed.TUNNEL_PORT},metadata=0 "
    f"actions=set_tunnel:{seed.TUN_ID:#x},load:1->OXM_OF_METADATA[],resubmit(,0)"
)
"""Gives frames of a plain port the tunnel that they cannot carry; in both switches."""

EPOCH = 1_700_000_000 * 10**9
WARM_UP = 2.0
RULES, SUBTABLES, LOOKUPS = 100_000, 5, 1 << 20
AT_ONCE = 1 << 14


@dataclass(frozen=True)
class Row:
    """One comparison: how many of what a second each of the two does; None where it did not run."""

    what: str
    ovs: float | None
    flowvm: float
    aim: str
    loads: str


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--packets", type=int, default=8_000_000, help="from file to file")
    parser.add_argument("--traces", type=int, default=5_000)
    parser.add_argument("--directory", type=Path, default=Path("/dev/shm"), help="for captures")
    arguments = parser.parse_args()
    load_kernels()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="flowvm-bench-", dir=arguments.directory) as name:
        directory = Path(name)
        for senders in SENDERS:
            rows += replays(directory, senders, arguments.seconds, arguments.packets)
    rows += traces(arguments.traces)
    rows += lookups()
    show(rows)


def show(rows: list[Row]) -> None:
    """Print the rows, the ratio of each, and what there is to know of the machine."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("what, a second")
    for heading in ("Open vSwitch", "flowvm", "ratio", "aim", "load"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        theirs = "" if row.ovs is None else f"{row.ovs:,.0f}"
        ratio = "" if row.ovs is None else f"{row.flowvm / row.ovs:.2f}"
        table.add_row(row.what, theirs, f"{row.flowvm:,.0f}", ratio, row.aim, row.loads)
    console = Console(width=None if sys.stdout.isatty() else 120)
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    console.print(f"{model[1] if model else 'unknown CPU'}, {os.cpu_count()} cores")
    console.print(table)


# -- packets ------------------------------------------------------------------------------------


def replays(directory: Path, senders: int, seconds: float, packets: int) -> Iterator[Row]:
    """The seed's receive pipeline: in memory with outputs counted, and from file to file."""
    lines = flow_lines()
    capture = directory / "loop.pcap"
    write_capture(capture, np.arange(IN_CAPTURE) % senders)
    for what, sink in (("outputs counted", None), ("file to file", directory / "sink.pcap")):
        before = load()
        theirs = dpdk_rate(capture, lines, sink, min(seconds, 2.0) if sink else seconds)
        between = load()
        with one_core():
            if sink is None:
                ours = looped(lines, capture.read_bytes(), seconds)
            else:
                ours = file_to_file(lines, directory, senders, packets)
        aim = "≥ 2" if sink is None else "≥ 1"
        yield Row(f"packets, {senders:,} senders, {what}", theirs, ours, aim, f"{before} {between}")


def flow_lines() -> str:
    """The seed's flows without statistics, and the rule that lets frames into its tunnel."""
    with contextlib.closing(open_text(seed.source())) as file:
        flows = parse_dump(file.read()).flows
    bare = dict.fromkeys(("duration", "n_packets", "n_bytes", "idle_age", "hard_age"))
    # Rows that were learned before would be too old to stay.
    lasting = [flow for flow in flows if not flow.hard_timeout]
    return "\n".join([ENTRY, *(format_flow(flow.replace(**bare)) for flow in lasting)]) + "\n"


def open_text(source: str) -> io.TextIOWrapper:
    """A dump, by path or by the name of a shipped one."""
    from flowvm.examples import open_source

    return io.TextIOWrapper(open_source(source), encoding="utf-8")


def write_capture(path: Path, senders: np.ndarray) -> None:
    """A pcap file with a frame from each of ``senders``, a microsecond apart."""
    frames = seed.frames(senders)
    CaptureWriter(path).write(frames, EPOCH + 1000 * np.arange(len(senders)), frames.lengths)


def dpdk_rate(capture: Path, lines: str, sink: Path | None, seconds: float) -> float | None:
    """Packets a second of OVS-DPDK, when it has learned; None if it cannot run here."""
    missing = ovs_dpdk.why_unavailable()
    try:
        if missing is not None:
            raise ovs_dpdk.DpdkUnavailableError(missing)
        with ovs_dpdk.running(capture, lines, sink) as switch:
            time.sleep(WARM_UP / 4 if sink else WARM_UP)
            return switch.measure(seconds).rate
    except ovs_dpdk.DpdkUnavailableError as error:
        print(f"OVS-DPDK: {error}", file=sys.stderr)
        return None
    finally:
        if sink is not None:
            sink.unlink(missing_ok=True)


def looped(lines: str, capture: bytes, seconds: float) -> float:
    """Packets a second of flowvm, from the bytes of a capture to outputs counted."""
    switch = Switch(parse_dump(lines).flows)
    wanted, room = switch.program.wanted, Room(switch.program.wanted)
    rate = 0.0
    for limit in (WARM_UP / 4, seconds):
        began, packets, left = time.process_time(), 0, 0
        while time.process_time() - began < limit:
            start = switch.now
            for records in read_capture(io.BytesIO(capture), chunk_bytes=INPUT_BYTES):
                times = start + records.times - EPOCH
                times = np.maximum(times, switch.now)
                batch = PacketBatch.of(
                    records.frames, seed.TUNNEL_PORT, times, wanted=wanted, room=room
                )
                left += sum(switch.run(batch).port_counts().values())
                packets += len(batch)
        rate = packets / (time.process_time() - began)
        if left != packets:
            raise RuntimeError(f"{packets} packets came, {left} left")
    return rate


def file_to_file(lines: str, directory: Path, senders: int, packets: int) -> float:
    """Packets a second of ``flowvm replay``, all its outputs written."""
    path = directory / "long.pcap"
    write_capture(path, np.arange(packets) % senders)
    switch = Switch(parse_dump(lines).flows)
    inputs = [CaptureInput(seed.TUNNEL_PORT, path)]
    began = time.process_time()
    replay_captures(switch, inputs, directory / "out")
    rate = packets / (time.process_time() - began)
    path.unlink()
    shutil.rmtree(directory / "out")
    return rate


# -- traces -------------------------------------------------------------------------------------


def traces(n: int) -> Iterator[Row]:
    """The same headers traced by both, each from another sender."""
    missing = why_unavailable()
    if missing:
        print(f"Open vSwitch: {missing}", file=sys.stderr)
    before = load()
    one, many = (None, None) if missing else ofproto_traces(n)
    loads = f"{before} {load()}"
    with one_core():
        switch = seed.switch()
        some = [headers(number) for number in range(min(n, 200))]
        switch.trace(some[0])
        single = len(some) / cpu_time(lambda: [switch.trace(text) for text in some])
        frames = seed.frames(np.arange(n))
        at_once = n / cpu_time(lambda: trace_all(switch, frames))
    yield Row("traces, one by one", one, single, "500 a second", loads)
    yield Row("traces in one call, theirs one by one", one, at_once, "≥ 20", loads)
    yield Row("traces in one call, theirs in one write", many, at_once, "", loads)


def headers(sender: int) -> str:
    """What ``ofproto/trace`` is asked for a packet of ``seed.frames``."""
    mac = (seed.FIRST_MAC + sender).to_bytes(6, "big").hex(":")
    return (
        f"in_port={seed.TUNNEL_PORT},tun_id={seed.TUN_ID},udp,dl_src={mac},"
        "dl_dst=fa:16:3e:00:00:01,nw_src=10.0.0.1,nw_dst=10.0.0.2,udp_src=1000,udp_dst=2000"
    )


def ofproto_traces(n: int, at_once: int = 100) -> tuple[float, float]:
    """Traces a second over the socket: each when the last is answered, and many in one write.

    One by one, what this end of the socket does counts too, for nobody can trace without it.
    """
    with OpenVSwitch() as ovs:
        ovs.bridge.add_flows(flow_lines())
        calls = [("ofproto/trace", (ovs.bridge.name, headers(number))) for number in range(n)]
        pid = (ovs.directory / "vswitchd.pid").read_text().strip()
        daemon = Path(f"/proc/{pid}/task/{pid}")

        began = ovs_dpdk.cpu_seconds(daemon) + time.process_time()
        for call in calls:
            ovs.ctl.pipeline([call])
        one_by_one = n / (ovs_dpdk.cpu_seconds(daemon) + time.process_time() - began)
        began = ovs_dpdk.cpu_seconds(daemon)
        for first in range(0, n, at_once):
            ovs.ctl.pipeline(calls[first : first + at_once])
        return one_by_one, n / (ovs_dpdk.cpu_seconds(daemon) - began)


def trace_all(switch: Switch, frames: Frames) -> None:
    """Verdict, ports and frames of many packets."""
    asked = switch.copy()
    for batch in seed.received(asked, frames):
        result = asked.run(batch)
        if len(result.emissions.port) != len(batch):
            raise RuntimeError(f"{len(batch)} packets came, {len(result.emissions.port)} left")


# -- lookups ------------------------------------------------------------------------------------


def lookups() -> Iterator[Row]:
    """Lookups that go through all subtables; Open vSwitch's without wildcarding, as it would."""
    before = load()
    theirs = ovstest_rate()
    loads = f"{before} {load()}"
    with one_core():
        compiled, columns = program(RULES, SUBTABLES)
        state = State(compiled)
        which = np.random.default_rng(1).integers(0, RULES, LOOKUPS)
        batches = [
            [column[which[first : first + AT_ONCE]] for column in columns]
            for first in range(0, LOOKUPS, AT_ONCE)
        ]
        packets = np.arange(AT_ONCE)
        ours = cpu_time(lambda: [state.lookup(0, batch, packets) for batch in batches])
    what = f"lookups, {RULES:,} rules, {SUBTABLES} subtables"
    yield Row(what, theirs, LOOKUPS / ours, "≥ 5,000,000", loads)


def ovstest_rate() -> float | None:
    """Lookups a second of Open vSwitch's classifier, or None without an ``ovstest``."""
    path = shutil.which("ovstest")
    if path is None:
        print("ovstest is not on the PATH: no classifier to compare with", file=sys.stderr)
        return None
    arguments = map(str, (RULES, 1, SUBTABLES, 1, LOOKUPS))
    command = [path, "test-classifier", "benchmark", *arguments]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r"(\d+) lookups/s", said)
    return float(found[1]) if found else None


def cpu_time(action: Callable[[], object], repeats: int = 3) -> float:
    """The CPU seconds that ``action`` takes this process, at best."""
    times = []
    for _ in range(repeats):
        began = time.process_time()
        action()
        times.append(time.process_time() - began)
    return min(times)


# -- the machine --------------------------------------------------------------------------------


def load() -> str:
    """The load of the last minute."""
    return f"{os.getloadavg()[0]:.1f}"


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """On the core that the PMD had, and on no other."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before & {ovs_dpdk.PMD_CORE} or before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


if __name__ == "__main__":
    main()
