"""Reading pcapng files: sections, interfaces, kinds of packet blocks, clocks, damage."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.utils import PcapNgReader, wrpcapng

from flowvm.packet.pcap.read import read_capture
from tests.unit.captures import Captured, Ng, listed
from tests.unit.test_pcap_read import read, read_until_error

TICK = 1_700_000_000_123_456  # microseconds


def small(number: int) -> bytes:
    return bytes([number & 0xFF]) * (20 + number * number % 1300)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("chunk_bytes", [1, 1000, 100_000, 1 << 22])
def test_enhanced_packets_are_read(order: str, chunk_bytes: int) -> None:
    """Frames, times and original lengths come as they stand, however the file is cut in chunks."""
    ng = Ng(order)
    data = ng.section() + ng.interface()
    data += b"".join(ng.enhanced(TICK + i, small(i), 2000) for i in range(1500))
    wanted = [Captured((TICK + i) * 1000, small(i), 2000) for i in range(1500)]
    assert read(data, chunk_bytes) == wanted


@pytest.mark.parametrize("order", ["<", ">"])
def test_obsolete_packets_are_read(order: str) -> None:
    """The obsolete block has an interface of 16 bits, beside a count of drops."""
    ng = Ng(order)
    data = ng.section() + ng.interface() + ng.interface(options=ng.resolution(9))
    data += ng.obsolete(TICK, small(1)) + ng.obsolete(TICK, small(2), interface=1)
    assert read(data) == [Captured.whole(TICK * 1000, small(1)), Captured.whole(TICK, small(2))]


def test_simple_packets_are_read() -> None:
    """A simple packet is cut at the snap length, and has the time of the one before it."""
    ng = Ng()
    data = ng.section() + ng.interface(snaplen=96)
    data += ng.simple(bytes(60), 60) + ng.enhanced(TICK, small(1)) + ng.simple(bytes(96), 1514)
    assert read(data) == [
        Captured.whole(0, bytes(60)),
        Captured.whole(TICK * 1000, small(1)),
        Captured(TICK * 1000, bytes(96), 1514),
    ]


def test_a_simple_packet_keeps_its_time_over_a_chunk() -> None:
    """The packet before it may have been in the chunk before."""
    ng = Ng()
    data = ng.section() + ng.interface() + ng.enhanced(TICK, bytes(60)) + ng.simple(bytes(8), 8)
    assert [packet.time for packet in read(data, 32)] == [TICK * 1000] * 2


def test_other_blocks_are_skipped() -> None:
    """Name resolution, statistics and unknown blocks, also of the shortest kind, are no packets."""
    ng = Ng()
    others = ng.block(4, bytes(40)) + ng.block(5, bytes(20)) + ng.block(0x0BAD, b"")
    data = ng.section() + others + ng.interface()
    wanted = []
    for i in range(300):
        data += ng.enhanced(TICK + i, small(i)) + (others if i % 7 == 0 else b"")
        wanted.append(Captured.whole((TICK + i) * 1000, small(i)))
    assert read(data) == wanted


def test_each_interface_has_its_clock() -> None:
    """Resolutions of powers of ten and of two, and offsets in seconds, count for each by itself."""
    ng = Ng()
    clocks = [
        (ng.resolution(0), 1_700_000_000, 1_700_000_000 * 10**9),
        (ng.resolution(3), 1_700_000_000_125, 1_700_000_000_125 * 10**6),
        (ng.resolution(9), 1_700_000_000_000_000_001, 1_700_000_000_000_000_001),
        (ng.resolution(12), 5_123_456_789_012_345, 5_123_456_789_012),
        (ng.resolution(0x80 | 10), 1_700_000_000 * 1024 + 256, 1_700_000_000_250_000_000),
        # 2**-20 s is 953.67 ns.
        (ng.resolution(0x80 | 20), 1_700_000_000 * 2**20 + 1, 1_700_000_000_000_000_953),
        (ng.resolution(0x80 | 40), 3 * 2**40 + 2**39, 3_500_000_000),
        (ng.offset(1_700_000_000) + ng.resolution(6), 5, 1_700_000_000_000_005_000),
        (ng.offset(-10), 25_000_000, 15 * 10**9),
        (ng.option(2, b"eth0") + ng.resolution(9) + ng.option(0, b""), 77, 77),
        (b"", 77, 77_000),
    ]
    data = ng.section() + b"".join(ng.interface(options=options) for options, _, _ in clocks)
    data += b"".join(
        ng.enhanced(ticks, bytes(14), interface=number)
        for number, (_, ticks, _) in enumerate(clocks)
    )
    assert [packet.time for packet in read(data)] == [time for _, _, time in clocks]


@given(st.integers(0, 2**64 - 1), st.integers(0, 255), st.integers(-(2**63), 2**63 - 1))
@example(2**62 + 1, 0, -(2**62) + 2**33)
@example(2**64 - 1, 0, 2**63 - 1)
@example(2**63, 0, -(2**63))
def test_clocks_are_exact(ticks: int, resolution: int, offset: int) -> None:
    """Any clock gives the nanosecond that exact arithmetic gives, or an error if none exists."""
    ng = Ng()
    data = ng.section() + ng.interface(options=ng.resolution(resolution) + ng.offset(offset))
    data += ng.enhanced(ticks, bytes(14))
    unit = 2 ** (resolution & 0x7F) if resolution & 0x80 else 10**resolution
    seconds = ticks // unit + offset
    if abs(seconds) < 2**63 // 10**9:
        assert [packet.time for packet in read(data)] == [offset * 10**9 + ticks * 10**9 // unit]
    else:
        assert "cannot tell" in read_until_error(data)[1]


def test_sections_start_afresh() -> None:
    """A new section has its own byte order and interfaces."""
    little, big = Ng("<"), Ng(">")
    data = little.section() + little.interface() + little.enhanced(TICK, small(1))
    data += big.section() + big.interface(options=big.resolution(9)) + big.enhanced(7, small(2))
    data += little.section() + little.interface() + little.enhanced(TICK, small(3))
    wanted = [
        Captured.whole(TICK * 1000, small(1)),
        Captured.whole(7, small(2)),
        Captured.whole(TICK * 1000, small(3)),
    ]
    for chunk_bytes in (1, 60, 1 << 20):
        assert read(data, chunk_bytes) == wanted


def test_interfaces_of_the_section_before_are_gone() -> None:
    """A packet needs an interface of its own section."""
    ng = Ng()
    data = ng.section() + ng.interface() + ng.section() + ng.enhanced(TICK, bytes(60))
    found, message = read_until_error(data)
    assert found == []
    assert "a packet of interface 0, of which the file says nothing" in message


def test_an_interface_must_come_before_its_packets() -> None:
    """Packets before the one without an interface are given; the description may not follow."""
    ng = Ng()
    head = ng.section() + ng.interface() + ng.enhanced(TICK, bytes(60))
    data = head + ng.enhanced(TICK, bytes(60), interface=1) + ng.interface()
    found, message = read_until_error(data)
    assert found == [Captured.whole(TICK * 1000, bytes(60))]
    assert message.startswith(f"<stream>: packet 2, byte {len(head)}: a packet of interface 1")


def test_a_packet_of_another_link_type_is_an_error() -> None:
    """An interface that is not Ethernet does no harm until a packet comes from it."""
    ng = Ng()
    data = ng.section() + ng.interface(linktype=276) + ng.interface()
    data += ng.enhanced(TICK, bytes(60), interface=1)
    assert len(read(data)) == 1
    found, message = read_until_error(data + ng.enhanced(TICK, bytes(60)))
    assert len(found) == 1
    assert "packet 2," in message
    assert "link type 276 (LINUX_SLL2)" in message


@pytest.mark.parametrize("chunk_bytes", [1 << 20, 1])
def test_truncated_anywhere_all_whole_packets_are_read(chunk_bytes: int) -> None:
    """Wherever the file ends, the packets before that are given, and the error names the next."""
    ng = Ng()
    blocks = [ng.section(), ng.interface()]
    blocks += [ng.enhanced(TICK + i, bytes(10 + i)) for i in range(3)]
    blocks += [ng.section(), ng.interface(), ng.simple(b"abcde", 5)]
    data = b"".join(blocks)
    wanted = read(data)
    assert len(wanted) == 4
    ends = [sum(map(len, blocks[: n + 1])) for n in range(len(blocks))]
    packet_ends = [ends[2], ends[3], ends[4], ends[7]]
    for size in range(1, len(data)):
        whole = sum(end <= size for end in packet_ends)
        if size in ends:
            assert read(data[:size], chunk_bytes) == wanted[:whole]
            continue
        found, message = read_until_error(data[:size], chunk_bytes)
        assert found == wanted[:whole]
        at = max((end for end in ends if end < size), default=0)
        assert message.startswith(f"<stream>: packet {whole + 1}, byte {at}: ")


@pytest.mark.parametrize(
    ("position", "value", "problem"),
    [
        (4, 30, "a block of 30 bytes"),
        (4, 8, "a block of 8 bytes"),
        (4, 1 << 25, "a block of 33554432 bytes"),
        (4, 88, "a block whose length is 88 at its begin"),
        (20, 500, "a packet of 500 bytes in a block of"),
        (8, 3, "a packet of interface 3"),
    ],
)
def test_a_damaged_block_is_found(position: int, value: int, problem: str) -> None:
    """What is impossible in a block ends the reading where it stands."""
    ng = Ng()
    head = ng.section() + ng.interface()
    block = ng.enhanced(TICK, bytes(60))
    data = bytearray(head + block * 300)
    at = len(head) + 200 * len(block)
    data[at + position : at + position + 4] = ng.pack("I", value)
    found, message = read_until_error(bytes(data))
    assert len(found) == 200
    assert message.startswith(f"<stream>: packet 201, byte {at}: {problem}")


def test_a_damaged_interface_is_found() -> None:
    """A description without its fields, or with options that leave it, cannot be read."""
    ng = Ng()
    found, message = read_until_error(ng.section() + ng.block(1, b"abcd"))
    assert found == []
    assert "an interface description too short" in message
    _, message = read_until_error(ng.section() + ng.interface(options=ng.pack("HH", 2, 900)))
    assert "an interface description whose options exceed it" in message


def test_another_version_is_an_error() -> None:
    """Only version 1 of the format is known."""
    _, message = read_until_error(Ng().section(major=2))
    assert "version 2 of the pcapng format" in message


def test_a_section_without_its_byte_order_is_an_error() -> None:
    """The magic number inside a section header must be one of the two."""
    data = bytearray(Ng().section())
    data[8] ^= 1
    _, message = read_until_error(bytes(data))
    assert "without its byte order" in message


def test_reads_what_scapy_writes(tmp_path: Path) -> None:
    """Frames and times are those that Scapy reads from its own file."""
    path = tmp_path / "scapy.pcapng"
    frames = [Ether() / IP() / UDP() / (b"x" * n) for n in (0, 1, 700)]
    for number, frame in enumerate(frames):
        frame.time = 1_700_000_000 + number / 8
    wrpcapng(str(path), frames)
    with PcapNgReader(str(path)) as scapy:
        wanted = [(round(packet.time * 10**9), bytes(packet)) for packet in scapy]
    found = listed(list(read_capture(path)))
    assert [(packet.time, packet.data) for packet in found] == wanted
    assert [packet.data for packet in found] == [bytes(frame) for frame in frames]


@given(
    st.lists(
        st.tuples(st.sampled_from("eso*"), st.integers(0, 2**50), st.binary(max_size=40)),
        max_size=40,
    ),
    st.sampled_from("<>"),
    st.integers(1, 300),
)
def test_any_mixture_of_blocks_is_read(
    entries: list[tuple[str, int, bytes]], order: str, chunk_bytes: int
) -> None:
    """Packets of all kinds, with other blocks between them, come in their order."""
    ng = Ng(order)
    data = io.BytesIO()
    data.write(ng.section() + ng.interface())
    wanted, last = [], 0
    for kind, ticks, frame in entries:
        if kind == "*":
            data.write(ng.block(0x0BAD, frame))
            continue
        if kind == "s":
            data.write(ng.simple(frame, len(frame)))
        else:
            data.write((ng.enhanced if kind == "e" else ng.obsolete)(ticks, frame))
            last = ticks * 1000
        wanted.append(Captured.whole(last, frame))
    assert read(data.getvalue(), chunk_bytes) == wanted
