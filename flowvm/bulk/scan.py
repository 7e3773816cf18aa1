"""Cutting text into lines, and lines into literals and the rest.

A literal is a run of letters, digits, ``_`` and ``.`` that begins with a digit, an address with
colons in it, or a quoted name. What is left of a line when each literal is replaced by a mark of
its kind is the line's *shape*. Literals that say what other literals mean stay part of the shape:
bounds of subfields, masks, table numbers.

Where a literal begins and ends is worked out from the characters around it alone. That need not be
right: it decides which lines are taken together, not what they mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flowvm.bulk.literals import Bytes, Decoder, Kind, Positions, Words
from flowvm.pipeline.ragged import ranges

LONGEST = 255
"""Lines with longer literals are irregular."""

IRREGULAR = -1
"""The shape of a line that has to be read by itself."""

_OTHER, _DIGIT, _HEX, _NAME = range(4)
_INSIDE = 0x0E  # stands for what is left out of a shape; not a kind's mark
_LEAST = 0x09  # no control character below it may stand in a line


def _classes() -> bytes:
    table = bytearray(256)
    for character in range(128):
        letter = chr(character)
        if letter.isdigit():
            table[character] = _DIGIT
        elif letter in "abcdefABCDEF":
            table[character] = _HEX
        elif letter.isalpha() or letter in "_.":
            table[character] = _NAME
    return bytes(table)


_CLASSES = _classes()


def whole_lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The same text in pieces that end with a newline each, one added at the very end."""
    kept: list[bytes] = []
    for block in blocks:
        cut = block.rfind(b"\n") + 1
        if not cut:
            kept.append(block)
            continue
        yield b"".join([*kept, block[:cut]])
        kept = [block[cut:]]
    last = b"".join(kept)
    if last:
        yield last + b"\n"


class Shapes(dict[bytes, int]):
    """The shapes seen so far and their numbers; a new one gets the next number."""

    def __missing__(self, key: bytes) -> int:
        self[key] = number = len(self)
        return number


@dataclass(frozen=True, eq=False)
class Block:
    """Some lines of a text. Positions count from the beginning of ``data``.

    ``line_starts``, ``shapes`` and ``first_literal`` have one entry a line: its literals are those
    from ``first_literal`` on, as many as there are marks in its shape. ``starts``, ``lengths``,
    ``kinds`` and ``values`` have one entry a literal; ``wide`` are the numbers of those of 128
    bits, and ``wide_high`` their upper halves.
    """

    data: bytes
    line_starts: NDArray[np.uint32]
    shapes: NDArray[np.int32]
    first_literal: Positions
    starts: NDArray[np.uint32]
    lengths: NDArray[np.uint8]
    kinds: NDArray[np.uint8]
    values: Words
    wide: Positions
    wide_high: Words


class Scanner:
    """Scans one text, given in blocks of whole lines; numbers the shapes across all of them."""

    def __init__(self) -> None:
        self.shapes = Shapes()

    def scan(self, data: bytes) -> Block:
        """The lines of ``data``, which ends with a newline."""
        cutter = _Cutter(data)
        starts, ends = cutter.literals()
        lengths = ends - starts
        literals = Decoder(data).decode(starts, ends)
        newlines, irregular = cutter.newlines, cutter.irregular
        irregular.update(np.searchsorted(newlines, starts[lengths > LONGEST]).tolist())
        keys = _blanked(cutter.bytes, starts, ends, literals.kinds).split(b"\n")
        shapes = np.fromiter(map(self.shapes.__getitem__, keys[:-1]), np.int32, count=len(newlines))
        shapes[list(irregular)] = IRREGULAR
        line_starts = np.concatenate([[0], newlines[:-1] + 1])
        return Block(
            data,
            line_starts.astype(np.uint32),
            shapes,
            np.searchsorted(starts, line_starts),
            starts.astype(np.uint32),
            np.minimum(lengths, LONGEST).astype(np.uint8),
            literals.kinds,
            literals.values,
            np.flatnonzero(literals.kinds == Kind.IPV6),
            literals.high,
        )


def _blanked(text: Bytes, starts: Positions, ends: Positions, kinds: Bytes) -> bytes:
    """The text with each literal replaced by the mark of its kind."""
    blanked = text.copy()
    blanked[starts] = kinds
    blanked[ranges(starts + 1, ends - starts - 1)] = _INSIDE
    return blanked.tobytes().translate(None, bytes([_INSIDE]))


class _Cutter:
    """Finds the literals of one block, and the lines in which they cannot be told."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.bytes: Bytes = np.frombuffer(data, np.uint8)
        self.newlines: Positions = np.flatnonzero(self.bytes == ord("\n"))
        self.irregular: set[int] = set()
        self._classes: Bytes = np.frombuffer(data.translate(_CLASSES), np.uint8).copy()
        self._inside: NDArray[np.bool_] = self._classes != _OTHER

    def literals(self) -> tuple[Positions, Positions]:
        """Where literals begin, and where they end."""
        self._find_strange_characters()
        self._join_at_colons()
        self._join_quoted()
        inside = self._inside
        edges = np.flatnonzero(inside[1:] != inside[:-1]) + 1
        if inside[0]:
            edges = np.concatenate([[0], edges])
        starts, ends = edges[0::2], edges[1::2]
        chosen = self._classes[starts] == _DIGIT
        starts, ends = starts[chosen], ends[chosen]
        blank = ~self._belongs_to_shape(starts)
        return starts[blank], ends[blank]

    def _belongs_to_shape(self, starts: Positions) -> NDArray[np.bool_]:
        """Whether the literals that begin there say what others mean."""
        before, second, third = (self.bytes[starts - back] for back in (1, 2, 3))
        fixed = (before == ord("[")) | (before == ord("/"))
        # resubmit(,TABLE)
        fixed |= (before == ord(",")) & (second == ord("("))
        # table=, goto_table:
        of_table = (second == ord("e")) & (third == ord("l"))
        fixed |= of_table & ((before == ord("=")) | (before == ord(":")))
        return np.asarray(fixed)

    def _join_at_colons(self) -> None:
        """Let the colons within addresses count as parts of them.

        Such a colon follows another, or a group of at most four hexadecimal digits.
        """
        colons = np.flatnonzero(self.bytes == ord(":"))
        colons = colons[colons > 4]
        before = self.bytes[colons - 1]
        opens = np.isin(before, np.frombuffer(b':=/>-([,"', np.uint8)) & (before != ord('"'))
        group = np.ones(len(colons), bool)
        length = np.zeros(len(colons), np.int64)
        joins = opens
        for n in range(1, 5):
            character = self._classes[colons - n]
            group &= (character == _DIGIT) | (character == _HEX)
            whole = group & (self._classes[colons - n - 1] == _OTHER)
            length[whole] = n
            joins |= whole
        joining = colons[joins]
        self._inside[joining] = True
        # An address is a literal even if it begins with a letter or a colon.
        self._classes[joining - length[joins]] = _DIGIT

    def _join_quoted(self) -> None:
        """Let quoted names, quotes included, be literals."""
        if b'"' not in self.data:
            return
        quotes = np.flatnonzero(self.bytes == ord('"'))
        lines = np.searchsorted(self.newlines, quotes)
        odd = np.bincount(lines, minlength=len(self.newlines)) % 2 == 1
        self.irregular.update(np.flatnonzero(odd).tolist())
        quotes = quotes[~odd[lines]]
        opening, closing = quotes[0::2], quotes[1::2]
        self._inside[ranges(opening, closing - opening + 1)] = True
        self._classes[opening] = _DIGIT
        # Of two that touch nobody knows what they mean.
        touching = np.flatnonzero(opening[1:] == closing[:-1] + 1)
        self._set_aside(opening[touching])

    def _find_strange_characters(self) -> None:
        if b"\\" in self.data:
            self._set_aside(np.flatnonzero(self.bytes == ord("\\")))
        strange = self.bytes < _LEAST
        if strange.any() or b"\x0e" in self.data:
            self._set_aside(np.flatnonzero(strange | (self.bytes == _INSIDE)))
        if not self.data.isascii():
            self._set_aside(np.flatnonzero(self.bytes >= 0x80))

    def _set_aside(self, positions: Positions) -> None:
        self.irregular.update(np.searchsorted(self.newlines, positions).tolist())
