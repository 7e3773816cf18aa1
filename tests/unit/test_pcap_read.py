"""Reading pcap files: formats, damage, and where records are found."""

from __future__ import annotations

import gzip
import io
import lzma
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.utils import wrpcap

from flowvm.packet.frames import TAIL
from flowvm.packet.pcap.read import CaptureError, Records, read_capture
from tests.unit.captures import MICRO, NANO, Captured, classic, listed

EPOCH = 1_700_000_000_123_456_000


def read(data: bytes, chunk_bytes: int = 1 << 22) -> list[Captured]:
    return listed(list(read_capture(io.BytesIO(data), chunk_bytes=chunk_bytes)))


def read_until_error(data: bytes, chunk_bytes: int = 1 << 22) -> tuple[list[Captured], str]:
    """What a damaged capture gives, and the message of the error that ends it."""
    found: list[Records] = []
    with pytest.raises(CaptureError) as raised:
        found.extend(read_capture(io.BytesIO(data), chunk_bytes=chunk_bytes))
    return listed(found), str(raised.value)


def some_packets(count: int, *, even: bool, start: int = EPOCH) -> list[Captured]:
    """Packets a microsecond apart; their bytes and, unless ``even``, lengths vary."""
    return [
        Captured.whole(start + 1000 * i, bytes([i & 0xFF]) * (60 if even else 14 + i * i % 1500))
        for i in range(count)
    ]


packets = st.builds(
    lambda time, data, cut: Captured(time * 1000, data, len(data) + cut),
    st.integers(0, 2**32 * 10**6 - 1),
    st.binary(max_size=100),
    st.integers(0, 9000),
)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("magic", [MICRO, NANO])
def test_reads_both_byte_orders_and_resolutions(order: str, magic: int) -> None:
    """Byte order and resolution of a file make no difference but that of the resolution."""
    wanted = [Captured(EPOCH, b"abc" * 30, 1514), Captured(EPOCH + 1000, b"", 60)]
    records = list(read_capture(io.BytesIO(classic(wanted, order, magic))))
    assert listed(records) == wanted
    assert records[0].resolution == (1000 if magic == MICRO else 1)


def test_nanoseconds_are_kept() -> None:
    """The last digit of a nanosecond capture counts."""
    wanted = [Captured.whole(EPOCH + 1, bytes(60)), Captured.whole(EPOCH + 999, bytes(60))]
    assert read(classic(wanted, magic=NANO)) == wanted


def test_times_after_2038_are_read() -> None:
    """Seconds are unsigned."""
    wanted = [Captured.whole(0xFFFF_FFFF * 10**9, bytes(60))]
    assert read(classic(wanted)) == wanted


def test_reads_what_scapy_writes(tmp_path: Path) -> None:
    """Frames, times and original lengths are those that Scapy wrote."""
    path = tmp_path / "scapy.pcap"
    frames = [Ether() / IP() / UDP() / (b"x" * n) for n in (0, 1, 700)]
    for number, frame in enumerate(frames):
        frame.time = 1_700_000_000 + number / 8
        frame.wirelen = 2000
    wrpcap(str(path), frames)
    assert listed(list(read_capture(path))) == [
        Captured(1_700_000_000 * 10**9 + number * 125_000_000, bytes(frame), 2000)
        for number, frame in enumerate(frames)
    ]


@pytest.mark.parametrize("even", [True, False])
@pytest.mark.parametrize("start", [EPOCH, 0])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("chunk_bytes", [1, 1000, 65_536, 1 << 22])
def test_chunks_make_no_difference(even: bool, start: int, order: str, chunk_bytes: int) -> None:
    """Thousands of records are found wherever the chunks of the file end."""
    wanted = some_packets(3000, even=even, start=start)
    assert read(classic(wanted, order), chunk_bytes) == wanted


def test_sizes_that_change_now_and_then_are_followed() -> None:
    """Long runs of one size, and others between them, are told apart."""
    sizes = [60] * 500 + [1500] * 300 + [61, 62] * 200 + [60] * 100
    wanted = [Captured.whole(EPOCH + i * 1000, bytes(size)) for i, size in enumerate(sizes)]
    assert read(classic(wanted), 100_000) == wanted


def test_frames_that_hold_a_capture_are_not_taken_for_records() -> None:
    """Bytes of a frame that look just like records do not mislead the reader."""
    inner = classic(some_packets(40, even=False))[24:]
    frames = [inner[i % 700 : 9000] if i % 3 else bytes(50 + i % 90) for i in range(1000)]
    wanted = [Captured.whole(EPOCH + 1000 * i, frame) for i, frame in enumerate(frames)]
    assert read(classic(wanted)) == wanted


def test_frames_of_many_sizes_are_found_among_short_ones() -> None:
    """Jumbo frames, longer than what is searched for a beginning, hide no record."""
    frames = [bytes(i * i % (9000 if i % 50 == 0 else 300)) for i in range(9000)]
    wanted = [Captured.whole(EPOCH + 1000 * i, frame) for i, frame in enumerate(frames)]
    assert read(classic(wanted)) == wanted


def test_a_time_that_crosses_the_18_hours_is_read() -> None:
    """The high half of the seconds changes every 65,536 s."""
    start = (0x6543_0000 * 10**6 - 500) * 1000
    wanted = some_packets(1000, even=False, start=start)
    assert read(classic(wanted)) == wanted


@given(st.lists(packets, max_size=30), st.sampled_from("<>"), st.integers(1, 500))
def test_any_capture_is_read(wanted: list[Captured], order: str, chunk_bytes: int) -> None:
    """Reading gives what was written down."""
    assert read(classic(wanted, order), chunk_bytes) == wanted


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_unpacks_gzip_and_xz(pack: object) -> None:
    """A packed capture reads like the plain one."""
    wanted = some_packets(500, even=False)
    assert read(pack(classic(wanted)), 10_000) == wanted  # type: ignore[operator]


def test_bytes_after_the_frames_can_be_read() -> None:
    """Frames keep the promise of spare bytes at the end of their buffer."""
    for part in read_capture(io.BytesIO(classic(some_packets(50, even=True))), chunk_bytes=700):
        ends = part.frames.offsets + part.frames.lengths
        assert int(ends.max()) + TAIL <= part.frames.buffer.size


def test_a_capture_without_packets_is_none() -> None:
    """A file of just the header is fine."""
    assert read(classic([])) == []


def test_an_empty_file_is_an_error() -> None:
    """A file of no bytes is no capture."""
    assert read_until_error(b"") == ([], "<stream>: packet 1, byte 0: the file is empty")


def test_another_file_is_an_error() -> None:
    """What begins like no capture is said to."""
    _, message = read_until_error(b"cookie=0x0, actions=drop")
    assert message == (
        "<stream>: packet 1, byte 0: neither pcap nor pcapng: it begins with 63 6f 6f 6b"
    )


def test_another_link_type_is_an_error() -> None:
    """A capture of anything but Ethernet is refused by name."""
    _, message = read_until_error(classic(some_packets(1, even=True), linktype=113))
    assert message.endswith("link type 113 (LINUX_SLL); only Ethernet (1) can be read")


def test_another_version_is_an_error() -> None:
    """Only version 2 of the format is known."""
    data = bytearray(classic([]))
    data[4:6] = struct.pack("<H", 3)
    _, message = read_until_error(bytes(data))
    assert "version 3 of the pcap format" in message


@pytest.mark.parametrize("chunk_bytes", [1 << 22, 40])
def test_truncated_anywhere_all_whole_packets_are_read(chunk_bytes: int) -> None:
    """Wherever the file ends, the packets before that are given, and the error names the next."""
    wanted = some_packets(4, even=False)
    data = classic(wanted)
    ends = [24]
    for packet in wanted:
        ends.append(ends[-1] + 16 + len(packet.data))
    assert ends[-1] == len(data)
    for size in range(len(data)):
        if size in ends:
            assert read(data[:size], chunk_bytes) == wanted[: ends.index(size)]
            continue
        whole = max((n for n, end in enumerate(ends) if end < size), default=0)
        found, message = read_until_error(data[:size], chunk_bytes)
        assert found == wanted[:whole]
        at = ends[whole] if size > 24 else 0
        assert message.startswith(f"<stream>: packet {whole + 1}, byte {at}: ")


@pytest.mark.parametrize("even", [True, False])
def test_truncated_late_all_whole_packets_are_read(even: bool) -> None:
    """The same, where there are many."""
    wanted = some_packets(2000, even=even)
    found, message = read_until_error(classic(wanted)[:-1], 30_000)
    assert found == wanted[:-1]
    last = len(wanted[-1].data) + 16
    assert message.endswith(
        f"the file ends after {last - 1} of {last} bytes of the packet's record"
    )
    assert "packet 2000," in message


def test_a_damaged_length_is_found() -> None:
    """A length that no packet has ends the reading where it stands."""
    wanted = some_packets(300, even=True)
    data = bytearray(classic(wanted))
    at = 24 + 200 * 76
    data[at + 8 : at + 12] = struct.pack("<I", 262_145)
    found, message = read_until_error(bytes(data))
    assert found == wanted[:200]
    assert message.startswith(f"<stream>: packet 201, byte {at}: a captured length of 262145 bytes")


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_packed_and_cut_off_what_can_be_unpacked_is_read(pack: object) -> None:
    """A packed capture that is cut off gives its first packets, and says what is wrong."""
    wanted = some_packets(3000, even=False)
    packed = pack(classic(wanted))  # type: ignore[operator]
    found, message = read_until_error(packed[: len(packed) * 2 // 3], 10_000)
    assert wanted[: len(found)] == found
    assert 0 < len(found) < len(wanted)
    assert f"packet {len(found) + 1}," in message
    assert "the compressed file is damaged or cut off" in message


def test_a_damaged_checksum_of_gzip_is_told_after_the_packets() -> None:
    """All packets are given before the checksum at the end is found wrong."""
    wanted = some_packets(10, even=True)
    packed = bytearray(gzip.compress(classic(wanted)))
    packed[-8] ^= 1
    found, message = read_until_error(bytes(packed))
    assert found == wanted
    assert "packet 11," in message


def test_reads_a_stream_that_gives_a_little_at_a_time() -> None:
    """A pipe gives less than is asked for."""

    class Slow(io.RawIOBase):
        def __init__(self, data: bytes) -> None:
            self._data = io.BytesIO(data)

        def readable(self) -> bool:
            return True

        def readinto(self, target: memoryview) -> int:  # type: ignore[override]
            return self._data.readinto(memoryview(target)[:7])

    wanted = some_packets(40, even=False)
    assert listed(list(read_capture(Slow(classic(wanted))))) == wanted


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    """The system's own error says what is wrong with a path."""
    with pytest.raises(FileNotFoundError):
        list(read_capture(tmp_path / "none.pcap"))


def test_a_file_of_the_caller_stays_open() -> None:
    """Only a file that was opened for a path is closed."""
    file = io.BytesIO(classic([]))
    assert list(read_capture(file)) == []
    assert not file.closed
