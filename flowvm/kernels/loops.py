"""Loops over packets, keys and bytes, written for numba's subset of Python.

They hash, probe, copy and count; what a packet does is decided elsewhere. Whoever calls one has
numpy code that does the same, for where numba is not installed or not worth its start; tests hold
the two equal. Arrays are of the types that :data:`SIGNATURES` says, and long enough: nothing is
checked here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flowvm.kernels.hashing import FOLD, MULTIPLIER, SLOT_BITS

Numbers = NDArray[np.int64]
Words = NDArray[np.uint64]
Words32 = NDArray[np.uint32]
Slots = NDArray[np.int32]

# Indices are unsigned where they can be: a negative one would count from the end, and that takes
# its time to find out.
_ONE = np.uint64(1)
_NONE = np.uint64(0)
_NOT_IN_SLOT = np.uint64(64 - SLOT_BITS)
_AT_ONCE = 128


def find(
    slots: Slots, keys: Words, columns: Words, starts: Numbers, masks: Words, found: Numbers
) -> None:
    """Number each key: ``found[i]`` for the words ``columns[starts + i] & masks``, -1 for none.

    ``slots`` and ``keys`` (room, words) are those of a ``KeyIndex``.
    """
    n, n_words = len(found), len(starts)
    # Numbers are as wide as the places of slots, and what is above them is of the hash.
    last = np.uint64(len(slots) - 1)
    room = np.empty((3, _AT_ONCE), np.uint64)
    for begin in range(0, n, _AT_ONCE):
        end = min(begin + _AT_ONCE, n)
        some = end - begin
        numbers = found[begin:end]
        hashes, guesses, differ = room[0, :some], room[1, :some], room[2, :some]
        hashes[:] = n_words
        for word in range(n_words):
            at, mask = starts[word], masks[word]
            row = columns[at + begin : at + end]
            for i in range(some):
                hashed = (hashes[i] ^ (row[i] & mask)) * MULTIPLIER
                hashes[i] = hashed ^ (hashed >> FOLD)
        # So that memory does not keep one packet after the other waiting, it is asked for all of
        # them at once: first for the slot that each hash leads to, then for the key of each.
        for i in range(some):
            numbers[i] = slots[hashes[i] & last]
        for i in range(some):
            slot = numbers[i]
            tag = hashes[i] >> _NOT_IN_SLOT
            place = hashes[i] & last
            while slot >= 0 and (np.uint64(slot) ^ tag) > last:
                place = (place + _ONE) & last
                slot = np.int64(slots[place])
            numbers[i] = slot
            guesses[i] = _NONE if slot < 0 else np.uint64(slot) & last
            differ[i] = _NONE
        for word in range(n_words):
            at, mask = starts[word], masks[word]
            row = columns[at + begin : at + end]
            for i in range(some):
                differ[i] |= keys[guesses[i], word] ^ (row[i] & mask)
        for i in range(some):
            if numbers[i] < 0:
                continue
            if differ[i] == _NONE:
                numbers[i] = np.int64(guesses[i])
                continue
            # Hardly ever: another key with the same part of the hash.
            numbers[i] = -1
            tag = hashes[i] >> _NOT_IN_SLOT
            place = hashes[i] & last
            while slots[place] >= 0:
                content = np.uint64(slots[place])
                if (content ^ tag) <= last:
                    number = content & last
                    equal = True
                    for word in range(n_words):
                        mine = columns[starts[word] + begin + i] & masks[word]
                        equal &= keys[number, word] == mine
                    if equal:
                        numbers[i] = np.int64(number)
                        break
                place = (place + _ONE) & last


def place(slots: Slots, tagged: Slots, hashes: Words) -> None:
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


def records(
    source: Words,
    offsets: Numbers,
    lengths: Numbers,
    seconds: Numbers,
    fraction: Numbers,
    original: Numbers,
    target: Words,
    target_words: Words32,
) -> None:
    """Write the records of a pcap file, little-endian: a header of 16 bytes, then a frame.

    As :func:`copy` does, it writes over a little of what comes after each record.
    """
    at = 0
    for i in range(len(offsets)):
        begin, length = offsets[i], lengths[i]
        target_words[at] = np.uint32(seconds[i])
        target_words[at + 4] = np.uint32(fraction[i])
        target_words[at + 8] = np.uint32(length)
        target_words[at + 12] = np.uint32(original[i])
        at += 16
        for part in range(0, length, 8):
            target[at + part] = source[begin + part]
        at += length


def retag(
    words: Words, words_32: Words32, starts: Numbers, shift: Numbers, pushed: Numbers, tags: Words
) -> None:
    """Move the addresses of frames by ``shift`` bytes, and put so many of ``tags`` behind them.

    ``tags`` (2, n) are 32-bit numbers.
    """
    for i in range(len(starts)):
        start, moved = starts[i], starts[i] + shift[i]
        first, rest = words[start], words_32[start + 8]
        words[moved], words_32[moved + 8] = first, rest
        for number in range(pushed[i]):
            tag = np.int64(tags[number, i])
            swapped = tag >> 24 | tag >> 8 & 0xFF00 | (tag & 0xFF00) << 8 | (tag & 0xFF) << 24
            words_32[moved + 12 + 4 * number] = np.uint32(swapped)


def step(
    words: Words32, start: int, end: int, form: Numbers, starts: Numbers, reached: Numbers
) -> None:
    """Note where records begin, from ``start`` on; ``reached`` is how many, and where the next is.

    ``words`` begin at every byte; ``form`` is that of a ``pcap.walk.Form``: whether their bytes
    have to be swapped, and its numbers.
    """
    swapped, length_at, overhead, header, least = form
    at, n = start, 0
    while at + header <= end:
        word = np.int64(words[at + length_at])
        if swapped:
            word = word >> 24 | word >> 8 & 0xFF00 | (word & 0xFF00) << 8 | (word & 0xFF) << 24
        size = word + overhead
        if size < least or at + size > end:
            break
        starts[n] = at
        n += 1
        at += size
    reached[0], reached[1] = n, at


def gather(words: Words32, starts: Numbers, swapped: int, found: Numbers) -> None:
    """The words from each start on, every fourth; ``found`` has a row for each."""
    n = len(found)
    for i in range(len(starts)):
        for number in range(n):
            word = np.int64(words[starts[i] + 4 * number])
            if swapped:
                word = word >> 24 | word >> 8 & 0xFF00 | (word & 0xFF00) << 8 | (word & 0xFF) << 24
            found[number, i] = word


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


def matches(
    starts: Numbers, rules: Numbers, tables: NDArray[np.int32], members: Numbers, found: Numbers
) -> None:
    """Add to ``found`` by table how often the packets of each path match: ``starts`` as before."""
    for path in range(len(members)):
        count = members[path]
        if count == 0:
            continue
        for entry in range(starts[path], starts[path + 1]):
            found[tables[rules[entry]]] += count
