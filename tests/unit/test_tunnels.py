"""Tunnel ports: options, what they put around packets, and which port takes a packet out."""

from __future__ import annotations

from ipaddress import ip_address

import numpy as np
import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import GRE, Ether
from scapy.layers.vxlan import VXLAN

from flowvm.columns import Column
from flowvm.network.outer import encapsulate
from flowvm.network.tunnels import Outer, Tunnel, Varying, receiver, unwrap, wrap
from flowvm.packet.batch import PacketBatch
from flowvm.packet.frames import Frames
from flowvm.text.tlv_map import parse_tlv_map
from tests.networks import interface

A, B, C = (ip_address(f"192.0.2.{n}") for n in (1, 2, 3))
FRAME = bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / IP(tos=0xB9, ttl=9))


def tunnel(kind: str = "gre", **options: str) -> Tunnel:
    return Tunnel.of(interface("t", 1, kind, **{"remote_ip": "192.0.2.2", **options}))


def columns(**fields: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return PacketBatch.of(Frames.of([FRAME]), 1, 0, [fields]).columns[:, 0]


def test_defaults() -> None:
    """Without options a tunnel has no key, TTL 64, no TOS of its own, and may not be fragmented."""
    found = tunnel()
    assert (found.in_key, found.out_key, found.local) == (None, None, None)
    outer = wrap(found, columns(), A, B)
    assert (outer.key, outer.ttl, outer.tos, outer.dont_fragment) == (None, 64, 0xB9 & 3, True)
    assert wrap(tunnel("vxlan"), columns(tun_id=5), A, B).key == 0
    assert wrap(tunnel("vxlan"), columns(), A, B).dst_port == 4789
    assert wrap(tunnel("geneve", dst_port="77"), columns(), A, B).dst_port == 77


def test_inherited_and_fixed() -> None:
    """tos and ttl can be the packet's, a key the flow's; ECN always is, but for CE."""
    outer = wrap(tunnel(tos="inherit", ttl="inherit", key="flow"), columns(tun_id=7), A, B)
    assert (outer.key, outer.tos, outer.ttl) == (7, 0xB9, 9)
    assert wrap(tunnel(out_key="0x11", in_key="flow"), columns(tun_id=7), A, B).key == 0x11
    congested = columns(nw_tos=0xB8)
    congested[Column.NW] |= np.uint64(3 << 32)
    assert wrap(tunnel(tos="32"), congested, A, B).tos == 32 | 2


def test_most_specific_port_takes_the_packet() -> None:
    """A fixed key goes before a fixed remote address, and that before a fixed local one."""
    ports = [
        tunnel(remote_ip="flow", key="flow", local_ip="flow"),
        tunnel(remote_ip="flow", key="flow"),
        tunnel(remote_ip="192.0.2.1", key="flow"),
        tunnel(remote_ip="192.0.2.1", key="flow", local_ip="192.0.2.2"),
        tunnel(remote_ip="flow", key="5"),
        tunnel(remote_ip="192.0.2.1"),
    ]

    def taken(src: object, dst: object, key: int | None) -> int | None:
        outer = Outer("gre", src, dst, key, 0, 64, True, False, 0)  # type: ignore[arg-type]
        return receiver(ports, outer)

    assert taken(A, B, 5) == 4
    assert taken(A, B, 6) == 3
    assert taken(A, C, 6) == 2
    assert taken(C, B, 6) == 1
    assert taken(A, B, None) == 5
    assert taken(A, B, 0) == 5
    assert receiver(ports[2:], Outer("gre", C, B, 6, 0, 64, True, False, 0)) is None
    assert receiver(ports, Outer("vxlan", A, B, 6, 0, 64, True, False, 4789)) is None


def test_received_fields() -> None:
    """A received packet has the outer addresses, key, TOS, TTL and flags for tunnel fields."""
    found = columns()
    unwrap(Outer("gre", A, B, 9, 8, 33, True, True, 0), found)
    assert found[Column.TUN_ID] == 9
    assert found[Column.TUN_IPV4] == int(A) << 32 | int(B)
    assert found[Column.TUN] >> np.uint64(32) == (8 | 4) << 16 | 8 << 8 | 33


@pytest.mark.parametrize("csum", [False, True])
def test_bytes_of_gre(csum: bool) -> None:
    """Scapy reads the headers back, checksums included."""
    whole = encapsulate(Outer("gre", A, B, 9, 8, 33, True, csum, 0), FRAME, 1, 2)
    read = Ether(whole)
    assert read.dst == "00:00:00:00:00:02"
    assert (read[IP].src, read[IP].dst, read[IP].tos, read[IP].ttl) == (str(A), str(B), 8, 33)
    assert (read[GRE].key, read[GRE].proto) == (9, 0x6558)
    assert bytes(read[GRE].payload) == FRAME
    assert checksums_hold(whole)


def test_bytes_of_vxlan() -> None:
    """The network identifier is in the upper 24 bits; a checksum is there if it was asked for."""
    for csum in (False, True):
        whole = encapsulate(Outer("vxlan", A, B, 0x123456, 0, 64, False, csum, 4789), FRAME)
        read = Ether(whole)
        assert (read[UDP].dport, read[VXLAN].vni, read[VXLAN].flags) == (4789, 0x123456, 8)
        assert bytes(read[VXLAN].payload) == FRAME
        assert bool(read[UDP].chksum) == csum
        assert checksums_hold(whole)


SENDER = parse_tlv_map("{class=0x102,type=0x81,len=4}->tun_metadata3")


def carried(*maps: str) -> tuple[Outer, str | None, np.ndarray[tuple[int], np.dtype[np.uint64]]]:
    """What a packet with tun_metadata3=0xcafe has around it, and what a receiver makes of it."""
    sent = columns()
    row = SENDER.rows["tun_metadata3"]
    for column, word, _ in row.match_words(0xCAFE, row.full_mask):
        sent[column] |= np.uint64(word)
    outer = wrap(tunnel("geneve"), sent, A, B, SENDER)
    received = columns()
    return outer, unwrap(outer, received, parse_tlv_map("\n".join(maps))), received


def test_options_of_geneve_go_by_class_and_type() -> None:
    """The receiver's field is that with the same class and type."""
    outer, problem, received = carried("{class=0x102,type=0x81,len=4}->tun_metadata0")
    assert (str(outer), problem) == ("geneve 192.0.2.1 > 192.0.2.2, key 0x0, 1 options", None)
    assert received[Column.TUN_METADATA_PRESENT] == 1
    assert encapsulate(outer, b"")[42:].hex() == "0240655800000000" + "01028101" + "0000cafe"


@pytest.mark.parametrize(
    ("there", "problem"),
    [
        (
            "{class=0x102,type=1,len=4}->tun_metadata3",
            "no tun_metadata for the critical option class=0x102,type=0x81",
        ),
        (
            "{class=0x102,type=0x81,len=8}->tun_metadata0",
            "{class=0x102,type=0x81,len=8}->tun_metadata0 for 4 bytes of option "
            "class=0x102,type=0x81",
        ),
    ],
)
def test_options_that_do_not_fit_drop_the_packet(there: str, problem: str) -> None:
    """A critical option that is not known, and one of another length, drop the packet."""
    assert carried(there)[1] == problem


def checksums_hold(frame: bytes) -> bool:
    """Whether Scapy, left to compute all checksums, comes to the same bytes."""
    again = Ether(frame)
    layer = again
    while layer:
        if getattr(layer, "chksum", None):
            del layer.chksum
        layer = layer.payload
    return bytes(again) == frame


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"remote_ip": "nowhere"}, "t: options:remote_ip=nowhere is not an IP address"),
        ({"key": "x"}, "t: options:in_key=x is not a number"),
    ],
)
def test_bad_options(options: dict[str, str], message: str) -> None:
    """Options that make no sense are told, with the port's name."""
    with pytest.raises(ValueError, match=message):
        tunnel(**options)


def test_what_varies_is_told() -> None:
    """flow and inherit are no values."""
    found = tunnel(remote_ip="flow", key="flow", ttl="inherit")
    assert (found.remote, found.in_key, found.ttl) == (Varying.FLOW, Varying.FLOW, Varying.INHERIT)
