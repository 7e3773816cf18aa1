"""Giving up the memory of learned rules that are gone.

A rule that expires keeps its number, and so its place in all columns: what has just been run still
speaks of it. Between two batches nobody does, and the rules that are left can be numbered anew, so
that what a switch remembers is bounded by what it has learned and not lost.
"""

from __future__ import annotations

import numpy as np

from flowvm.pipeline.freezing import Unroll
from flowvm.pipeline.state import State

MANY = 1 << 16
"""Fewer rules than this are not worth the trouble."""


def reclaim(state: State) -> bool:
    """Forget learned rules that are gone, if they are many, and more than are left.

    Returns whether it did: then the numbers of learned rules are others. It does not where flow
    mods have been applied, nor where packets may come back to what a learned rule does.
    """
    n = len(state.program.flows)
    alive = state.rules.alive[n:]
    if len(alive) < MANY or 2 * np.count_nonzero(alive) > len(alive):
        return False
    if state.edits or _are_awaited(state, n):
        return False
    kept = np.concatenate([np.arange(n), n + np.flatnonzero(alive)])
    numbers = np.full(len(state.rules), -1)
    numbers[kept] = np.arange(len(kept))
    state.rules = state.rules.take(kept)
    for subtable in state.learned.values():
        subtable.renumber(numbers)
    for number in range(len(state.program.shapes), len(state.shapes)):
        mine = np.flatnonzero(state.rules.shape == number)
        state.rules.row[mine] = state.learned_shape(number).keep(state.rules.row[mine])
    return True


def _are_awaited(state: State, n: int) -> bool:
    """Whether anything that is frozen goes on in a learned rule: one from ``n`` on."""
    rests = [frozen.rest.operations for frozen in state.frozen if frozen.rest is not None]
    return any(isinstance(o, Unroll) and o.rule >= n for rest in rests for o in rest)
