"""Frames with a network service header (RFC 8300), well formed and not, and what to do to them."""

from __future__ import annotations

import random

MACS = bytes.fromhex("52540000000b52540000000a")
ETHERNET = MACS + bytes.fromhex("894f")
UDP = bytes.fromhex("4500002000004000401126c90a0000010a00000200010002000c0000deadbeef")
INNER = MACS + bytes.fromhex("0800") + UDP
NEXT = {1: UDP, 3: INNER}


def header(
    *,
    md_type: int = 1,
    next_protocol: int = 3,
    spi: int = 0x1234,
    si: int = 255,
    ttl: int = 63,
    flags: int = 0,
    context: bytes = bytes(range(16)),
    words: int | None = None,
    version: int = 0,
) -> bytes:
    """A network service header; ``words`` is its length as it says, in words of four bytes."""
    size = (8 + len(context)) // 4 if words is None else words
    first = version << 30 | flags << 28 | ttl << 22 | size << 16 | md_type << 8 | next_protocol
    return first.to_bytes(4, "big") + (spi << 8 | si).to_bytes(4, "big") + context


FRAMES = {
    "type 1": ETHERNET + header() + INNER,
    "ip inside": ETHERNET + header(next_protocol=1, spi=7, ttl=2) + UDP,
    "nsh inside": ETHERNET + header(next_protocol=4, spi=9) + header(spi=8, ttl=1) + INNER,
    "unknown inside": ETHERNET + header(next_protocol=9, ttl=1) + b"rest",
    "no ttl": ETHERNET + header(ttl=0) + INNER,
    "type 2": ETHERNET + header(md_type=2, context=bytes.fromhex("0102030411223344")) + INNER,
    "type 2, no context": ETHERNET + header(md_type=2, context=b"", flags=1) + INNER,
    "another type": ETHERNET + header(md_type=5, context=b"abcd", flags=3) + INNER,
    "tagged": MACS + bytes.fromhex("81006005894f") + header(spi=7) + INNER,
    "not nsh": INNER,
}
MALFORMED = {
    "cut": ETHERNET + header()[:7],
    "no context": ETHERNET + header()[:20],
    "longer than it is": ETHERNET + header(words=63) + INNER,
    "type 1 of another length": ETHERNET + header(words=5) + INNER,
    "no length": ETHERNET + header(words=0) + INNER,
    "another version": ETHERNET + header(version=1) + INNER,
}


def random_frame(rng: random.Random) -> bytes:
    """A frame with a network service header around something, at times nested or tagged."""
    inner = rng.choice((1, 3, 3, 4))
    frame = header(spi=rng.choice((7, 8)), ttl=rng.choice((1, 2, 63))) + INNER
    if inner != 4:
        frame = NEXT[inner]
    context = rng.choice((b"", bytes(4), bytes.fromhex("010203041122334455667788")))
    md_type = rng.choice((1, 1, 2))
    outer = header(
        md_type=md_type,
        next_protocol=inner,
        spi=rng.choice((7, 9, 0x1234)),
        si=rng.choice((0, 1, 255)),
        ttl=rng.choice((0, 1, 2, 63)),
        flags=rng.randrange(4),
        context=rng.randbytes(16) if md_type == 1 else context,
    )
    tag = rng.choice(("", "", "81000005"))
    return MACS + bytes.fromhex(tag) + bytes.fromhex("894f") + outer + frame
