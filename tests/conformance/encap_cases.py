"""Random packets and tables that put headers before packets and take them off again."""

from __future__ import annotations

import random

from . import label_cases, nsh_cases

N_TABLES = 4
PORTS = range(2, 9)

MATCHES = (
    *("ip", "arp", "mpls", "dl_type=0x894f", "dl_vlan=5", "dl_type=0x894f,nsh_mdtype=1"),
    *("packet_type=(0,0)", "packet_type=(1,0x894f)", "packet_type=(1,0x800)"),
    *("packet_type=(1,0x894f),nsh_spi=7", "packet_type=(1,0x894f),nsh_np=3"),
    *("packet_type=(1,0x8847)", "packet_type=(1,0x8847),mpls_bos=1", "packet_type=(1,0x8848)"),
    *("packet_type=(1,0x806)", "in_port=1", "reg0=5", "udp,tp_dst=2", "dl_dst=00:00:00:00:00:00"),
    *("packet_type=(1,0x800),nw_dst=10.0.0.2", "packet_type=(0,0),dl_vlan=5"),
)
CHANGES = (
    *("encap(ethernet)", "encap(ethernet)", "encap(nsh)", "encap(nsh(md_type=1))"),
    *("encap(nsh(md_type=2,tlv(0x1000,10,0x12345678)))", "encap(nsh(md_type=2))"),
    *("encap(mpls)", "encap(mpls_mc)", "decap()", "decap()", "decap(packet_type(ns=0,type=0))"),
    *("decap(packet_type(ns=1,type=0x800))", "decap(packet_type(ns=1,type=0x8847))"),
    *("set_field:7->nsh_spi", "set_field:0x11->nsh_c1", "set_field:3->nsh_flags", "dec_nsh_ttl"),
    *("set_field:9->nsh_si", "set_field:00:00:00:00:00:07->eth_dst", "set_field:5->mpls_label"),
    *("mod_dl_src:00:00:00:00:00:01", "set_mpls_ttl(9)", "dec_ttl", "mod_nw_dst:9.9.9.9"),
    *("push_vlan:0x8100", "strip_vlan", "mod_vlan_vid:7", "load:5->NXM_NX_REG0[]"),
    *("push_mpls:0x8847", "pop_mpls:0x0800", "set_field:2->tcp_dst", "set_tunnel:3"),
    "move:NXM_OF_ETH_SRC[0..31]->NXM_NX_REG1[]",
)
SERVICE_CHAIN = (
    "encap(nsh),set_field:7->nsh_spi,encap(ethernet),set_field:00:00:00:00:00:07->eth_dst",
    "encap(nsh(md_type=2,tlv(0x1,2,0x0304))),encap(ethernet)",
    "encap(mpls),set_mpls_label(7),encap(ethernet)",
    "decap(),decap()",
    "decap(),encap(nsh),encap(ethernet)",
    "encap(nsh),decap()",
)
GROUPS = """
group_id=1,type=indirect,bucket=actions=encap(nsh),set_field:7->nsh_spi,group:2
group_id=2,type=indirect,bucket=actions=encap(ethernet),set_field:1:2:3:4:5:6->eth_dst,output:2
group_id=3,type=all,bucket=actions=encap(ethernet),output:2,bucket=actions=output:3
group_id=4,type=all,bucket=actions=push_mpls:0x8847,output:4,bucket=actions=push_mpls:0x8847,\
push_mpls:0x8847,output:2,bucket=actions=output:3
group_id=5,type=select,bucket=weight:1,actions=decap(),resubmit(,3)
group_id=6,type=all,bucket=actions=decap(),resubmit(,3),bucket=actions=output:3
group_id=7,type=indirect,bucket=actions=encap(mpls),encap(ethernet),output:2
"""


def table(rng: random.Random, groups: str = "") -> str:
    """Flows of all tables, one a line; ``groups`` are IDs of groups to send packets to."""
    lines = []
    for number in range(N_TABLES):
        matches = [*rng.sample(MATCHES, rng.randint(2, 6)), ""]
        priorities = rng.sample(range(1, 50), len(matches))
        for priority, match in zip(priorities, matches, strict=True):
            head = f"table={number},cookie={100 * number + priority},priority={priority}"
            actions = _actions(rng, number, groups)
            lines.append(f"{head}{',' if match else ''}{match} actions={actions}")
    return "\n".join(lines)


def _actions(rng: random.Random, number: int, groups: str) -> str:
    found = [_action(rng, number, groups) for _ in range(rng.randint(1, 5))]
    if rng.random() < 0.5:
        found.append(f"output:{rng.choice(PORTS)}")
    if rng.random() < 0.1:
        written = rng.choice((*CHANGES, *SERVICE_CHAIN))
        found.append(f"write_actions({written},output:{rng.choice(PORTS)})")
    if rng.random() < 0.3 and number + 1 < N_TABLES:
        found.append(f"goto_table:{number + 1}")
    return ",".join(found)


def _action(rng: random.Random, number: int, groups: str) -> str:
    kind = rng.random()
    if kind < 0.45:
        return rng.choice(CHANGES)
    if kind < 0.6:
        return rng.choice(SERVICE_CHAIN)
    if kind < 0.72 and number + 1 < N_TABLES:
        return f"resubmit(,{rng.randint(number + 1, N_TABLES - 1)})"
    if kind < 0.8:
        inner = ",".join(rng.choice((*CHANGES, *SERVICE_CHAIN)) for _ in range(rng.randint(1, 2)))
        return f"clone({inner},output:{rng.choice(PORTS)})"
    if kind < 0.86 and groups:
        return f"group:{rng.choice(groups)}"
    if kind < 0.9:
        return rng.choice(("CONTROLLER:65535", "IN_PORT", "ct(commit)", "exit"))
    return f"output:{rng.choice(PORTS)}"


def frame(rng: random.Random) -> bytes:
    """A packet with a network service header, labels, tags, or just IP or ARP."""
    return nsh_cases.random_frame(rng) if rng.random() < 0.5 else label_cases.frame(rng, 3)
