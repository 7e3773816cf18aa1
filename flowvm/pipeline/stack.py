"""The stack of ``push`` and ``pop``: one for each packet, grown a level at a time for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from flowvm.actions.base import Packets


@dataclass(frozen=True, eq=False)
class SavedStacks:
    """The stacks of some packets: their heights, and the words of each level."""

    heights: NDArray[np.int64]
    levels: list[list[NDArray[np.uint64]]]


class Stacks:
    """The stacks of ``n`` packets. A value is a list of words, least significant first."""

    def __init__(self, n: int) -> None:
        self._n = n
        self._heights = np.zeros(n, np.int64)
        self._levels: list[list[NDArray[np.uint64]]] = []

    def push(self, packets: Packets, words: list[NDArray[np.uint64]]) -> None:
        """Push the value that ``words`` give for each of ``packets``."""
        heights = self._heights[packets]
        for height in np.unique(heights).tolist():
            mine = heights == height
            if height == len(self._levels):
                self._levels.append([])
            level = self._levels[height]
            while len(level) < len(words):
                level.append(np.zeros(self._n, np.uint64))
            for number, stored in enumerate(level):
                stored[packets[mine]] = words[number][mine] if number < len(words) else 0
        self._heights[packets] += 1

    def contents(self, packets: Packets) -> dict[int, tuple[tuple[int, ...], ...]]:
        """The values of those of ``packets`` (by position) that have any, the bottom first."""
        return {
            i: tuple(
                tuple(int(words[packets[i]]) for words in level)
                for level in self._levels[: self._heights[packets[i]]]
            )
            for i in np.flatnonzero(self._heights[packets]).tolist()
        }

    def save(self, packets: Packets) -> SavedStacks:
        """The stacks of ``packets`` as they are now."""
        levels = [[words[packets] for words in level] for level in self._levels]
        return SavedStacks(self._heights[packets], levels)

    def restore(self, packets: Packets, saved: SavedStacks) -> None:
        """Let the stacks of ``packets`` be again what they were."""
        self._heights[packets] = saved.heights
        for stored, level in zip(self._levels, saved.levels, strict=False):
            for number, words in enumerate(stored):
                words[packets] = level[number] if number < len(level) else 0

    def pop(
        self, packets: Packets, n_words: int
    ) -> tuple[NDArray[np.bool_], list[NDArray[np.uint64]]]:
        """Take the top off: which of ``packets`` had one, and the values as ``n_words`` words."""
        heights = self._heights[packets]
        words = [np.zeros(len(packets), np.uint64) for _ in range(n_words)]
        for height in np.unique(heights[heights > 0]).tolist():
            mine = heights == height
            for number, stored in enumerate(self._levels[height - 1][:n_words]):
                words[number][mine] = stored[packets[mine]]
        there = heights > 0
        self._heights[packets[there]] -= 1
        return there, words
