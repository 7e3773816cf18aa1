"""Subtables: the rules of a table that share one mask, found by hashing the masked key.

This is tuple space search (Srinivasan, Suri, Varghese 1999), as Open vSwitch's classifier does it,
but for all packets of a batch at once. A key is the masked words of a few columns; the hash table
is open addressing with linear probing, and a round of probing is one step for all packets that
have not found their answer yet.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from flowvm.columns import Column
from flowvm.fields import PACKET_TYPE_BITS
from flowvm.kernels import Kernels, kernels
from flowvm.kernels.hashing import FOLD, MULTIPLIER, SLOT_BITS
from flowvm.pipeline.prerequisites import CT_PROTOCOL_BITS

_REGISTERS = range(Column.XREG0, Column.XREG7 + 1)
_AT_ONCE = 1 << 15  # keys hashed together: their hashes stay in the processor's cache
_FEW = 4  # up to so many keys, comparing with each beats hashing
NO_ENTRY = -1


@dataclass(frozen=True, slots=True)
class Mask:
    """What a subtable compares: some columns and the bits of each, in column order."""

    columns: tuple[int, ...]
    masks: tuple[int, ...]

    @property
    def array(self) -> NDArray[np.uint64]:
        return np.array(self.masks, np.uint64)[:, None]

    @property
    def of_headers(self) -> bool:
        """Whether anything compared is of a header, or says something of one."""
        known = CT_PROTOCOL_BITS.mask[CT_PROTOCOL_BITS.column]
        bits = dict(zip(self.columns, self.masks, strict=True))
        tracked = bool(bits.get(CT_PROTOCOL_BITS.column, 0) & known)
        return tracked or any(c >= Column.CT_IPV4 and c not in _REGISTERS for c in bits)

    @property
    def implies_ethernet(self) -> bool:
        """Whether only packets with an Ethernet header can match.

        A match on a header does not have to say so (``match_add_ethernet_prereq`` in Open vSwitch
        3.1's lib/match.c), but may say otherwise.
        """
        return self.of_headers and not self._with_type

    @property
    def _with_type(self) -> int:
        bits = dict(zip(self.columns, self.masks, strict=True))
        return bits.get(PACKET_TYPE_BITS.column, 0) & PACKET_TYPE_BITS.mask[PACKET_TYPE_BITS.column]

    @property
    def with_ethernet_implied(self) -> Mask:
        """How a match on Ethernet packets is kept: with headers in it, they imply it."""
        if not (self._with_type and self.of_headers):
            return self
        bits = dict(zip(self.columns, self.masks, strict=True))
        bits[PACKET_TYPE_BITS.column] &= ~self._with_type
        left = {column: mask for column, mask in bits.items() if mask}
        return Mask(tuple(left), tuple(left.values()))


def hash_keys(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A 64-bit hash of each column of ``keys``, shape (words, n)."""
    hashed = np.full(keys.shape[1], keys.shape[0], np.uint64)
    for word in keys:
        hashed ^= word
        hashed *= MULTIPLIER
        hashed ^= hashed >> FOLD
    return hashed


def bring_together(
    keys: NDArray[np.uint64], rank: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """An order of ``keys`` (words, n) in which equal ones are neighbours, those of low rank first.

    Ranks are distinct and not negative. Also says at which places of that order a key differs from
    the one before.
    """
    n_bits = int(rank.max(initial=0)).bit_length()
    # One word to sort by is several times faster than all of them.
    combined = hash_keys(keys) >> np.uint64(n_bits) << np.uint64(n_bits) | rank.astype(np.uint64)
    order = np.argsort(combined)
    begins = _differ_from_previous(keys[:, order])
    hashed = combined[order] >> np.uint64(n_bits)
    if (begins[1:] & (hashed[1:] == hashed[:-1])).any():
        # Different keys have one hash, and may be mixed.
        order = np.lexsort((rank, *keys))
        begins = _differ_from_previous(keys[:, order])
    return order, begins


def _differ_from_previous(keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
    differ = np.ones(keys.shape[1], bool)
    differ[1:] = (keys[:, 1:] != keys[:, :-1]).any(axis=0)
    return differ


class KeyIndex:
    """Keys of ``n_words`` words each, numbered in the order they came, and found by value.

    Grows as keys are added; a key is never removed (what it stands for may go away). A slot of the
    hash table holds a key's number and a part of its hash, which tells most other keys apart.
    """

    def __init__(self, n_words: int, capacity: int = 8) -> None:
        self._n_words = n_words
        self._count = 0
        self._keys = np.zeros((capacity, n_words), np.uint64)
        self._slots = np.full(self._slots_for(capacity), NO_ENTRY, np.int32)
        self._rows = np.arange(n_words)
        self._all_bits = np.full(n_words, (1 << 64) - 1, np.uint64)
        self._is_shared = False

    @staticmethod
    def _slots_for(capacity: int) -> int:
        return max(16, 1 << (2 * capacity - 1).bit_length())

    def __len__(self) -> int:
        return self._count

    @property
    def keys(self) -> NDArray[np.uint64]:
        """The keys so far, shape (words, n)."""
        return self._keys[: self._count].T

    def copy(self) -> KeyIndex:
        """An index of its own that holds the same keys; memory is shared until one gets more."""
        self._is_shared = True
        return copy(self)

    def find(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The number of each of ``keys`` (words, n), or -1."""
        compiled = kernels()
        if compiled is not None and self._n_words and self._count:
            return self._find_compiled(compiled, keys, self._rows, self._all_bits)
        return self._find(keys)

    def find_masked(
        self, columns: NDArray[np.uint64], rows: NDArray[np.int64], masks: NDArray[np.uint64]
    ) -> NDArray[np.int64]:
        """The number of each key that some ``rows`` of ``columns`` hold under ``masks``, or -1."""
        compiled = kernels()
        if compiled is not None and self._n_words and self._count:
            return self._find_compiled(compiled, columns, rows, masks)
        keys = columns[rows]
        keys &= masks[:, None]
        return self._find(keys)

    def _find_compiled(
        self,
        compiled: Kernels,
        columns: NDArray[np.uint64],
        rows: NDArray[np.int64],
        masks: NDArray[np.uint64],
    ) -> NDArray[np.int64]:
        if columns.strides[1] != columns.itemsize:
            columns = np.ascontiguousarray(columns)
        step = columns.strides[0] // columns.itemsize
        found = np.empty(columns.shape[1], np.int64)
        if len(found):
            words = as_strided(columns, ((len(columns) - 1) * step + len(found),), (8,))
            compiled.find(self._slots, self._keys, words, rows * step, masks, found)
        return found

    def _find(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        if self._n_words == 0:
            return np.full(keys.shape[1], 0 if self._count else NO_ENTRY, np.int64)
        if self._count <= _FEW:
            return self._find_among_few(keys)
        found = np.full(keys.shape[1], NO_ENTRY, np.int64)
        last = np.uint64(len(self._slots) - 1)
        hashed = hash_keys(keys)
        position = (hashed & last).astype(np.int64)
        slot = self._slots[position]
        searching = np.flatnonzero(slot != NO_ENTRY)
        slot = slot[searching]
        while len(searching):
            entry = slot & int(last)
            equal = self._keys[entry, 0] == keys[0][searching]
            for word in range(1, self._n_words):
                equal &= self._keys[entry, word] == keys[word][searching]
            found[searching[equal]] = entry[equal]
            searching = searching[~equal]
            position[searching] = (position[searching] + 1) & int(last)
            slot = self._slots[position[searching]]
            going_on = slot != NO_ENTRY
            searching, slot = searching[going_on], slot[going_on]
        return found

    def _find_among_few(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        found = np.full(keys.shape[1], NO_ENTRY, np.int64)
        for number in range(self._count):
            equal = keys[0] == self._keys[number, 0]
            for word in range(1, self._n_words):
                equal &= keys[word] == self._keys[number, word]
            found[equal] = number
        return found

    def add(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Add keys that are distinct and not there yet; returns their numbers."""
        first, n = self._count, keys.shape[1]
        if self._is_shared:
            self._keys, self._slots = self._keys.copy(), self._slots.copy()
            self._is_shared = False
        if first + n > len(self._keys):
            grown = np.zeros((max(2 * len(self._keys), first + n), self._n_words), np.uint64)
            grown[:first] = self._keys[:first]
            self._keys = grown
        self._keys[first : first + n] = keys.T
        self._count += n
        if 2 * self._count > len(self._slots):
            self._slots = np.full(self._slots_for(self._count), NO_ENTRY, np.int32)
            first = 0
        if self._n_words:
            for begin in range(first, self._count, _AT_ONCE):
                self._place(begin, min(begin + _AT_ONCE, self._count))
        return np.arange(self._count - n, self._count)

    def _place(self, first: int, last: int) -> None:
        """Give the keys numbered ``first`` to ``last`` a slot each."""
        hashed = hash_keys(self.keys[:, first:last])
        wrap = len(self._slots) - 1
        tagged = (hashed >> np.uint64(64 - SLOT_BITS)).astype(np.int32)
        tagged &= np.int32(~wrap)
        tagged |= np.arange(first, last, dtype=np.int32)
        compiled = kernels()
        if compiled is not None:
            compiled.place(self._slots, tagged, hashed)
            return
        position = (hashed & np.uint64(wrap)).astype(np.int64)
        while len(tagged):
            free = self._slots[position] == NO_ENTRY
            self._slots[position[free]] = tagged[free]
            # Of several that met in one free slot one remains; the others go on.
            placed = self._slots[position] == tagged
            tagged = tagged[~placed]
            position = (position[~placed] + 1) & wrap
