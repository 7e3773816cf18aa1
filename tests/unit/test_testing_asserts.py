"""The asserts of flowvm.testing: what they find, what they let pass, and how they tell of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowvm.actions.base import Action
from flowvm.actions.note import Note
from flowvm.switch import Switch
from flowvm.testing import (
    Packet,
    WitnessError,
    assert_dropped,
    assert_equivalent,
    assert_reaches,
    batch_of,
)
from flowvm.text.dump import parse_dump

# Two tunnels (ports 2 and 3), hosts behind port 1, and a web server behind port 4.
BASE = """\
 table=0, priority=10,tcp,in_port=4,tp_src=80 actions=resubmit(,1)
 table=0, priority=5,ip,in_port=4 actions=drop
 table=0, priority=2,in_port=1 actions=resubmit(,1)
 table=0, priority=1,tun_id=0x1 actions=mod_vlan_vid:2,resubmit(,10)
 table=0, priority=0 actions=drop
 table=1, priority=0,dl_dst=00:00:00:00:00:00/01:00:00:00:00:00 actions=resubmit(,20)
 table=1, priority=0,dl_dst=01:00:00:00:00:00/01:00:00:00:00:00 actions=resubmit(,21)
 table=10, priority=1 actions=learn(table=20,hard_timeout=300,priority=1,NXM_OF_VLAN_TCI[0..11],\
NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],load:0->NXM_OF_VLAN_TCI[],load:NXM_NX_TUN_ID[]->NXM_NX_TUN_ID[],\
output:NXM_OF_IN_PORT[]),output:1
 table=20, priority=0 actions=resubmit(,21)
 table=21, priority=1,dl_vlan=2 actions=strip_vlan,set_tunnel:0x1,output:2,output:3
 table=21, priority=0 actions=drop
"""

PLANTED = {
    "a wider mask": ("dl_dst=01:00:00:00:00:00/01:00:00:00:00:00", "dl_dst=01:00:00:00:00:00"),
    "a narrower mask": (
        "dl_dst=00:00:00:00:00:00/01:00:00:00:00:00",
        "dl_dst=00:00:00:00:00:00/01:00:00:00:40:00",
    ),
    "a priority": ("priority=5,ip,in_port=4", "priority=50,ip,in_port=4"),
    "an ingress port": ("priority=2,in_port=1 ", "priority=2,in_port=5 "),
    "another value": ("tp_src=80", "tp_src=81"),
    "an output": ("set_tunnel:0x1,output:2,", "set_tunnel:0x1,output:5,"),
    "an output less": ("output:2,output:3", "output:2"),
    "a tag": ("strip_vlan,set_tunnel", "mod_vlan_pcp:3,set_tunnel"),
    "a tunnel ID": ("set_tunnel:0x1", "set_tunnel:0x2"),
    "a table": ("actions=resubmit(,21)\n table=21", "actions=resubmit(,22)\n table=21"),
    "the timeout of what is learned": ("hard_timeout=300", "hard_timeout=200"),
    "what is learned of the tag": ("NXM_OF_VLAN_TCI[0..11]", "NXM_OF_VLAN_TCI[0..10]"),
    "which address is learned": ("=NXM_OF_ETH_SRC[]", "=NXM_OF_ETH_DST[]"),
    "where learned flows lead": (
        "output:NXM_OF_IN_PORT[])",
        "output:NXM_OF_VLAN_TCI[0..7])",
    ),
}

FEW, MANY = 120, 3000
"""Examples where nothing is to be found, and where something surely has to be."""


def reversed_rows(dump: str) -> str:
    return "".join(reversed(dump.splitlines(keepends=True)))


REWRITES = {
    "rows in another order": reversed_rows(BASE),
    "tables renumbered": (
        BASE.replace("table=20", "table=120").replace("(,20)", "(,120)").replace("=10,", "=110,")
    ).replace("(,10)", "(,110)"),
    "a wildcard split in two": BASE.replace(
        " table=10, priority=1 actions",
        " table=10, priority=1,dl_src=00:00:00:00:00:00/02:00:00:00:00:00 actions=goto_table:11\n"
        " table=10, priority=1,dl_src=02:00:00:00:00:00/02:00:00:00:00:00 actions=goto_table:11\n"
        " table=11, priority=1 actions",
    ),
    "priorities spread out": BASE.replace("priority=10,", "priority=1000,"),
    "cookies and counters": BASE.replace(" table=0,", " cookie=0x5, n_packets=7, table=0,"),
    "a rule that is never reached": BASE + " table=99, priority=7 actions=output:9\n",
    "a rule in the shadow of another": BASE + " table=21, priority=0,ip,dl_vlan=2 actions=drop\n",
    "outputs in another order": BASE.replace("output:2,output:3", "output:3,output:2"),
}


def leaving(dump: str, packets: tuple[Packet, ...]) -> list[tuple[int, bytes, int]]:
    """What the last of ``packets`` leaves as: port, frame and tunnel ID, sorted."""
    switch = Switch(parse_dump(dump).flows)
    for packet in packets[:-1]:
        switch.run(batch_of([packet]))
    found = switch.run(batch_of(packets[-1:])).emissions
    return sorted(zip(found.port.tolist(), found.frames, found.tun_id.tolist(), strict=True))


def without_one(packets: tuple[Packet, ...]) -> list[tuple[Packet, ...]]:
    """All sequences with one packet less, not counting the last."""
    return [packets[:i] + packets[i + 1 :] for i in range(len(packets) - 1)]


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_difference_is_found(name: str) -> None:
    """The witness is real: run packet by packet on both, the last one leaves differently."""
    old, new = PLANTED[name]
    assert BASE.count(old) >= 1
    changed = BASE.replace(old, new, 1)
    with pytest.raises(WitnessError) as caught:
        assert_equivalent(BASE, changed, examples=MANY)
    packets = caught.value.packets
    assert leaving(BASE, packets) != leaving(changed, packets)
    for fewer in without_one(packets):
        assert leaving(BASE, fewer) == leaving(changed, fewer)
    longest = 2 if "learned" in name else 1
    assert len(packets) <= longest
    assert packets[-1].frame.hex() in str(caught.value)


@pytest.mark.parametrize("name", REWRITES)
def test_an_equivalent_rewrite_passes(name: str) -> None:
    """What makes no difference to any packet is not taken for one."""
    assert REWRITES[name] != BASE
    assert_equivalent(BASE, REWRITES[name], examples=FEW)


def test_the_witness_is_as_small_as_can_be() -> None:
    """Nothing is in the frame, the port and the fields but what the difference takes."""
    after = BASE.replace("set_tunnel:0x1", "set_tunnel:0x2")
    with pytest.raises(WitnessError) as caught:
        assert_equivalent(BASE, after)
    (packet,) = caught.value.packets
    # An Ethernet header with a tag of VID 2; flow rows 21 are reached from port 1 only.
    assert len(packet.frame) == 18
    assert packet.frame[:12] == bytes(12)
    assert packet.frame[14:] == b"\0\2\0\0"
    assert (packet.in_port, packet.time, packet.fields) == (1, 0, {})


def test_a_timeout_is_shown_by_the_packet_that_comes_in_between() -> None:
    """The second packet comes when one of the two switches has forgotten the first."""
    after = BASE.replace("hard_timeout=300", "hard_timeout=200")
    with pytest.raises(WitnessError) as caught:
        assert_equivalent(BASE, after)
    first, second = caught.value.packets
    assert first.frame[6:12] == second.frame[:6]
    assert 200e9 < second.time - first.time <= 300e9


def test_without_pauses_a_timeout_makes_no_difference() -> None:
    """Packets all come at one time then."""
    after = BASE.replace("hard_timeout=300", "hard_timeout=200")
    assert_equivalent(BASE, after, pauses=False, examples=FEW)


def test_packets_can_be_limited_to_those_that_matter() -> None:
    """A difference that no such packet meets is none; one that they meet is found with them."""
    after = BASE.replace("tp_src=80", "tp_src=81")
    assert_equivalent(BASE, after, packets="in_port=1", examples=FEW)
    with pytest.raises(WitnessError) as caught:
        assert_equivalent(BASE, after, packets="tcp,in_port=4,nw_src=10.1.0.0/16")
    assert "in_port=4," in caught.value.traces[0].flow
    assert "nw_src=10.1.0.0," in caught.value.traces[0].flow


def test_the_failure_tells_of_the_packet_and_of_both_traces() -> None:
    """Its text has the headers, the frame, and where the two part."""
    after = BASE.replace("set_tunnel:0x1", "set_tunnel:0x2")
    with pytest.raises(AssertionError) as caught:
        assert_equivalent(BASE, after)
    text = str(caught.value)
    assert text.startswith("before and after are not equivalent\n")
    assert "Packet: in_port=1,dl_vlan=2," in text
    assert "    frame 000000000000000000000000" in text
    before, _, later = text.partition("=== after: output to 2, 3")
    assert "=== before: output to 2, 3" in before
    assert "    set_tunnel:0x1" in before
    assert "    set_tunnel:0x2" in later


def test_the_same_call_gives_the_same_witness() -> None:
    """Searches do not depend on chance."""
    after = BASE.replace(
        "output:NXM_OF_IN_PORT[])",
        "output:NXM_OF_VLAN_TCI[0..7])",
    )
    found = []
    for _ in range(2):
        with pytest.raises(WitnessError) as caught:
            assert_equivalent(BASE, after)
        found.append((caught.value.packets, str(caught.value)))
    assert found[0] == found[1]


def test_flows_come_as_a_path_text_flows_or_a_switch(tmp_path: Path) -> None:
    """All of them mean the same, and a path is named in the failure."""
    path = tmp_path / "br.txt"
    path.write_text(BASE)
    flows = parse_dump(BASE).flows
    for same in (path, str(path), flows, iter(flows), Switch(flows)):
        assert_equivalent(BASE, same, examples=20)
    with pytest.raises(WitnessError, match=r"flows \(.*br\.txt\): a packet like in_port=1 is not"):
        assert_dropped(path, "in_port=1")


def test_a_switch_is_taken_as_it_is_and_stays_so() -> None:
    """What it has learned counts; what the assert does to it does not."""
    switch = Switch(parse_dump(BASE).flows)
    host = bytes.fromhex("fa163e000001")
    switch.run(batch_of([Packet(bytes(6) + host + b"\x08\0", 3, 0, {"tun_id": 1})]))
    unicast = "in_port=1,dl_vlan=2,dl_dst=fa:16:3e:00:00:01"
    before = [str(flow) for flow in switch.flows()]
    assert_reaches(switch, unicast, 3, examples=FEW)
    with pytest.raises(WitnessError):
        assert_reaches(switch, unicast, 2)
    with pytest.raises(WitnessError):
        assert_equivalent(switch, BASE)
    assert [str(flow) for flow in switch.flows()] == before


def test_packets_reach_the_port_they_should() -> None:
    """Also if they leave by others too; a packet that does not is told of."""
    for port in (2, 3):
        assert_reaches(BASE, "in_port=1,dl_vlan=2", port, examples=FEW)
    web = "tcp,in_port=4,tp_src=80,dl_vlan=2"
    assert_reaches(BASE, f"{web},nw_frag=no", port=2, examples=FEW)
    # No rule sees the ports of a fragment.
    with pytest.raises(WitnessError) as caught:
        assert_reaches(BASE, web, port=2)
    assert "nw_frag=first" in caught.value.traces[0].flow
    assert leaving(BASE, caught.value.packets) == []


def test_packets_are_dropped_or_else_one_is_told_of() -> None:
    """A frame that goes to the controller is not dropped."""
    assert_dropped(BASE, "tun_id=0/1,in_port=2", examples=FEW)
    assert_dropped(BASE, "udp,in_port=4,dl_vlan=2", examples=FEW)
    with pytest.raises(WitnessError) as caught:
        assert_dropped(BASE, "in_port=4,ip")
    (packet,) = caught.value.packets
    assert leaving(BASE, (packet,)) != []
    with pytest.raises(WitnessError, match="CONTROLLER"):
        assert_dropped("actions=controller", "")


def test_ports_can_be_named() -> None:
    """By the dump itself or by ``ports``; an unknown one is an error, not a pass."""
    dump = 'in_port="tap0" actions=output:"gre1"\n in_port="gre1" actions=output:"tap0"'
    assert_reaches(dump, 'in_port="tap0"', "gre1", examples=FEW)
    assert_reaches(dump, 'in_port="tap0"', 7, ports={"tap0": 5, "gre1": 7}, examples=FEW)
    assert_reaches("actions=LOCAL", "in_port=1", "LOCAL", examples=FEW)
    with pytest.raises(WitnessError):
        assert_reaches(dump, "", "gre1")
    with pytest.raises(ValueError, match='there is no port "gre2"'):
        assert_reaches(dump, "", "gre2")
    with pytest.raises(ValueError, match="there is no port"):
        assert_reaches(dump, 'in_port="gre2"', "gre1")


def test_names_mean_the_same_port_in_both_dumps() -> None:
    """Though each dump alone would number its ports otherwise."""
    before = 'in_port="a" actions=output:"b"\n in_port="b" actions=output:"a"'
    after = 'in_port="b" actions=output:"a"\n in_port="a" actions=output:"b"'
    assert_equivalent(before, after, examples=FEW)
    with pytest.raises(WitnessError):
        assert_equivalent(before, after.replace('output:"a"', 'output:"c"'))


def test_what_is_not_supported_is_not_taken_for_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    """flowvm cannot tell then, and says so, unless it is told to pass over it."""
    monkeypatch.setattr(Note, "lower", Action.lower)  # as if it were an action yet to come
    flows = "priority=1,in_port=1 actions=output:2\n priority=0 actions=note:00.01,output:3"
    with pytest.raises(WitnessError, match="cannot be compared") as caught:
        assert_equivalent(flows, flows)
    assert caught.value.traces[0].verdict == "unsupported"
    assert_equivalent(flows, flows, skip_unsupported=True, examples=FEW)
    with pytest.raises(WitnessError):
        assert_equivalent(flows, flows.replace("output:2", "output:3"), skip_unsupported=True)
    with pytest.raises(WitnessError):
        assert_dropped(flows, "in_port=2")
    with pytest.raises(WitnessError):
        assert_reaches(flows, "in_port=2", 3)


def test_an_assert_that_tries_nothing_is_an_error() -> None:
    """No frame is both, so that it would pass whatever the flows are."""
    with pytest.raises(ValueError, match="no frame was found that has all of"):
        assert_dropped(BASE, "dl_vlan=5,vlan_tci=0x0000/0x1000", examples=20)
    with pytest.raises(ValueError, match="at least one"):
        assert_dropped(BASE, "tun_id=5", examples=0)


@given(st.integers(2, 5))
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.nested_given])
def test_asserts_work_inside_property_tests(port: int) -> None:
    """A user's own strategies can make the tables; Hypothesis wants to be told that it is meant."""
    assert_reaches(f"actions=output:{port}", "in_port=1", port, examples=10)


def test_packets_have_the_options_that_rules_and_demands_name() -> None:
    """Tunnel options are aimed at like all else; one of no value only has to be there."""
    before = "tun_metadata0=0x10002 actions=2\npriority=1,tun_metadata1 actions=3\n"
    with pytest.raises(WitnessError) as caught:
        assert_equivalent(before, before.replace("actions=2", "actions=drop"))
    assert caught.value.packets[-1].fields == {"tun_metadata0": 0x10002}
    with pytest.raises(WitnessError) as caught:
        assert_equivalent(before, before.splitlines()[0] + "\n")
    assert caught.value.packets[-1].fields == {"tun_metadata1": 0}
    assert_reaches(before, "in_port=1,tun_metadata0=0x10002", port=2)
