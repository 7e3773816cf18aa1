"""Reading and writing runs of bits in a batch's columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flowvm.columns import Column
from flowvm.fields import Bits

Columns = Sequence[NDArray[np.uint64]]
"""The columns of a batch, by number: one array a column, one entry a packet."""

ONES = (1 << 64) - 1


def mask_of(width: int) -> int:
    """The low ``width`` bits set."""
    return (1 << width) - 1


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of bits within one column that is also within one word of the value."""

    column: Column
    shift: int
    width: int
    word: int
    """Which 64-bit word of the value, least significant first."""
    offset: int
    """Where in that word the piece begins."""


def pieces(bits: Bits, start: int, width: int) -> Iterator[Piece]:
    """The pieces of bits ``start`` to ``start + width`` of a value stored at ``bits``.

    Bits beyond the storage (``arp_op[8..15]``) and unused ones (``nw_tos[0..1]``) have no piece:
    they read as 0 and are not written.
    """
    stored = min(start + width, bits.width)
    last_column = bits.column + bits.n_columns - 1
    position = max(start, bits.unused)
    while position < stored:
        place = bits.shift + position
        value_bit = position - start
        n = min(64 - place % 64, 64 - value_bit % 64, stored - position)
        yield Piece(
            Column(last_column - place // 64), place % 64, n, value_bit // 64, value_bit % 64
        )
        position += n


def words_needed(width: int) -> int:
    """How many 64-bit words a value of ``width`` bits takes."""
    return (width + 63) // 64


def split(value: int, width: int) -> tuple[int, ...]:
    """``value`` as 64-bit words, least significant first."""
    return tuple((value >> 64 * i) & ONES for i in range(words_needed(width)))


def read(
    columns: Columns, packets: NDArray[np.int64], layout: Sequence[Piece], n_words: int
) -> list[NDArray[np.uint64]]:
    """The value that ``layout`` describes, for each packet: words, least significant first."""
    words = [np.zeros(len(packets), np.uint64) for _ in range(n_words)]
    for piece in layout:
        part = columns[piece.column][packets] >> np.uint64(piece.shift)
        part &= np.uint64(mask_of(piece.width))
        words[piece.word] |= part << np.uint64(piece.offset)
    return words


def write(
    columns: Columns,
    packets: NDArray[np.int64],
    layout: Sequence[Piece],
    words: Sequence[NDArray[np.uint64]] | NDArray[np.uint64],
) -> None:
    """Store a value (words as :func:`read` gives them) into the bits that ``layout`` describes."""
    for piece in layout:
        mask = mask_of(piece.width) << piece.shift
        part = (words[piece.word] >> np.uint64(piece.offset)) << np.uint64(piece.shift)
        column = columns[piece.column]
        column[packets] = (column[packets] & np.uint64(~mask & ONES)) | (part & np.uint64(mask))


def write_masked(
    columns: Columns,
    packets: NDArray[np.int64],
    layout: Sequence[Piece],
    words: Sequence[NDArray[np.uint64]] | NDArray[np.uint64],
    masks: Sequence[NDArray[np.uint64]] | NDArray[np.uint64],
) -> None:
    """As :func:`write`, but only the bits that each packet's ``masks`` select."""
    for piece in layout:
        room = np.uint64(mask_of(piece.width) << piece.shift)
        shift, offset = np.uint64(piece.shift), np.uint64(piece.offset)
        value = (words[piece.word] >> offset) << shift
        mask = ((masks[piece.word] >> offset) << shift) & room
        column = columns[piece.column]
        column[packets] = (column[packets] & ~mask) | (value & mask)
