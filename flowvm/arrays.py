"""What arrays are asked over and over, in the ways that cost least when they are short.

A batch of one packet asks as many questions as one of thousands. numpy's own ways to put these go
through several layers first, which takes longer than the answer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def any_of(values: NDArray[Any]) -> bool:
    """Whether any of ``values`` is true, or not zero."""
    return bool(values.item() if values.size == 1 else np.count_nonzero(values))


def all_of(values: NDArray[Any]) -> bool:
    """Whether all of ``values`` are true, or not zero."""
    return bool(values.item() if values.size == 1 else np.count_nonzero(values) == values.size)


def nonzero(values: NDArray[Any]) -> NDArray[np.int64]:
    """Where ``values``, of shape (n,), are true, or not zero, in ascending order."""
    return values.nonzero()[0]


def distinct(numbers: NDArray[np.integer]) -> list[int]:
    """The different ones of ``numbers``, of shape (n,), in ascending order."""
    if not len(numbers):
        return []
    if all_of(numbers == numbers[0]):
        return [int(numbers[0])]
    return [int(number) for number in np.unique(numbers)]


def are_among(numbers: NDArray[np.integer], known: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Which of ``numbers`` are among the ``known`` ones, which ascend and are not empty."""
    at = known.searchsorted(numbers)
    at[at == len(known)] = 0
    return np.asarray(known[at] == numbers, bool)
