"""The text, held against ovs-ofctl: it prints what it understood of what it was given."""

from __future__ import annotations

import random
import re
import subprocess
from pathlib import Path

import pytest

from flowvm.actions.base import format_actions
from flowvm.fields import FIELDS, Field, Format, Prerequisite
from flowvm.text.canonical import canonical_match
from flowvm.text.parse import parse_actions, parse_match

from ..action_texts import PRINTED

pytestmark = pytest.mark.oracle

VERSIONS = ("OpenFlow10", "OpenFlow13", "OpenFlow15")


def ovs_prints(flow: str, version: str) -> tuple[str, str] | None:
    """The match and the actions that ovs-ofctl prints for a flow; None if it refuses it."""
    command = ["ovs-ofctl", "-O", version]
    if version == "OpenFlow10":
        command += ["-F", "NXM+table_id"]
    run = subprocess.run(
        [*command, "parse-flow", flow], capture_output=True, text=True, check=False
    )
    printed = re.search(r" ADD (?:table:255 ?)?(.*?) ?actions=(.*)$", run.stdout)
    return None if printed is None else (printed[1], printed[2])


MATCHES = [
    "",
    "dl_vlan=0xffff",
    "vlan_vid=0",
    "vlan_vid=0x1005/0x1fff",
    "vlan_vid=5/0xff",
    "dl_vlan=5,dl_vlan_pcp=3",
    "dl_vlan_pcp=3",
    "vlan_tci=0x1005",
    "vlan_tci=0",
    "vlan_tci=5/0xfff",
    "tcp,tcp_flags=+syn-ack",
    "tcp,tcp_flags=syn|ack",
    "tcp,tcp_flags=0",
    "tcp,tcp_flags=0x802",
    "tcp6,tcp_flags=0x2/0x12",
    "ct_state=+trk-est",
    "ct_state=trk|est",
    "ct_state=0",
    "tun_flags=oam",
    "tun_flags=-oam",
    "tcp,tp_src=0x50/0xfff0",
    "udp,tp_dst=0/0x1",
    "sctp6,tp_dst=5",
    "ip,nw_frag=no",
    "ip,nw_frag=yes",
    "ip,nw_frag=first",
    "ip,nw_frag=later",
    "ip,nw_frag=not_later",
    "icmp,icmp_type=8,icmp_code=0",
    "icmp6,icmpv6_type=135,nd_target=fe80::/64,nd_sll=00:11:22:33:44:55",
    "icmp6,icmpv6_type=136,nd_target=::ffff:1.2.3.4,nd_tll=00:11:22:33:44:55",
    "icmp6,icmpv6_type=136,nd_reserved=5,nd_options_type=2",
    "ipv6,ipv6_label=5",
    "ipv6,ipv6_label=5/0xff",
    "ipv6,ipv6_src=::1/::ff",
    "dl_type=0x88cc",
    "dl_type=0x800",
    "dl_type=0",
    "arp,arp_op=1,arp_spa=1.1.1.1,arp_sha=00:00:00:00:00:01",
    "rarp,arp_op=3",
    "mpls,mpls_label=5,mpls_tc=3,mpls_bos=1,mpls_ttl=3",
    "mplsm,mpls_label=5",
    "nw_proto=6,dl_type=0x800",
    "ip,nw_proto=7",
    "ip,nw_tos=252,nw_ecn=2,nw_ttl=5",
    "ip,ip_dscp=5",
    "tun_src=1.2.3.0/24,tun_dst=1.2.0.3/255.255.0.255",
    "tun_ipv6_src=::1,tun_ipv6_dst=::/96",
    "tun_gbp_id=5,tun_gbp_flags=0x8",
    "tun_gbp_id=5/0xf",
    "tun_erspan_ver=1,tun_erspan_idx=0x5",
    "tun_erspan_ver=2,tun_erspan_dir=1,tun_erspan_hwid=0x5",
    "tun_gtpu_flags=0x30,tun_gtpu_msgtype=5",
    "metadata=0",
    "metadata=1/1",
    "reg0=0",
    "reg3=1/3",
    "reg0[0..3]=5,reg0[8]=1",
    "xreg0=5",
    "xreg1=5/0xff000000ff",
    "xxreg1=0x10000000000000005/0x10000000000000005",
    "pkt_mark=0x5/0xf",
    "ct_mark=1/1",
    "ct_label=0x1/0x1",
    "ct_zone=5",
    "conj_id=5",
    "actset_output=5",
    "recirc_id=5",
    "dp_hash=5/7",
    "in_port=LOCAL",
    "in_port=controller",
    "in_port=none",
    "in_port_oxm=5",
    "in_port=4294967294",
    "dl_src=00:11:22:33:44:55/ff:ff:ff:00:00:00",
    "dl_dst=01:00:00:00:00:00/01:00:00:00:00:00",
    "packet_type=(1,0x800)",
    "packet_type=(1,0x894f)",
    "packet_type=(0,0)",
    "eth,ip",
    "dl_type=0x894f,nsh_flags=1,nsh_ttl=5,nsh_mdtype=1,nsh_np=3,nsh_spi=0x123,nsh_si=5,"
    "nsh_c1=5,nsh_c2=0/1",
    "dl_type=0x894f,nsh_flags=0/1",
    "ip,nw_src=1.2.3.4/0",
    "ip,nw_src=*",
    "ip,NXM_OF_IP_SRC[]=1",
    "ip,nw_src=10.0.0.1/255.0.0.255",
]


@pytest.mark.parametrize("text", MATCHES)
def test_a_match_means_to_us_what_it_means_to_ovs(text: str) -> None:
    """The canonical match is what ovs-ofctl prints, and that is read and written unchanged."""
    printed = [p for p in (ovs_prints(f"{text},actions=drop", v) for v in VERSIONS) if p]
    assert printed, "ovs-ofctl refuses the match"
    ours = str(canonical_match(parse_match(text).words({})))
    assert ours in {match for match, _ in printed}
    for match, _ in printed:
        assert str(parse_match(match)) == match


def needs(row: Field) -> str:
    """A match that a field's prerequisite asks for."""
    return {
        Prerequisite.ARP: "arp",
        Prerequisite.IPV4: "ip",
        Prerequisite.IPV6: "ipv6",
        Prerequisite.IP: "ip",
        Prerequisite.TCP: "tcp",
        Prerequisite.UDP: "udp",
        Prerequisite.SCTP: "sctp",
        Prerequisite.ICMPV4: "icmp",
        Prerequisite.ICMPV6: "icmp6",
        Prerequisite.MPLS: "mpls",
        Prerequisite.NSH: "dl_type=0x894f",
    }.get(row.prerequisite, "")


def random_value(row: Field, rng: random.Random) -> str:
    # Some fields are stored wider than they are (icmp_type), one is given narrower (vlan_vid).
    width = min(row.width, 8) if row.name.startswith("icmp") else row.full_mask.bit_length()
    value = rng.choice([0, 1, (1 << width) - 1, rng.getrandbits(width)])
    mask = rng.choice([row.full_mask, rng.getrandbits(width) or 1])
    masked = row.maskable and rng.random() < 0.5
    match row.format:
        case Format.ETHERNET:
            text, mask_text = (n.to_bytes(6, "big").hex(":") for n in (value, mask))
        case Format.IPV4:
            text, mask_text = (".".join(map(str, n.to_bytes(4, "big"))) for n in (value, mask))
        case Format.IPV6:
            # ovs-ofctl takes a mask that begins with digits for the length of a prefix.
            mask |= 0xF << 124
            text, mask_text = (n.to_bytes(16, "big").hex(":", 2) for n in (value, mask))
        case _:
            # ovs-ofctl reads decimal numbers of up to 64 bits.
            decimal = width <= 64 and rng.random() < 0.5
            text, mask_text = str(value) if decimal else hex(value), hex(mask)
    return f"{text}/{mask_text}" if masked else text


NUMERIC = (Format.DECIMAL, Format.HEXADECIMAL, Format.ETHERNET, Format.IPV4, Format.IPV6)
RANDOM_FIELDS = [
    row
    for row in FIELDS
    if row.bits is not None
    and row.format in NUMERIC
    and row.prerequisite
    not in (Prerequisite.CT, Prerequisite.ND, Prerequisite.ND_SOLICIT, Prerequisite.ND_ADVERT)
    # Not OpenFlow's (no NXM or OXM name), or shown only with a certain value of another field.
    and (row.nxm or row.oxm or row.name == "dl_vlan")
    and not row.name.startswith(("tun_erspan", "tun_gtpu", "nsh_c"))
    # What the other terms need must not be contradicted; recirc_id changes how others are shown.
    and row.name not in ("packet_type", "vlan_pcp", "eth_type", "nw_proto", "recirc_id")
]


@pytest.mark.parametrize("seed", range(3))
def test_random_matches_are_read_as_ovs_reads_them(seed: int, tmp_path: Path) -> None:
    """Random values and masks of every field: ovs-ofctl prints our canonical match of each."""
    rng = random.Random(seed)
    asked = []
    for _ in range(400):
        first = rng.choice(RANDOM_FIELDS)
        rows = [first, *rng.sample([r for r in RANDOM_FIELDS if not needs(r)], 2)]
        # Two fields that share bits may contradict each other.
        taken: dict[int, int] = {}
        terms = [needs(first)] if needs(first) else []
        for row in rows:
            words = list(row.match_words(0, row.full_mask))
            if any(taken.get(column, 0) & mask for column, _, mask in words):
                continue
            taken.update({column: taken.get(column, 0) | mask for column, _, mask in words})
            terms.append(f"{row.name}={random_value(row, rng)}")
        asked.append(",".join(terms))
    file = tmp_path / "flows.txt"
    file.write_text("".join(f"{match},actions=drop\n" for match in asked), encoding="utf-8")
    run = subprocess.run(
        ["ovs-ofctl", "-F", "NXM+table_id", "parse-flows", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    # A value that it reads but cannot encode is shown as an error of its own.
    printed = re.findall(
        r"FLOW_MOD.*?: (?:ADD (?:table:255 ?)?(.*?) ?actions=drop|\*\*\*.*)$",
        run.stdout,
        re.MULTILINE,
    )
    assert len(printed) == len(asked)
    compared = [pair for pair in zip(asked, printed, strict=True) if pair[1]]
    assert len(compared) > 350
    for match, theirs in compared:
        assert str(canonical_match(parse_match(match).words({}))) == theirs, f"{seed=} {match}"
        assert str(parse_match(theirs)) == theirs


LISTS = (
    "meter:5,output:3",
    "clear_actions,write_actions(output:1),write_metadata:0x1,goto_table:1",
)
MATCHED = (
    *("", "ip", "udp", "tcp", "tcp6", "mpls", "dl_vlan=5", "arp"),
    *("udp6", "packet_type=(1,0x894f)", "ip,ct_state=+trk"),
)
"""Matches that some actions need before ovs-ofctl takes them."""


def printed_actions(actions: str) -> set[str]:
    """How ovs-ofctl prints the actions in the versions of OpenFlow that have them."""
    found = set()
    for version in VERSIONS:
        for match in MATCHED:
            printed = ovs_prints(f"table=0,{match},actions={actions}", version)
            if printed is not None:
                found.add(printed[1])
                break
    return found


@pytest.mark.parametrize("text", PRINTED + LISTS)
def test_an_action_is_written_as_ovs_writes_it(text: str) -> None:
    """ovs-ofctl prints the action as it stands here, and so do we, as all its other spellings."""
    printed = printed_actions(text)
    assert text in printed
    for spelling in printed:
        assert format_actions(parse_actions(spelling)) == spelling


OTHERWISE = [
    "output=3",
    "output(3)",
    "3",
    "local",
    "output:65534",
    "output:CONTROLLER",
    "controller",
    "controller(100)",
    "controller(id=3,max_len=128,reason=invalid_ttl)",
    "controller(userdata=0102ff)",
    "output(max_len=100,port=LOCAL)",
    "enqueue(4,5)",
    "enqueue:3q4",
    "group(5)",
    "bundle(symmetric_l4, 60, active_backup, ofport, members:1)",
    "resubmit(3)",
    "resubmit(3,)",
    "resubmit(IN_PORT,3)",
    "resubmit(5,255)",
    "mod_vlan_vid=0x5",
    "Strip_Vlan",
    "push_vlan:33024",
    "mod_dl_dst:0:1:2:3:4:5",
    "mod_nw_tos:0x10",
    "load:017->NXM_NX_REG1[]",
    "load:1->NXM_NX_REG1[31..31]",
    "set_tunnel:5",
    "dec_ttl(0)",
    "set_mpls_label:0x10",
    "fin_timeout(hard_timeout=0x10)",
    "note:",
    "note:12345678",
    "note:0102030405060708090a0b0c0d0e",
    "ct",
    "ct(zone=0)",
    "ct(zone=5,commit)",
    "ct(commit,nat(src=10.0.0.1-10.0.0.1:5-5))",
    "ct(commit,nat(dst=10.0.0.1:0))",
    "ct(commit,nat(dst=10.0.0.1-10.0.0.9:100-200,random,persistent))",
    "ct(commit,nat(src=[fe80::1]:10))",
    "clone()",
    "decap",
    "conjunction(0xffffffff,1/64)",
    "sample(probability=5,ingress)",
    "multipath(symmetric_l3, 1024, hrw, 12, 0, NXM_NX_REG0[0..15])",
    "learn()",
    "learn(hard_timeout=3,table=20,priority=32768)",
    "learn(table=3,NXM_OF_ETH_SRC[]=00:11:22:33:44:55)",
    "learn(table=3,eth_type=0x800,ip_frag=first)",
    "learn(table=3,NXM_NX_REG3[0..3]=NXM_NX_REG3[0..3],NXM_NX_REG1[0]=1)",
]


@pytest.mark.parametrize("text", OTHERWISE)
def test_other_spellings_become_those_of_ovs(text: str) -> None:
    """An action in a spelling that ovs-ofctl reads but does not print is written as it prints."""
    assert format_actions(parse_actions(text)) in printed_actions(text)
