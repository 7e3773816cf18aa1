"""Connection tracking keeps the laws: batches, splits, traces."""

from __future__ import annotations

import random

import numpy as np
import pytest

from flowvm.packet.batch import PacketBatch
from flowvm.packet.frames import Frames
from flowvm.pipeline.result import Result
from flowvm.switch import Switch
from flowvm.text.dump import parse_dump
from tests.conformance.ct_traffic import Traffic

PORTS = {f"p{number}": number for number in range(1, 9)}

TABLES = {
    "firewall": """
table=0,priority=1,ip actions=ct(table=1,zone=5),output:8
table=0,priority=0 actions=output:7
table=1,ct_state=+new+trk,in_port=1,ip actions=ct(commit,zone=5,exec(load:3->NXM_NX_CT_MARK[])),\
output:2
table=1,ct_state=+est+trk,ct_mark=3,ip actions=output:3,ct(table=2,zone=6)
table=1,ct_state=+inv+trk actions=output:4
table=1,priority=1 actions=output:5
table=2,ip actions=ct(commit,zone=6),dec_ttl,output:6
""",
    "nat": """
table=0,priority=2,in_port=1,tcp actions=ct(commit,nat(src=10.1.1.1),table=1),output:4
table=0,priority=2,in_port=1,ip actions=clone(ct(commit,nat(dst=10.1.1.2),table=1),output:5),\
output:6
table=0,priority=1,ip actions=ct(nat,table=1)
table=0,priority=0 actions=drop
table=1 actions=IN_PORT,output:3
""",
    "learning": """
table=0,priority=1,ip actions=ct(commit,table=1),resubmit(,2)
table=0,priority=0 actions=drop
table=1,ip actions=learn(table=2,idle_timeout=5,eth_type=0x800,NXM_OF_IP_DST[]=NXM_OF_IP_SRC[],\
output:NXM_OF_IN_PORT[]),resubmit(,2)
table=2,priority=1 actions=output:8
""",
}


def packets(seed: str, n: int = 30) -> tuple[list[bytes], list[int], list[int]]:
    """Frames, ports and times (ns)."""
    rng = random.Random(seed)
    traffic = [Traffic(rng) for _ in range(2)]
    sent = [rng.choice(traffic).next() for _ in range(n)]
    steps = np.cumsum([rng.choice((0, 10**6, 10**9, 40 * 10**9)) for _ in sent])
    return [frame for _, frame in sent], [1 + end for end, _ in sent], steps.tolist()


def emitted(result: Result) -> list[tuple[int, int, bytes]]:
    emissions = result.emissions
    return list(
        zip(emissions.packet.tolist(), emissions.port.tolist(), emissions.frames, strict=True)
    )


def batch(frames: list[bytes], ports: list[int], times: list[int]) -> PacketBatch:
    return PacketBatch.of(Frames.of(frames), np.array(ports), np.array(times))


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("seed", range(2))
def test_a_batch_is_its_packets_one_at_a_time(table: str, seed: int) -> None:
    """Frames, verdicts, counters, connections; and each trace tells what the run does."""
    frames, ports, times = packets(f"{table} {seed}")
    flows = parse_dump(TABLES[table]).flows
    together, alone = Switch(flows, PORTS), Switch(flows, PORTS)
    whole = together.run(batch(frames, ports, times))
    found, verdicts = [], []
    for number, (frame, port, time) in enumerate(zip(frames, ports, times, strict=True)):
        told = alone.trace(frame, in_port=port, at=f"{time / 10**9:.9f}")
        result = alone.run(batch([frame], [port], [time]))
        single = emitted(result)
        assert [o.frame for o in told.outputs] == [frame for _, _, frame in single]
        assert told.verdict == str(result.verdict(0))
        found += [(number, port, frame) for _, port, frame in single]
        verdicts.append(result.verdict(0))
    assert emitted(whole) == found
    assert whole.verdicts.tolist() == verdicts
    assert together.connections() == alone.connections()
    assert list(map(str, together.flows())) == list(map(str, alone.flows()))
    assert together.state.rules.n_bytes.tolist() == alone.state.rules.n_bytes.tolist()


@pytest.mark.parametrize("table", TABLES)
def test_a_batch_may_be_split(table: str) -> None:
    """Running the halves is running the whole; a copy goes its own way."""
    frames, ports, times = packets(table)
    switch = Switch(parse_dump(TABLES[table]).flows, PORTS)
    whole, halves = switch.copy(), switch.copy()
    expected = emitted(whole.run(batch(frames, ports, times)))
    first = emitted(halves.run(batch(frames[:12], ports[:12], times[:12])))
    rest = emitted(halves.run(batch(frames[12:], ports[12:], times[12:])))
    assert first + [(12 + number, port, frame) for number, port, frame in rest] == expected
    assert whole.connections() == halves.connections()
    assert switch.connections() == []
