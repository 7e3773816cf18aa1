"""What rules ask of a packet, for many rules at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flowvm.packet.words import U64
from flowvm.pipeline.program import Program


class Demands:
    """The keys and masks of a program's rules, in the columns of its key."""

    def __init__(self, program: Program) -> None:
        row_of = {column: row for row, column in enumerate(program.key.columns)}
        self._subtables = [found for group in program.tables.values() for found in group]
        self._rows = [[row_of[column] for column in s.mask.columns] for s in self._subtables]
        self.masks = np.zeros((len(row_of), len(self._subtables)), np.uint64)
        """Shape (columns of the key, subtables)."""
        self.subtable = np.full(len(program.rules), -1, np.int64)
        """The subtable of each rule; -1 for one behind another of the same match."""
        self._key = np.zeros(len(program.rules), np.int64)
        for number, (subtable, rows) in enumerate(zip(self._subtables, self._rows, strict=True)):
            self.masks[rows, number] = subtable.mask.masks
            self.subtable[subtable.heads] = number
            self._key[subtable.heads] = np.arange(len(subtable.heads))
        self._table = program.rules.table

    def targets(self, table: int) -> NDArray[np.int64]:
        """The rules of ``table`` that packets can hit."""
        return np.flatnonzero((self._table == table) & (self.subtable >= 0))

    def of(self, rules: NDArray[np.int64]) -> tuple[U64, U64]:
        """The values and masks that ``rules`` compare, both (columns of the key, rules)."""
        subtables = self.subtable[rules]
        masks = self.masks[:, subtables]
        values = np.zeros_like(masks)
        for number in np.unique(subtables).tolist():
            mine = np.flatnonzero(subtables == number)
            keys = self._subtables[number].index.keys[:, self._key[rules[mine]]]
            values[np.ix_(self._rows[number], mine)] = keys
        return values, masks
