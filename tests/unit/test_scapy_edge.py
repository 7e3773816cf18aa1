"""Scapy packets in and out."""

from __future__ import annotations

import subprocess
import sys

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Dot3, Ether

from flowvm.packet.scapy_edge import frame_bytes, show

FRAME = bytes.fromhex(
    "020000000002 020000000001 0800 4500001c 00010000 4011 66ce 0a000001 0a000002"
    "0001 0002 0008 ebd8"
)


def test_a_packet_becomes_its_frame_with_lengths_and_checksums() -> None:
    """What the packet leaves open Scapy fills in."""
    packet = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / IP(
        src="10.0.0.1", dst="10.0.0.2"
    )
    assert frame_bytes(packet / UDP(sport=1, dport=2)) == FRAME
    assert frame_bytes(Dot3(dst="02:00:00:00:00:02") / b"abc")[12:] == b"\0\3abc"


def test_a_packet_without_ethernet_is_refused() -> None:
    """Nothing is put around it silently."""
    with pytest.raises(ValueError, match="does not begin with Ethernet"):
        frame_bytes(IP() / UDP())


def test_a_packet_that_scapy_cannot_build_is_refused() -> None:
    """With Scapy's own words."""
    with pytest.raises(ValueError, match="Scapy cannot build"):
        frame_bytes(Ether() / IP(ttl="many"))


@pytest.mark.parametrize("thing", [3, None, [b"x"], bytearray(14)])
def test_what_is_no_packet_is_refused(thing: object) -> None:
    """The message names its type."""
    with pytest.raises(TypeError, match=type(thing).__name__):
        frame_bytes(thing)


def test_show_summarises_a_frame_in_one_line() -> None:
    """Also one of zeros, and one that is cut short."""
    assert show(FRAME) == "Ether / IP / UDP 10.0.0.1:1 > 10.0.0.2:2"
    for frame in (bytes(14), FRAME[:30], b""):
        assert "\n" not in show(frame)


def test_scapy_is_not_imported_before_it_is_used() -> None:
    """It takes too long for a command that does not need it."""
    code = "import sys, flowvm.packet.scapy_edge; print('scapy' in sys.modules)"
    run = subprocess.run((sys.executable, "-c", code), capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
