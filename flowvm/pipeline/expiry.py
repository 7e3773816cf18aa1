"""Expiry within a batch: how far it gets before a rule ends, and what ``fin_timeout`` shortens."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flowvm.arrays import nonzero
from flowvm.clock import NEVER, SECOND
from flowvm.pipeline.run_log import TimeoutCut
from flowvm.pipeline.state import State
from flowvm.pipeline.steps import NONE, Steps


def until(times: NDArray[np.int64], horizon: int) -> int:
    """How many packets come up to ``horizon``; those of the first instant do in any case.

    By then everything that is over is gone, but for what packets of that instant end.
    """
    return int(np.searchsorted(times, max(horizon, int(times[0])), side="right"))


def before_outlived(state: State, steps: Steps, good: int) -> int:
    """How many of the first packets come before one that needs a rule whose time is over."""
    now = int(steps.times[good - 1])
    cut, until = _cut_short(state, steps, good)
    if now <= min(state.deadline, int(until.min(initial=NEVER))):
        return good
    deadlines = state.rules.deadlines()
    np.minimum.at(deadlines, cut, until)
    ends = np.full(len(steps.paths), NEVER)
    hits = steps.paths.hits
    np.minimum.at(ends, hits.owner_of_entries(), deadlines[hits["rule"]])
    for events in steps.paths.learned:
        rules = state.find_exactly(events.template.target, events.keys)
        known = nonzero(rules >= 0)
        np.minimum.at(ends, events.packets[known], deadlines[rules[known]])
    # Nothing more goes at the instant that the clock shows.
    np.maximum(ends, state.now, out=ends)
    late = nonzero(steps.times[:good] > ends[steps.path_of[:good]])
    return int(late[0]) if len(late) else good


def _cut_short(
    state: State, steps: Steps, good: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rules whose timeouts the first ``good`` packets shorten, and when they may end then.

    That is not before the packet that does so.
    """
    rules = state.rules
    found, ends = [NONE], [NONE]
    for cut in steps.paths.cuts:
        tally = steps.tally(good)
        taken = tally.members[cut.packets] > 0
        some, since = cut.rules[taken], steps.times[tally.first[cut.packets[taken]]]
        idle, hard = rules.shorter_timeouts(some, cut.idle_timeout, cut.hard_timeout)
        end = np.minimum(
            np.where(idle > 0, since + idle * SECOND, NEVER),
            np.where(hard > 0, rules.modified[some] + hard * SECOND, NEVER),
        )
        found.append(some)
        ends.append(np.maximum(since, end))
    return np.concatenate(found), np.concatenate(ends)


def cut_timeouts(
    state: State,
    steps: Steps,
    good: int,
    cut: TimeoutCut,
    without_effect: NDArray[np.bool_],
    *,
    at_end: bool,
) -> None:
    """Shorten the timeouts of rules because of packets of the last instant, or those before."""
    rules, tally = state.rules, steps.tally(good)
    taken = (tally.members[cut.packets] > 0) & ~without_effect
    taken &= (steps.times[tally.first[cut.packets]] == steps.times[good - 1]) == at_end
    mine = cut.rules[taken]
    if not len(mine):
        return
    rules.own("idle_timeout", "hard_timeout")
    for column, seconds in zip(
        (rules.idle_timeout, rules.hard_timeout),
        rules.shorter_timeouts(mine, cut.idle_timeout, cut.hard_timeout),
        strict=True,
    ):
        column[mine[seconds > 0]] = seconds[seconds > 0]
    state.note_deadlines(mine)
