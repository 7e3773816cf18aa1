"""Random tables about tunnel metadata and options, and packets that come out of tunnels."""

from __future__ import annotations

import random
from collections.abc import Sequence

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether

TLV_MAP = (
    "{class=0x102,type=0x80,len=4}->tun_metadata0",
    "{class=0x103,type=0x1,len=8}->tun_metadata1",
    "{class=0xffff,type=0,len=0}->tun_metadata2",
    "{class=0,type=0xff,len=20}->tun_metadata5",
    "{class=0x103,type=0x2,len=12}->tun_metadata63",
)
WIDTHS = {0: 32, 1: 64, 5: 160, 63: 96}
N_TABLES = 4
PORTS = range(2, 9)

IPV6 = ("fe80::1", "fe80::2", "::")
MATCHES = (
    *("tun_id=1", "tun_id=0/1", "tun_src=10.0.0.1", "tun_src=10.0.0.0/24", "tun_dst=10.0.0.2"),
    *("tun_ipv6_src=fe80::1", "tun_ipv6_dst=fe80::2", "tun_ipv6_dst=fe80::/64"),
    *("tun_flags=oam", "tun_flags=-oam", "tun_gbp_id=1", "tun_gbp_id=0/1", "tun_gbp_flags=0x8"),
    *("tun_erspan_ver=1", "tun_erspan_idx=0x3", "tun_erspan_dir=1", "tun_erspan_hwid=0x5"),
    *("tun_gtpu_flags=0x30", "tun_gtpu_msgtype=255"),
)
SETS = (
    *("set_field:1->tun_id", "set_field:10.0.0.1->tun_src", "set_field:10.0.0.2->tun_dst"),
    *("set_field:fe80::1->tun_ipv6_src", "set_field:fe80::2->tun_ipv6_dst"),
    *("set_field:oam->tun_flags", "set_field:1->tun_gbp_id", "set_field:8->tun_gbp_flags"),
    *("set_field:1->tun_erspan_ver", "set_field:2->tun_erspan_ver", "set_field:3->tun_erspan_idx"),
    *("set_field:1->tun_erspan_dir", "set_field:5->tun_erspan_hwid"),
    *("move:NXM_NX_TUN_ID[0..15]->NXM_NX_REG0[0..15]", "load:0x5->NXM_NX_TUN_ID[8..15]"),
    *("move:NXM_NX_REG0[]->NXM_NX_TUN_IPV4_DST[]", "load:0->NXM_NX_TUN_FLAGS[]"),
    *("load:1->NXM_NX_TUN_FLAGS[0]", "push:NXM_NX_TUN_IPV6_DST[]", "pop:NXM_NX_TUN_IPV6_SRC[]"),
    *("move:NXM_NX_TUN_GBP_ID[]->NXM_NX_REG1[0..15]", "push:NXM_NX_TUN_GBP_ID[]"),
    *("set_tunnel:5", "pop:NXM_NX_TUN_GBP_ID[]", "set_field:0x10/0x30->tun_gbp_flags"),
)


def value(rng: random.Random, width: int) -> int:
    """A value of so many bits, mostly one of a few."""
    if rng.random() < 0.7:
        return rng.choice((0, 1, 2, 0x10002, 0x80000001)) & (1 << width) - 1
    return rng.getrandbits(width)


def option_match(rng: random.Random) -> str:
    """A match on an option: that it is there, its whole value, or some bits."""
    index = rng.choice((*WIDTHS, 0, 0, 2))
    if index == 2 or rng.random() < 0.25:
        return f"tun_metadata{index}"
    width = WIDTHS[index]
    if rng.random() < 0.5:
        return f"tun_metadata{index}={value(rng, width):#x}"
    if rng.random() < 0.5:
        start = rng.randrange(width)
        end = rng.randrange(start, width)
        return f"tun_metadata{index}[{start}..{end}]={value(rng, end - start + 1):#x}"
    mask = rng.getrandbits(width)
    return f"tun_metadata{index}={value(rng, width) & mask:#x}/{mask:#x}"


def _bits(rng: random.Random, most: int = 128) -> tuple[str, int]:
    """Some bits of an option, and how many."""
    index = rng.choice(tuple(WIDTHS))
    width = rng.randint(1, min(WIDTHS[index], most))
    start = rng.randint(0, WIDTHS[index] - width)
    if rng.random() < 0.4:
        start, width = 0, min(WIDTHS[index], 32)
    return f"NXM_NX_TUN_METADATA{index}[{start}..{start + width - 1}]", width


def option_action(rng: random.Random) -> str:
    """An action that reads or writes an option."""
    index = rng.choice((*WIDTHS, 0, 0))
    width = WIDTHS[index]
    bits, n_bits = _bits(rng, 32)
    match rng.randrange(9):
        case 0 | 1:
            return f"set_field:{value(rng, width):#x}->tun_metadata{index}"
        case 2:
            mask = rng.getrandbits(width) | 1 << width - 1
            return f"set_field:{value(rng, width) & mask:#x}/{mask:#x}->tun_metadata{index}"
        case 3:
            return f"load:{value(rng, n_bits):#x}->{bits}"
        case 4:
            return f"move:{bits}->NXM_NX_REG{rng.randrange(3)}[0..{n_bits - 1}]"
        case 5:
            return f"move:NXM_NX_REG{rng.randrange(3)}[0..{n_bits - 1}]->{bits}"
        case 6:
            return f"{rng.choice(('push', 'pop'))}:{_bits(rng)[0]}"
        case 7:
            return rng.choice((f"delete_field:tun_metadata{index}", "set_field:0->tun_metadata2"))
    return rng.choice(("delete_field:tun_metadata2", f"delete_field:NXM_NX_TUN_METADATA{index}"))


def _learn(rng: random.Random) -> str:
    bits, n_bits = _bits(rng, 32)
    register = f"NXM_NX_REG{rng.randrange(3)}[0..{n_bits - 1}]"
    what = rng.choice(
        (
            f"load:{register}->{bits}",
            f"load:{bits}->{register}",
            f"load:{value(rng, n_bits)}->{bits}",
        )
    )
    return f"learn(table={N_TABLES},priority=7,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],{what})"


def table(rng: random.Random) -> str:
    """Flows of all tables, one a line."""
    lines = []
    for number in range(N_TABLES):
        matches = [option_match(rng) for _ in range(4)] + [rng.choice(MATCHES) for _ in range(2)]
        priorities = rng.sample(range(1, 50), len(matches))
        lines += [
            f"table={number},priority={priority},{match} actions={_actions(rng, number)}"
            for priority, match in zip(priorities, matches, strict=True)
        ]
        lines.append(f"table={number},priority=0 actions={_actions(rng, number)}")
    return "\n".join(lines)


def _actions(rng: random.Random, table: int) -> str:
    found = [_action(rng, table) for _ in range(rng.randint(2, 7))]
    found.append(rng.choice(("controller", f"output:{rng.choice(PORTS)}")))
    if rng.random() < 0.15:
        written = rng.choice(SETS[:6])
        found.append(f"write_actions({written},output:{rng.choice(PORTS)})")
    return ",".join(found)


def _action(rng: random.Random, table: int) -> str:
    kind = rng.random()
    if kind < 0.4:
        return option_action(rng)
    if kind < 0.6:
        return rng.choice(SETS)
    if kind < 0.65:
        return f"clone({option_action(rng)},{rng.choice(SETS)},controller)"
    if kind < 0.7:
        return _learn(rng)
    if kind < 0.75:
        return f"resubmit(,{N_TABLES})"
    if table + 1 < N_TABLES:
        return f"resubmit(,{rng.randint(table + 1, N_TABLES - 1)})"
    return rng.choice(("controller", f"output:{rng.choice(PORTS)}", "output:NXM_NX_REG0[0..15]"))


def arriving_with(rng: random.Random) -> dict[str, int]:
    """What a packet brings along out of a tunnel."""
    found = {}
    for name, values in (
        ("tun_id", (1, 2, 1 << 40)),
        ("tun_src", (0x0A000001, 0x0A000101)),
        ("tun_dst", (0x0A000002,)),
        ("tun_ipv6_dst", (0xFE80 << 112 | 2,)),
        ("tun_flags", (1,)),
        ("tun_gbp_id", (1, 2)),
        ("tun_gbp_flags", (8, 0x48)),
        ("tun_erspan_ver", (1, 2)),
        ("tun_erspan_idx", (3, 0xFFFFF)),
        ("reg0", (1, 0x10002, 2)),
    ):
        if rng.random() < 0.35:
            found[name] = rng.choice(values)
    for index, width in WIDTHS.items():
        if rng.random() < 0.5:
            found[f"tun_metadata{index}"] = value(rng, width)
    if rng.random() < 0.3:
        found["tun_metadata2"] = 0
    return found


def frames() -> Sequence[bytes]:
    """A few plain packets."""
    ether = Ether(src="52:54:00:00:00:0a", dst="52:54:00:00:00:0b")
    back = Ether(src="52:54:00:00:00:0b", dst="52:54:00:00:00:0a")
    ip = IP(src="10.0.0.1", dst="10.0.0.2")
    return tuple(
        bytes(packet / bytes(30))
        for packet in (ether / ip / UDP(sport=1, dport=2), back / ip / TCP(), ether / ARP())
    )
