"""Internet checksums (RFC 1071), their incremental update (RFC 1624), and SCTP's CRC32c.

Values are ``uint64`` arrays that hold 16-bit words in network order as numbers. An update follows
RFC 1624 word by word, as Open vSwitch does, so that a wrong checksum stays exactly as wrong.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from flowvm.arrays import any_of, nonzero
from flowvm.packet.words import U64, Index, Words, ranges

_CRC32C_POLYNOMIAL = 0x82F63B78


def finish(total: U64) -> U64:
    """The checksum of a sum of 16-bit words: end-around carries folded in, then complemented."""
    while any_of(total >> 16):
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def update16(checksum: U64, old: U64, new: U64) -> U64:
    """The checksum after a 16-bit word it covers changed from ``old`` to ``new``."""
    return finish((checksum ^ 0xFFFF) + (old ^ 0xFFFF) + new)


def update(checksum: U64, old: U64, new: U64, bits: int) -> U64:
    """The checksum after a ``bits`` wide value, at most 64, changed; its first word goes first."""
    for shift in range(bits - 16, -1, -16):
        checksum = update16(checksum, old >> shift & 0xFFFF, new >> shift & 0xFFFF)
    return checksum


def sum_bytes(words: Words, at: Index, size: Index) -> U64:
    """The sum of the 16-bit words of each run of ``size`` bytes, a last odd byte padded with 0."""
    total = np.zeros(at.size, np.uint64)
    pairs = size // 2
    filled = nonzero(pairs)
    if filled.size:
        counts = pairs[filled]
        values = words.u16(ranges(at[filled], counts, step=2))
        total[filled] = np.add.reduceat(values, np.cumsum(counts) - counts)
    odd = nonzero(size % 2)
    if odd.size:
        total[odd] += words.u8(at[odd] + size[odd] - 1) << 8
    return total


def sum_value(value: U64) -> U64:
    """The sum of the four 16-bit words of each 64-bit value."""
    total: U64 = (value >> 48) + (value >> 32 & 0xFFFF) + (value >> 16 & 0xFFFF) + (value & 0xFFFF)
    return total


def crc32c_change(difference: U64, after: Index) -> U64:
    """What is XORed to a CRC32c when 4 bytes it covers change.

    ``difference`` is old XOR new, as a big-endian number; ``after`` counts the bytes that follow
    them. The result is a big-endian number too, of the checksum's four bytes as SCTP stores them.
    """
    # A CRC is linear: the change of the result is the CRC, begun with zero, of the change of the
    # input, whose further bytes are zero. Those are skipped by powers of two.
    state = np.zeros_like(difference)
    step = _skip(0)
    for shift in (24, 16, 8, 0):
        state = _apply(step, state ^ (difference >> shift & 0xFF))
    power = 0
    while any_of(after >> power):
        chosen = nonzero(after >> power & 1)
        state[chosen] = _apply(_skip(power), state[chosen])
        power += 1
    return _swap32(state)


@cache
def _skip(power: int) -> NDArray[np.uint64]:
    """What 2**``power`` zero bytes make of a CRC, as a table per byte of it; shape (4, 256)."""
    if power == 0:
        table = np.arange(256, dtype=np.uint64)
        for _ in range(8):
            table = np.where(table & 1, table >> 1 ^ _CRC32C_POLYNOMIAL, table >> 1)
        values = np.arange(256, dtype=np.uint64)
        return np.stack([table, values, values << 8, values << 16])
    half = _skip(power - 1)
    return np.stack([_apply(half, row) for row in half])


def _apply(tables: NDArray[np.uint64], state: U64) -> U64:
    at = state.astype(np.int64)
    low: U64 = tables[0][at & 0xFF] ^ tables[1][at >> 8 & 0xFF]
    low ^= tables[2][at >> 16 & 0xFF] ^ tables[3][at >> 24 & 0xFF]
    return low


def _swap32(value: U64) -> U64:
    return value.astype(np.uint32).byteswap().astype(np.uint64)
