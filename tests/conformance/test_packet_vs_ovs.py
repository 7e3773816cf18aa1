"""Bytes to flow keys and back, against a real Open vSwitch."""

from __future__ import annotations

import ipaddress
import os
import re
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
import pytest

from flowvm.columns import Column
from flowvm.fields import Format, field
from flowvm.packet.decode import decode
from flowvm.packet.encode import commit
from flowvm.packet.frames import Frames
from flowvm.packet.words import U64
from tests.conformance import packet_corpus as corpus
from tests.oracle import Bridge

pytestmark = pytest.mark.oracle

SEED = int(os.environ.get("FLOWVM_SEED", "20240611"))
ROUNDS = int(os.environ.get("FLOWVM_ROUNDS", "4"))
"""Action lists a kind of packet is rewritten by; 20 frames each."""

# What each key of a printed flow is, as (column, shift, width); several for values over 64 bits.
Place = tuple[Column, int, int]
C = Column
PLACES: dict[str, tuple[Place, ...]] = {
    "dl_src": ((C.ETH_SRC, 0, 48),),
    "dl_dst": ((C.ETH_DST, 0, 48),),
    "dl_type": ((C.NW, 48, 16),),
    "dl_vlan": ((C.VLAN, 32, 12),),
    "dl_vlan_pcp": ((C.VLAN, 45, 3),),
    "dl_vlan1": ((C.VLAN, 0, 12),),
    "dl_vlan_pcp1": ((C.VLAN, 13, 3),),
    "vlan_tci": ((C.VLAN, 32, 16),),
    "vlan_tci1": ((C.VLAN, 0, 16),),
    "nw_src": ((C.IPV4, 32, 32),),
    "nw_dst": ((C.IPV4, 0, 32),),
    "arp_spa": ((C.IPV4, 32, 32),),
    "arp_tpa": ((C.IPV4, 0, 32),),
    "arp_sha": ((C.ARP_SHA, 0, 48),),
    "arp_tha": ((C.ARP_THA, 0, 48),),
    "arp_op": ((C.NW, 40, 8),),
    "nd_sll": ((C.ARP_SHA, 0, 48),),
    "nd_tll": ((C.ARP_THA, 0, 48),),
    "nd_target": ((C.ND_TARGET, 0, 64), (C.ND_TARGET_LOW, 0, 64)),
    "ipv6_src": ((C.IPV6_SRC, 0, 64), (C.IPV6_SRC_LOW, 0, 64)),
    "ipv6_dst": ((C.IPV6_DST, 0, 64), (C.IPV6_DST_LOW, 0, 64)),
    "ipv6_label": ((C.FLOW_LABEL, 32, 20),),
    "nw_proto": ((C.NW, 40, 8),),
    "nw_ecn": ((C.NW, 32, 2),),
    "nw_ttl": ((C.NW, 24, 8),),
    "nw_frag": ((C.NW, 16, 8),),
    "tp_src": ((C.TP, 32, 16),),
    "tp_dst": ((C.TP, 16, 16),),
    "tcp_flags": ((C.TP, 0, 16),),
    "icmp_type": ((C.TP, 32, 16),),
    "icmp_code": ((C.TP, 16, 16),),
    "mpls_label": ((C.MPLS, 44, 20),),
    "mpls_tc": ((C.MPLS, 41, 3),),
    "mpls_bos": ((C.MPLS, 40, 1),),
    "mpls_ttl": ((C.MPLS, 32, 8),),
    "mpls_lse1": ((C.MPLS, 0, 32),),
    "mpls_lse2": ((C.MPLS_2, 32, 32),),
    "nsh_flags": ((C.NSH, 56, 8),),
    "nsh_ttl": ((C.NSH, 48, 8),),
    "nsh_mdtype": ((C.NSH, 40, 8),),
    "nsh_np": ((C.NSH, 32, 8),),
    "nsh_spi": ((C.NSH, 8, 24),),
    "nsh_si": ((C.NSH, 0, 8),),
    "nsh_c1": ((C.NSH_C1_C2, 32, 32),),
    "nsh_c2": ((C.NSH_C1_C2, 0, 32),),
    "nsh_c3": ((C.NSH_C3_C4, 32, 32),),
    "nsh_c4": ((C.NSH_C3_C4, 0, 32),),
}
PROTOCOLS = {
    "ip": (0x0800, None), "icmp": (0x0800, 1), "tcp": (0x0800, 6), "udp": (0x0800, 17),
    "sctp": (0x0800, 132), "ipv6": (0x86DD, None), "icmp6": (0x86DD, 58), "tcp6": (0x86DD, 6),
    "udp6": (0x86DD, 17), "sctp6": (0x86DD, 132), "arp": (0x0806, None), "rarp": (0x8035, None),
    "mpls": (0x8847, None), "mplsm": (0x8848, None),
}  # fmt: skip
TCP_FLAGS = [
    "fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns", "[200]", "[400]", "[800]"
]  # fmt: skip
FRAGMENTS = {"no": 0, "first": 1, "later": 3}


def read(columns: U64, i: int, name: str) -> int:
    """What packet ``i`` has for a printed key."""
    if name == "nw_tos":  # printed without its ECN bits
        return int(columns[Column.NW, i]) >> 32 & 0xFC
    value = 0
    for column, shift, width in PLACES[name]:
        value = value << width | int(columns[column, i]) >> shift & ((1 << width) - 1)
    return value


def number(name: str, text: str) -> int:
    """The value of a printed key."""
    if name == "nw_frag":
        return FRAGMENTS[text]
    if name == "tcp_flags":
        return 0 if text == "0" else sum(1 << TCP_FLAGS.index(word) for word in text.split("|"))
    if re.fullmatch(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}", text):
        return int(text.replace(":", ""), 16)
    if "." in text or ":" in text:
        return int(ipaddress.ip_address(text))
    return int(text, 0)


def differences(line: str, columns: U64, i: int) -> list[str]:
    """Where a printed flow and packet ``i`` disagree."""
    found = []
    for term in line.strip().split(","):
        name, equals, text = term.partition("=")
        if name == "in_port" or term == "eth":
            continue
        if not equals:
            eth_type, proto = PROTOCOLS[name]
            pairs = [("dl_type", eth_type)] + ([] if proto is None else [("nw_proto", proto)])
        else:
            pairs = [(name, number(name, text))]
        for key, wanted in pairs:
            value = read(columns, i, key)
            if value != wanted:
                found.append(f"{key}: {value:#x} instead of {wanted:#x}")
    return found


def check_flows(lines: list[str], frames: list[bytes], columns: U64) -> None:
    assert len(lines) == len(frames)
    for i, line in enumerate(lines):
        found = differences(line, columns, i)
        assert not found, f"seed {SEED}, frame {i} {frames[i].hex()}\n{line}\n{found}"


def parse_pcap(path: Path, frames: list[bytes]) -> list[str]:
    path.write_bytes(corpus.pcap(frames))
    command = ("ovs-ofctl", "parse-pcap", str(path))
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def test_decode_reads_every_frame_as_ovs_does(tmp_path: Path) -> None:
    """Sound, cut and corrupted frames give the keys that ovs-ofctl parse-pcap prints."""
    rng = Random(SEED)
    frames = [corpus.frame(rng) for _ in range(6000)]
    columns = decode(Frames.of(frames), 1, vlan_limit=2).columns
    check_flows(parse_pcap(tmp_path / "mix.pcap", frames), frames, columns)


def test_decode_reads_every_truncation_as_ovs_does(tmp_path: Path) -> None:
    """A frame cut at any length gives the key that Open vSwitch gives it."""
    rng = Random(SEED + 1)
    whole = [corpus.frame(rng, mutate=False)[:160] for _ in range(40)]
    frames = [data[:n] for data in whole for n in range(1, len(data) + 1)]
    columns = decode(Frames.of(frames), 1, vlan_limit=2).columns
    check_flows(parse_pcap(tmp_path / "cut.pcap", frames), frames, columns)


def traced_flow(text: str) -> str:
    return next(line for line in text.splitlines() if line.startswith("Flow: "))[6:]


def test_decode_looks_at_one_vlan_tag_unless_told(bridge: Bridge) -> None:
    """With default settings a running switch, and so decode, reads one VLAN tag."""
    rng = Random(SEED + 2)
    frames = [f for f in (corpus.frame(rng) for _ in range(1200)) if len(f) >= 14]
    columns = decode(Frames.of(frames), 1).columns
    lines = [traced_flow(bridge.trace("in_port=1", frame)) for frame in frames]
    check_flows(lines, frames, columns)


def test_decode_reads_neighbor_discovery_extensions_as_ovs_does(bridge: Bridge) -> None:
    """nd_reserved and nd_options_type, which no flow text shows, equal what Open vSwitch reads."""
    bridge.add_flows(
        "\n".join(
            f"icmp6,icmp_type={kind},icmp_code=0,nd_options_type={option} actions="
            f"move:ERICOXM_OF_ICMPV6_ND_RESERVED[]->NXM_NX_REG0[],load:{option}->NXM_NX_REG1[]"
            for kind in (135, 136)
            for option in (0, 1, 2)
        )
    )
    rng = Random(SEED + 3)
    header = bytes.fromhex("020000000002020000000001")
    frames: list[bytes] = []
    while len(frames) < 600:
        data = header + b"\x86\xdd" + corpus.ipv6(rng, proto=58)
        frames.append(corpus.flip(rng, data) if rng.random() < 0.2 else data)
    columns = decode(Frames.of(frames), 1).columns
    is_nd = np.isin(columns[Column.TP] & np.uint64(0xFFFF_FFFF_0000), [135 << 32, 136 << 32])
    is_nd &= columns[Column.NW] >> np.uint64(40) == 0x86DD3A
    # Tables see fragments without ports or ICMP types.
    is_nd &= columns[Column.NW] >> np.uint64(16) & np.uint64(0xFF) == 0
    assert is_nd.sum() > 50
    for i in np.flatnonzero(is_nd).tolist():
        traced = bridge.trace("in_port=1", frames[i])
        final = next(line for line in traced.splitlines() if line.startswith("Final flow: "))
        registers = dict(re.findall(r"\b(reg[01])=(0x[0-9a-f]+)", final))
        reserved = int(columns[Column.FLOW_LABEL, i]) & 0xFFFF_FFFF
        kind = int(columns[Column.TP, i]) & 0xFFFF
        seen = int(registers.get("reg0", "0"), 16), int(registers.get("reg1", "0"), 16)
        assert (reserved, kind) == seen, f"{frames[i].hex()}\n{traced}"


# Rewriting: lists of actions that set fields, and what they make of a key.

Key = list[int]
Change = Callable[[Key], None]
Program = Callable[[Key], list[Key]]
"""From the key of a packet to those that are committed to it, one after the other."""

ETHERNET_FIELDS = ("eth_src", "eth_dst")
IPV4_FIELDS = ("ip_src", "ip_dst", "ip_dscp", "nw_ecn", "nw_ttl")
IPV6_FIELDS = ("ipv6_src", "ipv6_dst", "ipv6_label", "ip_dscp", "nw_ecn", "nw_ttl")
KINDS: dict[str, tuple[str, ...]] = {
    "ip": IPV4_FIELDS,
    "tcp": (*IPV4_FIELDS, "tcp_src", "tcp_dst"),
    "udp": (*IPV4_FIELDS, "udp_src", "udp_dst"),
    "sctp": (*IPV4_FIELDS, "sctp_src", "sctp_dst"),
    "icmp": (*IPV4_FIELDS, "icmp_type", "icmp_code"),
    "ipv6": IPV6_FIELDS,
    "tcp6": (*IPV6_FIELDS, "tcp_src", "tcp_dst"),
    "udp6": (*IPV6_FIELDS, "udp_src", "udp_dst"),
    "sctp6": (*IPV6_FIELDS, "sctp_src", "sctp_dst"),
    "icmp6": (*IPV6_FIELDS, "icmpv6_type", "icmpv6_code"),
    "icmp6,icmp_type=135,icmp_code=0": (
        *IPV6_FIELDS, "nd_target", "nd_sll", "nd_reserved", "nd_options_type"
    ),
    "icmp6,icmp_type=136,icmp_code=0": (
        *IPV6_FIELDS, "nd_target", "nd_tll", "nd_reserved", "nd_options_type"
    ),
    "arp": ("arp_op", "arp_spa", "arp_tpa", "arp_sha", "arp_tha"),
    "rarp": ("arp_op", "arp_spa", "arp_tpa", "arp_sha", "arp_tha"),
    "mpls": ("mpls_label", "mpls_tc", "mpls_ttl"),
    "mplsm": ("mpls_label", "mpls_tc", "mpls_ttl"),
    "dl_type=0x894f": (
        "nsh_flags", "nsh_ttl", "nsh_spi", "nsh_si", "nsh_c1", "nsh_c2", "nsh_c3", "nsh_c4"
    ),
    "": (),
}  # fmt: skip
WIDTHS = {  # of the values that ovs-ofctl takes, where they are narrower than the place
    "icmp_type": 8, "icmp_code": 8, "icmpv6_type": 8, "icmpv6_code": 8, "nd_options_type": 8,
    "arp_op": 8, "nsh_ttl": 6, "nsh_flags": 2,
}  # fmt: skip
LATER = 3  # nw_frag


def set_field(rng: Random, name: str) -> tuple[str, Change]:
    """An action that sets some or all bits of a field."""
    row = field(name)
    bits = row.bits
    assert bits is not None
    width = WIDTHS.get(name, bits.width)
    value = rng.choice((0, (1 << width) - 1, rng.getrandbits(width), rng.getrandbits(width)))
    mask = (1 << width) - 1
    text = f"set_field:{show(row.format, value)}->{name}"
    if (row.maskable or name in ("eth_src", "eth_dst")) and rng.random() < 0.3:
        # ovs-ofctl takes an IPv6 mask that begins with a decimal digit for a prefix length.
        mask = rng.getrandbits(width) | (0xF << width) >> 4
        value &= mask
        text = f"set_field:{show(row.format, value)}/{show(row.format, mask, mask=True)}->{name}"

    def change(key: Key) -> None:
        transport = name.startswith(("tcp", "udp", "sctp"))
        if transport and key[Column.NW] >> 16 & 0xFF == LATER:
            return  # a later fragment has no ports to set
        words = zip(bits.words(value), bits.words(mask), strict=True)
        for (column, wanted), (_, changed) in words:
            key[column] = key[column] & ~changed | wanted

    return text, change


def show(kind: Format, value: int, *, mask: bool = False) -> str:
    if kind is Format.IPV4:
        return str(ipaddress.IPv4Address(value))
    if kind is Format.IPV6:
        return str(ipaddress.IPv6Address(value))
    if kind is Format.ETHERNET:
        return value.to_bytes(6, "big").hex(":")
    return hex(value) if mask else str(value)


def change_tags(rng: Random) -> tuple[list[str], list[Change]]:
    """Pops, then pushes, of tags."""
    texts: list[str] = []
    changes: list[Change] = []

    def pop(key: Key) -> None:
        key[Column.VLAN] = key[Column.VLAN] << 32 & 0xFFFF_FFFF_FFFF_FFFF

    def push(tpid: int, tci: int) -> Change:
        def change(key: Key) -> None:
            key[Column.VLAN] = (tpid << 16 | tci | 0x1000) << 32 | key[Column.VLAN] >> 32

        return change

    if rng.random() < 0.6:
        texts.append("pop_vlan")
        changes.append(pop)
    pushes = rng.choice((0, 1, 1, 2)) if texts else rng.choice((1, 1, 0))
    for _ in range(pushes):
        tpid, vid, pcp = rng.choice((0x8100, 0x88A8)), rng.choice((0, 5, 4095)), rng.randrange(8)
        texts += [f"push_vlan:{tpid:#x}", f"set_field:{vid | 0x1000}->vlan_vid"]
        texts.append(f"set_field:{pcp}->vlan_pcp")
        changes.append(push(tpid, pcp << 13 | vid))
    return texts, changes


def action_list(rng: Random, kind: str) -> tuple[str, Program]:
    """Actions for packets of a kind, and the change of key that they stand for."""
    names = list(rng.sample(KINDS[kind], rng.randint(0, min(4, len(KINDS[kind])))))
    if rng.random() < 0.3 or not names:
        names += rng.sample(ETHERNET_FIELDS, rng.randint(1, 2))
    pairs = [set_field(rng, name) for name in names]
    texts, changes = [text for text, _ in pairs], [change for _, change in pairs]
    if rng.random() < 0.3:
        more, further = change_tags(rng)
        texts += more
        changes += further

    def change(key: Key) -> list[Key]:
        for step in changes:
            step(key)
        return [key]

    return ",".join([*texts, "output:2"]), change


def frame_of(rng: Random, kind: str) -> bytes:
    """A frame that is meant to be of a kind; it may be cut or corrupted."""
    word = kind.split(",")[0]
    _, proto = PROTOCOLS.get(word, (0, None))
    if word in ("ip", "tcp", "udp", "sctp", "icmp"):
        eth_type, payload = 0x0800, corpus.ipv4(rng, proto)
    elif word in ("ipv6", "tcp6", "udp6", "sctp6", "icmp6"):
        eth_type, payload = 0x86DD, corpus.ipv6(rng, proto)
        if word != kind and len(payload) > 40 and payload[6] == 58:
            changed = bytearray(payload)
            changed[40:42] = bytes((int(kind[16:19]), 0))
            payload = bytes(changed[:44]) + corpus.neighbor(rng)
            payload = payload[:4] + (len(payload) - 40).to_bytes(2, "big") + payload[6:]
    elif word in ("arp", "rarp"):
        eth_type, payload = PROTOCOLS[word][0], corpus.arp(rng)
    elif word in ("mpls", "mplsm"):
        eth_type, payload = PROTOCOLS[word][0], corpus.mpls(rng)
    elif word == "dl_type=0x894f":
        eth_type, payload = 0x894F, corpus.nsh(rng)
    else:
        return corpus.frame(rng)
    return corpus.encapsulate(rng, eth_type, payload)


def defined(frame: bytes, actions: str) -> bool:
    """Whether what Open vSwitch does is defined by the keys before and after.

    It writes behind the end of a cut ARP, NSH or ND header, and may crash then. And where a header
    is too broken to be read, a masked action changes some bits of what the key never held.
    """
    decoded = decode(Frames.of([frame]), 1)
    header = frame[int(decoded.layout.l3[0]) :]
    if "nsh" in actions:
        return bool(decoded.columns[Column.NSH, 0]) and header[2] < 0x10
    if "arp" in actions:
        known = header[:6] == b"\0\1\x08\0\6\4"
        return len(header) >= 28 and (known or "/" not in actions)
    if "mpls" in actions:  # an all-zero label of an endless stack makes it abort
        return len(labels_of([int(word) for word in decoded.columns[:, 0]])) < 3
    if "nd_" in actions:
        l4 = int(decoded.layout.l4[0])
        known = decoded.columns[Column.ND_TARGET_LOW, 0] != 0 or "/" not in actions
        return known and ("nd_options_type" not in actions or len(frame) > l4 + 24)
    return True


def compare(bridge: Bridge, rng: Random, kind: str, text: str, change: Program) -> int:
    """Hold what a real switch emits against commit, and return for how many frames."""
    frames = [f for f in (frame_of(rng, kind) for _ in range(20)) if len(f) >= 14]
    frames = [frame for frame in frames if defined(frame, text)]
    rewritten = Frames.of(frames)
    decoded = decode(rewritten, 1)
    before, layout = decoded.columns, decoded.layout
    keys = [[int(word) for word in before[:, i]] for i in range(len(frames))]
    commits = [change(key) for key in keys]
    for step in range(max(map(len, commits), default=0)):
        after = before.copy()
        for i, stages in enumerate(commits):
            after[:, i] = stages[min(step, len(stages) - 1)]
        rewritten, layout = commit(rewritten, before, after, layout)
        before = after
    bridge.reset()
    tagged = "vlan_vid=0x1000/0x1000" if "pop_vlan" in text else ""
    match = ",".join(filter(None, ("in_port=1", kind, tagged)))
    bridge.add_flows(f"{match} actions={text}")
    compared = 0
    for i, outcome in enumerate(bridge.send_many((1, frame) for frame in frames)):
        for emission in outcome.emissions:
            compared += 1
            assert emission.frame.hex() == rewritten[i].hex(), (
                f"seed {SEED}: {frames[i].hex()}\n{match} actions={text}"
            )
    return compared


def test_rewrite_emits_the_bytes_ovs_emits(bridge: Bridge) -> None:
    """Frames whose fields a flow sets leave a real switch as commit makes them."""
    rng = Random(SEED + 4)
    compared = 0
    for kind in KINDS:
        for _ in range(ROUNDS):
            text, change = action_list(rng, kind)
            compared += compare(bridge, rng, kind, text, change)
    assert compared > 5 * ROUNDS * len(KINDS)


def labels_of(key: Key) -> list[int]:
    """The label stack a key holds, bottom last."""
    if key[Column.NW] >> 48 not in (0x8847, 0x8848):
        return []
    stack = [key[Column.MPLS] >> 32, key[Column.MPLS] & 0xFFFF_FFFF, key[Column.MPLS_2] >> 32]
    for i, label in enumerate(stack):
        if label & 0x100:
            return stack[: i + 1]
    return [label for label in stack if label]


def put_labels(key: Key, eth_type: int, stack: list[int]) -> None:
    full = [*stack, 0, 0, 0]
    key[Column.NW] = eth_type << 48
    key[Column.MPLS] = full[0] << 32 | full[1]
    key[Column.MPLS_2] = full[2] << 32
    for column in range(Column.IPV4, Column.MPLS):
        key[column] = 0


def push_label(key: Key, eth_type: int) -> None:
    """What ovs-actions(7) says of push_mpls."""
    stack = labels_of(key)
    if stack:
        put_labels(key, eth_type, [stack[0] & ~0x100, *stack])
        return
    is_ip = key[Column.NW] >> 48 in (0x0800, 0x86DD)
    label = 2 if key[Column.NW] >> 48 == 0x86DD else 0
    dscp = key[Column.NW] >> 34 & 0x7 if is_ip else 0
    ttl = (key[Column.NW] >> 24 & 0xFF if is_ip else 0) or 64
    put_labels(key, eth_type, [label << 12 | dscp << 9 | 0x100 | ttl])


def pop_label(key: Key, eth_type: int) -> None:
    put_labels(key, eth_type, labels_of(key)[1:])


def mpls_actions(rng: Random, kind: str) -> tuple[str, Program]:
    """Pops, pushes and settings of labels, sometimes of tags too."""
    texts: list[str] = []
    steps: list[Change] = []
    if kind.startswith("mpls") and rng.random() < 0.6:
        eth_type = rng.choice((0x0800, 0x8847, 0x8848, 0x86DD))
        texts.append(f"pop_mpls:{eth_type:#x}")
        steps.append(partial(pop_label, eth_type=eth_type))
    # A push after the last pop would decode the packet anew.
    pushes = (
        (0,) if texts and eth_type not in (0x8847, 0x8848) else (0, 1, 1, 2) if texts else (1, 1, 2)
    )
    first_push = len(steps)
    for _ in range(rng.choice(pushes)):
        eth_type = rng.choice((0x8847, 0x8848))
        texts.append(f"push_mpls:{eth_type:#x}")
        steps.append(partial(push_label, eth_type=eth_type))
        if rng.random() < 0.6:
            text, step = set_field(rng, rng.choice(KINDS["mpls"]))
            texts.append(text)
            steps.append(step)
    if rng.random() < 0.3:
        more, further = change_tags(rng)
        texts += more
        steps += further

    def change(key: Key) -> list[Key]:
        commits = []
        for i, step in enumerate(steps):
            if i == first_push and not labels_of(key):
                commits.append(list(key))  # the first label is pushed onto what is committed
            step(key)
        return [*commits, key]

    return ",".join([*texts, "output:2"]), change


def test_rewrite_pushes_and_pops_labels_as_ovs_does(bridge: Bridge) -> None:
    """Frames that gain, lose or change MPLS labels leave a real switch as commit makes them."""
    rng = Random(SEED + 5)
    compared = 0
    for kind in ("ip", "ipv6", "mpls", "mplsm", ""):
        for _ in range(3 * ROUNDS):
            text, change = mpls_actions(rng, kind)
            compared += compare(bridge, rng, kind, text, change)
    assert compared > 20 * ROUNDS
