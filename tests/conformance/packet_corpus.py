"""Random Ethernet frames, sound and broken, made without any code of flowvm.

Everything comes from the ``random.Random`` that is handed in, so a seed names a corpus.
"""

from __future__ import annotations

import struct
from random import Random

MACS = [bytes.fromhex(h) for h in ("020000000001", "020000000002", "ffffffffffff", "3333000000fb")]
IPS = [bytes((10, 0, 0, 1)), bytes((10, 0, 255, 2)), bytes((224, 0, 0, 5)), bytes(4), b"\xff" * 4]
IP6S = [
    bytes.fromhex("fe80" + "00" * 13 + "01"),
    bytes.fromhex("20010db8" + "00" * 11 + "02"),
    bytes.fromhex("ff02" + "00" * 13 + "05"),
    bytes(16),
    b"\xff" * 16,
]
PORTS = [0, 1, 22, 53, 0x1234, 0xFFFF]


def ones_sum(data: bytes | bytearray) -> int:
    """The Internet checksum of ``data`` (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def frame(rng: Random, *, mutate: bool = True) -> bytes:
    """One frame: any stack of headers; with ``mutate``, perhaps cut short or with bits flipped."""
    return encapsulate(rng, *_network(rng, depth=0), mutate=mutate)


def encapsulate(rng: Random, kind: int, payload: bytes, *, mutate: bool = True) -> bytes:
    """Ethernet, perhaps with tags or SNAP, around a payload of type ``kind``."""
    for _ in range(rng.choice((0, 0, 0, 0, 1, 1, 2, 2, 3))):
        tag = rng.choice((0, 1, 5, 0xFFFF, rng.getrandbits(16)))
        payload = struct.pack("!HH", tag, kind) + payload
        kind = rng.choice((0x8100,) * 8 + (0x88A8,) * 4 + (0x9100,))
    if rng.random() < 0.06:
        organisation = rng.choice((b"\0\0\0", b"\0\0\0", b"\0\0\x01"))
        control = rng.choice((b"\xaa\xaa\x03", b"\xaa\xaa\x03", b"\x42\x42\x03"))
        payload = control + organisation + struct.pack("!H", kind) + payload
        kind = rng.choice((len(payload) & 0x5FF, 0x5FF, 0))
    if rng.random() < 0.3:
        payload += rng.randbytes(rng.choice((1, 2, 6, 20, 46)))
    data = rng.choice(MACS) + rng.choice(MACS) + struct.pack("!H", kind) + payload
    if mutate:
        change = rng.random()
        if change < 0.2:
            data = data[: rng.randrange(1, len(data) + 1)]
        elif change < 0.4:
            data = flip(rng, data)
    return data


def flip(rng: Random, data: bytes) -> bytes:
    """``data`` with a few bits or bytes of its front part changed."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(min(len(changed), 90))
        flipped = changed[at] ^ (1 << rng.randrange(8))
        changed[at] = rng.choice((flipped, 0, 255, rng.randrange(256)))
    return bytes(changed)


def _network(rng: Random, depth: int) -> tuple[int, bytes]:
    choice = rng.random()
    if choice < 0.38:
        return 0x0800, ipv4(rng)
    if choice < 0.74:
        return 0x86DD, ipv6(rng)
    if choice < 0.84:
        return rng.choice((0x0806, 0x0806, 0x8035)), arp(rng)
    if choice < 0.92 and not depth:
        return rng.choice((0x8847, 0x8848)), mpls(rng)
    if choice < 0.95:
        return 0x894F, nsh(rng)
    return rng.choice((0x88CC, 0x0600, 0x05FF, 0x1234, 0x9100)), rng.randbytes(rng.randrange(60))


def ipv4(rng: Random, proto: int | None = None) -> bytes:
    if proto is None:
        proto = rng.choice((6, 6, 6, 17, 17, 17, 132, 1, 1, 2, 58, 0, 47, 255))
    source, destination = rng.choice(IPS), rng.choice(IPS)
    payload = _transport(rng, proto, source + destination)
    options = rng.randbytes(4 * rng.choice((0, 0, 0, 0, 1, 3, 10)))
    frag = rng.choice((0, 0, 0, 0, 0x4000, 0x2000, 0x2001, 0x0003, 0x8000))
    fixed = struct.pack(
        "!BBHHHBBH",
        0x40 | (5 + len(options) // 4),
        rng.choice((0, 0, 0x2E, 0xFF, rng.getrandbits(8))),
        20 + len(options) + len(payload) - rng.choice((0,) * 12 + (1, 9, -3)),
        rng.getrandbits(16),
        frag,
        rng.choice((64, 1, 0, 255)),
        proto,
        0,
    )
    header = bytearray(fixed + source + destination + options)
    header[10:12] = checksum(rng, ones_sum(header))
    return bytes(header) + payload


def ipv6(rng: Random, proto: int | None = None) -> bytes:
    if proto is None:
        proto = rng.choice((6, 6, 6, 17, 17, 17, 132, 1, 2, 58, 58, 58, 59, 50, 255))
    source, destination = rng.choice(IP6S), rng.choice(IP6S)
    payload = _transport(rng, proto, source + destination)
    following = proto
    for _ in range(rng.choice((0, 0, 0, 1, 1, 2, 3))):
        kind = rng.choice((0, 43, 43, 60, 51, 44, 44))
        if kind == 44:
            words = rng.choice((0, 1, 0x0100, 8, 9, 2, 4))
            extension = struct.pack("!BBHI", following, rng.choice((0, 7)), words, 0x1234)
        elif kind == 51:
            count = rng.choice((0, 1, 4))
            extension = struct.pack("!BB", following, count) + rng.randbytes(4 * (count + 2) - 2)
        else:
            count = rng.choice((0, 0, 1, 2))
            body = bytearray(rng.randbytes(8 * (count + 1) - 2))
            body[1] = rng.choice((0, 0, 1, 3))  # a routing header's segments left
            extension = struct.pack("!BB", following, count) + body
        payload = extension + payload
        following = kind
    first = 6 << 28 | rng.choice((0, 0x2E, 0xFF)) << 20 | rng.choice((0, 1, 0xFFFFF, 0x12345))
    length = len(payload) - rng.choice((0,) * 12 + (1, 9, -3))
    hops = rng.choice((64, 1, 0, 255))
    return (
        struct.pack("!IHBB", first, length & 0xFFFF, following, hops)
        + source
        + destination
        + (payload)
    )


def arp(rng: Random) -> bytes:
    start = rng.choice((b"\0\1\x08\0\6\4",) * 6 + (b"\0\2\x08\0\6\4", b"\0\1\x08\0\6\6"))
    op = struct.pack("!H", rng.choice((1, 1, 2, 2, 3, 0, 255, 256, 0x1234)))
    return start + op + b"".join(rng.choice(pool) for pool in (MACS, IPS, MACS, IPS))


def mpls(rng: Random) -> bytes:
    labels = [rng.getrandbits(32) & ~0x100 for _ in range(rng.choice((1, 1, 2, 2, 3, 4, 5)))]
    if rng.random() < 0.85:
        labels[-1] |= 0x100
    return struct.pack(f"!{len(labels)}I", *labels) + _network(rng, depth=1)[1]


def nsh(rng: Random) -> bytes:
    kind, length = rng.choice(((1, 6), (1, 6), (1, 5), (2, 2), (2, 4), (3, 2), (2, 0), (9, 0)))
    first = rng.choice((0, 0, 0, 0x4000)) | rng.getrandbits(14) & 0x3FC0 | length
    return struct.pack("!HBB", first, kind, rng.choice((1, 3))) + rng.randbytes(
        4 + rng.choice((16, 16, 30))
    )


def neighbor(rng: Random) -> bytes:
    options = b""
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        kind = rng.choice((1, 1, 2, 2, 3, 0))
        count = rng.choice((1, 1, 1, 1, 2, 0))
        address = rng.choice((*MACS, bytes(6))) + rng.randbytes(8 * count)
        options += struct.pack("!BB", kind, count) + address[: max(6, 8 * count - 2)]
    return rng.choice((bytes(4), b"\xe0\0\0\0", rng.randbytes(4))) + rng.choice(IP6S) + options


def _transport(rng: Random, proto: int, addresses: bytes) -> bytes:
    """The payload of IP protocol ``proto``, its checksum mostly right."""
    data = rng.randbytes(rng.choice((0, 1, 6, 18, 33)))
    ports = struct.pack("!HH", rng.choice(PORTS), rng.choice(PORTS))
    where = None
    if proto == 6:
        extra = rng.choice((0, 0, 0, 1, 3))
        offset = rng.choice((5 + extra,) * 8 + (4, 15))
        flags = rng.choice((0x02, 0x12, 0x10, 0x18, 0xFFF, 0x000))
        data = (
            ports
            + rng.randbytes(8)
            + struct.pack("!HHHH", offset << 12 | flags, 64, 0, 0)
            + (rng.randbytes(4 * extra) + data)
        )
        where = 16
    elif proto == 17:
        data = ports + struct.pack("!HH", 8 + len(data), 0) + data
        where = 6
    elif proto == 132:
        return ports + rng.randbytes(8) + data
    elif proto in (1, 2, 58):
        kind = rng.choice((0, 8, 3, 128, 135, 135, 136, 136, 0x16, 255))
        code = rng.choice((0, 0, 0, 0, 1, 255))
        body = neighbor(rng) if kind in (135, 136) else rng.randbytes(4) + data
        data = struct.pack("!BBH", kind, code, 0) + body
        where = 2
    if where is not None:
        pseudo = addresses + struct.pack("!II", proto, len(data)) if proto not in (1, 2) else b""
        whole = bytearray(data)
        value = checksum(rng, ones_sum(pseudo + data))
        if proto == 17 and rng.random() < 0.15:
            value = bytes(2)
        whole[where : where + 2] = value
        data = bytes(whole)
    return data


def checksum(rng: Random, right: int) -> bytes:
    """Mostly the right value, else one that tempts the arithmetic."""
    if rng.random() < 0.75:
        return struct.pack("!H", right)
    return struct.pack("!H", rng.choice((0, 0xFFFF, 1, 0xFFFE, rng.getrandbits(16))))


def pcap(frames: list[bytes]) -> bytes:
    """A pcap file (Ethernet, microseconds) of ``frames``."""
    parts = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)]
    for data in frames:
        parts.append(struct.pack("<IIII", 0, 0, len(data), len(data)))
        parts.append(data)
    return b"".join(parts)
