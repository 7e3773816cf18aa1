"""Packets that replace a flow by ``learn`` and then go on hitting it.

A packet meets the tables as they were when it came, so also flows that it has replaced itself. What
such a flow counts, its successor counts; but if that has a successor too, the hit is lost: neither
counters nor the idle timeout know of it (``rule_dpif_credit_stats`` in ofproto/ofproto-dpif.c).
What ``fin_timeout`` does to the timeouts of a flow that was replaced, its successor knows nothing
of. A flow that is found just as it would be made is not replaced
(``ofproto_flow_mod_init_for_learn``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flowvm.pipeline.learning import KEEP_COOKIE, History, LearnEvents, Target
from flowvm.pipeline.ragged import Ragged
from flowvm.pipeline.state import State
from flowvm.pipeline.subtable import bring_together

if TYPE_CHECKING:
    from flowvm.pipeline.run_log import TimeoutCut

Numbers = NDArray[np.int64]


def teaching_again(learned: Sequence[LearnEvents], n_paths: int) -> NDArray[np.bool_]:
    """Which paths teach some flow more than once."""
    found = np.zeros(n_paths, bool)
    by_target: dict[Target, list[LearnEvents]] = {}
    for events in learned:
        by_target.setdefault(events.template.target, []).append(events)
    for same in by_target.values():
        paths = np.concatenate([events.packets for events in same])
        several = np.flatnonzero(np.bincount(paths, minlength=n_paths)[paths] > 1)
        if len(several):
            keys = np.concatenate([events.keys for events in same], axis=1)[:, several]
            keys = np.concatenate([keys, paths[several].astype(np.uint64)[None]])
            order, begins = bring_together(keys, np.arange(len(several)))
            found[paths[several[order[~begins]]]] = True
    return found


def cookies_vary(learned: Sequence[LearnEvents]) -> bool:
    """Whether some flows could be taught one cookie and then another."""
    cookies: dict[Target, set[int]] = {}
    for events in learned:
        cookies.setdefault(events.template.target, set()).add(events.template.cookie)
    return any(len(some) > 1 for some in cookies.values())


def lost_hits(
    state: State, histories: Sequence[History], hits: Ragged, path_of: Numbers
) -> Numbers:
    """The entries of ``hits`` that are lost, before ``histories`` become part of ``state``.

    ``path_of`` has the path of each packet. All packets of one path lose the same ones: none that
    meets a flow which one before it has changed is settled together with that one, and where
    cookies vary only the last of all teaches a flow again.
    """
    lost = [np.zeros(0, np.int64)]
    for history in histories:
        packets, rules, order = _replacements(state, history, 2)
        if not len(packets):
            continue
        # Of packets on one path, one stands for all.
        pairs = np.stack([path_of[packets], rules])
        (paths, rules), first = np.unique(pairs, axis=1, return_index=True)
        entries, which = hits.of_owners(paths)
        after = (hits["rule"][entries] == rules[which]) & (
            hits["lessons"][entries] > order[first][which]
        )
        lost.append(entries[after & ~hits["again"][entries]])
    return np.unique(np.concatenate(lost))


def idle_cuts(
    state: State, histories: Sequence[History], cuts: Sequence[TimeoutCut], path_of: Numbers
) -> list[NDArray[np.bool_]]:
    """For each of ``cuts``, which of its rules its packet has replaced before.

    To be asked before ``histories`` become part of ``state``; ``path_of`` as in :func:`lost_hits`.
    """
    replaced: dict[tuple[int, int], int] = {}
    for history in histories:
        packets, rules, order = _replacements(state, history, 1)
        paths = path_of[packets]
        for path, rule, when in zip(paths.tolist(), rules.tolist(), order.tolist(), strict=True):
            replaced.setdefault((path, rule), when)
    return [
        np.array(
            [
                replaced.get(pair, cut.lessons) < cut.lessons
                for pair in zip(cut.packets.tolist(), cut.rules.tolist(), strict=True)
            ],
            bool,
        )
        for cut in cuts
    ]


def _replacements(state: State, history: History, nth: int) -> tuple[Numbers, Numbers, Numbers]:
    """Where a packet replaces a flow for the ``nth`` time: the packet, the flow, the order."""
    of = history.events
    key = np.repeat(np.arange(len(of.starts)), of.ends + 1 - of.starts)
    begins = np.ones(len(key), bool)
    begins[1:] = (key[1:] != key[:-1]) | (of.packets[1:] != of.packets[:-1])
    rules = history.existing[key]
    replaces = (rules >= 0) & (history.changed | _differ(state, history, rules, key))
    count = np.cumsum(replaces)
    since_begin: Numbers = count - np.maximum.accumulate(np.where(begins, count - replaces, 0))
    found = replaces & (since_begin == nth)
    return of.packets[found], rules[found], of.order[found]


def _differ(state: State, history: History, rules: Numbers, key: Numbers) -> NDArray[np.bool_]:
    """Events that find another cookie, other timeouts or flags than they would give the flow."""
    of = history.events
    differ = np.zeros(len(rules), bool)
    cookies = np.zeros(len(rules), np.uint64)
    for number in np.unique(of.templates).tolist():
        mine = np.flatnonzero((of.templates == number) & (rules >= 0))
        template = state.templates[number]
        cookies[of.templates == number] = template.cookie
        differ[mine] = ~state.has_attributes(rules[mine], template)
    # The cookie is that of the last event of the key that has set one, or else the rule's.
    sets = cookies != np.uint64(KEEP_COOKIE)
    positions = np.arange(len(rules))
    last = np.maximum.accumulate(np.where(sets, positions, -1))
    before = np.concatenate([[-1], last[:-1]])
    found = np.where(before >= of.starts[key], cookies[before], state.rules.cookie[rules])
    differ |= sets & (cookies != found)
    return differ
