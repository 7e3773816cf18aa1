"""Where learned rules are kept: their keys and what these stand for, and their actions."""

from __future__ import annotations

from copy import copy
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flowvm.pipeline.learning import Target
from flowvm.pipeline.subtable import NO_ENTRY, KeyIndex

if TYPE_CHECKING:
    from flowvm.actions.base import Operands, Operation


class LearnedSubtable:
    """Rules learned into one table with one mask and one priority: one rule a key."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.mask = target.mask
        self.max_priority = target.priority
        self.index = KeyIndex(len(target.mask.columns))
        self._heads: NDArray[np.int64] = np.zeros(16, np.int64)
        self._is_shared = False

    @property
    def heads(self) -> NDArray[np.int64]:
        """The rule of each key."""
        return self._heads[: len(self.index)]

    def copy(self) -> LearnedSubtable:
        """The same rules, to go their own way; what is in memory is shared until then."""
        twin = LearnedSubtable(self.target)
        twin.index = self.index.copy()
        twin._heads = self._heads
        self._is_shared = twin._is_shared = True
        return twin

    def put(self, keys: NDArray[np.uint64], rules: NDArray[np.int64]) -> None:
        """Let ``rules`` be what the distinct ``keys`` stand for from now on."""
        numbers = self.index.find(keys)
        new = numbers == NO_ENTRY
        if self._is_shared:
            self._heads, self._is_shared = self._heads.copy(), False
        self._heads[numbers[~new]] = rules[~new]
        if new.any():
            first = len(self.index)
            self.index.add(keys[:, new])
            if len(self.index) > len(self._heads):
                grown = np.empty(2 * len(self.index), np.int64)
                grown[:first] = self._heads[:first]
                self._heads = grown
            self._heads[first : len(self.index)] = rules[new]

    def renumber(self, numbers: NDArray[np.int64]) -> None:
        """Let each rule be the one that ``numbers`` gives; keys whose rule has -1 go."""
        rules = numbers[self.heads]
        kept = rules >= 0
        keys = self.index.keys[:, kept]
        self.index = KeyIndex(len(self.mask.columns), max(8, keys.shape[1]))
        self.index.add(keys)
        self._heads, self._is_shared = rules[kept], False


class LearnedShape:
    """The actions of learned rules of one template: rows of operands, as in a program's shape."""

    def __init__(self, operations: tuple[Operation, ...], widths: tuple[int, ...]) -> None:
        self.operations = operations
        ends = list(accumulate(widths, initial=0))
        self._parts = [slice(first, last) for first, last in pairwise(ends)]
        self._count = 0
        self._store = np.zeros((sum(widths), 16), np.uint64)
        self._is_shared = False

    def copy(self) -> LearnedShape:
        """The same rows, to go their own way; what is in memory is shared until then."""
        self._is_shared = True
        return copy(self)

    @property
    def n_operands(self) -> int:
        return len(self._store)

    @property
    def rows(self) -> Operands:
        """All operands, shape (operands of all operations, rows)."""
        return self._store[:, : self._count]

    @property
    def operands(self) -> tuple[Operands, ...]:
        """The operands by operation, as in :class:`Shape`."""
        rows = self.rows
        return tuple(rows[part] for part in self._parts)

    def append(self, rows: Operands) -> NDArray[np.int64]:
        first, count = self._count, self._count + rows.shape[1]
        if self._is_shared:
            self._store, self._is_shared = self._store.copy(), False
        if count > self._store.shape[1]:
            grown = np.zeros((len(self._store), 2 * count), np.uint64)
            grown[:, :first] = self.rows
            self._store = grown
        self._count = count
        self._store[:, first:count] = rows
        return np.arange(first, count)

    def keep(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Forget all but ``rows``; returns the numbers that these have then."""
        self._store, self._is_shared = self._store[:, rows], False
        self._count = len(rows)
        return np.arange(len(rows))
