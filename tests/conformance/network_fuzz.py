"""Random bridges joined by patch ports, and random frames for them."""

from __future__ import annotations

from random import Random

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import ARP, Dot1Q, Ether

MACS = [f"02:00:00:00:00:0{n}" for n in range(1, 6)] + ["ff:ff:ff:ff:ff:ff"]
VLANS = (0, 0, 5, 6)
LEARN = "learn(table=2,hard_timeout=10,priority=9,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],{then})"
TABLES = (0, 1, 2)


def random_flows(random: Random, ports: tuple[int, ...]) -> str:
    """The flows of one bridge, with a priority each so that no two compete."""
    lines = []
    for priority in range(1, random.randint(4, 9)):
        table = random.choice(TABLES)
        match, is_ip, tagged = _match(random, ports)
        actions = _actions(random, ports, table, is_ip=is_ip, tagged=tagged)
        lines.append(f"table={table},priority={priority}{match},actions={actions}")
    if random.random() < 0.7:
        lines.append("table=0,priority=0,actions=NORMAL")
    return "\n".join(lines)


def random_frame(random: Random) -> bytes:
    """A frame of few distinct senders and addresses, with or without a tag."""
    packet = Ether(src=random.choice(MACS[:-1]), dst=random.choice(MACS))
    vlan = random.choice(VLANS)
    if vlan:
        packet /= Dot1Q(vlan=vlan, prio=random.choice((0, 3)))
    match random.randrange(4):
        case 0:
            return bytes(packet / ARP(psrc="10.0.0.1", pdst="10.0.0.2"))
        case 1:
            return bytes(packet / IP(src="10.0.0.1", dst="10.0.0.2", ttl=random.choice((1, 2, 64))))
        case 2:
            return bytes(packet / IP(src="10.0.0.2", dst="10.0.0.1") / UDP(sport=53, dport=1024))
    return bytes(packet / IP(src="10.0.0.1", dst="10.0.0.2") / TCP(sport=1024, dport=80))


def _match(random: Random, ports: tuple[int, ...]) -> tuple[str, bool, bool]:
    terms, is_ip, tagged = "", False, False
    if random.random() < 0.6:
        terms += f",in_port={random.choice(ports)}"
    if random.random() < 0.3:
        terms, is_ip = f"{terms},ip", True
        if random.random() < 0.4:
            terms += f",nw_src=10.0.0.{random.randint(1, 3)}"
    if random.random() < 0.3:
        vlan = random.choice(VLANS)
        terms, tagged = (
            (f"{terms},dl_vlan={vlan}", True) if vlan else (f"{terms},vlan_tci=0", False)
        )
    if random.random() < 0.2:
        terms += f",dl_dst={random.choice(MACS)}"
    if random.random() < 0.2:
        terms += random.choice(
            (
                ",ct_state=+trk",
                ",ct_state=-trk",
                ",ct_state=+est+trk",
                ",reg1=1",
                ",tun_id=7",
                ",pkt_mark=4",
                ",metadata=3",
            )
        )
    return terms, is_ip, tagged


def _actions(
    random: Random, ports: tuple[int, ...], table: int, *, is_ip: bool, tagged: bool
) -> str:
    return ",".join(
        _action(random, ports, table, is_ip=is_ip, tagged=tagged)
        for _ in range(random.randint(1, 5))
    )


def _action(
    random: Random, ports: tuple[int, ...], table: int, *, is_ip: bool, tagged: bool
) -> str:
    choices: list[str] = [
        *(f"output:{port}" for port in ports),
        *("NORMAL", "in_port"),
        *("load:1->NXM_NX_REG1[]", "set_tunnel:7", "load:4->NXM_NX_PKT_MARK[]"),
        *("load:3->OXM_OF_METADATA[]", "load:6->NXM_OF_VLAN_TCI[0..11]"),
        f"mod_dl_src:{random.choice(MACS[:-1])}",
        f"mod_dl_dst:{random.choice(MACS)}",
        f"mod_vlan_vid:{random.choice((5, 6))}",
        *("push:NXM_OF_ETH_SRC[]", "pop:NXM_OF_ETH_DST[]"),
        f"resubmit(,{random.choice([t for t in TABLES if t >= table])})",
        LEARN.format(then=random.choice(("output:NXM_OF_IN_PORT[]", "load:1->NXM_NX_REG1[]"))),
        f"clone(mod_vlan_vid:6,output:{random.choice(ports)})",
    ]
    if tagged:
        choices.append("strip_vlan")
    if is_ip:
        choices += ["ct(commit,zone=1)", "ct(commit,zone=2)", "ct_clear"]
        choices += [f"ct(table={random.choice(TABLES)},zone={random.choice((1, 2))})"] * 2
        choices += ["dec_ttl", "mod_nw_tos:32", "mod_nw_dst:10.0.0.9", "mod_nw_src:10.0.0.3"]
    return random.choice(choices)
