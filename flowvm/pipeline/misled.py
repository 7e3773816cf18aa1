"""Packets of a batch that were looked up before flows were learned which they should have seen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flowvm.arrays import nonzero
from flowvm.pipeline.learning import Alterations
from flowvm.pipeline.paths import Paths
from flowvm.pipeline.state import State
from flowvm.pipeline.steps import Steps


def misleading(state: State, paths: Paths, altered: Alterations) -> tuple[NDArray[np.int64], ...]:
    """The paths with a lookup that ``altered`` changes, and since which packet."""
    consults = paths.consults
    same_table = nonzero(consults["table"] == altered.target.table)
    if not len(same_table):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    rows = np.searchsorted(np.array(state.program.learnable_columns), altered.target.mask.columns)
    keys = consults["key"][rows[:, None], same_table] & altered.target.mask.array
    number = altered.index.find(keys)
    rules = consults["rule"][same_table]
    priority = np.where(rules >= 0, state.rules.priority[rules], -1)
    if altered.target.table in state.conjunctions.tables:
        # There the rule that was found need not be of the priority that made it be found.
        priority[:] = -1
    hit = nonzero((number >= 0) & (priority <= altered.target.priority))
    return consults.owner_of_entries()[same_table[hit]], altered.since[number[hit]]


def first_misled(state: State, steps: Steps, altered: Alterations, good: int) -> int:
    """The first packet that comes after an alteration its lookups should have seen."""
    paths, since = misleading(state, steps.paths, altered)
    if not len(paths):
        return good
    after = np.full(len(steps.paths), len(steps.path_of), np.int64)
    np.minimum.at(after, paths, since)
    misled = nonzero(np.arange(good) > after[steps.path_of[:good]])
    return int(misled[0]) if len(misled) else good
