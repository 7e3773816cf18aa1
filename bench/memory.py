"""How much memory a replay takes: ``python -m bench.memory``, by hand.

Captures of 60-byte frames, which a pcap file of a given size has the most of, go through the seed's
receive pipeline from file to file, each in a process of its own whose peak is told. It should not
depend on how large the capture is.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from bench import seed
from bench.against_ovs import EPOCH, flow_lines
from flowvm.packet.pcap.classic import RECORD_HEADER
from flowvm.packet.pcap.write import CaptureWriter

AT_ONCE = 1 << 16
"""Packets that are written at once. This process has to stay small: a child's peak begins with its
parent's."""


def main() -> None:
    """Measure, and print a line for each size."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sizes", type=float, nargs="+", default=[0.2, 2], help="in GB")
    parser.add_argument("--senders", type=int, default=16_000)
    parser.add_argument("--directory", type=Path, default=Path("/dev/shm"), help="for captures")
    arguments = parser.parse_args()
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory(prefix="flowvm-bench-", dir=arguments.directory) as name:
            peak, packets, seconds = replayed(Path(name), size, arguments.senders)
        rate = packets / seconds
        print(f"{size:g} GB, {packets:,} packets: peak {peak:.0f} MB, {rate:,.0f} packets/s")


def replayed(directory: Path, size: float, senders: int) -> tuple[float, int, float]:
    """The peak of a replay (MB of resident memory), its packets, and its seconds of CPU time."""
    packets = int(size * 1e9) // (len(seed.FRAME) + RECORD_HEADER)
    capture, flows = directory / "in.pcap", directory / "flows.txt"
    flows.write_text(flow_lines())
    writer = CaptureWriter(capture)
    for first in range(0, packets, AT_ONCE):
        numbers = np.arange(first, min(first + AT_ONCE, packets))
        frames = seed.frames(numbers % senders)
        writer.write(frames, EPOCH + seed.SPACING * numbers, frames.lengths)
    command = [sys.executable, "-m", "flowvm", "replay", str(flows)]
    command += ["--in", f"{seed.TUNNEL_PORT}={capture}", "--out", str(directory / "out")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"the replay ended with status {process.returncode}")
    return used.ru_maxrss / 1024, packets, used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
