"""Packets through whole pipelines, from frames in memory to outputs counted.

``pytest bench/test_pipelines.py``. The pipelines are those of the captures that FLOWVM_CAPTURES has
(of others only the shipped example), the traffic that of ``flowvm bench``.
"""

from __future__ import annotations

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench import seed
from bench.sizes import sized
from flowvm.benchmark import replay_traffic
from flowvm.packet.batch import PacketBatch
from flowvm.pipeline.engine import Run
from flowvm.pipeline.paths import Paths
from flowvm.pipeline.state import State
from flowvm.switch import Switch, load
from flowvm.traffic import Traffic, synthesise

PACKETS = sized(1_000, 500_000, 5_000_000)
STATEFUL_PACKETS = sized(500, 20_000, 1_000_000)
FLOWS = sized(100, 1_000, 1_000)

CAPTURES = {
    "br-tun": "seed-computenode-br-tun.txt",
    "firewall": "hotsos-neutron-fw-br-tun.txt",
    "conntrack firewall": "neutron-ovsfw-vxlan-br-int-76.txt",
    "OVN": "neutron-ovn-geneve-br-int-264.txt",
    "OpenShift": "openshift-sdn-br0-of13.txt",
}


def pipelines() -> dict[str, str]:
    """The dumps that there are, by name."""
    found = {name: seed.capture(file) for name, file in CAPTURES.items()}
    there = {name: str(path) for name, path in found.items() if path is not None}
    return {"example": "example:br-tun", **there}


@pytest.mark.parametrize("senders", [100, 16_000])
def test_seed(benchmark: BenchmarkFixture, senders: int) -> None:
    """The seed's receive pipeline, learning, in steady traffic of so many senders."""
    packets = seed.frames(np.arange(PACKETS) % senders)
    switch = seed.switch()
    seed.receive(switch, seed.frames(np.arange(senders)))
    benchmark.extra_info["packets"] = PACKETS
    assert benchmark.pedantic(seed.receive, (switch, packets), rounds=3) == PACKETS


@pytest.mark.parametrize("state", ["cold", "warm"])
@pytest.mark.parametrize("pipeline", pipelines())
def test_pipeline(benchmark: BenchmarkFixture, pipeline: str, state: str) -> None:
    """Flows without connection tracking on their way, right from the dump or when all are known."""
    switch = load(pipelines()[pipeline], lenient=True)
    traffic = without_state(switch, synthesise(switch.program, PACKETS, FLOWS))
    if state == "warm":
        replay_traffic(switch, traffic)
    measure(benchmark, switch, traffic, fresh=state == "cold")


@pytest.mark.parametrize("pipeline", pipelines())
def test_all_flows(benchmark: BenchmarkFixture, pipeline: str) -> None:
    """The traffic of ``flowvm bench``: connection tracking, where the pipeline has it, included."""
    switch = load(pipelines()[pipeline], lenient=True)
    traffic = synthesise(switch.program, STATEFUL_PACKETS, FLOWS)
    replay_traffic(switch, traffic)
    measure(benchmark, switch, traffic, fresh=False)


def measure(benchmark: BenchmarkFixture, switch: Switch, traffic: Traffic, *, fresh: bool) -> None:
    """Replay the traffic a few times; ``fresh``: from where ``switch`` stands, each time."""

    def run_from() -> tuple[tuple[Switch], dict[str, object]]:
        return (switch.copy() if fresh else switch,), {}

    benchmark.extra_info["packets"] = len(traffic)
    _, verdicts = benchmark.pedantic(
        lambda runner: replay_traffic(runner, traffic), setup=run_from, rounds=3
    )
    assert sum(verdicts.values()) == len(traffic)


def without_state(switch: Switch, traffic: Traffic) -> Traffic:
    """Only the flows that do the same whatever packets came before them; as many packets."""
    run = Run(State(switch.program), list(traffic.flows.columns))
    run.run()
    paths = Paths.of(run)
    flows = np.flatnonzero(~paths.volatile & (paths.steps.counts == 0))
    batch = traffic.flows
    some = PacketBatch(batch.frames.take(flows), batch.columns[:, flows], batch.times[flows])
    return Traffic(some, traffic.sequence % len(flows))
