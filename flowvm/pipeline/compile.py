"""Compiling: from flows to a :class:`~flowvm.pipeline.program.Program`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from flowvm.actions.base import Action, Lowered, Operation, Unsupported
from flowvm.actions.placing import bits_used, placed
from flowvm.columns import Column
from flowvm.fields import Format
from flowvm.flow import Flow, Match, Port, Table
from flowvm.names import Names
from flowvm.pipeline.assemble import FlowBlock, FlowColumns, assemble
from flowvm.pipeline.program import Program
from flowvm.pipeline.subtable import Mask
from flowvm.tlv_map import NO_TLV_MAP, TlvMap


def compile_flows(flows: Iterable[Flow], names: Names) -> Program:
    """Compile ``flows``; of flows with the same table, match and priority the last one counts.

    A flow whose match cannot be evaluated keeps the rest of its match and stops a packet that gets
    there with "unsupported": such a packet might match, and might not.

    Raises KeyError for a port or table name that ``names`` does not know.
    """
    flows = tuple(flows)
    columns = FlowColumns(len(flows))
    blocks = FlowBlocks(names)
    for number, flow in enumerate(flows):
        columns.put(number, flow)
        blocks.add(number, flow)
    return assemble(
        blocks.blocks(), columns, names, lambda kept: tuple(flows[n] for n in kept.tolist())
    )


class FlowBlocks:
    """Gathers flows, one by one in ascending order of their numbers, into blocks."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._members: dict[
            tuple[int, Mask, tuple[Operation, ...]],
            list[tuple[int, tuple[int, ...], tuple[Lowered, ...]]],
        ] = {}

    def add(self, number: int, flow: Flow) -> None:
        """Enter ``flow``. Raises KeyError for a name that is not known."""
        table = self._names.table(flow.table or 0)
        words, missing = match_words(flow.match, self._names)
        mask = mask_of_words(words)
        key = tuple(words[Column(column)][0] for column in mask.columns)
        lowered = lower(flow.actions, missing, self._names)
        operations = tuple(step.operation for step in lowered)
        self._members.setdefault((table, mask, operations), []).append((number, key, lowered))

    def blocks(self) -> list[FlowBlock]:
        """What there is so far."""
        blocks = []
        for (table, mask, operations), members in self._members.items():
            numbers = np.array([number for number, _, _ in members], np.int64)
            keys = np.array([key for _, key, _ in members], np.uint64)
            keys = keys.reshape(len(members), len(mask.columns)).T
            operands = stack_operands([lowered for _, _, lowered in members])
            blocks.append(FlowBlock(numbers, table, mask, keys, operations, operands))
        return blocks


def mask_of_words(words: Mapping[Column, tuple[int, int]]) -> Mask:
    """The mask of a match on ``words``."""
    columns = tuple(sorted(words))
    return Mask(columns, tuple(words[column][1] for column in columns))


def lower(actions: Iterable[Action], missing: Sequence[str], names: Names) -> tuple[Lowered, ...]:
    """What a flow with these actions does, of whose match the fields ``missing`` are left out."""
    if missing:
        return (Lowered(Unsupported(f"matching {', '.join(missing)}")),)
    return tuple(lower_action(action, names) for action in actions)


def lower_action(action: Action, names: Names) -> Lowered:
    """The operation of one action, in which tunnel options have their places."""
    if names.tlv_map:
        action = placed(action, names.tlv_map)
    return action.lower(names)


def stack_operands(lowered: Sequence[tuple[Lowered, ...]]) -> tuple[NDArray[np.uint64], ...]:
    """The operands of flows with the same operations as arrays, one an operation."""
    return tuple(
        np.array([step.operands for step in steps], np.uint64).reshape(len(steps), -1).T
        for steps in zip(*lowered, strict=True)
    )


def match_words(match: Match, names: Names) -> tuple[Mapping[Column, tuple[int, int]], list[str]]:
    """What of ``match`` can be compared, and the fields that cannot."""
    tlv_map = names.tlv_map
    missing = [
        row.name
        for row, value, mask in match.constraints()
        if row.bits is None and not (isinstance(value, int) and tlv_map.holds(row, value, mask))
    ]
    if not missing:
        return match.words(names.ports, tlv_map), []
    terms = tuple(
        term
        for term in match.terms
        if all(row.name not in missing for row, _, _ in term.constraints())
    )
    return Match(terms).words(names.ports, tlv_map), missing


def flow_names(
    flows: Iterable[Flow], ports: Mapping[str, int] | None, tlv_map: TlvMap | None = None
) -> Names:
    """The names that ``flows`` use, with the numbers of ``ports`` where it has them.

    Without a TLV map one is inferred.
    """
    used = UsedNames()
    for number, flow in enumerate(flows):
        used.see(flow, number)
    return used.names(ports, tlv_map)


class UsedNames:
    """Gathers the ports, tables and tunnel options that flows name, in whatever order."""

    def __init__(self) -> None:
        self.port_numbers: set[int] = set()
        self._table_numbers: set[int] = set()
        self._ports: dict[str, tuple[int, ...]] = {}
        self._tables: dict[str, tuple[int, ...]] = {}
        self._bits: dict[int, int] = {}

    def see(self, flow: Flow, *place: int) -> None:
        """``place`` says which of the flows seen comes first: numbers, compared in turn."""
        for ports, names, numbers in (
            (ports_of(flow), self._ports, self.port_numbers),
            (tables_of(flow), self._tables, self._table_numbers),
        ):
            for rank, port in enumerate(ports):
                if isinstance(port, int):
                    numbers.add(port)
                elif (*place, rank) < names.get(port, (*place, rank + 1)):
                    names[port] = (*place, rank)
        for option, bits in bits_used(flow.match, flow.actions).items():
            self._bits[option] = max(bits, self._bits.get(option, 0))

    def names(self, ports: Mapping[str, int] | None, tlv_map: TlvMap | None = None) -> Names:
        """All the names, numbered in the order in which flows name them, and those of ``ports``.

        Without a TLV map one is inferred.
        """
        return Names.of(
            ports,
            sorted(self._ports, key=self._ports.__getitem__),
            self.port_numbers,
            sorted(self._tables, key=self._tables.__getitem__),
            self._table_numbers,
            NO_TLV_MAP.extended(self._bits) if tlv_map is None else tlv_map,
        )


def ports_of(flow: Flow) -> Iterator[Port]:
    """The ports that ``flow`` names, in its match or its actions; some of them reserved ones."""
    for row, value, _ in flow.match.constraints():
        if row.format is Format.PORT:
            yield value
    for action in all_actions(flow.actions):
        for name in ("port", "in_port"):
            port = getattr(action, name, None)
            if port is not None:
                yield port
        yield from getattr(action, "member_ports", ())
        # set_field and learn take a port's name for a value.
        for holder in (action, *getattr(action, "specs", ())):
            named = getattr(holder, "value", None)
            if isinstance(named, str):
                yield named


def tables_of(flow: Flow) -> Iterator[Table]:
    """The tables that ``flow`` names, its own the first."""
    yield flow.table or 0
    for action in all_actions(flow.actions):
        table = getattr(action, "table", None)
        if table is not None:
            yield table


def all_actions(actions: Iterable[Action]) -> Iterator[Action]:
    """Each of ``actions``, followed by those that are inside it."""
    for action in actions:
        yield action
        yield from all_actions(getattr(action, "actions", ()))
