"""The rules of a running switch: those of the program and those learned since, with their age.

Everything is a column with one entry a rule, so that a batch updates counters and timers of all
the rules it hit at once. Times are nanoseconds on the virtual clock (0 is when the dump was taken).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from flowvm.clock import NEVER, SECOND
from flowvm.pipeline.subtable import NO_ENTRY

if TYPE_CHECKING:
    from flowvm.pipeline.program import Rules, Statistics

_ROOM = 16  # one sixteenth more than is needed at first, so that the first new rule is cheap

_COLUMNS: dict[str, tuple[type[np.generic], int]] = {
    "table": (np.int32, 0),
    "priority": (np.int32, 0),
    "shape": (np.int32, 0),
    "row": (np.int64, 0),
    "next_with_key": (np.int64, NO_ENTRY),
    "alive": (np.bool_, True),
    "cookie": (np.uint64, 0),
    "n_packets": (np.int64, 0),
    "n_bytes": (np.int64, 0),
    "created": (np.int64, 0),
    "modified": (np.int64, 0),
    "used": (np.int64, 0),
    "idle_timeout": (np.int32, 0),
    "hard_timeout": (np.int32, 0),
    "template": (np.int32, -1),
    "made_by": (np.int32, -1),
    "is_table_miss": (np.bool_, False),
}


class RuleColumns:
    """Growing columns, one entry a rule; see ``_COLUMNS`` for their types.

    ``template`` is the number of the learn template that wrote the rule's actions last, or -1 for
    a rule that still has those of the dump; ``made_by`` that of the one that made the rule, or -1.

    A copy shares its columns until one of the two is about to write them, and says so: :meth:`own`.
    Columns that are shared cannot be written.
    """

    table: NDArray[np.int32]
    priority: NDArray[np.int32]
    shape: NDArray[np.int32]
    row: NDArray[np.int64]
    next_with_key: NDArray[np.int64]
    alive: NDArray[np.bool_]
    cookie: NDArray[np.uint64]
    n_packets: NDArray[np.int64]
    n_bytes: NDArray[np.int64]
    created: NDArray[np.int64]
    modified: NDArray[np.int64]
    used: NDArray[np.int64]
    idle_timeout: NDArray[np.int32]
    hard_timeout: NDArray[np.int32]
    template: NDArray[np.int32]
    made_by: NDArray[np.int32]
    is_table_miss: NDArray[np.bool_]

    def __init__(self, count: int) -> None:
        self._count = 0
        self._shared: set[str] = set()
        self._store = {
            name: np.full(count + max(count // _ROOM, 16), default, dtype)
            for name, (dtype, default) in _COLUMNS.items()
        }
        self._show(count)

    def _show(self, count: int) -> None:
        self._count = count
        for name, column in self._store.items():
            setattr(self, name, column[:count])

    def __len__(self) -> int:
        return self._count

    @classmethod
    def of(cls, rules: Rules, statistics: Statistics) -> Self:
        """The rules of a program, as they are when the dump is taken."""
        columns = cls(len(rules))
        for source in (rules, statistics):
            for name in _COLUMNS.keys() & vars(source).keys():
                getattr(columns, name)[:] = getattr(source, name)
        return columns

    def copy(self) -> Self:
        """The same rules, to go their own way."""
        for column in self._store.values():
            column.flags.writeable = False
        self._shared = set(_COLUMNS)
        self._show(self._count)
        twin = type(self).__new__(type(self))
        twin.__dict__ |= self.__dict__
        twin._store, twin._shared = dict(self._store), set(_COLUMNS)
        return twin

    def own(self, *names: str) -> None:
        """Let the columns of these ``names``, by default all, be written from now on."""
        for name in self._shared.intersection(names or _COLUMNS):
            self._store[name] = self._store[name].copy()
            setattr(self, name, self._store[name][: self._count])
            self._shared.remove(name)

    def take(self, rules: NDArray[np.int64]) -> Self:
        """Some of the rules, numbered anew in that order."""
        some = type(self)(len(rules))
        for name in _COLUMNS:
            getattr(some, name)[:] = getattr(self, name)[rules]
        return some

    def append(self, n: int) -> NDArray[np.int64]:
        """Add ``n`` rules with default entries; returns their numbers."""
        self.own()
        first, count = self._count, self._count + n
        for place, (name, (dtype, default)) in enumerate(_COLUMNS.items()):
            if count > len(self._store[name]):
                # By other amounts each, so that packets do not have to wait for all at a time.
                room = count * (len(_COLUMNS) + place) // (2 * len(_COLUMNS))
                grown = np.empty(count + room, dtype)
                grown[:first] = self._store[name][:first]
                self._store[name] = grown
            self._store[name][first:count] = default
        self._show(count)
        return np.arange(first, count)

    def shorter_timeouts(
        self, rules: NDArray[np.int64], idle_timeout: int, hard_timeout: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The idle and hard timeouts (s) that ``rules`` get if none is to be longer than these.

        0 where nothing changes.
        """

        def shorter(column: NDArray[np.int32], seconds: int) -> NDArray[np.int64]:
            now = column[rules]
            longer = (now == 0) | (now > seconds)
            return np.where(longer & (seconds > 0), seconds, 0)

        return shorter(self.idle_timeout, idle_timeout), shorter(self.hard_timeout, hard_timeout)

    def deadlines(self, rules: NDArray[np.int64] | slice = slice(None)) -> NDArray[np.int64]:
        """The last moment at which each of ``rules`` is there; ``NEVER`` if nothing ends it.

        A rule goes when the clock is *past* modified + hard timeout or used + idle timeout
        (ovs-ofctl(8), "idle_timeout", "hard_timeout").
        """
        hard = _ends(self.modified[rules], self.hard_timeout[rules])
        idle = _ends(self.used[rules], self.idle_timeout[rules])
        return np.where(self.alive[rules], np.minimum(hard, idle), NEVER)


def _ends(since: NDArray[np.int64], timeout: NDArray[np.int32]) -> NDArray[np.int64]:
    return np.where(timeout > 0, since + timeout.astype(np.int64) * SECOND, NEVER)
