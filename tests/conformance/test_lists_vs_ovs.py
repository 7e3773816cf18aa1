"""Actions that hold, branch or meter what comes after them do what they do in Open vSwitch.

``clone``, queues, ``check_pkt_larger``, ``sample``, ``controller`` and ``meter``, one by one and in
random lists.
"""

from __future__ import annotations

import random

import pytest

from tests.oracle import Bridge

from .side_by_side import Arrivals, arrivals, assert_same
from .test_trace_text import FRAMES

pytestmark = pytest.mark.oracle

_TCP = bytes(FRAMES["tcp"])
_LENGTH = slice(16, 18)


def padded(n: int) -> bytes:
    """A TCP segment of ``n`` bytes more than the shortest here, its header saying so."""
    frame = bytearray(_TCP + bytes(n))
    frame[_LENGTH] = (len(frame) - 14).to_bytes(2, "big")
    return bytes(frame)


def trailing(n: int) -> bytes:
    """The shortest frame here with ``n`` bytes after the end of its IP packet."""
    return _TCP + bytes(n)


BELOW = """
table=1,priority=2,reg0=0x20/0x20 actions=output:2,resubmit(,2)
table=1,priority=0 actions=output:3,resubmit(,2)
table=2,priority=0 actions=output:4
table=3,priority=0 actions=resubmit(,1),write_actions(output:6)
table=4,priority=0 actions=exit
table=5,priority=0 actions=resubmit(,5)
"""

LISTS = {
    "clone": "clone(set_field:1->nw_ttl,output:2),output:3",
    "clone at the end": "set_field:9->nw_ttl,clone(set_field:1->nw_ttl,output:2)",
    "clone by a copy": (
        "set_field:9->nw_ttl,clone(output(port=2,max_len=20),dec_ttl,output:4),output:3"
    ),
    "clone of nothing left": "clone(set_field:1->nw_ttl),output:3",
    "clone with a stack": "push:NXM_NX_REG0[],clone(pop:NXM_NX_REG1[]),pop:NXM_NX_REG2[],output:2",
    "clone with a lookup": "clone(set_field:0x20->reg0,resubmit(,1)),resubmit(,1)",
    "clone in clone": "clone(dec_ttl,clone(dec_ttl,output:2),output:3),output:4",
    "clone that exits": "clone(output:2,exit,output:3),output:4",
    "clone that exits below": "clone(output:2,resubmit(,4)),output:4",
    "clone with an action set": "clone(resubmit(,3)),output:4",
    "clone after an action set": "resubmit(,3),clone(output:2),output:4",
    "clone that ends early": "clone(output:3,set_field:1->nw_ttl,dec_ttl,output:4),output:5",
    "clone that fails": "output:2,clone(output:3,resubmit(,5),output:4),output:5",
    "set_queue": "set_queue:5,output:2,pop_queue,output:3",
    "pop_queue alone": "pop_queue,output:2",
    "check_pkt_larger": "check_pkt_larger(68)->NXM_NX_REG0[5],resubmit(,1),output:5",
    "check_pkt_larger last": "output:2,check_pkt_larger(68)->NXM_NX_REG0[5]",
    "check_pkt_larger with a tag": (
        "push_vlan:0x8100,check_pkt_larger(68)->NXM_NX_REG0[5],resubmit(,1),output:5"
    ),
    "check_pkt_larger in clone": (
        "clone(check_pkt_larger(68)->NXM_NX_REG0[5],resubmit(,1)),resubmit(,1)"
    ),
    "check_pkt_larger twice": (
        "check_pkt_larger(68)->NXM_NX_REG0[5],check_pkt_larger(70)->NXM_NX_REG1[0],resubmit(,1)"
    ),
    "check_pkt_larger and action set": (
        "resubmit(,3),check_pkt_larger(68)->NXM_NX_REG0[5],resubmit(,1)"
    ),
    "check_pkt_larger and learn": (
        "check_pkt_larger(68)->NXM_NX_REG0[5],"
        "learn(table=9,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_NX_REG0[0..15])"
    ),
    "sample": "output:2,sample(probability=65535,collector_set_id=1,obs_domain_id=2),output:3",
    "controller": "controller(userdata=01.02.03,max_len=10),output:2",
    "controller of another": "controller(id=7,userdata=01),controller(id=0),output:2",
    "controllers told of a TTL": "set_field:1->nw_ttl,output:2,dec_ttl(7,0,0,3),output:3",
}


def _load_list(name: str) -> str:
    return f"{BELOW}\ntable=0,priority=1,importance=1,tcp actions={LISTS[name]}\n"


@pytest.mark.parametrize("name", LISTS)
def test_lists_are_executed_as_in_open_vswitch(bridge: Bridge, name: str) -> None:
    """Frames on both sides of the length in question, padding at their end not counted."""
    frames = [padded(n) for n in (0, 3, 4, 7, 8, 9, 30)]
    assert_same(bridge, _load_list(name), arrivals([*frames, trailing(30)]))


@pytest.mark.parametrize("queue", ["2:7", "LOCAL:1", "IN_PORT:3", "1:3", "77:3"])
def test_enqueue_outputs_by_a_queue_once(bridge: Bridge, queue: str) -> None:
    """Also of OpenFlow 1.0, which knows it as one action."""
    flows = f"priority=1,tcp actions=set_queue:4,enqueue:{queue},output:3,pop_queue"
    assert_same(bridge, flows, arrivals([padded(0), padded(9)]), version="OpenFlow10")


_ANYTHING = (
    *("output:2", "output:3", "IN_PORT", "output(port=4,max_len=30)", "output:NXM_NX_REG0[]"),
    *("set_field:7->nw_ttl", "set_field:10.1.1.1->ip_src", "set_field:5->reg0", "dec_ttl"),
    *("push:NXM_NX_REG0[]", "pop:NXM_NX_REG1[]", "exit", "sample(probability=1)"),
    *("set_queue:5", "pop_queue", "controller(userdata=aa)", "controller(id=2)"),
    "learn(table=9,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_NX_REG0[0..15])",
    *("check_pkt_larger({})->NXM_NX_REG0[5]", "check_pkt_larger({})->NXM_NX_REG1[0]"),
)
_LIMITS = (60, 61, 64, 65, 66, 68, 80)
_TABLES = 4


def _random_list(rng: random.Random, table: int, depth: int) -> str:
    found = []
    for _ in range(rng.randint(1, 5)):
        if depth < 2 and rng.random() < 0.2:
            found.append(f"clone({_random_list(rng, table, depth + 1)})")
            continue
        further = [f"resubmit(,{table + 1})"] * 3 if table + 1 < _TABLES else []
        found.append(rng.choice([*_ANYTHING, *further]).format(rng.choice(_LIMITS)))
    return ",".join(found)


def _random_flows(rng: random.Random) -> str:
    lines = []
    for table in range(_TABLES):
        for priority, match in ((1, ""), (2, ",reg0=0x20/0x20"), (3, ",reg1=1/1")):
            if priority > 1 and rng.random() < 0.5:
                continue
            actions = _random_list(rng, table, 0)
            if table + 1 < _TABLES and rng.random() < 0.2:
                written = rng.choice(["output:5", "set_field:1->nw_ttl,output:6"])
                actions += f",write_actions({written})"
            if table + 1 < _TABLES and rng.random() < 0.2:
                actions += f",goto_table:{table + 1}"
            lines.append(
                f"table={table},priority={priority},importance=1,tcp{match} actions={actions}"
            )
    return "\n".join(lines)


def _random_arrivals(rng: random.Random, n: int, pauses: tuple[int, ...]) -> Arrivals:
    time, frames, times = 0, [], []
    for _ in range(n):
        frames.append(padded(rng.randrange(30)))
        time += rng.choice(pauses)
        times.append(time)
    return arrivals(frames, times)


@pytest.mark.parametrize("block", range(6))
def test_random_lists(bridge: Bridge, block: int) -> None:
    """Nested and one after the other, through several tables."""
    compared = 0
    for seed in range(block * 25, block * 25 + 25):
        rng = random.Random(seed)
        flows = _random_flows(rng)
        # Both branches of a check are translated: too many in a row and nothing ends.
        if flows.count("check_pkt_larger") > 8:
            continue
        print(f"seed {seed}\n{flows}")
        assert_same(bridge, flows, _random_arrivals(rng, 4, (0,)))
        compared += 1
    assert compared > 10


def _random_meter(rng: random.Random, meter: int | str) -> str:
    burst = rng.random() < 0.6
    bands = []
    for _ in range(rng.randint(1, 3)):
        size = f",burst_size={rng.choice((1, 2, 5))}" if burst else ""
        bands.append(f"type=drop,rate={rng.choice((1, 2, 3, 10))}{size}")
    flags = f"{rng.choice(('pktps', 'kbps'))}{',burst' if burst else ''}"
    return f"meter={meter},{flags},stats,bands={','.join(bands)}"


@pytest.mark.parametrize("block", range(4))
def test_random_meters(bridge: Bridge, block: int) -> None:
    """Sequences that come too fast, through meters in lists, in branches and on the way out."""
    for seed in range(block * 25, block * 25 + 25):
        rng = random.Random(seed)
        meters = [_random_meter(rng, number) for number in (1, 2, 3)]
        if rng.random() < 0.2:
            meters.append(_random_meter(rng, "controller"))
        choice = [
            *("output:2", "set_field:7->nw_ttl", "clone(resubmit(,2),output:4)", "dec_ttl(3,0)"),
            "clone(push_vlan:0x8100,resubmit(,2),output:5),output:6",
            "clone(check_pkt_larger(66)->NXM_NX_REG0[0],output:7,resubmit(,2))",
            f"controller(meter_id={rng.randint(1, 3)},userdata=01.02)",
            "controller(reason=no_match)",
        ]
        lines = ["table=2,priority=1,importance=1,tcp actions=meter:1,output:8"]
        for table in (0, 1):
            actions = rng.choices([*choice, *(["resubmit(,1)"] * 3 if not table else [])], k=4)
            meter = f"meter:{rng.randint(1, 3)}," if rng.random() < 0.8 else ""
            lines.append(
                f"table={table},priority=1,importance=1,tcp actions={meter}{','.join(actions)}"
            )
        packets = _random_arrivals(rng, rng.randint(3, 20), (0, 0, 0, 1, 10, 100, 333, 1000))
        print(f"seed {seed}", *meters, *lines, packets.times, sep="\n")
        assert_same(bridge, "\n".join(lines), packets, meters="\n".join(meters))
