"""Lists of different lengths, one an owner, kept as flat columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Column = NDArray[Any]
"""A flat column; entries along the last axis."""


def ranges(starts: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """``starts[i], starts[i] + 1, ...``, ``counts[i]`` of them, for each i in turn."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    shift: NDArray[np.int64] = np.repeat(starts - (ends - counts), counts)
    return np.arange(total) + shift


@dataclass(frozen=True, eq=False)
class Ragged:
    """The entries of owner ``i`` are ``starts[i]`` to ``starts[i + 1]`` of every column."""

    starts: NDArray[np.int64]
    columns: Mapping[str, Column]

    @classmethod
    def of(cls, owners: NDArray[np.int64], n: int, **columns: Column) -> Ragged:
        """Entries in any order of owners; those of one owner stay in the order they have."""
        if n == 1 or not len(owners):
            starts = np.zeros(n + 1, np.int64)
            starts[1:] = len(owners)
            return cls(starts, columns)
        order = np.argsort(owners, kind="stable")
        starts = np.zeros(n + 1, np.int64)
        np.cumsum(np.bincount(owners, minlength=n), out=starts[1:])
        return cls(starts, {name: column[..., order] for name, column in columns.items()})

    def __getitem__(self, name: str) -> Column:
        return self.columns[name]

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many entries each owner has."""
        return np.diff(self.starts)

    def counts_of(self, owner: int) -> int:
        """How many entries that owner has."""
        return int(self.starts[owner + 1] - self.starts[owner])

    def of_owners(self, owners: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The entries of each of ``owners`` in turn, and the position in ``owners`` of each."""
        starts = self.starts[owners]
        counts = self.starts[owners + 1] - starts
        if (counts == 1).all():
            return starts, np.arange(len(owners))
        return ranges(starts, counts), np.repeat(np.arange(len(owners)), counts)

    def owner_of_entries(self) -> NDArray[np.int64]:
        """The owner of every entry."""
        return np.repeat(np.arange(len(self.starts) - 1), self.counts)

    def without(self, entries: NDArray[np.int64]) -> Ragged:
        """The same, but for ``entries``."""
        kept = np.ones(int(self.starts[-1]), bool)
        kept[entries] = False
        starts = np.concatenate([[0], np.cumsum(kept)])[self.starts]
        return Ragged(starts, {name: some[..., kept] for name, some in self.columns.items()})

    def extended(self, other: Ragged) -> Ragged:
        """These owners, and then those of ``other``."""
        return Ragged(
            np.concatenate([self.starts, self.starts[-1] + other.starts[1:]]),
            {
                name: np.concatenate([column, other.columns[name]], axis=-1)
                for name, column in self.columns.items()
            },
        )
