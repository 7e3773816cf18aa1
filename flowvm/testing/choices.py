"""How generators choose: Hypothesis draws behind a few short verbs.

All randomness of this package passes through :class:`Choices`, so that whatever it makes can be
replayed and shrunk. The first item of a list and the answer "no" are what shrinking goes towards.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from hypothesis import strategies as st

T = TypeVar("T")


class Choices:
    """Chooses by means of the ``draw`` that a composite strategy is given."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw

    def one(self, items: Sequence[T]) -> T:
        """One of ``items``; the first is the simplest."""
        if len(items) == 1:
            return items[0]
        return items[self._draw(st.integers(0, len(items) - 1))]

    def some(self, items: Sequence[T], least: int, most: int) -> list[T]:
        """Some of ``items``, each at most once, in any order."""
        rest = list(items)
        count = self.number(min(least, len(rest)), min(most, len(rest)))
        return [rest.pop(self.number(0, len(rest) - 1)) for _ in range(count)]

    def number(self, least: int, most: int) -> int:
        """A number from ``least`` to ``most``, both included."""
        return least if least == most else self._draw(st.integers(least, most))

    def bits(self, width: int) -> int:
        """Any number of ``width`` bits."""
        return self._draw(st.integers(0, (1 << width) - 1))

    def percent(self, chance: int) -> bool:
        """True about ``chance`` times in a hundred."""
        return self._draw(st.integers(0, 99)) >= 100 - chance

    def octets(self, least: int, most: int) -> bytes:
        """From ``least`` to ``most`` bytes."""
        return self._draw(st.binary(min_size=least, max_size=most))

    def weighted(self, items: Iterable[tuple[int, T]]) -> T:
        """One of the items, each as often as the number with it says."""
        pairs = list(items)
        left = self.number(0, sum(weight for weight, _ in pairs) - 1)
        for weight, item in pairs:
            if left < weight:
                return item
            left -= weight
        raise AssertionError("a number within the sum of the weights")
