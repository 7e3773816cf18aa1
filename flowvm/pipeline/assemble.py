"""From columns of flows to a :class:`~flowvm.pipeline.program.Program`.

Flows come in blocks: those of a block are in one table, match under one mask and do the same
operations, and differ in keys and operands, which are columns. Here the blocks become the
subtables and shapes of a program, whichever way they were made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from flowvm.actions.base import Operands, Operation
from flowvm.actions.learning import LearnFlow
from flowvm.actions.normal import NORMAL_READS, NORMAL_WRITES
from flowvm.actions.timeout import CutTimeouts
from flowvm.clock import SECOND
from flowvm.columns import Column
from flowvm.fields import NW_FRAG_BITS, PACKET_TYPE_BITS
from flowvm.flow import DEFAULT_PRIORITY, Flow
from flowvm.names import Names
from flowvm.pipeline.bits import ONES
from flowvm.pipeline.prerequisites import union
from flowvm.pipeline.program import NO_ENTRY, Program, Rules, Shape, Statistics, Subtable
from flowvm.pipeline.reception import reception_reads
from flowvm.pipeline.subtable import KeyIndex, Mask
from flowvm.port_settings import BridgeSettings

Numbers = NDArray[np.int64]
"""Numbers of flows, counted in the order of the dump."""

UNKNOWN = -1
"""What stands for an age or duration that a dump does not say."""

MOST = np.iinfo(np.int64).max


@dataclass(frozen=True, eq=False)
class FlowBlock:
    """Flows of one table, mask and list of operations.

    ``flows`` are their numbers, ascending; ``keys`` has shape (columns of the mask, flows);
    ``operands`` one array an operation, shape (its operands, flows).
    """

    flows: Numbers
    table: int
    mask: Mask
    keys: NDArray[np.uint64]
    operations: tuple[Operation, ...]
    operands: tuple[Operands, ...]


class FlowColumns:
    """What else a dump says of its flows: one entry a flow.

    ``duration`` is in nanoseconds, ages and timeouts are in seconds; durations and ages that the
    dump does not say are ``UNKNOWN``. ``bare`` marks flows that match everything.
    """

    def __init__(self, n: int) -> None:
        self.priority = np.full(n, DEFAULT_PRIORITY, np.int32)
        self.cookie = np.zeros(n, np.uint64)
        self.n_packets = np.zeros(n, np.int64)
        self.n_bytes = np.zeros(n, np.int64)
        self.duration = np.full(n, UNKNOWN, np.int64)
        self.idle_timeout = np.zeros(n, np.int32)
        self.hard_timeout = np.zeros(n, np.int32)
        self.idle_age = np.full(n, UNKNOWN, np.int64)
        self.hard_age = np.full(n, UNKNOWN, np.int64)
        self.bare = np.zeros(n, np.bool_)

    def put(self, number: int | Numbers, flow: Flow) -> None:
        """Enter what ``flow`` says, as that of one number or of several."""
        self.priority[number] = flow.priority
        self.cookie[number] = flow.cookie or 0
        self.n_packets[number] = min(flow.n_packets or 0, MOST)
        self.n_bytes[number] = min(flow.n_bytes or 0, MOST)
        if flow.duration is not None:
            self.duration[number] = min(int(flow.duration * SECOND), MOST)
        self.idle_timeout[number] = flow.idle_timeout
        self.hard_timeout[number] = flow.hard_timeout
        if flow.idle_age is not None:
            self.idle_age[number] = flow.idle_age
        if flow.hard_age is not None:
            self.hard_age[number] = flow.hard_age
        self.bare[number] = not flow.match.terms

    def statistics(self, flows: Numbers) -> Statistics:
        """Counters and clocks of ``flows`` at the moment of the dump."""
        duration = self.duration[flows]
        idle_age, hard_age = self.idle_age[flows], self.hard_age[flows]
        n_packets = self.n_packets[flows]
        created = -np.maximum(duration, 0)
        modified = np.where(hard_age == UNKNOWN, created, -hard_age * SECOND)
        # A dump without idle_age (OpenFlow 1.3) does not say when a flow was last hit; one that no
        # packet has hit was last "used" when it was made, and for any other the dump is taken to
        # be of that very moment.
        unsaid = np.where(n_packets > 0, 0, modified)
        used = np.where(idle_age == UNKNOWN, unsaid, -idle_age * SECOND)
        return Statistics(
            self.cookie[flows],
            n_packets,
            self.n_bytes[flows],
            created,
            modified,
            used,
            self.idle_timeout[flows],
            self.hard_timeout[flows],
            self.bare[flows] & (self.priority[flows] == 0),
            bool((idle_age != UNKNOWN).any() or (duration == UNKNOWN).all()),
        )


def assemble(
    blocks: Sequence[FlowBlock],
    columns: FlowColumns,
    names: Names,
    flows: Callable[[Numbers], Sequence[Flow]],
) -> Program:
    """The program of ``blocks``; of flows with the same table, match and priority the last counts.

    ``columns`` has an entry for each number up to the highest in ``blocks``; ``flows`` gives the
    flows with the numbers that are left, in order, and may do so lazily.
    """
    blocks = [part for block in blocks for part in _with_ethernet_implied(block)]
    groups = [_Group(*key, of, columns.priority) for key, of in _by_table_and_mask(blocks)]
    kept = np.zeros(len(columns.priority), np.bool_)
    for group in groups:
        kept[group.flows] = True
    left = np.flatnonzero(kept)
    rule_of = np.cumsum(kept) - 1

    n = len(left)
    rules = Rules(
        np.zeros(n, np.int32),
        columns.priority[left],
        np.zeros(n, np.int32),
        np.zeros(n, np.int64),
        np.full(n, NO_ENTRY, np.int64),
    )
    tables: dict[int, list[Subtable]] = {}
    groups.sort(key=lambda group: group.first_of_highest(columns.priority))
    for group in groups:
        numbers = rule_of[group.flows]
        rules.table[numbers] = group.table
        follows = np.flatnonzero(group.same)
        rules.next_with_key[numbers[follows - 1]] = numbers[follows]
        index = KeyIndex(len(group.mask.columns), max(8, len(numbers)))
        index.add(group.keys[:, ~group.same])
        top = int(rules.priority[numbers].max())
        subtable = Subtable(group.mask, index, numbers[~group.same], top)
        tables.setdefault(group.table, []).append(subtable)
    shapes = tuple(_shapes(blocks, kept, rule_of, rules))
    return make_program(flows(left), rules, shapes, tables, names, columns.statistics(left))


def make_program(
    flows: Sequence[Flow],
    rules: Rules,
    shapes: tuple[Shape, ...],
    tables: Mapping[int, Sequence[Subtable]],
    names: Names,
    statistics: Statistics,
) -> Program:
    """The program that has these parts; works out what follows from them."""
    operations = [o for shape in shapes for o in _all_operations(shape.operations)]
    masks = [subtable.mask for subtables in tables.values() for subtable in subtables]
    masks.append(_mask(reception_reads(names)))
    return Program(
        flows,
        rules,
        shapes,
        MappingProxyType({table: tuple(found) for table, found in tables.items()}),
        names,
        union(*(bits for operation in operations for bits in (operation.writes, operation.resets))),
        _key(masks, operations),
        _learnable(operations),
        min(_timeouts(operations), default=None),
        statistics,
    )


def widened(program: Program, mask: Mask, operations: tuple[Operation, ...]) -> Program:
    """The program, fit for a state that has a rule with this match and these operations too."""
    every = list(_all_operations(operations))
    masks = [program.key, mask]
    timeouts = [
        *_timeouts(every),
        *([program.shortest_timeout] if program.shortest_timeout else []),
    ]
    written = [program.written, *(operation.writes for operation in every)]
    if program.bridge is not None and any(operation.may_choose_normal for operation in every):
        masks.append(_mask(NORMAL_READS))
        written.append(NORMAL_WRITES)
    learnable = dict(program.learnable)
    for table, columns in _learnable(every).items():
        learnable[table] = learnable.get(table, frozenset()) | columns
    return replace(
        program,
        written=union(*written),
        key=_key(masks, every),
        learnable=MappingProxyType(learnable),
        shortest_timeout=min(timeouts, default=None),
    )


def with_bridge(program: Program, bridge: BridgeSettings) -> Program:
    """The program where ``bridge`` is what NORMAL goes by."""
    operations = tuple(o for shape in program.shapes for o in shape.operations)
    if program.groups is not None:
        operations += program.groups.operations
    return widened(replace(program, bridge=bridge), program.key, operations)


def _with_ethernet_implied(block: FlowBlock) -> Iterator[FlowBlock]:
    """The same flows; those that match headers do not say that packets are to be Ethernet."""
    mask = block.mask.with_ethernet_implied
    if mask == block.mask:
        yield block
        return
    row = block.mask.columns.index(PACKET_TYPE_BITS.column)
    ethernet = block.keys[row] >> np.uint64(PACKET_TYPE_BITS.shift) == 0
    rows = [block.mask.columns.index(column) for column in mask.columns]
    for which, its_mask, keys in (
        (ethernet, mask, block.keys[rows]),
        (~ethernet, block.mask, block.keys),
    ):
        if which.any():
            operands = tuple(some[:, which] for some in block.operands)
            yield replace(
                block,
                flows=block.flows[which],
                mask=its_mask,
                keys=keys[:, which],
                operands=operands,
            )


def _by_table_and_mask(
    blocks: Iterable[FlowBlock],
) -> Iterable[tuple[tuple[int, Mask], list[FlowBlock]]]:
    found: dict[tuple[int, Mask], list[FlowBlock]] = {}
    for block in blocks:
        if len(block.flows):
            found.setdefault((block.table, block.mask), []).append(block)
    return found.items()


class _Group:
    """The flows of one table and mask, sorted by key and descending priority, each only once.

    ``same`` marks flows with the key of the one before.
    """

    def __init__(
        self, table: int, mask: Mask, blocks: list[FlowBlock], priority: NDArray[np.int32]
    ) -> None:
        self.table = table
        self.mask = mask
        flows = np.concatenate([block.flows for block in blocks])
        keys = np.concatenate([block.keys for block in blocks], axis=1)
        if len(blocks) > 1:
            order = np.argsort(flows)
            flows, keys = flows[order], keys[:, order]
        # lexsort is stable, so that flows which are alike stay in the order of the dump.
        order = np.lexsort((-priority[flows], *keys[::-1]))
        flows, keys = flows[order], keys[:, order]
        ranks = priority[flows]
        same = np.zeros(len(flows), np.bool_)
        same[1:] = (keys[:, 1:] == keys[:, :-1]).all(axis=0)
        superseded = np.zeros(len(flows), np.bool_)
        superseded[:-1] = same[1:] & (ranks[1:] == ranks[:-1])
        if superseded.any():
            flows, keys = flows[~superseded], keys[:, ~superseded]
            same = np.zeros(len(flows), np.bool_)
            same[1:] = (keys[:, 1:] == keys[:, :-1]).all(axis=0)
        self.flows, self.keys, self.same = flows, keys, same

    def first_of_highest(self, priority: NDArray[np.int32]) -> int:
        """The first of the flows with the highest priority.

        OVS looks at subtables of one highest priority in the order in which they came to have it.
        """
        ranks = priority[self.flows]
        return int(self.flows[ranks == ranks.max()].min())


def _shapes(
    blocks: Iterable[FlowBlock], kept: NDArray[np.bool_], rule_of: Numbers, rules: Rules
) -> Iterator[Shape]:
    """The distinct lists of operations; enters which is each rule's, and where it stands."""
    members: dict[tuple[Operation, ...], list[tuple[Numbers, tuple[Operands, ...]]]] = {}
    for block in blocks:
        alive = kept[block.flows]
        if alive.all():
            part = rule_of[block.flows], block.operands
        elif alive.any():
            operands = tuple(some[:, alive] for some in block.operands)
            part = rule_of[block.flows[alive]], operands
        else:
            continue
        members.setdefault(block.operations, []).append(part)
    in_order = sorted(members.items(), key=lambda item: min(int(p[0][0]) for p in item[1]))
    for number, (operations, parts) in enumerate(in_order):
        of_rules = np.concatenate([numbers for numbers, _ in parts])
        order = np.argsort(of_rules)
        of_rules = of_rules[order]
        rules.shape[of_rules] = number
        rules.row[of_rules] = np.arange(len(of_rules))
        operands = tuple(
            np.concatenate([part[position] for _, part in parts], axis=1)[:, order]
            for position in range(len(operations))
        )
        yield Shape(operations, operands)


def _all_operations(operations: Iterable[Operation]) -> Iterator[Operation]:
    for operation in operations:
        yield operation
        yield from _all_operations(operation.inner)


def _key(masks: Iterable[Mask], operations: list[Operation]) -> Mask:
    """The bits that any match compares, or any operation reads or writes."""
    matched = dict.fromkeys(masks)
    matched |= {o.mask: None for o in operations if isinstance(o, LearnFlow)}
    parts: list[Mapping[int, int]] = [{Column.IN_PORT: ONES}]
    parts += [dict(zip(mask.columns, mask.masks, strict=True)) for mask in matched]
    for operation in operations:
        parts += [operation.reads, operation.writes]
    bits = dict(union(*parts))
    if Column.TP in bits:
        # Whether a lookup sees ports depends on the packet being a fragment.
        bits = dict(union(bits, NW_FRAG_BITS.mask))
    return _mask(bits)


def _mask(bits: Mapping[int, int]) -> Mask:
    return Mask(tuple(sorted(bits)), tuple(bits[column] for column in sorted(bits)))


def _learnable(operations: list[Operation]) -> Mapping[int, frozenset[int]]:
    learnable: dict[int, frozenset[int]] = {}
    for operation in operations:
        if isinstance(operation, LearnFlow):
            columns = learnable.get(operation.table, frozenset())
            learnable[operation.table] = columns | frozenset(operation.mask.columns)
    return MappingProxyType(learnable)


def _timeouts(operations: list[Operation]) -> Iterator[int]:
    for operation in operations:
        match operation:
            case LearnFlow() if operation.shortest_timeout is not None:
                yield operation.shortest_timeout
            case CutTimeouts(idle_timeout, hard_timeout):
                yield from (seconds for seconds in (idle_timeout, hard_timeout) if seconds)
