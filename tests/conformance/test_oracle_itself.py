"""The oracle tells the truth: each of its promises, held against flows whose effect is known."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests.oracle import LOCAL, Bridge, OpenVSwitch, OracleRefusedError, Reason
from tests.oracle.order import orders, parse_flows

pytestmark = pytest.mark.oracle

A = bytes.fromhex("02000000000a")
B = bytes.fromhex("02000000000b")
BROADCAST = b"\xff" * 6


def udp(src: bytes = A, dst: bytes = B, payload: bytes = b"") -> bytes:
    """An Ethernet frame of UDP from 10.0.0.1:1 to 10.0.0.2:2, without a UDP checksum."""
    words = [0x4500, 28 + len(payload), 0, 0, 64 << 8 | 17, 0, 0x0A00, 1, 0x0A00, 2]
    # Conntrack takes no packet with a wrong IP checksum for part of a connection.
    words[5] = ~(sum(words) % 0xFFFF) & 0xFFFF
    ip = struct.pack("!10H", *words)
    return dst + src + b"\x08\x00" + ip + struct.pack("!HHHH", 1, 2, 8 + len(payload), 0) + payload


def fragment(offset: int, length: int) -> bytes:
    """A fragment of a UDP packet that begins ``offset`` times eight bytes into it."""
    words = [0x4500, 20 + length, 7, offset, 64 << 8 | 17, 0, 0x0A00, 1, 0x0A00, 2]
    words[3] |= 0 if offset else 0x2000
    words[5] = ~(sum(words) % 0xFFFF) & 0xFFFF
    return B + A + b"\x08\x00" + struct.pack("!10H", *words) + bytes(length)


def arp(src: bytes = A) -> bytes:
    """An ARP request for 10.0.0.2."""
    head = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
    return (
        BROADCAST + src + b"\x08\x06" + head + src + b"\x0a\0\0\x01" + b"\0" * 6 + b"\x0a\0\0\x02"
    )


def flows(dump: str) -> list[str]:
    return [line for line in dump.splitlines() if "actions=" in line]


# -- order --------------------------------------------------------------------------------------


def test_outputs_come_in_the_order_of_the_actions(bridge: Bridge) -> None:
    """Emissions follow the action list, not the port numbers, and each carries its own frame."""
    bridge.add_flows(f"in_port=1 actions=7,2,mod_dl_src:{'02:' * 5}99,5,2,LOCAL,3")
    outcome = bridge.send(1, udp())
    changed = udp(src=bytes.fromhex("020202020299"))
    assert outcome.ordered
    assert outcome.ports == (7, 2, 5, 2, LOCAL, 3)
    assert [emission.frame for emission in outcome] == [udp()] * 2 + [changed] * 4
    assert outcome.by_port()[2] == (udp(), changed)


def test_order_is_known_across_recirculation(bridge: Bridge) -> None:
    """What a conntrack action recirculates to is emitted at its place, inside the outer list."""
    bridge.add_flows("in_port=1,ip actions=4,ct(table=1),3\ntable=1 actions=8,2")
    outcome = bridge.send(1, udp())
    assert (outcome.ordered, outcome.ports) == (True, (4, 8, 2, 3))


def test_order_is_known_within_clones(bridge: Bridge) -> None:
    """A clone's outputs stand where the clone stands, and its changes end with it."""
    bridge.add_flows("in_port=1 actions=6,clone(push_vlan:0x8100,4,5),3")
    outcome = bridge.send(1, udp())
    assert (outcome.ordered, outcome.ports) == (True, (6, 4, 5, 3))
    assert [len(emission.frame) for emission in outcome] == [42, 46, 46, 42]


def test_order_is_known_when_userspace_carries_out_the_actions(bridge: Bridge) -> None:
    """A rewrite of ARP is no datapath action; the order is then read from a trace."""
    bridge.add_flows("in_port=1,arp actions=load:2->NXM_OF_ARP_OP[],8,3,1,IN_PORT,2")
    outcome = bridge.send(1, arp())
    assert "slow_path" in outcome.datapath
    assert (outcome.ordered, outcome.ports) == (True, (8, 3, 1, 2))


@pytest.mark.parametrize(("payload", "ports"), [(b"", (2, 1)), (b"x" * 60, (3, 1))])
def test_the_captures_choose_the_arm_of_a_length_check(
    bridge: Bridge, payload: bytes, ports: tuple[int, ...]
) -> None:
    """Where the flows allow two orders, the one that agrees with what left is told."""
    bridge.add_flows(
        "in_port=5 actions=check_pkt_larger(60)->NXM_NX_REG0[0],resubmit(,1)\n"
        "table=1,reg0=0 actions=2,1\ntable=1,reg0=1 actions=3,1"
    )
    outcome = bridge.send(5, udp(payload=payload))
    assert (outcome.ordered, outcome.ports) == (True, ports)


def test_an_undecided_order_yields_every_candidate() -> None:
    """Two arms with the same ports in other orders stay two orders; nothing is guessed."""
    line = "recirc_id(0),in_port(p1), packets:0, used:never, actions:{}"
    dump = line.format("p3,check_pkt_len(size=60,gt(p1,p2),le(p2,p1)),trunc(20),drop")
    assert orders(parse_flows(dump), frozenset({"p1", "p2", "p3"})) == {
        ("p3", "p1", "p2"),
        ("p3", "p2", "p1"),
    }


# -- one packet at a time -----------------------------------------------------------------------


def test_a_learned_flow_is_in_the_dump_and_acts_on_the_next_packet(bridge: Bridge) -> None:
    """What a packet teaches is in force, and dumped, before the next packet."""
    bridge.add_flows(
        "table=0 actions=learn(table=1,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],"
        "output:NXM_OF_IN_PORT[]),resubmit(,1)\ntable=1,priority=0 actions=8"
    )
    assert bridge.send(3, udp(A, B)).ports == (8,)
    assert bridge.send(4, udp(B, A)).ports == (3,)
    assert bridge.send(3, udp(A, B)).ports == (4,)
    learned = [
        line for line in flows(bridge.dump_flows()) if "table=1" in line and "dl_dst" in line
    ]
    assert len(learned) == 2
    assert all("n_packets=1," in line for line in learned)


def test_counters_are_up_to_date_in_a_dump(bridge: Bridge) -> None:
    """Each packet sent is counted by the time the flows are dumped, and only once."""
    bridge.add_flows("in_port=1 actions=2")
    bridge.send_many((1, udp()) for _ in range(5))
    assert "n_packets=5, n_bytes=210," in bridge.dump_flows()


def test_a_packet_does_not_see_what_it_teaches(bridge: Bridge) -> None:
    """A packet's lookups are those of the tables as it came; nor is its order lost by learning."""
    # Revalidators at liberty would now and then change the datapath flow before it is read.
    for port in [1, 2, 3, 4, 5, 6] * 15:
        bridge.reset()
        bridge.add_flows(
            "table=0 actions=learn(table=1,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],"
            "output:NXM_OF_IN_PORT[]),resubmit(,1)\ntable=1,priority=0 actions=8,7"
        )
        outcome = bridge.send(port, udp(A, A))
        assert (outcome.ordered, outcome.ports) == (True, (8, 7))


def test_a_hard_timeout_fires_when_the_clock_is_warped(bridge: Bridge) -> None:
    """The clock stands still by itself; a flow lives up to its timeout, and no longer."""
    bridge.add_flows("in_port=1,hard_timeout=5 actions=2")
    bridge.warp(2500)
    assert "duration=2.5" in bridge.dump_flows()
    bridge.warp(2500)
    assert bridge.send(1, udp()).ports == (2,)
    bridge.warp(1)
    assert flows(bridge.dump_flows()) == []
    assert bridge.send(1, udp()).ports == ()


def test_an_idle_timeout_counts_from_the_last_packet(bridge: Bridge) -> None:
    """Each packet puts an idle timeout off."""
    bridge.add_flows("in_port=1,idle_timeout=6 actions=2")
    for _ in range(3):
        bridge.warp(6000)
        assert bridge.send(1, udp()).ports == (2,)
    bridge.warp(6001)
    assert flows(bridge.dump_flows()) == []


def test_the_clock_moves_by_hours_at_once(bridge: Bridge) -> None:
    """A long warp is one step, and the connections to the switch outlive it."""
    bridge.add_flows("in_port=1,hard_timeout=7200 actions=2\nin_port=2 actions=NORMAL")
    bridge.send(2, udp())
    bridge.warp(7_200_000)
    assert len(flows(bridge.dump_flows())) == 2
    assert "02:00:00:00:00:0a" not in bridge.fdb()
    bridge.warp(1)
    assert len(flows(bridge.dump_flows())) == 1


def test_a_trace_without_a_frame_teaches_nothing(bridge: Bridge) -> None:
    """A trace of a flow leaves the tables alone; a trace of a frame runs its learn actions."""
    bridge.add_flows("table=0 actions=learn(table=1,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[]),3")
    assert "Datapath actions: 3" in bridge.trace("in_port=1")
    assert len(flows(bridge.dump_flows())) == 1
    assert "Datapath actions: 3" in bridge.trace("in_port=1", udp())
    assert len(flows(bridge.dump_flows())) == 2
    with pytest.raises(OracleRefusedError, match="bogus"):
        bridge.trace("bogus")


# -- ports --------------------------------------------------------------------------------------


def test_local_is_a_port_like_others(bridge: Bridge) -> None:
    """Frames leave by LOCAL and arrive on it."""
    bridge.add_flows("in_port=1 actions=LOCAL\nin_port=LOCAL actions=1")
    assert bridge.send(1, udp()).ports == (LOCAL,)
    assert bridge.send(LOCAL, udp()).ports == (1,)


def test_an_unknown_port_is_an_error(bridge: Bridge) -> None:
    """A frame for a port the bridge has not got is refused at once."""
    with pytest.raises(ValueError, match="no port 99"):
        bridge.send(99, udp())


@pytest.mark.parametrize("length", [14, 15, 20, 33, 41])
def test_a_truncated_frame_passes(bridge: Bridge, length: int) -> None:
    """A frame cut short behind its Ethernet header is switched as it is."""
    bridge.add_flows("in_port=1 actions=3,2")
    outcome = bridge.send(1, udp()[:length])
    assert outcome.ports == (3, 2)
    assert {emission.frame for emission in outcome} == {udp()[:length]}


@pytest.mark.parametrize("length", [0, 1, 13])
def test_a_frame_without_an_ethernet_header_is_refused(bridge: Bridge, length: int) -> None:
    """A port cannot receive less than 14 bytes; the bridge works on afterwards."""
    bridge.add_flows("in_port=1 actions=2")
    with pytest.raises(OracleRefusedError):
        bridge.send(1, udp()[:length])
    assert bridge.send(1, udp()).ports == (2,)


def test_a_jumbo_frame_passes(bridge: Bridge) -> None:
    """No MTU of the dummy ports stands in the way of a long frame, also not of LOCAL's."""
    bridge.add_flows("in_port=1 actions=LOCAL,push_vlan:0x8100,2")
    outcome = bridge.send(1, udp(payload=b"x" * 8972))
    assert [(e.port, len(e.frame)) for e in outcome] == [(LOCAL, 9014), (2, 9018)]


# -- entry ports --------------------------------------------------------------------------------


def test_an_entry_port_delivers_tunnel_and_pipeline_fields(bridge: Bridge) -> None:
    """Frames of an entry port match on what no frame carries, and on the in_port they stand for."""
    bridge.add_flows(
        "in_port=6,tun_id=0x5,tun_src=192.0.2.1,metadata=0x77,reg3=7 actions=2,6,IN_PORT\n"
        "in_port=6,tun_id=0x6 actions=3"
    )
    five = bridge.entry_port(
        6, {"tun_id": 5, "tun_src": "192.0.2.1", "metadata": "0x77", "reg3": 7}
    )
    six = bridge.entry_port(6, {"tun_id": 6})
    assert bridge.send(five, udp()).ports == (2, 6)
    assert bridge.send(six, udp()).ports == (3,)
    assert bridge.send(6, udp()).ports == ()
    counted = flows(bridge.dump_flows())
    assert len(counted) == 2
    assert all("n_packets=1," in line for line in counted)
    assert len(flows(bridge.dump_flows("OpenFlow15"))) == 2


@pytest.mark.parametrize("version", [f"OpenFlow1{minor}" for minor in range(6)])
def test_a_dump_says_what_ovs_ofctl_dump_flows_says(bridge: Bridge, version: str) -> None:
    """Also one that takes several messages; only the number of the request is another."""
    learn = "learn(table=4,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],load:1->NXM_NX_REG0[])"
    bridge.add_flows(f"table=3,priority=5,tcp,tp_dst=80,actions={learn},output:2")
    bridge.add_flows("\n".join(f"tcp,tp_dst={port},actions=output:2" for port in range(3000)))
    theirs = bridge.ofctl("dump-flows", "-O", version)
    assert theirs.count(" reply ") > 1
    assert re.sub("xid=\\w+", "", bridge.dump_flows(version)) == re.sub("xid=\\w+", "", theirs)


def test_an_entry_port_takes_no_part_in_a_flood(bridge: Bridge) -> None:
    """ALL reaches every port but the ingress port and the entry ports."""
    bridge.add_flows("tun_id=9 actions=ALL")
    entry = bridge.entry_port(6, {"tun_id": 9})
    outcome = bridge.send(entry, udp())
    assert sorted(outcome.ports) == [1, 2, 3, 4, 5, 7, 8, LOCAL]


# -- controller ---------------------------------------------------------------------------------


def test_packets_to_the_controller_are_collected(bridge: Bridge) -> None:
    """Each packet-in tells its reason, table, cookie, ingress port and whole frame, in order."""
    bridge.add_flows(
        "in_port=2 actions=controller(max_len=20),resubmit(,4)\n"
        "table=4,cookie=0xabc,ip actions=controller(userdata=01.02),dec_ttl,dec_ttl,3"
    )
    frame = bytearray(udp())
    frame[22] = 1
    assert bridge.send(2, bytes(frame)).ports == ()
    found = bridge.packet_ins()
    assert [(p.reason, p.table_id, p.cookie, p.userdata) for p in found] == [
        (Reason.ACTION, 0, 0, b""),
        (Reason.ACTION, 4, 0xABC, b"\1\2"),
        (Reason.INVALID_TTL, 4, 0xABC, b""),
    ]
    assert {(p.frame, p.total_len, p.in_port) for p in found} == {(bytes(frame), 42, 2)}
    assert bridge.packet_ins() == []


def test_no_packet_in_is_lost_among_many(bridge: Bridge) -> None:
    """Packets-in are taken in as they come, although the switch queues only a hundred."""
    bridge.add_flows("in_port=2 actions=controller")
    for _ in range(300):
        bridge.send(2, udp(payload=b"x" * 1400))
    assert len(bridge.packet_ins()) == 300


# -- loading and emptying -----------------------------------------------------------------------


def test_a_packet_that_goes_too_deep_does_so_once() -> None:
    """The trace that explains it in the log of a switch does not act on what it has taught."""
    with OpenVSwitch() as fresh:
        fresh.bridge.add_flows(
            "actions=CONTROLLER,resubmit(,1)\n"
            "table=1,priority=1 actions=learn(table=1,priority=2,NXM_OF_ETH_DST[]),resubmit(,0)\n"
        )
        assert not fresh.bridge.send(1, udp()).emissions
        assert not fresh.bridge.packet_ins()
        fresh.bridge.send(1, udp())
        assert len(fresh.bridge.packet_ins()) == 1


def test_reset_leaves_nothing_behind(bridge: Bridge) -> None:
    """Flows, learned flows, groups, meters, connections, MACs, packets-in and frames are gone."""
    bridge.add_tlv_map("{class=0x102,type=0x80,len=4}->tun_metadata0")
    bridge.add_groups("group_id=1,type=all,bucket=actions=output:2")
    bridge.add_meters("meter=1,kbps,bands=type=drop,rate=1000")
    bridge.add_flows(
        "in_port=1,ip actions=controller,learn(table=3),ct(commit),group:1\n"
        "in_port=2 actions=NORMAL\n"
        "tun_metadata0=1 actions=meter:1,3"
    )
    entry = bridge.entry_port(1, {"tun_id": 1})
    bridge.send(1, udp())
    bridge.send(entry, udp())
    bridge.send(2, udp())
    assert "10.0.0.1" in bridge.conntrack()
    assert "02:00:00:00:00:0a" in bridge.fdb()

    bridge.reset()

    assert flows(bridge.dump_flows()) == []
    assert bridge.ofctl("dump-groups", "-O", "OpenFlow15").count("group_id") == 0
    assert bridge.ofctl("dump-meters", "-O", "OpenFlow15").count("meter=") == 0
    assert "0x102" not in bridge.ofctl("dump-tlv-map")
    assert bridge.conntrack() == ""
    assert "02:00" not in bridge.fdb()
    assert bridge.packet_ins() == []
    assert bridge.send(1, udp()).ports == ()
    assert bridge.send(entry, udp()).ports == ()


def test_reset_drops_the_fragments_that_wait(bridge: Bridge) -> None:
    """A fragment of one test does not complete a packet of another."""
    flows = "ip actions=ct(table=1)\ntable=1 actions=2\n"
    first, last = fragment(0, 1400), fragment(175, 20)
    bridge.add_flows(flows)
    assert not bridge.send(1, first).emissions
    bridge.reset()
    bridge.add_flows(flows)
    assert not bridge.send(1, last).emissions
    assert bridge.send(1, first).by_port() == {2: (first, last)}


def test_flows_of_several_versions_load_together(bridge: Bridge) -> None:
    """A text no single OpenFlow version fits is loaded as it is meant; a header is skipped."""
    bridge.add_flows(
        "NXST_FLOW reply (xid=0x4):\n"
        "in_port=1 actions=strip_vlan,2\n"
        "in_port=2 actions=write_actions(output:3)\n"
        "in_port=3 actions=mod_vlan_vid:7,4\n"
        "in_port=4 actions=set_field:04:00:00:00:00:00/ff:00:00:00:00:00->eth_src,1\n"
    )
    tagged = udp()[:12] + bytes.fromhex("81000005") + udp()[12:]
    assert bridge.send(1, tagged).by_port() == {2: (udp(),)}
    assert bridge.send(2, udp()).ports == (3,)
    retagged = tagged[:15] + b"\7" + tagged[16:]
    assert bridge.send(3, udp()).by_port() == {4: (retagged,)}
    assert bridge.send(3, tagged).by_port() == {4: (retagged,)}
    assert bridge.send(4, udp()).by_port() == {1: (udp(src=b"\x04" + A[1:]),)}


def test_of_two_flows_with_one_match_the_later_stays(bridge: Bridge) -> None:
    """Flows that replace one another are loaded in their order, whatever their versions."""
    bridge.add_flows(
        "in_port=1 actions=write_actions(output:3)\nin_port=1,cookie=1 actions=strip_vlan,2"
    )
    assert bridge.send(1, udp()).ports == (2,)


def test_a_flow_that_no_version_says_is_refused(bridge: Bridge) -> None:
    """A flow which every OpenFlow version would change is not loaded as something else."""
    with pytest.raises(OracleRefusedError, match="no OpenFlow version says"):
        bridge.add_flows("in_port=1 actions=mod_vlan_vid:5,write_actions(output:3)")


def test_a_refused_flow_raises_the_words_of_ovs(bridge: Bridge) -> None:
    """What ovs-ofctl says about a bad flow is in the exception, for each version tried."""
    with pytest.raises(OracleRefusedError, match="unknown action bogus"):
        bridge.add_flows("in_port=1 actions=bogus")


def test_a_dump_loads_again(bridge: Bridge) -> None:
    """A dump, counters, ages and header and all, is itself a text that loads."""
    bridge.add_flows("in_port=1,idle_timeout=9 actions=2\nip,nw_src=10.0.0.0/8 actions=drop")
    bridge.send(1, udp())
    dump = bridge.dump_flows()
    bridge.reset()
    bridge.add_flows(dump)
    assert flows(bridge.dump_flows()) == [
        line.replace("n_packets=1, n_bytes=42", "n_packets=0, n_bytes=0") for line in flows(dump)
    ]


# -- servers ------------------------------------------------------------------------------------


def test_bridges_of_other_ports_can_be_added(ovs: OpenVSwitch) -> None:
    """A bridge takes ports of any name and number, and flows that name them."""
    bridge = ovs.add_bridge("br-int", {"patch-tun": 17, "qvo-1": 300})
    try:
        bridge.add_flows('in_port="patch-tun" actions=output:"qvo-1",LOCAL')
        assert bridge.send(17, udp()).ports == (300, LOCAL)
        assert bridge.send(300, udp()).ports == ()
    finally:
        ovs.remove_bridge("br-int")


def test_servers_run_side_by_side_and_end_cleanly(bridge: Bridge) -> None:
    """A second server knows nothing of the first, and leaves neither process nor file behind."""
    bridge.add_flows("in_port=1 actions=2")
    with OpenVSwitch(ports=2) as other:
        directory = other.directory
        pids = [int(path.read_text()) for path in directory.glob("*.pid")]
        assert other.bridge.send(1, udp()).ports == ()
        assert bridge.send(1, udp()).ports == (2,)
    assert len(pids) == 2
    assert not directory.exists()
    assert not any(_runs(pid) for pid in pids)


def _runs(pid: int) -> bool:
    # A daemon whose adopted parent has not reaped it yet still has a process id.
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return bool(state.stdout.strip()) and not state.stdout.startswith("Z")


@pytest.mark.parametrize(
    ("oracle", "captures", "expected"), [("0", "0", (2, 0)), ("1", "0", (1, 1)), ("1", "1", (0, 2))]
)
def test_what_is_missing_skips_or_fails_by_the_environment(
    tmp_path: Path, oracle: str, captures: str, expected: tuple[int, int]
) -> None:
    """Without Open vSwitch or captures their tests are skipped; where required, they fail."""
    root = Path(__file__).parents[2]
    module = tmp_path / "test_needs.py"
    module.write_text(
        "import pytest\n"
        "@pytest.mark.oracle\ndef test_oracle(): pass\n"
        "def test_captures(captures): pass\n"
    )
    environment = {
        **os.environ,
        "PATH": str(tmp_path),
        "PYTHONPATH": str(root),
        "FLOWVM_CAPTURES": str(tmp_path / "nowhere"),
        "FLOWVM_REQUIRE_ORACLE": oracle,
        "FLOWVM_REQUIRE_CAPTURES": captures,
    }
    options = ["-p", "tests.conftest", "-p", "no:cacheprovider", "-c", str(root / "pyproject.toml")]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, f"--rootdir={tmp_path}", str(module)],
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    last = run.stdout.splitlines()[-1]
    skipped, failed = (
        int(found[1]) if (found := re.search(rf"(\d+) {word}", last)) else 0
        for word in ("skipped", "error")
    )
    assert (skipped, failed) == expected, run.stdout + run.stderr
    assert (run.returncode != 0) is bool(failed)
