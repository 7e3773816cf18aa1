"""Single packets, explained, and many of them in one call: ``pytest bench/test_traces.py``."""

from __future__ import annotations

import numpy as np
from pytest_benchmark.fixture import BenchmarkFixture

from bench import seed
from bench.sizes import sized

TRACES = sized(100, 20_000, 200_000)

HEADERS = (
    f"in_port={seed.TUNNEL_PORT},tun_id={seed.TUN_ID},udp,dl_src=52:54:00:00:00:01,"
    "dl_dst=fa:16:3e:00:00:01,nw_src=10.0.0.1,nw_dst=10.0.0.2,udp_src=1000,udp_dst=2000"
)


def test_trace(benchmark: BenchmarkFixture) -> None:
    """One trace of the seed, from its headers in text to steps and outputs."""
    switch = seed.switch()
    trace = benchmark(lambda: switch.trace(HEADERS))
    assert trace.verdict == "output"


def test_trace_text(benchmark: BenchmarkFixture) -> None:
    """The same, printed as ``ofproto/trace`` does."""
    switch = seed.switch()
    assert benchmark(lambda: str(switch.trace(HEADERS))).startswith("Flow: udp")


def test_traces_in_one_call(benchmark: BenchmarkFixture) -> None:
    """Many packets, each from another sender: verdicts, ports and the frames that leave."""
    switch = seed.switch()
    frames = seed.frames(np.arange(TRACES))

    def traces() -> int:
        asked = switch.copy()
        results = [asked.run(batch) for batch in seed.received(asked, frames)]
        return sum(len(result.emissions.port) for result in results)

    benchmark.extra_info["traces"] = TRACES
    assert benchmark.pedantic(traces, rounds=3) == TRACES
