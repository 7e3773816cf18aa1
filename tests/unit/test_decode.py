"""Hand-made frames and the fields that Open vSwitch reads from them.

Whether decode agrees with Open vSwitch on random frames is tested in tests/conformance.
"""

from __future__ import annotations

import numpy as np
import pytest

from flowvm.columns import N_COLUMNS, Column
from flowvm.packet.decode import decode, decode_columns, find_layout
from flowvm.packet.frames import Frames
from flowvm.packet.layout import NOWHERE
from tests.packet_keys import read

MACS = "02 00 00 00 00 02  02 00 00 00 00 01"
IPV4 = "45 b9 00 1c  00 01 00 00  40 {proto} 00 00  0a 00 00 01  0a 00 00 02"
UDP = "12 34 00 35  00 08 00 00"
IPV6 = (
    "6b 91 23 45 {length} {following} 40"
    + " 20 01 0d b8"
    + " 00" * 11
    + " 01"
    + " fe 80"
    + (" 00" * 13 + " 02")
)
MAC_FIELDS = {"eth_dst": 0x020000000002, "eth_src": 0x020000000001}
IPV4_FIELDS = {
    "eth_type": 0x800, "nw_src": 0x0A000001, "nw_dst": 0x0A000002,
    "ip_dscp": 0x2E, "nw_ecn": 1, "nw_ttl": 64,
}  # fmt: skip
IPV6_FIELDS = {
    "eth_type": 0x86DD, "ipv6_src": 0x20010DB8 << 96 | 1, "ipv6_dst": 0xFE80 << 112 | 2,
    "ip_dscp": 0x2E, "nw_ecn": 1, "nw_ttl": 64, "ipv6_label": 0x12345,
}  # fmt: skip

CASES: dict[str, tuple[str, dict[str, int]]] = {
    "type without extractor": ("88 cc 01 02", {"eth_type": 0x88CC}),
    "length": ("00 2e 42 42 03" + " 00" * 43, {"eth_type": 0x05FF}),
    "SNAP": (
        "00 24 aa aa 03 00 00 00 08 00" + IPV4.format(proto="11") + UDP,
        {**IPV4_FIELDS, "nw_proto": 17, "udp_src": 0x1234, "udp_dst": 53},
    ),
    "SNAP of another organisation": (
        "00 24 aa aa 03 00 00 01 08 00" + IPV4.format(proto="11") + UDP,
        {"eth_type": 0x05FF},
    ),
    "tag": (
        "81 00 a0 05 08 00" + IPV4.format(proto="11") + UDP,
        {
            **IPV4_FIELDS, "nw_proto": 17, "udp_src": 0x1234, "udp_dst": 53,
            "dl_vlan": 5, "dl_vlan_pcp": 5, "vlan_tci": 0xB005,
        },
    ),
    "two tags": ("88 a8 00 05 81 00 00 06 08 00", {"dl_vlan": 5, "eth_type": 0x8100}),
    "tag without a type behind it": ("81 00 00 05", {"eth_type": 0x8100, "vlan_tci": 0}),
    "UDP": (
        "08 00" + IPV4.format(proto="11") + UDP,
        {**IPV4_FIELDS, "nw_proto": 17, "udp_src": 0x1234, "udp_dst": 53, "nw_frag": 0},
    ),
    "UDP header cut short": (
        "08 00" + IPV4.format(proto="11").replace("00 1c", "00 1b") + UDP[:-3],
        {**IPV4_FIELDS, "nw_proto": 17, "udp_src": 0},
    ),
    "IPv4 longer than its frame": (
        "08 00" + IPV4.format(proto="11").replace("00 1c", "00 1d") + UDP,
        {"eth_type": 0x800, "nw_src": 0, "nw_proto": 0},
    ),
    "IPv4 with padding": (
        "08 00" + IPV4.format(proto="84") + "00 09 00 50" + " 00" * 30,
        {**IPV4_FIELDS, "nw_proto": 132, "sctp_src": 0},  # its datagram has 8 bytes of SCTP only
    ),
    "IPv4 options": (
        "08 00" + IPV4.format(proto="11").replace("45", "46").replace("1c", "20") + "01" * 4 + UDP,
        {**IPV4_FIELDS, "nw_proto": 17, "udp_src": 0x1234, "udp_dst": 53},
    ),
    "first fragment": (
        "08 00" + IPV4.format(proto="11").replace("01 00 00", "01 20 00") + UDP,
        {**IPV4_FIELDS, "nw_proto": 17, "udp_src": 0x1234, "udp_dst": 53, "nw_frag": 1},
    ),
    "later fragment": (
        "08 00" + IPV4.format(proto="11").replace("01 00 00", "01 00 64") + UDP,
        {**IPV4_FIELDS, "nw_proto": 17, "udp_src": 0, "udp_dst": 0, "nw_frag": 3},
    ),
    "TCP": (
        "08 00"
        + IPV4.format(proto="06").replace("1c", "28")
        + "00 50 00 51" + " 00" * 8 + "51 12 00 00 00 00 00 00",
        {**IPV4_FIELDS, "nw_proto": 6, "tcp_src": 80, "tcp_dst": 81, "tcp_flags": 0x112},
    ),
    "TCP whose header would not fit": (
        "08 00"
        + IPV4.format(proto="06").replace("1c", "28")
        + "00 50 00 51" + " 00" * 8 + "61 12 00 00 00 00 00 00",
        {**IPV4_FIELDS, "nw_proto": 6, "tcp_src": 0, "tcp_dst": 0, "tcp_flags": 0},
    ),
    "ICMP": (
        "08 00" + IPV4.format(proto="01") + "03 01 00 00 00 00 00 00",
        {**IPV4_FIELDS, "nw_proto": 1, "icmp_type": 3, "icmp_code": 1},
    ),
    "UDP over IPv6": (
        "86 dd" + IPV6.format(length="00 08", following="11") + UDP,
        {**IPV6_FIELDS, "nw_proto": 17, "udp_src": 0x1234, "udp_dst": 53},
    ),
    "UDP behind a hop-by-hop header": (
        "86 dd" + IPV6.format(length="00 10", following="00") + "11 00 01 04 00 00 00 00" + UDP,
        {**IPV6_FIELDS, "nw_proto": 17, "udp_src": 0x1234, "udp_dst": 53},
    ),
    "later fragment of IPv6": (
        "86 dd" + IPV6.format(length="00 10", following="2c") + "11 00 00 08 00 00 00 01" + UDP,
        {**IPV6_FIELDS, "nw_proto": 44, "udp_src": 0, "nw_frag": 3},
    ),
    "neighbor solicitation": (
        "86 dd" + IPV6.format(length="00 20", following="3a")
        + "87 00 00 00 e0 00 00 01 fe 80" + " 00" * 13 + "05" + "01 01 02 00 00 00 00 07",
        {
            **IPV6_FIELDS, "nw_proto": 58, "icmpv6_type": 135, "icmpv6_code": 0,
            "nd_target": 0xFE80 << 112 | 5, "nd_sll": 0x020000000007, "nd_tll": 0,
            "nd_reserved": 0xE0000001, "nd_options_type": 1,
        },
    ),
    "neighbor advertisement with the same option twice": (
        "86 dd" + IPV6.format(length="00 28", following="3a")
        + "88 00 00 00 00 00 00 00 fe 80" + " 00" * 13 + "05"
        + "02 01 02 00 00 00 00 07" * 2,
        {**IPV6_FIELDS, "icmpv6_type": 136, "nd_target": 0, "nd_sll": 0, "nd_tll": 0},
    ),
    "ARP": (
        "08 06 00 01 08 00 06 04 00 02" + MACS[18:] + "0a 00 00 01" + MACS[:17] + "0a 00 00 02",
        {
            "eth_type": 0x806, "arp_op": 2, "arp_spa": 0x0A000001, "arp_tpa": 0x0A000002,
            "arp_sha": 0x020000000001, "arp_tha": 0x020000000002,
        },
    ),
    "ARP for other hardware": (
        "08 06 00 06 08 00 06 04 00 02" + MACS[18:] + "0a 00 00 01" + MACS[:17] + "0a 00 00 02",
        {"eth_type": 0x806, "arp_op": 0, "arp_spa": 0, "arp_sha": 0},
    ),
    "ARP with a large opcode": (
        "80 35 00 01 08 00 06 04 01 02" + MACS[18:] + "0a 00 00 01" + MACS[:17] + "0a 00 00 02",
        {"eth_type": 0x8035, "arp_op": 0, "arp_spa": 0x0A000001},
    ),
    "MPLS": (
        "88 47 00 01 06 40 00 02 01 ff 45",
        {"eth_type": 0x8847, "mpls_label": 16, "mpls_tc": 3, "mpls_bos": 0, "mpls_ttl": 64},
    ),
    "NSH": (
        "89 4f 1f c6 01 03 12 34 56 fe" + "".join(f"00 00 00 0{i}" for i in range(1, 5)),
        {
            "eth_type": 0x894F, "nsh_flags": 1, "nsh_ttl": 63, "nsh_mdtype": 1, "nsh_np": 3,
            "nsh_spi": 0x123456, "nsh_si": 254, "nsh_c1": 1, "nsh_c2": 2, "nsh_c3": 3, "nsh_c4": 4,
        },
    ),
}  # fmt: skip


def frame(text: str) -> bytes:
    return bytes.fromhex((MACS + text).replace(" ", ""))


@pytest.mark.parametrize("name", CASES)
def test_decode_reads_the_fields_of_a_frame(name: str) -> None:
    """Each field has the value that stands in the frame, or zero where a header is malformed."""
    text, expected = CASES[name]
    columns = decode(Frames.of([frame(text)]), 7).columns
    wanted = {**MAC_FIELDS, "in_port": 7, **expected}
    assert {field: read(columns, field) for field in wanted} == wanted


def test_frames_of_all_kinds_in_one_batch_are_read_as_alone() -> None:
    """Neighbours in a batch change nothing, in any order."""
    frames = [frame(text) for text, _ in CASES.values()] * 3
    together = decode(Frames.of(frames), 7)
    for i, data in enumerate(frames):
        alone = decode(Frames.of([data]), 7)
        assert (together.columns[:, i] == alone.columns[:, 0]).all(), list(CASES)[i % len(CASES)]
        for part in ("l2_5", "l3", "l4", "l2_pad"):
            assert getattr(together.layout, part)[i] == getattr(alone.layout, part)[0]


@pytest.mark.parametrize("step", [60, 76, 200, -60])
def test_where_frames_lie_does_not_matter(step: int) -> None:
    """Frames one after the other, with gaps, far apart or backwards read the same."""
    data = [frame(CASES["UDP"][0]).ljust(60, bytes([i])) for i in range(5)]
    buffer = np.zeros(2000, np.uint8)
    offsets = np.arange(5) * step + (500 if step < 0 else 0)
    for at, item in zip(offsets.tolist(), data, strict=True):
        buffer[at : at + 60] = np.frombuffer(item, np.uint8)
    frames = Frames(buffer, offsets, np.full(5, 60))
    assert list(frames) == data
    assert (decode(frames, 1).columns == decode(Frames.of(data), 1).columns).all()


def test_vlan_limit_says_how_many_tags_are_read() -> None:
    """One unless told, zero meaning all; each packet may have a limit of its own."""
    frames = Frames.of([frame(CASES["two tags"][0])] * 4)
    columns = decode(frames, 1, vlan_limit=np.array([1, 2, 0, 5])).columns
    assert [read(columns, "eth_type", i) for i in range(4)] == [0x8100, 0x800, 0x800, 0x800]
    two = 0x88A8_1005_8100_1006
    assert columns[Column.VLAN].tolist() == [0x88A8_1005_0000_0000, two, two, two]


def test_a_frame_too_short_for_ethernet_has_no_headers() -> None:
    """Its key is zero, but for the port, and so is that of no bytes at all."""
    columns = decode(Frames.of([b"", bytes(range(1, 14))]), 3).columns
    assert columns[Column.IN_PORT].tolist() == [3, 3]
    assert not columns[1:].any()


def test_each_packet_can_have_a_port_of_its_own() -> None:
    """in_port may be an array."""
    columns = decode(Frames.of([frame(CASES["UDP"][0])] * 2), np.array([3, 0xFFFE])).columns
    assert columns[Column.IN_PORT].tolist() == [3, 0xFFFE]


def test_no_packets_have_no_columns() -> None:
    """The shape says so."""
    assert decode(Frames.of([]), 1).columns.shape == (N_COLUMNS, 0)


def test_layout_says_where_headers_begin() -> None:
    """L2.5, L3, L4 and padding, as the rewriting of frames needs them."""
    names = ("tag", "MPLS", "later fragment", "IPv4 with padding", "length", "UDP over IPv6")
    layout = find_layout(Frames.of([frame(CASES[name][0]) for name in names]), 1)
    assert layout.l2_5.tolist() == [NOWHERE, 14, NOWHERE, NOWHERE, NOWHERE, NOWHERE]
    assert layout.l3.tolist() == [18, 22, 14, 14, 14, 14]
    assert layout.l4.tolist() == [38, NOWHERE, 34, 34, NOWHERE, 54]
    assert layout.l2_pad.tolist() == [0, 0, 0, 26, 0, 0]


def test_only_wanted_columns_are_decoded() -> None:
    """They have their values, the others are zero."""
    frames = Frames.of([frame(CASES["tag"][0])])
    columns = decode_columns(frames, 9, wanted={Column.VLAN, Column.TP})
    assert read(columns, "dl_vlan") == 5
    assert read(columns, "udp_dst") == 53
    filled = {Column(i) for i in np.flatnonzero(columns.any(axis=1)).tolist()}
    assert filled == {Column.IN_PORT, Column.VLAN, Column.TP}
