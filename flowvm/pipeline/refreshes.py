"""What learn does in steady traffic: it finds its flow as it would make it, and refreshes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flowvm.arrays import any_of, nonzero
from flowvm.pipeline.learning import KEEP_COOKIE, LearnEvents
from flowvm.pipeline.state import State

NO_RULE = -1


@dataclass(frozen=True)
class Refreshed:
    """Events that leave their rule as it is: the path of each, and the rule."""

    paths: NDArray[np.int64]
    rules: NDArray[np.int64]


class Refreshes:
    """Remembers the rules that learn events of some paths find as they would make them.

    That holds until a rule acts otherwise or goes, of which whoever keeps this tells it.
    """

    def __init__(self) -> None:
        self._learned: tuple[LearnEvents, ...] = ()
        self._rules: list[NDArray[np.int64]] = []

    def forget(self) -> None:
        """Rules have changed."""
        self._learned, self._rules = (), []

    def look(self, state: State, learned: tuple[LearnEvents, ...]) -> None:
        """Find the rules of ``learned``, if they are not known."""
        if learned is not self._learned:
            self._learned = learned
            self._rules = [_rules_as_taught(state, events) for events in learned]

    def of(
        self, state: State, learned: tuple[LearnEvents, ...], members: NDArray[np.int64]
    ) -> Sequence[Refreshed] | None:
        """What the ``members`` of paths (how many packets take each) refresh.

        ``None`` if that may not be all that their events do.
        """
        if learned is not self._learned:
            return None
        found = []
        for events, rules in zip(learned, self._rules, strict=True):
            taught = nonzero(members[events.packets])
            some, cookie = rules[taught], events.template.cookie
            if any_of(some == NO_RULE):
                return None
            # Another template may have set another cookie since.
            if cookie != KEEP_COOKIE and any_of(state.rules.cookie[some] != np.uint64(cookie)):
                return None
            found.append(Refreshed(events.packets[taught], some))
        return found


def _rules_as_taught(state: State, events: LearnEvents) -> NDArray[np.int64]:
    """The rule that each event finds just as it would make it, or -1."""
    rules = state.find_exactly(events.template.target, events.keys)
    there = nonzero(rules != NO_RULE)
    contents = np.concatenate(
        [np.full((1, len(there)), events.shape, np.uint64), events.operands[:, there]]
    )
    same = state.acts_as(rules[there], contents)
    same &= state.rules.template[rules[there]] >= 0
    rules[there[~same]] = NO_RULE
    return rules
