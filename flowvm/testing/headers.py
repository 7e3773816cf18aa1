"""Frames from the values of their fields: Ethernet up to the transport header, checksums right.

A :class:`Headers` says what is on the wire, field by field under the registry's names, and how it
is odd (fragments, options, wrong checksums); :func:`build` makes the bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from flowvm.fields import (
    ETH_TYPE_ARP,
    ETH_TYPE_IP,
    ETH_TYPE_IPV6,
    ETH_TYPE_MPLS,
    ETH_TYPE_MPLS_MCAST,
    ETH_TYPE_NSH,
    ETH_TYPE_RARP,
)
from flowvm.protocols import ICMP, SCTP, TCP, UDP

ND_SOLICIT, ND_ADVERT = 135, 136
FRAGMENT_HEADER = 44
MORE_FRAGMENTS = 0x2000


@dataclass(frozen=True)
class Headers:
    """What a frame holds. ``values`` that are missing are 0.

    ``tags`` are (TPID, TCI) pairs, outermost first. ``fragment`` is IPv4's flags and offset, 0 for
    no fragment; an IPv6 frame gets a fragment header for any other. ``options`` are whole words
    of IP options (IPv4), or of a destination options header (IPv6). ``checksum`` is added to the
    transport checksum to make it wrong; ``no_checksum`` leaves UDP's out.
    """

    values: Mapping[str, int] = field(default_factory=dict)
    tags: tuple[tuple[int, int], ...] = ()
    payload: bytes = b""
    fragment: int = 0
    options: int = 0
    checksum: int = 0
    no_checksum: bool = False

    def __getitem__(self, name: str) -> int:
        return self.values.get(name, 0)


def build(headers: Headers) -> bytes:
    """The frame that ``headers`` describe."""
    kind = headers["eth_type"]
    if kind in (ETH_TYPE_IP, ETH_TYPE_IPV6):
        body = _ip(headers)
    elif kind in (ETH_TYPE_ARP, ETH_TYPE_RARP):
        body = _arp(headers)
    elif kind in (ETH_TYPE_MPLS, ETH_TYPE_MPLS_MCAST):
        body = _mpls(headers)
    elif kind == ETH_TYPE_NSH:
        body = _nsh(headers)
    else:
        body = headers.payload
    for tpid, tci in reversed(headers.tags):
        body = struct.pack("!HH", tci, kind) + body
        kind = tpid
    addresses = _mac(headers["eth_dst"]) + _mac(headers["eth_src"])
    return addresses + struct.pack("!H", kind) + body


_TAGS = (b"\x81\x00", b"\x88\xa8")
_IPV4, _IPV6 = (kind.to_bytes(2, "big") for kind in (ETH_TYPE_IP, ETH_TYPE_IPV6))
_PORTED = (TCP, UDP, SCTP)


def answered(frame: bytes) -> bytes:
    """``frame`` as it might come back: addresses and ports swapped. Checksums stay right."""
    found = bytearray(frame[6:12] + frame[:6] + frame[12:])
    at = 14
    while found[at - 2 : at] in _TAGS:
        at += 4
    kind = found[at - 2 : at]
    if kind == _IPV4 and len(found) >= at + 20:
        protocol, behind = found[at + 9], at + 4 * (found[at] & 0xF)
        _swap(found, at + 12, 4)
    elif kind == _IPV6 and len(found) >= at + 40:
        protocol, behind = found[at + 6], at + 40
        _swap(found, at + 8, 16)
    else:
        return bytes(found)
    if protocol in _PORTED and len(found) >= behind + 4:
        _swap(found, behind, 2)
    return bytes(found)


def _swap(frame: bytearray, at: int, size: int) -> None:
    middle, end = at + size, at + 2 * size
    frame[at:end] = frame[middle:end] + frame[at:middle]


def ones_sum(data: bytes) -> int:
    """The Internet checksum of ``data`` (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def _mac(value: int) -> bytes:
    return value.to_bytes(6, "big")


def _ip(headers: Headers) -> bytes:
    version4 = headers["eth_type"] == ETH_TYPE_IP
    if version4:
        addresses = struct.pack("!II", headers["ip_src"], headers["ip_dst"])
    else:
        names = ("ipv6_src", "ipv6_dst")
        addresses = b"".join(headers[name].to_bytes(16, "big") for name in names)
    later = headers.fragment & 0x1FFF
    payload = headers.payload if later else _transport(headers, addresses)
    return (_ipv4 if version4 else _ipv6)(headers, addresses, payload)


def _tos(headers: Headers) -> int:
    dscp = headers["nw_tos"] & 0xFC or headers["ip_dscp"] << 2
    return dscp & 0xFC | headers["nw_ecn"] & 3


def _ipv4(headers: Headers, addresses: bytes, payload: bytes) -> bytes:
    options = b"\1" * (4 * headers.options)
    first = 0x45 + headers.options
    length = 20 + len(options) + len(payload)
    start = struct.pack("!BBHHH", first, _tos(headers), length, 1, headers.fragment)
    start += struct.pack("!BB", headers["nw_ttl"], headers["nw_proto"])
    sum_ = ones_sum(start + b"\0\0" + addresses + options)
    return start + struct.pack("!H", sum_) + addresses + options + payload


def _ipv6(headers: Headers, addresses: bytes, payload: bytes) -> bytes:
    following = headers["nw_proto"]
    if headers.fragment:
        where = (headers.fragment & 0x1FFF) << 3 | bool(headers.fragment & MORE_FRAGMENTS)
        payload = struct.pack("!BBHI", following, 0, where, 1) + payload
        following = FRAGMENT_HEADER
    if headers.options:
        body = b"\1\4\0\0\0\0" + bytes(8 * (headers.options - 1))
        payload = struct.pack("!BB", following, headers.options - 1) + body + payload
        following = 60
    first = 6 << 28 | _tos(headers) << 20 | headers["ipv6_label"] & 0xFFFFF
    start = struct.pack("!IHBB", first, len(payload), following, headers["nw_ttl"])
    return start + addresses + payload


def _transport(headers: Headers, addresses: bytes) -> bytes:
    proto, payload = headers["nw_proto"], headers.payload
    version4 = headers["eth_type"] == ETH_TYPE_IP
    match proto:
        case 6:
            ports = struct.pack("!HH", headers["tcp_src"], headers["tcp_dst"])
            words = 5 + headers.options % 3
            flags = words << 12 | headers["tcp_flags"] & 0xFFF
            middle = struct.pack("!IIHH", 1, 2, flags, 64)
            rest = b"\0\0" + bytes(4 * (words - 5)) + payload
            before, after = ports + middle, rest
        case 17:
            ports = struct.pack("!HH", headers["udp_src"], headers["udp_dst"])
            before, after = ports + struct.pack("!H", 8 + len(payload)), payload
            if headers.no_checksum:
                return before + b"\0\0" + after
        case 132:
            ports = struct.pack("!HH", headers["sctp_src"], headers["sctp_dst"])
            # Its checksum is a CRC32c; what rewrites it must go by the one that is there.
            return ports + struct.pack("!II", 1, 0x1234_5678 ^ headers.checksum) + payload
        case 1 if version4:
            before = bytes((headers["icmp_type"] & 0xFF, headers["icmp_code"] & 0xFF))
            after = b"\0\1\0\1" + payload
        case 58 if not version4:
            before = bytes((headers["icmpv6_type"] & 0xFF, headers["icmpv6_code"] & 0xFF))
            after = _icmpv6(headers)
        case _:
            return payload
    whole = before + b"\0\0" + after
    pseudo = b"" if proto == ICMP else addresses + struct.pack("!II", proto, len(whole))
    value = ones_sum(pseudo + whole)
    value = (value or 0xFFFF) if proto == UDP else value
    return before + struct.pack("!H", value + headers.checksum & 0xFFFF) + after


def _icmpv6(headers: Headers) -> bytes:
    kind = headers["icmpv6_type"]
    if kind not in (ND_SOLICIT, ND_ADVERT):
        return b"\0\1\0\1" + headers.payload
    body = struct.pack("!I", headers["nd_reserved"]) + headers["nd_target"].to_bytes(16, "big")
    name, option = ("nd_sll", 1) if kind == ND_SOLICIT else ("nd_tll", 2)
    if headers[name]:
        body += bytes((option, 1)) + _mac(headers[name])
    return body


def _arp(headers: Headers) -> bytes:
    return (
        struct.pack("!HHBBH", 1, ETH_TYPE_IP, 6, 4, headers["arp_op"])
        + _mac(headers["arp_sha"])
        + struct.pack("!I", headers["arp_spa"])
        + _mac(headers["arp_tha"])
        + struct.pack("!I", headers["arp_tpa"])
        + headers.payload
    )


def _mpls(headers: Headers) -> bytes:
    entry = headers["mpls_label"] << 12 | headers["mpls_tc"] << 9
    entry |= headers["mpls_bos"] << 8 | headers["mpls_ttl"]
    inner = b"" if headers["mpls_bos"] else struct.pack("!I", 0x0001_0140)
    return struct.pack("!I", entry) + inner + headers.payload


def _nsh(headers: Headers) -> bytes:
    """A network service header of type 1 (RFC 8300), and what is said to be in it."""
    first = (headers["nsh_flags"] & 3) << 28 | (headers["nsh_ttl"] & 0x3F) << 22 | 6 << 16 | 1 << 8
    contexts = struct.pack("!IIII", *(headers[f"nsh_c{number}"] for number in (1, 2, 3, 4)))
    path = headers["nsh_spi"] << 8 | headers["nsh_si"]
    return struct.pack("!II", first | headers["nsh_np"], path) + contexts + headers.payload
