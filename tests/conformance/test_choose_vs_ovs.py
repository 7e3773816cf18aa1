"""bundle, bundle_load and multipath choose what Open vSwitch chooses."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

import numpy as np
import pytest

from flowvm.actions.choose import MULTIPATH_ALGORITHMS
from flowvm.packet.batch import PacketBatch
from flowvm.packet.frames import Frames
from flowvm.pipeline.hashing import HASHES
from flowvm.switch import Switch
from flowvm.text.dump import parse_dump
from flowvm.text.show import parse_show
from tests.oracle import Bridge, OpenVSwitch

from .test_trace_text import FRAMES, common_part

pytestmark = pytest.mark.oracle


@pytest.mark.parametrize("basis", [0, 5, 65535])
@pytest.mark.parametrize("kind", FRAMES)
def test_headers_are_hashed_as_open_vswitch_hashes_them(
    bridge: Bridge, kind: str, basis: int
) -> None:
    """All 32 bits of each hash: modulo_n gives the lower half, hash_threshold the upper."""
    actions = [
        f"multipath({fields},{basis},{algorithm},65536,0,NXM_NX_REG{number}[{bits}])"
        for number, fields in enumerate(HASHES)
        for algorithm, bits in (("modulo_n", "0..15"), ("hash_threshold", "16..31"))
    ]
    bridge.add_flows(f"priority=1 actions={','.join(actions)}")
    frame = bytes(FRAMES[kind])
    final = bridge.trace("in_port=1", frame).partition("Final flow: ")[2].partition("\n")[0]
    theirs = {int(n): int(value, 16) for n, value in re.findall(r"\breg(\d+)=(0x\w+)", final)}
    columns = list(PacketBatch.of(Frames.of([frame]), 1, 0).columns)
    ours = [int(by.of(columns, np.array([0]), basis)[0]) for by in HASHES.values()]
    assert ours == [theirs.get(number, 0) for number in range(len(HASHES))]


@pytest.fixture(scope="module", params=[2, 4, 7])
def with_one_down(ovs: OpenVSwitch, request: pytest.FixtureRequest) -> Iterator[Bridge]:
    """A bridge of its own, for it does not flood as it did before, with a port that is down."""
    bridge = ovs.add_bridge("br-choose", {f"c{number}": number for number in range(1, 9)})
    ovs.ctl.call("netdev-dummy/set-admin-state", f"c{request.param}", "down")
    yield bridge
    ovs.remove_bridge(bridge.name)


LINKS = (1, 2, 3, 5, 7, 63, 64, 65, 100, 1000, 40000, 65536)
DESTINATIONS = (
    *("NXM_NX_REG0[]", "NXM_NX_REG1[3..18]", "NXM_OF_ETH_SRC[0..15]", "NXM_OF_VLAN_TCI[]"),
    *("NXM_NX_XXREG1[8..63]", "NXM_OF_IP_SRC[5..20]", "NXM_OF_TCP_SRC[]"),
)
MEMBERS = (
    *map(str, range(1, 9)),
    *("99", "LOCAL", "IN_PORT", "ALL", "NONE"),
)


def choose(rng: random.Random, destinations: tuple[str, ...]) -> str:
    """An action of random arguments."""
    fields, basis = rng.choice([*HASHES]), rng.choice((0, 1, rng.randrange(65536)))
    destination, n = rng.choice(destinations), rng.choice(LINKS)
    if rng.random() < 0.4:
        argument = rng.choice((0, n, 2 * n, 2 * n + 1, rng.randrange(2 * n + 3)))
        algorithm = rng.choice(MULTIPATH_ALGORITHMS)
        return f"multipath({fields},{basis},{algorithm},{n},{argument},{destination})"
    members = ",".join(rng.choice(MEMBERS) for _ in range(rng.randint(0, 6)))
    how = f"{fields},{basis},{rng.choice(('hrw', 'active_backup'))},ofport"
    if rng.random() < 0.5:
        return f"bundle({how},members:{members})"
    return f"bundle_load({how},{destination},members:{members})"


@pytest.mark.parametrize("seed", range(8))
def test_random_choices(with_one_down: Bridge, seed: int) -> None:
    """Each step of a trace, and the frames that leave, for packets of all kinds."""
    bridge = with_one_down
    bridge.reset()
    show = bridge.ofctl("show")
    rng = random.Random(f"choose {show} {seed}")
    for_all = [choose(rng, DESTINATIONS[:5]) for _ in range(rng.randint(1, 4))]
    for_tcp = [choose(rng, DESTINATIONS) for _ in range(rng.randint(1, 4))]
    flows = (
        f"priority=1,tcp,importance=1 actions={','.join(for_tcp)},output:8\n"
        f"priority=0,importance=1 actions={','.join(for_all)},output:8\n"
    )
    bridge.add_flows(flows)
    switch = Switch(parse_dump(flows).flows, parse_show(show))
    for packet in FRAMES.values():
        frame = bytes(packet)
        trace = switch.trace(frame, in_port=1)
        assert common_part(str(trace)) == common_part(bridge.trace("in_port=1", frame))
    outcome = bridge.send(1, frame)
    ours = [(output.port, output.frame) for output in trace.outputs]
    theirs = [("LOCAL" if e.port == 0xFFFE else e.port, e.frame) for e in outcome]
    # The order of a flood depends on what happened to ports before.
    if outcome.ordered and "ALL" not in flows:
        assert ours == theirs
    assert sorted(ours, key=str) == sorted(theirs, key=str)
