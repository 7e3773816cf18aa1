"""The lines of a large text, kept as they came, and the flows they are when looked at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from flowvm.bulk.flows import FlowReader, decode_line
from flowvm.bulk.literals import Words
from flowvm.bulk.scan import Block
from flowvm.flow import Flow
from flowvm.text.parse import parse_flow

_LOOKED_AT = 1024  # so many flows are kept once they are made


class StoredText:
    """The lines of a text, by number from 0. Blocks of whole lines are kept as they are."""

    def __init__(self, blocks: Sequence[bytes], line_starts: Sequence[NDArray[np.uint32]]) -> None:
        """``line_starts`` are the positions in each block at which lines begin."""
        self.blocks = tuple(blocks)
        self.line_starts = tuple(line_starts)
        counts = [len(starts) for starts in line_starts]
        self.first_lines = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    def __len__(self) -> int:
        return int(self.first_lines[-1])

    def block_of(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """The block that each line is in."""
        return np.searchsorted(self.first_lines, numbers, side="right") - 1

    def line_start(self, number: int) -> int:
        """Where the line begins in its block."""
        block = int(self.block_of(np.array(number)))
        return int(self.line_starts[block][number - int(self.first_lines[block])])

    def raw(self, number: int) -> bytes:
        """The line of that number, without what ends it."""
        block = int(self.block_of(np.array(number)))
        starts, data = self.line_starts[block], self.blocks[block]
        line = number - int(self.first_lines[block])
        end = int(starts[line + 1]) if line + 1 < len(starts) else len(data)
        return data[int(starts[line]) : end].rstrip(b"\n")

    def line(self, number: int) -> str:
        """The text of the line; what is not UTF-8 comes out as replacement characters."""
        return decode_line(number, self.raw(number))

    def by_block(self, numbers: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """The blocks that lines are in, and which are in each; numbers are ascending."""
        of = self.block_of(numbers)
        for block in np.unique(of).tolist():
            yield block, numbers[of == block]

    def lines(self, numbers: NDArray[np.int64]) -> Iterator[str]:
        """The texts of lines, whose numbers are ascending."""
        for block, some in self.by_block(numbers):
            data, starts = self.blocks[block], self.line_starts[block]
            ends = np.append(starts[1:], np.uint32(len(data)))
            places = some - self.first_lines[block]
            spans = zip(some.tolist(), starts[places].tolist(), ends[places].tolist(), strict=True)
            for number, start, end in spans:
                yield decode_line(number, data[start:end])


class LazyFlows(Sequence[Flow]):
    """The flows on some lines of a text, parsed when they are looked at."""

    def __init__(self, text: StoredText, numbers: NDArray[np.int64]) -> None:
        """``numbers`` are those of the lines, each of which must be a flow that can be read."""
        self.text = text
        self.numbers = numbers
        self._parsed = lru_cache(_LOOKED_AT)(self._parse)

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> Flow: ...

    @overload
    def __getitem__(self, index: slice) -> LazyFlows: ...

    def __getitem__(self, index: int | slice) -> Flow | LazyFlows:
        if isinstance(index, slice):
            return LazyFlows(self.text, self.numbers[index])
        return self._parsed(int(self.numbers[index]))

    def __iter__(self) -> Iterator[Flow]:
        if len(self) <= _LOOKED_AT or (np.diff(self.numbers) < 0).any():
            yield from map(self._parsed, self.numbers.tolist())
            return
        reader = FlowReader()
        for block, wanted in self.text.by_block(self.numbers):
            flows = reader.read(self.text.blocks[block], wanted - self.text.first_lines[block])
            for number, flow in zip(wanted.tolist(), flows, strict=True):
                yield self._parse(number) if flow is None else flow

    def _parse(self, line: int) -> Flow:
        return parse_flow(self.text.line(line))


@dataclass(frozen=True, eq=False)
class Lines:
    """The lines of a text, and the literals in them, counted through the text.

    ``shapes`` has one entry a line; the literals of line i are those from ``first_literal[i]``.
    ``starts`` (in the block of the line), ``lengths`` and ``values`` have one entry a literal.
    ``wide`` are the numbers of those with 128 bits, and ``wide_high`` the upper halves.
    """

    text: StoredText
    shapes: NDArray[np.int32]
    first_literal: NDArray[np.int64]
    starts: NDArray[np.uint32]
    lengths: NDArray[np.uint8]
    kinds: NDArray[np.uint8]
    values: Words
    wide: NDArray[np.int64]
    wide_high: Words

    @classmethod
    def of(cls, blocks: Sequence[Block]) -> Lines:
        """What the blocks of one scanner hold."""
        counts = [len(block.values) for block in blocks]
        firsts = [0, *np.cumsum(counts, dtype=np.int64).tolist()]
        with_first = list(zip(blocks, firsts, strict=False))
        return cls(
            StoredText([block.data for block in blocks], [block.line_starts for block in blocks]),
            _joined([block.shapes for block in blocks], np.int32),
            _joined([block.first_literal + first for block, first in with_first], np.int64),
            _joined([block.starts for block in blocks], np.uint32),
            _joined([block.lengths for block in blocks], np.uint8),
            _joined([block.kinds for block in blocks], np.uint8),
            _joined([block.values for block in blocks], np.uint64),
            _joined([block.wide + first for block, first in with_first], np.int64),
            _joined([block.wide_high for block in blocks], np.uint64),
        )

    def high(self, literals: NDArray[np.int64]) -> Words:
        """The upper halves of literals of 128 bits."""
        return self.wide_high[np.searchsorted(self.wide, literals)]

    def literal_texts(self, lines: NDArray[np.int64], literals: NDArray[np.int64]) -> list[str]:
        """The texts of literals, one of each of ``lines``, which must be of ASCII."""
        starts = self.starts[literals].tolist()
        ends = (self.starts[literals] + self.lengths[literals]).tolist()
        blocks = map(self.text.blocks.__getitem__, self.text.block_of(lines).tolist())
        return [
            block[start:end].decode()
            for block, start, end in zip(blocks, starts, ends, strict=True)
        ]


def _joined(parts: Sequence[NDArray[Any]], dtype: type[np.generic]) -> NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype), *parts]).astype(dtype, copy=False)
