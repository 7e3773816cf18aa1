"""The bytes that a tunnel puts around a packet: Ethernet, IP, and GRE, VXLAN or Geneve.

As Open vSwitch 3.1 pushes them where it tunnels by itself (lib/netdev-native-tnl.c). What nobody
can know is zero: the source port of UDP, a hash, and MAC addresses that no input tells.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

from flowvm.fields import ETH_TYPE_IP, ETH_TYPE_IPV6
from flowvm.network.tunnels import Outer
from flowvm.protocols import UDP

_GRE = 47
_TRANSPARENT_ETHERNET = 0x6558
_GRE_CSUM, _GRE_KEY = 0x8000, 0x2000
_GENEVE_OAM, _GENEVE_CRITICAL = 0x80, 0x40
_VXLAN_VNI_IS_VALID = 0x0800_0000
_DONT_FRAGMENT = 0x4000
_UDP_HEADER = 8


def encapsulate(
    outer: Outer, frame: bytes, src_mac: int = 0, dst_mac: int = 0, src_port: int = 0
) -> bytes:
    """``frame`` as it goes from node to node."""
    payload = _payload(outer, frame, src_port)
    v4 = isinstance(outer.src, IPv4Address)
    ethernet = dst_mac.to_bytes(6, "big") + src_mac.to_bytes(6, "big")
    ethernet += (ETH_TYPE_IP if v4 else ETH_TYPE_IPV6).to_bytes(2, "big")
    return ethernet + (_ipv4 if v4 else _ipv6)(outer, len(payload)) + payload


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of ``data``."""
    words = struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2))
    total: int = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _payload(outer: Outer, frame: bytes, src_port: int) -> bytes:
    match outer.kind:
        case "gre":
            return _gre(outer, frame)
        case "vxlan":
            head = struct.pack("!II", _VXLAN_VNI_IS_VALID, (outer.key or 0) << 8)
        case _:
            head = _geneve(outer)
    return _udp(outer, head + frame, src_port)


def _gre(outer: Outer, frame: bytes) -> bytes:
    flags = (_GRE_CSUM if outer.csum else 0) | (0 if outer.key is None else _GRE_KEY)
    head = struct.pack("!HH", flags, _TRANSPARENT_ETHERNET)
    key = b"" if outer.key is None else struct.pack("!I", outer.key)
    if not outer.csum:
        return head + key + frame
    told = checksum(head + bytes(4) + key + frame)
    return head + struct.pack("!HH", told, 0) + key + frame


def _geneve(outer: Outer) -> bytes:
    options = b"".join(
        struct.pack("!HBB", *(option.kind or (0, 0)), len(option.data) // 4) + option.data
        for option in outer.options
    )
    flags = len(options) // 4 << 8
    flags |= (_GENEVE_OAM if outer.oam else 0) | (
        _GENEVE_CRITICAL if any(option.is_critical for option in outer.options) else 0
    )
    vni = (outer.key or 0) << 8
    return struct.pack("!HHI", flags, _TRANSPARENT_ETHERNET, vni) + options


def _udp(outer: Outer, payload: bytes, src_port: int) -> bytes:
    length = _UDP_HEADER + len(payload)
    head = struct.pack("!HHH", src_port, outer.dst_port, length)
    told = 0
    if outer.csum or not isinstance(outer.src, IPv4Address):
        pseudo = outer.src.packed + outer.dst.packed + struct.pack("!II", length, UDP)
        told = checksum(pseudo + head + bytes(2) + payload) or 0xFFFF
    return head + told.to_bytes(2, "big") + payload


def _protocol(outer: Outer) -> int:
    return _GRE if outer.kind == "gre" else UDP


def _ipv4(outer: Outer, length: int) -> bytes:
    fragment = _DONT_FRAGMENT if outer.dont_fragment else 0
    total = 20 + length
    head = struct.pack("!BBHHHBB", 0x45, outer.tos, total, 0, fragment, outer.ttl, _protocol(outer))
    addresses = outer.src.packed + outer.dst.packed
    told = checksum(head + bytes(2) + addresses)
    return head + told.to_bytes(2, "big") + addresses


def _ipv6(outer: Outer, length: int) -> bytes:
    head = struct.pack("!IHBB", 6 << 28 | outer.tos << 20, length, _protocol(outer), outer.ttl)
    return head + outer.src.packed + outer.dst.packed
