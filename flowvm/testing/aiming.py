"""What packets should have so that the rules of a table have something to say about them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from flowvm.actions.learn import Learn
from flowvm.fields import Bits, field
from flowvm.flow import Flow, Table
from flowvm.names import Names
from flowvm.pipeline.compile import all_actions, flow_names, match_words
from flowvm.testing.choices import Choices

Words = Mapping[int, tuple[int, int]]
"""What a packet should have: column -> (value, mask)."""

_LONGEST_ROUTE = 40
_LONGEST_WAY_ON = 6


@dataclass(frozen=True)
class Target:
    """A rule to aim at: its table, what it compares, and the tables it may send packets on to."""

    table: int
    words: Words
    calls: frozenset[int] = frozenset()


def targets_of(flows: Iterable[Flow], names: Names | None = None) -> tuple[Target, ...]:
    """A target for each of ``flows``, whose ports and tables ``names`` resolves."""
    flows = tuple(flows)
    names = flow_names(flows, None) if names is None else names
    found = []
    for flow in flows:
        words = {int(column): pair for column, pair in match_words(flow.match, names)[0].items()}
        _add(words, _like_the_first(words))
        calls = frozenset(names.table(table) for table in _called(flow))
        found.append(Target(names.table(flow.table or 0), words, calls))
    return tuple(found)


_ORIGINAL = tuple(
    (one.bits, other.bits)
    for one, other in (
        (field("ct_nw_src"), field("ip_src")),
        (field("ct_nw_dst"), field("ip_dst")),
        (field("ct_ipv6_src"), field("ipv6_src")),
        (field("ct_ipv6_dst"), field("ipv6_dst")),
        (field("ct_nw_proto"), field("nw_proto")),
        (field("ct_tp_src"), field("tcp_src")),
        (field("ct_tp_dst"), field("tcp_dst")),
    )
    if one.bits and other.bits
)
"""Where the original direction of a connection stands, and where its packets have the same."""


def _like_the_first(words: Words) -> Words:
    """What a packet of the original direction has of the connection that ``words`` compare."""
    found: dict[int, tuple[int, int]] = {}
    for tracked, own in _ORIGINAL:
        compared = read(words, tracked)
        if compared is not None and compared[1]:
            values, masks = map(own.words, compared)
            for (column, value), (_, mask) in zip(values, masks, strict=True):
                _add(found, {column: (value, mask)} if mask else {})
    return found


def _called(flow: Flow) -> Iterator[Table]:
    """The tables in which ``flow`` may have a packet looked up."""
    for action in all_actions(flow.actions):
        table: Table | None = getattr(action, "table", None)
        if table is not None and not isinstance(action, Learn):
            yield table


def aim_at_some(choose: Choices, targets: Sequence[Target], demanded: Words) -> Words:
    """What is ``demanded``, and what some targets demand together, earlier ones first."""
    words = dict(demanded)
    if not targets or choose.percent(8):
        return words
    chosen = [choose.one(targets) for _ in range(choose.number(1, 3))]
    first = [target for target in targets if target.table == 0]
    if first and choose.percent(60):
        chosen.insert(0, choose.one(first))
    for target in chosen:
        _add(words, target.words)
    return _one_bit_off(choose, words, demanded)


class Routes:
    """Ways through the tables, so that packets get to a rule that is not in the first of them."""

    def __init__(self, targets: Sequence[Target]) -> None:
        self._in_table: dict[int, list[Target]] = {}
        self._callers: dict[int, list[Target]] = {}
        for target in targets:
            self._in_table.setdefault(target.table, []).append(target)
            for table in target.calls - {target.table}:
                self._callers.setdefault(table, []).append(target)
        self._edges = {table: _edges(members) for table, members in self._in_table.items()}

    def aim(self, choose: Choices, goals: Sequence[Target], demanded: Words) -> Words:
        """What is ``demanded``, and what the rules on a way through one of ``goals`` demand.

        At times also what another rule of the goal's table demands: that is where priorities show;
        and at times a bit is flipped that some rules of that table compare and others do not.
        """
        goal = choose.one(goals)
        route = [goal]
        words = dict(demanded)
        _add(words, goal.words)
        neighbours = self._in_table.get(goal.table)
        if neighbours and choose.percent(30):
            route.append(self._fitting(choose, neighbours, words))
            _add(words, route[-1].words)
        while (table := route[-1].table) and len(route) < _LONGEST_ROUTE:
            callers = self._callers.get(table)
            if not callers:
                break
            route.append(self._fitting(choose, callers, words))
            _add(words, route[-1].words)
        # Rules may rewrite what later ones compare: where they disagree, the first one counts.
        arriving = dict(demanded)
        for target in reversed(route):
            _add(arriving, target.words)
        calls = frozenset[int]().union(*(t.calls for t in route if t.table == goal.table))
        for _ in range(choose.number(0, _LONGEST_WAY_ON)):
            following = [t for table in sorted(calls) for t in self._in_table.get(table, ())]
            if not following:
                break
            next_one = self._fitting(choose, following, arriving)
            _add(arriving, next_one.words)
            calls = next_one.calls
        edges = self._edges.get(goal.table)
        if edges and choose.percent(25):
            return _flipped(arriving, *choose.one(edges), demanded)
        return _one_bit_off(choose, arriving, demanded)

    @staticmethod
    def _fitting(choose: Choices, targets: Sequence[Target], words: Words) -> Target:
        fitting = [target for target in targets if not _conflict(target.words, words)]
        return choose.one(targets if not fitting or choose.percent(20) else fitting)


def _add(words: dict[int, tuple[int, int]], more: Words) -> None:
    for column, (value, mask) in more.items():
        old_value, old_mask = words.get(column, (0, 0))
        free = mask & ~old_mask
        words[column] = old_value | value & free, old_mask | free


def _conflict(one: Words, other: Words) -> bool:
    return any(
        (value ^ other[column][0]) & mask & other[column][1]
        for column, (value, mask) in one.items()
        if column in other
    )


def _one_bit_off(choose: Choices, words: dict[int, tuple[int, int]], demanded: Words) -> Words:
    """``words``, at times with one bit flipped that is not ``demanded``."""
    if not words or not choose.percent(25):
        return words
    column = choose.one(sorted(words))
    bits = _bits_of(words[column][1] & ~demanded.get(column, (0, 0))[1])
    return _flipped(words, column, choose.one(bits), demanded) if bits else words


def _flipped(words: dict[int, tuple[int, int]], column: int, bit: int, demanded: Words) -> Words:
    """``words`` with one bit flipped, or set if it was free; unless it is ``demanded``."""
    value, mask = words.get(column, (0, 0))
    if not demanded.get(column, (0, 0))[1] >> bit & 1:
        words[column] = value ^ 1 << bit, mask | 1 << bit
    return words


def _bits_of(mask: int) -> list[int]:
    return [bit for bit in range(64) if mask >> bit & 1]


def _edges(targets: Iterable[Target]) -> list[tuple[int, int]]:
    """The (column, bit) pairs that some targets compare, but not all that compare the column."""
    some: dict[int, int] = {}
    every: dict[int, int] = {}
    for target in targets:
        for column, (_, mask) in target.words.items():
            some[column] = some.get(column, 0) | mask
            every[column] = every.get(column, mask) & mask
    return [(column, bit) for column in some for bit in _bits_of(some[column] & ~every[column])]


def read(words: Words, bits: Bits) -> tuple[int, int] | None:
    """The value and mask that ``words`` give some bits; ``None`` if they say nothing of them."""
    value = mask = 0
    for column, full in bits.words((1 << bits.width) - 1):
        v, m = words.get(column, (0, 0))
        value = value << 64 | v & full
        mask = mask << 64 | m & full
    return (value >> bits.shift, mask >> bits.shift) if mask else None
