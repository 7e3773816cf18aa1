"""Laws of frames and flow keys: how decoding, composing and rewriting hang together."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6Unknown,
)
from scapy.layers.l2 import Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Packet

from flowvm.columns import Column
from flowvm.fields import field
from flowvm.packet.compose import compose
from flowvm.packet.decode import decode, decode_columns
from flowvm.packet.encode import needed_to_rewrite, rewrite
from flowvm.packet.frames import Frames
from flowvm.packet.words import U64
from tests.conformance import packet_corpus as corpus
from tests.packet_keys import key

HEADERS = slice(Column.ETH_SRC, None)

MACS = ("eth_src", "eth_dst")
IPV4 = (*MACS, "nw_src", "nw_dst", "ip_dscp", "nw_ecn", "nw_ttl")
IPV6 = (*MACS, "ipv6_src", "ipv6_dst", "ipv6_label", "ip_dscp", "nw_ecn", "nw_ttl")
ND = (*IPV6, "nd_target", "nd_reserved")
KINDS: tuple[tuple[Mapping[str, int], tuple[str, ...]], ...] = (
    ({"eth_type": 0x88CC}, MACS),
    ({"eth_type": 0x05FF}, MACS),
    ({"eth_type": 0x0806}, (*MACS, "arp_op", "arp_spa", "arp_tpa", "arp_sha", "arp_tha")),
    ({"eth_type": 0x0800, "nw_proto": 47}, IPV4),
    ({"eth_type": 0x0800, "nw_proto": 6}, (*IPV4, "tcp_src", "tcp_dst")),
    ({"eth_type": 0x0800, "nw_proto": 6, "tcp_flags": 2}, (*IPV4, "tcp_src", "tcp_dst")),
    ({"eth_type": 0x0800, "nw_proto": 17}, (*IPV4, "udp_src", "udp_dst")),
    ({"eth_type": 0x0800, "nw_proto": 132}, (*IPV4, "sctp_src", "sctp_dst")),
    ({"eth_type": 0x0800, "nw_proto": 1, "icmp_type": 8}, IPV4),
    ({"eth_type": 0x0800, "nw_proto": 1, "icmp_type": 3}, (*IPV4, "icmp_code")),
    ({"eth_type": 0x0800, "nw_proto": 17, "nw_frag": 3}, IPV4),
    ({"eth_type": 0x0800, "nw_proto": 6, "nw_frag": 1}, (*IPV4, "tcp_src", "tcp_dst")),
    ({"eth_type": 0x86DD, "nw_proto": 59}, IPV6),
    ({"eth_type": 0x86DD, "nw_proto": 44, "nw_frag": 3}, IPV6),
    ({"eth_type": 0x86DD, "nw_proto": 6, "tcp_flags": 0x110}, (*IPV6, "tcp_src", "tcp_dst")),
    ({"eth_type": 0x86DD, "nw_proto": 17}, (*IPV6, "udp_src", "udp_dst")),
    ({"eth_type": 0x86DD, "nw_proto": 17, "nw_frag": 1}, (*IPV6, "udp_src", "udp_dst")),
    ({"eth_type": 0x86DD, "nw_proto": 132}, (*IPV6, "sctp_src", "sctp_dst")),
    ({"eth_type": 0x86DD, "nw_proto": 58, "icmpv6_type": 129}, IPV6),
    ({"eth_type": 0x86DD, "nw_proto": 58, "icmpv6_type": 200}, (*IPV6, "icmpv6_code")),
    ({"eth_type": 0x86DD, "nw_proto": 58, "icmpv6_type": 135}, ND),
    (
        {"eth_type": 0x86DD, "nw_proto": 58, "icmpv6_type": 135, "nd_options_type": 1},
        (*ND, "nd_sll"),
    ),
    (
        {"eth_type": 0x86DD, "nw_proto": 58, "icmpv6_type": 136, "nd_options_type": 2},
        (*ND, "nd_tll"),
    ),
    ({"eth_type": 0x8847, "mpls_bos": 1}, (*MACS, "mpls_label", "mpls_tc", "mpls_ttl")),
    ({"eth_type": 0x8848}, (*MACS, "mpls_label", "mpls_tc", "mpls_ttl")),
    ({"eth_type": 0x894F, "nsh_mdtype": 2, "nsh_np": 1}, (*MACS, "nsh_spi", "nsh_si")),
    (
        {"eth_type": 0x894F, "nsh_mdtype": 1, "nsh_np": 3},
        (*MACS, "nsh_spi", "nsh_si", "nsh_c1", "nsh_c2", "nsh_c3", "nsh_c4"),
    ),
)
"""What a frame is and stays, and the fields that may have any value in it."""

NEVER_REWRITTEN: tuple[tuple[Mapping[str, int], tuple[str, ...]], ...] = (
    ({"eth_type": 0x8035}, ("arp_op", "arp_spa", "arp_tpa", "arp_sha", "arp_tha")),
    ({"eth_type": 0x894F, "nsh_mdtype": 1}, ("nsh_np",)),
    ({"eth_type": 0x0800, "nw_proto": 6}, ("tcp_flags",)),
)
"""Fields that Open vSwitch reads and does not write."""

LIMITS = {
    "icmp_code": (0, 0xFF),  # narrower than the place where they are kept
    "icmpv6_code": (0, 0xFF),
    "nd_sll": (1, 2**48 - 1),  # an address of zero reads like none
    "nd_tll": (1, 2**48 - 1),
    "mpls_ttl": (1, 0xFF),  # and so does a label stack entry
    "arp_op": (1, 0xFE),  # no more is written for 0, and 255 is written as 65535
}

TAGS = st.lists(
    st.tuples(st.sampled_from((0x8100, 0x88A8)), st.integers(0, 0xFFFF).map(lambda t: t & ~0x1000)),
    max_size=2,
).map(tuple)


@st.composite
def headers(draw: st.DrawFn, n: int) -> list[U64]:
    """``n`` keys of one kind of frame, with the same tags."""
    kinds = KINDS if n > 1 else KINDS + NEVER_REWRITTEN
    fixed, free = draw(st.sampled_from(kinds))
    tags = draw(TAGS)
    return [key({**fixed, **{name: draw(values(name)) for name in free}}, tags) for _ in range(n)]


def values(name: str) -> st.SearchStrategy[int]:
    """Values of a field, the least and the largest ones often."""
    bits = field(name).bits
    assert bits is not None
    least, most = LIMITS.get(name, (0, (1 << bits.width) - 1))
    return st.integers(least, most) | st.sampled_from((least, least + 1, most - 1, most))


def with_right_checksums(frame: bytes) -> bytes:
    """The frame as Scapy builds it when it has to find the checksums itself."""
    packet = Ether(frame)
    layer: Packet = packet
    while layer:
        if isinstance(layer, IP | TCP | UDP | ICMP | SCTP):
            del layer.chksum
        elif isinstance(layer, _ICMPV6):
            del layer.cksum
        layer = layer.payload
    return bytes(packet)


_ICMPV6 = ICMPv6EchoRequest | ICMPv6EchoReply | ICMPv6ND_NA | ICMPv6ND_NS | ICMPv6Unknown


@given(st.lists(headers(1).map(lambda keys: keys[0]), min_size=1, max_size=4))
def test_a_composed_frame_has_the_headers_it_was_made_for(keys: list[U64]) -> None:
    """decode after compose is the identity, for frames of different kinds in one batch too."""
    columns = np.concatenate(keys, axis=1)
    found = decode(compose(columns), 0, vlan_limit=2).columns
    assert (found[HEADERS] == columns[HEADERS]).all()


@given(headers(1))
def test_a_composed_frame_has_the_checksums_that_scapy_computes(keys: list[U64]) -> None:
    """For every kind of header that has one."""
    frame = compose(keys[0])[0]
    assert with_right_checksums(frame).hex() == frame.hex()


@given(headers(2))
def test_rewriting_a_frame_gives_the_frame_composed_for_the_new_key(keys: list[U64]) -> None:
    """Checksums that are updated come out as those that are computed from the start."""
    before, after = keys
    assert rewrite(compose(before), before, after)[0].hex() == compose(after)[0].hex()


@given(headers(2))
def test_rewriting_there_and_back_gives_the_same_bytes(keys: list[U64]) -> None:
    """Nothing that the key does not know is lost."""
    before, after = keys
    frames = compose(before)
    there = rewrite(frames, before, after)
    assert rewrite(there, after, before)[0] == frames[0]


@given(st.integers(0, 2**32))
def test_rewriting_to_the_same_key_changes_no_byte(seed: int) -> None:
    """Of whatever frame, sound or not."""
    frames = some_frames(seed)
    columns = decode(frames, 1, vlan_limit=2).columns
    assert rewrite(frames, columns, columns.copy()) is frames


@given(st.lists(st.binary(max_size=80), max_size=5), st.integers(0, 2**32))
def test_a_packet_is_decoded_the_same_in_any_company(raw: list[bytes], seed: int) -> None:
    """A batch is its packets one at a time."""
    items = [*raw, *some_frames(seed)]
    together = decode(Frames.of(items), 1)
    for i, item in enumerate(items):
        alone = decode(Frames.of([item]), 1)
        assert (together.columns[:, i] == alone.columns[:, 0]).all()
        assert together.layout.l4[i] == alone.layout.l4[0]


@given(st.integers(0, 2**32), st.sets(st.sampled_from(Column)))
def test_wanted_columns_are_what_they_are_among_all(seed: int, wanted: set[Column]) -> None:
    """The others are zero, but for the port."""
    frames = some_frames(seed)
    every = decode(frames, 1, vlan_limit=2).columns
    some = decode_columns(frames, 1, vlan_limit=2, wanted=wanted)
    for column in Column:
        kept = column in wanted or column == Column.IN_PORT
        assert (some[column] == (every[column] if kept else 0)).all(), column


@given(headers(2))
def test_the_columns_needed_to_rewrite_are_enough(keys: list[U64]) -> None:
    """Rewriting needs no more than the columns it writes and those that go with them."""
    before, after = keys
    frames = compose(before)
    written = {Column(int(i)) for i in np.flatnonzero((before != after)[:, 0])}
    needed = decode_columns(frames, 0, vlan_limit=2, wanted=needed_to_rewrite(written))
    changed = needed.copy()
    for column in written:
        changed[column] = after[column]
    assert rewrite(frames, needed, changed)[0] == compose(after)[0]


def some_frames(seed: int) -> Frames:
    rng = Random(seed)
    return Frames.of([corpus.frame(rng) for _ in range(8)])
