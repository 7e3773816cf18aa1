"""Loops over packets, keys and bytes, written for numba's subset of Python.

They hash, probe, copy and count; what a packet does is decided elsewhere. Whoever calls one has
numpy code that does the same, for where numba is not installed or not worth its start; tests hold
the two equal. Arrays are of the types that :data:`SIGNATURES` says, and long enough: nothing is
checked here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flowvm.kernels.hashing import FOLD, MULTIPLIER, NUMBER_BITS

Numbers = NDArray[np.int64]
Words = NDArray[np.uint64]

# Indices are unsigned where they can be: a negative one would count from the end, and that takes
# its time to find out.
_ONE = np.uint64(1)
_NONE = np.uint64(0)
_SLOT_SHIFT = np.uint64(NUMBER_BITS)
_TAG_SHIFT = np.uint64(NUMBER_BITS + 1)
_NUMBER = np.uint64((1 << NUMBER_BITS) - 1)
_AT_ONCE = 128


def find(
    slots: Numbers, keys: Words, columns: Words, rows: Numbers, masks: Words, found: Numbers
) -> None:
    """Number each key: ``found[i]`` for the words ``columns[rows, i] & masks``, -1 if not there.

    ``slots`` and ``keys`` (words, room) are those of a ``KeyIndex``.
    """
    n, n_words = len(found), len(rows)
    last = np.uint64(len(slots) - 1)
    room = np.empty((3, _AT_ONCE), np.uint64)
    for begin in range(0, n, _AT_ONCE):
        end = min(begin + _AT_ONCE, n)
        some = end - begin
        numbers = found[begin:end]
        hashes, guesses, differ = room[0, :some], room[1, :some], room[2, :some]
        hashes[:] = n_words
        for word in range(n_words):
            row, mask = columns[rows[word], begin:end], masks[word]
            for i in range(some):
                hashed = (hashes[i] ^ (row[i] & mask)) * MULTIPLIER
                hashes[i] = hashed ^ (hashed >> FOLD)
        # Almost every key is the first that its hash leads to, or not there. So that memory does
        # not keep one packet after the other waiting, this is found out for all at once.
        for i in range(some):
            slot = slots[hashes[i] & last]
            empty = slot < 0
            numbers[i] = -1 if empty else 0
            guesses[i] = _NONE if empty else np.uint64(slot) & _NUMBER
            differ[i] = (np.uint64(slot) >> _SLOT_SHIFT) ^ (hashes[i] >> _TAG_SHIFT)
        for word in range(n_words):
            row, mask, known = columns[rows[word], begin:end], masks[word], keys[word]
            for i in range(some):
                differ[i] |= known[guesses[i]] ^ (row[i] & mask)
        for i in range(some):
            if numbers[i] < 0:
                continue
            if differ[i] == _NONE:
                numbers[i] = np.int64(guesses[i])
                continue
            numbers[i] = -1
            tag = hashes[i] >> _TAG_SHIFT
            at = ((hashes[i] & last) + _ONE) & last
            while slots[at] >= 0:
                content = np.uint64(slots[at])
                if content >> _SLOT_SHIFT == tag:
                    number = content & _NUMBER
                    equal = True
                    for word in range(n_words):
                        mine = columns[rows[word], begin + i] & masks[word]
                        equal &= keys[word, number] == mine
                    if equal:
                        numbers[i] = np.int64(number)
                        break
                at = (at + _ONE) & last


def place(slots: Numbers, tagged: Numbers, hashes: Words) -> None:
    """Put each of ``tagged`` in the first free one of ``slots`` from where its hash points to."""
    last = np.uint64(len(slots) - 1)
    for i in range(len(tagged)):
        at = hashes[i] & last
        while slots[at] >= 0:
            at = (at + _ONE) & last
        slots[at] = tagged[i]


def copy(
    source: Words, source_at: Numbers, target: Words, target_at: Numbers, lengths: Numbers
) -> None:
    """Copy ``lengths[i]`` bytes, 8 at a time: up to 7 more after each are overwritten too.

    ``source`` and ``target`` are words that begin at every byte of a buffer.
    """
    for i in range(len(lengths)):
        begin, end = source_at[i], target_at[i]
        for at in range(0, lengths[i], 8):
            target[end + at] = source[begin + at]


def tally(
    path_of: Numbers,
    lengths: Numbers,
    members: Numbers,
    n_bytes: Numbers,
    first: Numbers,
    last: Numbers,
) -> None:
    """Count the packets and bytes of each path, and note its first and last packet."""
    for i in range(len(path_of)):
        path = path_of[i]
        if members[path] == 0:
            first[path] = i
        members[path] += 1
        n_bytes[path] += lengths[i]
        last[path] = i


def credit(
    starts: Numbers,
    rules: Numbers,
    grown: Numbers,
    members: Numbers,
    n_bytes: Numbers,
    last: Numbers,
    times: Numbers,
    rule_packets: Numbers,
    rule_bytes: Numbers,
    rule_used: Numbers,
) -> None:
    """Add what each path has counted to the rules that it hits: those from ``starts[path]`` on."""
    for path in range(len(members)):
        count = members[path]
        if count == 0:
            continue
        when = times[last[path]]
        for entry in range(starts[path], starts[path + 1]):
            rule = rules[entry]
            rule_packets[rule] += count
            rule_bytes[rule] += n_bytes[path] + count * grown[entry]
            if rule_used[rule] < when:
                rule_used[rule] = when
