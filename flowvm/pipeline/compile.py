"""Compiling: from flows to a :class:`~flowvm.pipeline.program.Program`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

import numpy as np

from flowvm.actions.base import Action, Lowered, Operation, Unsupported
from flowvm.actions.learning import LearnFlow
from flowvm.actions.timeout import CutTimeouts
from flowvm.columns import Column
from flowvm.fields import NW_FRAG_BITS
from flowvm.flow import Flow, Match
from flowvm.names import Names
from flowvm.pipeline.bits import ONES
from flowvm.pipeline.prerequisites import union
from flowvm.pipeline.program import (
    NO_ENTRY,
    Program,
    Rules,
    Shape,
    Subtable,
    chain_same_keys,
    stack_operands,
)
from flowvm.pipeline.subtable import Mask

Key = tuple[int, ...]


def compile_flows(flows: Iterable[Flow], names: Names) -> Program:
    """Compile ``flows``; of flows with the same table, match and priority the last one counts.

    A flow whose match cannot be evaluated keeps the rest of its match and stops a packet that gets
    there with "unsupported": such a packet might match, and might not.

    Raises KeyError for a port or table name that ``names`` does not know.
    """
    distinct: dict[tuple[int, Mask, Key, int], tuple[Flow, tuple[Lowered, ...]]] = {}
    for flow in flows:
        table = names.table(flow.table or 0)
        words, missing = _match_words(flow.match, names)
        columns = tuple(sorted(words))
        mask = Mask(columns, tuple(words[column][1] for column in columns))
        key = tuple(words[column][0] for column in columns)
        lowered = tuple(action.lower(names) for action in flow.actions)
        if missing:
            lowered = (Lowered(Unsupported(f"matching {', '.join(missing)}")),)
        identity = (table, mask, key, flow.priority)
        distinct.pop(identity, None)
        distinct[identity] = flow, lowered

    entries = list(distinct.items())
    n = len(entries)
    shape = np.zeros(n, np.int32)
    row = np.zeros(n, np.int64)
    rules = Rules(
        np.array([identity[0] for identity, _ in entries], np.int32),
        np.array([identity[3] for identity, _ in entries], np.int32),
        shape,
        row,
        np.full(n, NO_ENTRY, np.int64),
    )
    shapes = _shapes([lowered for _, (_, lowered) in entries], shape, row)
    operations = [o for one in shapes for o in _all_operations(one.operations)]
    return Program(
        tuple(flow for _, (flow, _) in entries),
        rules,
        shapes,
        _tables([identity for identity, _ in entries], rules),
        names,
        union(*(operation.writes for operation in operations)),
        _key([identity[1] for identity, _ in entries], operations),
        _learnable(operations),
        min(_timeouts(operations), default=None),
    )


def _match_words(match: Match, names: Names) -> tuple[Mapping[Column, tuple[int, int]], list[str]]:
    """What of ``match`` can be compared, and the fields that cannot."""
    missing = [row.name for row, _, mask in match.constraints() if row.bits is None and mask]
    if not missing:
        return match.words(names.ports), []
    terms = tuple(term for term in match.terms if all(row.bits for row, _, _ in term.constraints()))
    return Match(terms).words(names.ports), missing


def _shapes(
    lists: list[tuple[Lowered, ...]], shape: np.ndarray, row: np.ndarray
) -> tuple[Shape, ...]:
    """The distinct shapes of ``lists``; fills in which is each list's, and where it stands."""
    members: dict[tuple[Operation, ...], list[int]] = {}
    for number, steps in enumerate(lists):
        members.setdefault(tuple(step.operation for step in steps), []).append(number)
    shapes = []
    for number, (operations, which) in enumerate(members.items()):
        shape[which] = number
        row[which] = np.arange(len(which))
        shapes.append(Shape(operations, stack_operands([lists[i] for i in which])))
    return tuple(shapes)


def _tables(
    identities: list[tuple[int, Mask, Key, int]], rules: Rules
) -> Mapping[int, tuple[Subtable, ...]]:
    groups: dict[tuple[int, Mask], list[int]] = {}
    for number, (table, mask, _, _) in enumerate(identities):
        groups.setdefault((table, mask), []).append(number)
    tables: dict[int, list[Subtable]] = {}
    for (table, mask), members in groups.items():
        members.sort(key=lambda number: -identities[number][3])
        keys = np.array([identities[number][2] for number in members], np.uint64)
        keys = keys.reshape(len(members), len(mask.columns)).T
        index, heads = chain_same_keys(keys, np.array(members), rules.next_with_key)
        top = identities[members[0]][3]
        tables.setdefault(table, []).append(Subtable(mask, index, heads, top))
    return MappingProxyType({table: tuple(found) for table, found in tables.items()})


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


def flow_names(flows: Iterable[Flow], ports: Mapping[str, int] | None) -> Names:
    """The names that ``flows`` use, with the numbers of ``ports`` where it has them."""
    port_names: dict[str, None] = {}
    port_numbers: set[int] = set()
    table_names: dict[str, None] = {}
    table_numbers: set[int] = set()
    for flow in flows:
        for port in _ports_of(flow):
            if isinstance(port, str):
                port_names[port] = None
            else:
                port_numbers.add(port)
        for table in _tables_of(flow):
            if isinstance(table, str):
                table_names[table] = None
            else:
                table_numbers.add(table)
    return Names.of(ports, port_names, port_numbers, table_names, table_numbers)


def _ports_of(flow: Flow) -> Iterator[int | str]:
    for row, value, _ in flow.match.constraints():
        if row.name.startswith("in_port"):
            yield value
    for action in _all_actions(flow.actions):
        for name in ("port", "in_port"):
            port = getattr(action, name, None)
            if port is not None:
                yield port
        yield from getattr(action, "member_ports", ())


def _tables_of(flow: Flow) -> Iterator[int | str]:
    yield flow.table or 0
    for action in _all_actions(flow.actions):
        table = getattr(action, "table", None)
        if table is not None:
            yield table


def _all_actions(actions: Iterable[Action]) -> Iterator[Action]:
    for action in actions:
        yield action
        yield from _all_actions(getattr(action, "actions", ()))
