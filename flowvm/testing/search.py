"""The search for a witness, by Hypothesis."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TypeVar

from hypothesis import HealthCheck, Phase, Verbosity, find, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

T = TypeVar("T")


def some_witness(
    strategy: st.SearchStrategy[T], is_witness: Callable[[T], bool], examples: int, seed: int
) -> T | None:
    """A value that ``is_witness`` holds for; ``None`` if ``examples`` show none.

    The same arguments give the same answer, while the same modules are imported: Hypothesis tries
    constants that it finds in them. Raises ValueError for less than one example.
    """
    if examples < 1:
        raise ValueError(f"examples={examples}: it takes at least one")
    how = settings(
        max_examples=examples,
        database=None,
        deadline=None,
        derandomize=False,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    try:
        return find(strategy, is_witness, settings=how, random=Random(seed))
    except NoSuchExample:
        return None
