"""The hashes are the published ones."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from flowvm.pipeline import hashing


def rows(*texts: bytes) -> NDArray[np.uint8]:
    return np.array([list(text) for text in texts], np.uint8)


def test_jenkins_is_lookup3() -> None:
    """The example in the comments of lookup3.c by Bob Jenkins, for two packets at once."""
    text = b"Four score and seven years ago"
    assert hashing.jenkins(rows(text, text), 0).tolist() == [0x17770551, 0x17770551]
    assert hashing.jenkins(rows(text), 1).tolist() == [0xCD628161]


@pytest.mark.parametrize(
    ("text", "seed", "expected"),
    [
        (b"test", 0, 0xBA6BD213),
        (b"test", 0x9747B28C, 0x704B81DC),
        (b"aaaa", 0x9747B28C, 0x5A97808A),
    ],
)
def test_murmur_is_murmurhash3(text: bytes, seed: int, expected: int) -> None:
    """Vectors of MurmurHash3_x86_32; OVS differs where the length is no multiple of 4."""
    assert _murmur3(text, seed) == expected
    assert hashing.murmur(rows(text), seed).tolist() == [expected]


def _murmur3(data: bytes, seed: int) -> int:
    """MurmurHash3_x86_32 as Austin Appleby describes it, for whole words."""
    hashed = seed
    for at in range(0, len(data), 4):
        word = int.from_bytes(data[at : at + 4], "little") * 0xCC9E2D51 & 0xFFFFFFFF
        word = (word << 15 | word >> 17) & 0xFFFFFFFF
        hashed ^= word * 0x1B873593 & 0xFFFFFFFF
        hashed = (hashed << 13 | hashed >> 19) & 0xFFFFFFFF
        hashed = (hashed * 5 + 0xE6546B64) & 0xFFFFFFFF
    hashed ^= len(data)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        hashed = (hashed ^ hashed >> shift) * factor & 0xFFFFFFFF
    return hashed ^ hashed >> 16


def test_two_words_are_hashed_as_their_bytes() -> None:
    """hash_2words is hash_bytes of the second word, from the first on, with zero between."""
    first, second = np.array([0, 1, 5], np.uint32), np.array([2, 3, 0xFFFFFFFF], np.uint32)
    by_bytes = [_two_words(x, y) for x, y in zip(first.tolist(), second.tolist(), strict=True)]
    assert hashing.two_words(first, second).tolist() == by_bytes
    assert hashing.of_64_bits(3 << 32 | 2).tolist() == [
        _murmur3((3 << 32 | 2).to_bytes(8, "little"), 0)
    ]


def _two_words(first: int, second: int) -> int:
    return _murmur3(bytes(4) + second.to_bytes(4, "little"), first)
