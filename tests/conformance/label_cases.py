"""Random packets with MPLS labels and tags, and tables that push, pop and change labels."""

from __future__ import annotations

import random

from scapy.contrib.mpls import MPLS
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet

MACS = ("52:54:00:00:00:0a", "52:54:00:00:00:0b")
N_TABLES = 4
PORTS = range(2, 9)

ANYWHERE = (
    *("push_mpls:0x8847", "push_mpls:0x8848", "pop_mpls:0x0800", "pop_mpls:0x86dd"),
    *("pop_mpls:0x8847", "pop_mpls:0x0806", "pop_mpls:0x1234"),
    *("push_vlan:0x8100", "push_vlan:0x88a8", "strip_vlan", "mod_vlan_vid:7"),
    *("mod_dl_src:00:00:00:00:00:01", "load:5->NXM_NX_REG0[]", "set_tunnel:9"),
    *(
        "push:NXM_OF_ETH_SRC[]",
        "pop:NXM_OF_ETH_DST[]",
        "move:NXM_NX_REG0[0..7]->NXM_NX_REG1[8..15]",
    ),
    *("note:01.02", "set_queue:3", "pop_queue"),
)
LABELLED = (
    *("set_mpls_label(77)", "set_mpls_tc(5)", "set_mpls_ttl(9)", "dec_mpls_ttl"),
    *("load:0x5->OXM_OF_MPLS_LABEL[0..3]", "load:3->OXM_OF_MPLS_TC[]", "load:1->NXM_NX_MPLS_TTL[]"),
    *("move:OXM_OF_MPLS_LABEL[0..15]->NXM_NX_REG2[0..15]", "pop_mpls:0x0800", "pop_mpls:0x8847"),
    *("push_mpls:0x8847", "pop_mpls:0x86dd"),
)
INNER = ("dec_ttl", "mod_nw_src:9.9.9.9", "mod_tp_dst:99", "mod_nw_tos:252", "mod_tp_src:1")


def table(rng: random.Random, groups: str = "") -> str:
    """Flows of all tables, one a line; ``groups`` are IDs of groups to send packets to."""
    lines = []
    for number in range(N_TABLES):
        matches = {
            "mpls": LABELLED,
            "mplsm": LABELLED,
            "ip": INNER,
            "tcp": INNER,
            f"mpls,mpls_label={rng.randint(0, 3)}": LABELLED,
            f"mpls,mpls_bos={rng.randint(0, 1)}": LABELLED,
            "ipv6": ("dec_ttl", "load:1->NXM_NX_IPV6_DST[0..63]"),
            "arp": (),
            "dl_vlan=5": ("strip_vlan",),
            "": (),
        }
        # Of rules of one priority it is not determined which one a packet hits.
        priorities = rng.sample(range(1, 50), len(matches))
        for priority, (match, special) in zip(priorities, matches.items(), strict=True):
            if rng.random() < 0.6 or not match:
                head = f"table={number},cookie={100 * number + priority},priority={priority}"
                if not match:
                    head = f"table={number},priority=0"
                actions = _actions(rng, special, number, groups)
                lines.append(f"{head}{',' if match else ''}{match} actions={actions}")
    return "\n".join(lines)


def _actions(rng: random.Random, special: tuple[str, ...], table: int, groups: str) -> str:
    found = [_action(rng, special, table, groups) for _ in range(rng.randint(1, 6))]
    if rng.random() < 0.5:
        found.append(f"output:{rng.choice(PORTS)}")
    if rng.random() < 0.15:
        written = [
            rng.choice(("push_mpls:0x8847", "pop_mpls:0x0800", "dec_ttl", "push_vlan:0x8100"))
        ]
        written.append(f"output:{rng.choice(PORTS)}")
        found.append(f"write_actions({','.join(written)})")
    if rng.random() < 0.15 and table + 1 < N_TABLES:
        found.append(f"goto_table:{table + 1}")
    return ",".join(found)


def _action(rng: random.Random, special: tuple[str, ...], table: int, groups: str) -> str:
    kind = rng.random()
    if special and kind < 0.45:
        return rng.choice(special)
    if kind < 0.6:
        return rng.choice(ANYWHERE)
    if kind < 0.7:
        return f"output:{rng.choice(PORTS)}"
    if kind < 0.8 and table + 1 < N_TABLES:
        return f"resubmit(,{rng.randint(table + 1, N_TABLES - 1)})"
    if kind < 0.84 and groups:
        return f"group:{rng.choice(groups)}"
    if kind < 0.88:
        some = [rng.choice((*special, *ANYWHERE)) for _ in range(rng.randint(1, 3))]
        return f"clone({','.join(some)},output:{rng.choice(PORTS)})"
    if kind < 0.91:
        return rng.choice(("IN_PORT", "CONTROLLER:65535", "exit"))
    if kind < 0.93:
        return f"check_pkt_larger({rng.choice((60, 80, 100))})->NXM_NX_REG0[0]"
    return f"output:{rng.choice(PORTS)}"


def frame(rng: random.Random, most_labels: int = 4) -> bytes:
    """A packet with up to ``most_labels`` labels and two tags."""
    packet: Packet = Ether(src=MACS[0], dst=MACS[1])
    for _ in range(rng.choice((0, 0, 1, 2))):
        packet /= Dot1Q(vlan=rng.randint(1, 9), prio=rng.randint(0, 7))
    depth = min(rng.choice((0, 0, 1, 1, 1, 2, 2, 3, 3, 4)), most_labels)
    for level in range(depth):
        packet /= MPLS(
            label=rng.randint(0, 3),
            cos=rng.randint(0, 7),
            ttl=rng.choice((0, 1, 2, 64, 255)),
            s=level == depth - 1,
        )
    ttl = rng.choice((0, 1, 2, 64))
    payload = bytes(rng.randrange(256) for _ in range(rng.choice((0, 1, 10, 50))))
    l4 = rng.choice(
        (TCP(sport=5, dport=80), UDP(sport=5, dport=53), ICMP(), UDP(sport=1, dport=2, chksum=0))
    )
    match rng.randrange(5):
        case 0 | 1 | 2:
            packet /= IP(src="10.0.0.1", dst="10.0.0.2", ttl=ttl, tos=rng.randrange(256)) / l4
        case 3:
            packet /= IPv6(src="fd00::1", dst="fd00::2", hlim=ttl, tc=rng.randrange(256))
            packet /= UDP(sport=5, dport=53)
        case 4:
            packet /= ARP(psrc="10.0.0.1", pdst="10.0.0.2")
    return bytes(packet / payload)
