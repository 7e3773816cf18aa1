"""Groups: what is compiled of them, and what is said of packets that come to one."""

from __future__ import annotations

import io
import random
from decimal import Decimal

import numpy as np
import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether

from flowvm.bulk.read import read_bulk
from flowvm.bulk.saved import reopen, save
from flowvm.names import Ports
from flowvm.packet.batch import PacketBatch
from flowvm.packet.frames import Frames
from flowvm.pipeline.compile_groups import bucket_ids
from flowvm.pipeline.group_table import NONE, Choice, GroupTable
from flowvm.switch import Switch, load
from flowvm.text.dump import parse_dump
from flowvm.text.errors import FlowSyntaxError
from flowvm.text.group_stats import GroupStats, parse_group_stats
from flowvm.text.groups import parse_group
from flowvm.text.meters import parse_meters

FRAME = bytes.fromhex("52540000000b52540000000a0800") + bytes(46)


def switch_of(groups: str, ports: Ports | None = None) -> Switch:
    """A switch whose only flow sends everything to group 1 and then to port 9."""
    return Switch(parse_dump("actions=group:1,output:9").flows, ports, parse_dump(groups).groups)


def table_of(groups: str, ports: Ports | None = None) -> GroupTable:
    table = switch_of(groups, ports).program.groups
    assert table is not None
    return table


def shares(table: GroupTable) -> list[int]:
    """How many values of the datapath's hash each bucket of the first group has."""
    return [int((table.hash_map == bucket).sum()) for bucket in range(len(table.bucket_id))]


def test_without_groups_a_packet_that_comes_to_one_is_unsupported() -> None:
    """The verdict names the group."""
    trace = Switch(parse_dump("actions=output:2,group:5").flows).trace(FRAME)
    assert (trace.verdict, trace.reason) == ("unsupported", "group:5 without the groups")


def test_a_group_that_is_not_there_ends_the_list() -> None:
    """Where groups are known this one is known not to exist; what was output stays."""
    trace = Switch(parse_dump("actions=output:2,group:5,output:3").flows, None, ()).trace(FRAME)
    assert trace.ports == (2,)
    assert "output to nonexistent group 5" in str(trace)


def test_buckets_leave_the_packet_as_it_was() -> None:
    """Each bucket starts from the same packet, in the order of an action set."""
    trace = switch_of(
        "group_id=1,type=all,bucket=actions=output:1,set_field:00:00:00:00:00:01->eth_dst,"
        "bucket=actions=output:2"
    ).trace(FRAME)
    assert [(output.port, output.frame[:6].hex()) for output in trace.outputs] == [
        (1, "000000000001"),
        (2, "52540000000b"),
        (9, "52540000000b"),
    ]


def test_shares_of_the_hash_follow_webster() -> None:
    """Weights 1, 2 and 5 of 8 get 2, 4 and 10 of 16 values; equal weights take turns."""
    head = "group_id=1,type=select,"
    table = table_of(
        f"{head}bucket=weight:1,output:1,bucket=weight:2,output:2,bucket=weight:5,output:3"
    )
    assert shares(table) == [2, 4, 10]
    assert table.hash_map.tolist()[:3] == [2, 1, 2]
    turns = table_of(f"{head}bucket=output:1,bucket=output:2")
    assert turns.hash_map.tolist() == [0, 1] * 8


@pytest.mark.parametrize(
    ("weights", "choice"),
    [
        ((1, 255), Choice.BY_DATAPATH),
        ((1, 256), Choice.BY_HEADERS),
        ((0, 0), Choice.BY_HEADERS),
        ((), Choice.BY_HEADERS),
        ((1000, 2000), Choice.BY_DATAPATH),
    ],
)
def test_more_than_256_values_are_not_hashed_by_the_datapath(
    weights: tuple[int, ...], choice: Choice
) -> None:
    """Nor is it where there is nothing to choose from (group_setup_dp_hash_table)."""
    buckets = "".join(f",bucket=weight:{weight},actions=output:1" for weight in weights)
    assert table_of(f"group_id=1,type=select{buckets}").choice.tolist() == [choice]


def test_a_bucket_without_a_link_gives_its_values_to_the_next() -> None:
    """In the order of the values, not of the buckets; with none left there is no bucket."""
    groups = "group_id=1,type=select" + "".join(
        f",bucket=watch_port:{port},actions=output:{port}" for port in (1, 2, 3)
    )
    whole = table_of(groups).hash_map.tolist()
    ports = {"a": 1, "b": 2, "c": 3}
    reduced = table_of(groups, Ports(ports, down=frozenset({2}))).hash_map.tolist()
    for value, bucket in enumerate(whole):
        rest = [b for b in (*whole[value:], *whole[:value]) if b != 1]
        assert reduced[value] == (bucket if bucket != 1 else rest[0])
    assert set(table_of(groups, Ports(ports, down=frozenset({1, 2, 3}))).hash_map) == {NONE}


def test_without_the_ports_every_watched_port_has_a_link() -> None:
    """As an output to any port is taken for one to an existing port."""
    groups = "group_id=1,type=ff,bucket=watch_port:77,actions=output:77,bucket=actions=output:2"
    assert switch_of(groups).trace(FRAME).ports == (77, 9)
    assert switch_of(groups, Ports({"b": 2, "i": 9})).trace(FRAME).ports == (2, 9)


def test_ports_are_known_by_name_from_groups_too() -> None:
    """A dump by names may name a port in a group alone."""
    trace = switch_of('group_id=1,type=ff,bucket=watch_port:"eth 7",actions=output:"eth 7"')
    assert trace.trace(FRAME).outputs[0].name == "eth 7"


def test_buckets_without_an_id_get_the_lowest_free_ones() -> None:
    """Dumps before OpenFlow 1.5 tell none, and add-group needs none."""
    assert bucket_ids(parse_group("group_id=1,type=all,bucket=,bucket=,bucket=")) == [0, 1, 2]
    mixed = "group_id=1,type=all,bucket=drop,bucket=bucket_id:0,drop,bucket=drop"
    assert bucket_ids(parse_group(mixed)) == [1, 0, 2]


@pytest.mark.parametrize(
    ("group", "reason"),
    [
        ("type=ff,bucket=watch_port:CONTROLLER,output:2", "group:1 watching the controller"),
        (
            "type=select,selection_method=hash,fields(nsh_spi),bucket=output:2",
            "group:1 hashing nsh_spi",
        ),
        (
            "type=select,selection_method=other,bucket=output:2",
            "group:1 with selection_method=other",
        ),
        ("type=all,bucket=learn(table=1),output:2", "learn(table=1) in a bucket"),
    ],
)
def test_what_cannot_be_told_of_a_group_is_unsupported(group: str, reason: str) -> None:
    """By name, when a packet comes there."""
    trace = switch_of(f"group_id=1,{group}").trace(FRAME)
    assert (trace.verdict, trace.reason) == ("unsupported", reason)


STATS = (
    " group_id=1,duration=12.5s,ref_count=2,packet_count=3,byte_count=180,"
    "bucket0:packet_count=1,byte_count=60,bucket1:packet_count=2,byte_count=120"
)


def test_printed_counters_come_back_byte_for_byte() -> None:
    """With and without a duration (OpenFlow 1.1 tells none)."""
    stats = parse_group_stats(STATS)
    assert stats == GroupStats(1, Decimal("12.5"), 2, 3, 180, ((1, 60), (2, 120)))
    assert str(stats) == STATS
    short = " group_id=4,ref_count=0,packet_count=0,byte_count=0"
    assert str(parse_group_stats(short)) == short


def test_an_unknown_counter_is_pointed_at() -> None:
    """As any other bad line."""
    with pytest.raises(FlowSyntaxError, match="unknown counter"):
        parse_group_stats("group_id=1,ref_count=0,lost=3")


WHOLE = f"""NXST_FLOW reply (xid=0x4):
 cookie=0x0, duration=1s, table=0, n_packets=0, n_bytes=0, priority=1 actions=group:1
OFPST_GROUP_DESC reply (OF1.5) (xid=0x2):
 group_id=1,type=select,selection_method=hash,bucket=actions=output:1,bucket=weight:0,output:2
OFPST_GROUP reply (OF1.5) (xid=0x6):
{STATS}
"""


def test_groups_and_their_counters_may_stand_in_the_dump() -> None:
    """Counters go on from there, in a copy too, and through a compiled file."""
    file = io.BytesIO()
    save(read_bulk([WHOLE.encode()]), file)
    reopened = reopen(file)
    for switch in (load(io.StringIO(WHOLE)), Switch.of(reopened.program)):
        twin = switch.copy()
        twin.run(PacketBatch.of(Frames.of([FRAME] * 4), 7, 2_000_000_000))
        assert [str(stats) for stats in twin.group_stats()] == [
            " group_id=1,duration=14.5s,ref_count=2,packet_count=7,byte_count=420,"
            "bucket0:packet_count=5,byte_count=300,bucket1:packet_count=2,byte_count=120"
        ]
        assert [str(stats) for stats in switch.group_stats()] == [STATS]


def test_a_dump_prints_its_groups_and_counters_again() -> None:
    """Nothing of the text is lost."""
    dump = parse_dump(WHOLE)
    assert len(dump.groups) == len(dump.group_stats) == 1
    assert str(dump).splitlines()[-1] == STATS


def test_groups_given_besides_those_of_the_dump_are_added() -> None:
    """Of two with one ID the one given last counts."""
    given = parse_dump(
        "group_id=1,type=indirect,bucket=group:2\ngroup_id=2,type=all,bucket=output:5"
    )
    switch = load(io.StringIO(WHOLE), groups=given.groups)
    assert switch.trace(FRAME).ports == (5,)


SPREAD = """
group_id=1,type=select,bucket=weight:3,actions=output:1,bucket=actions=group:2,bucket=actions=drop
group_id=2,type=select,selection_method=hash,fields(ip_src=0.0.0.7,udp_dst,nw_ttl),\
bucket=actions=output:2,bucket=weight:4,actions=set_field:1->nw_ttl,group:3
group_id=3,type=select,selection_method=dp_hash,bucket=actions=output:3,bucket=actions=resubmit(,1)
group_id=4,type=all,bucket=actions=push_vlan:0x8100,group:1,bucket=actions=group:3,\
bucket=actions=group:2
"""
FLOWS = """
table=0,priority=2,in_port=1 actions=group:4,output:9
table=0,priority=1 actions=multipath(symmetric_l4,0,hrw,5,0,NXM_NX_REG0[]),group:1,resubmit(,1)
table=1,priority=2,reg0=3 actions=bundle(nw_src,7,hrw,ofport,members:4,5,6)
table=1,priority=1 actions=bundle_load(symmetric_l3l4+udp,1,hrw,ofport,NXM_NX_REG1[],members:7,8),\
output:NXM_NX_REG1[]
"""


def test_packets_together_fare_as_one_by_one() -> None:
    """Whatever is hashed decides about paths: the same frames, ports and counters come of it."""
    rng = random.Random(5)
    frames, ports = [], []
    for _ in range(300):
        source = f"10.0.0.{rng.randint(1, 9)}"
        kind = rng.choice((UDP, TCP))(sport=rng.randint(1, 3), dport=rng.randint(1, 3))
        packet = Ether() / IP(src=source, dst="10.0.0.9", ttl=rng.randint(2, 4)) / kind
        frames.append(bytes(packet))
        ports.append(rng.choice((1, 2)))
    both = [Switch(parse_dump(FLOWS).flows, None, parse_dump(SPREAD).groups) for _ in range(2)]
    batch = PacketBatch.of(Frames.of(frames), np.array(ports), 0)
    together = both[0].run(batch).emissions
    left = [
        (int(together.packet[i]), int(together.port[i]), together.frames[i])
        for i in range(len(together))
    ]
    alone = []
    for number, (frame, port) in enumerate(zip(frames, ports, strict=True)):
        found = both[1].run(PacketBatch.of(Frames.of([frame]), port, 0)).emissions
        alone += [(number, int(found.port[i]), found.frames[i]) for i in range(len(found))]
    assert left == alone
    assert {port for _, port, _ in left} == {1, 2, 3, 4, 5, 6, 7, 8, 9}
    assert both[0].group_stats() == both[1].group_stats()
    assert list(map(str, both[0].flows())) == list(map(str, both[1].flows()))


def test_groups_that_watch_each_other_in_endless_ways_come_to_an_end() -> None:
    """Two buckets that watch their own group, 128 links deep, are 2^128 ways."""
    groups = "group_id=1,type=ff" + ",bucket=watch_port:5,watch_group:1,actions=output:2" * 2
    switch = switch_of(groups, Ports({"i": 9}))
    trace = switch.trace(FRAME)
    assert trace.ports == (9,)
    assert "bucket chaining exceeded 128 links" in str(trace)
    assert len(trace.steps) < 1 << 17


@pytest.mark.parametrize(
    ("actions", "reason"),
    [
        (
            "learn(table=5,reg0=1,output:NXM_NX_REG1[]),group:1,resubmit(,5)",
            "recirculation of a packet to a table it has taught",
        ),
        ("learn(table=5,reg0=1,output:NXM_NX_REG1[]),group:1,resubmit(,6)", ""),
        ("meter:1,group:1", "recirculation for a hash after a meter"),
        (
            "check_pkt_larger(100)->NXM_NX_REG0[0],group:1",
            "recirculation for a hash after check_pkt_larger",
        ),
    ],
)
def test_what_depends_on_the_time_of_a_hash_is_unsupported(actions: str, reason: str) -> None:
    """A packet hashed in the datapath may find what it taught before, or not get there at all."""
    group = "group_id=1,type=select,selection_method=dp_hash,bucket=actions=output:2"
    switch = Switch(
        parse_dump(f"actions={actions}").flows,
        None,
        parse_dump(group).groups,
        parse_meters("meter=1 pktps bands=\ntype=drop rate=1"),
    )
    result = switch.run(PacketBatch.of(Frames.of([FRAME]), 1, 0))
    assert result.reason(0) == reason
