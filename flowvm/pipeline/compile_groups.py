"""Compiling groups into a program.

Semantics: ovs-ofctl(8), "Group Syntax"; ``group_set_selection_method`` and
``group_setup_dp_hash_table`` in ofproto/ofproto-dpif.c, ``bucket_is_alive`` in
ofproto/ofproto-dpif-xlate.c.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from flowvm.actions.base import Action, Lowered, Operation, Subfield, Unsupported
from flowvm.actions.nest import slot_of
from flowvm.actions.placing import bits_used
from flowvm.actions.write import subfield_bits
from flowvm.columns import Column
from flowvm.fields import FIELDS, TUN_METADATA_WIDTH, Field
from flowvm.flow import Match, Port, ReservedPort
from flowvm.names import Names
from flowvm.pipeline import hashing
from flowvm.pipeline.actionset import execution_order
from flowvm.pipeline.assemble import widened
from flowvm.pipeline.bits import mask_of
from flowvm.pipeline.compile import all_actions, lower_action, stack_operands
from flowvm.pipeline.group_table import (
    MOST_WATCH_LINKS,
    NONE,
    Choice,
    DatapathHash,
    GroupTable,
    HashedField,
    Selection,
)
from flowvm.pipeline.prerequisites import needs, union
from flowvm.pipeline.program import Program, Shape
from flowvm.pipeline.subtable import Mask
from flowvm.text.group_stats import GroupStats
from flowvm.text.groups import Bucket, Group, SelectionField

MOST_HASHES = 256
LEAST_HASHES = 16
_WORD = 0xFFFF_FFFF

_UNHASHED = ("nd_options_type", "nsh_spi", "recirc_id")
"""Fields that OVS does not hash as the number it shows, or that no two switches agree on."""

_ORDER: Mapping[str, int] = MappingProxyType({row.name: i for i, row in enumerate(FIELDS)})


def with_groups(
    program: Program, groups: Iterable[Group], statistics: Iterable[GroupStats] = ()
) -> Program:
    """The program with ``groups`` besides those it has; of two with one ID the later counts.

    ``statistics`` is what the dump says that they have counted.

    Ports that only groups name get numbers of their own. Raises KeyError for a table that only
    groups name.
    """
    known = program.groups.groups if program.groups else ()
    by_id = {group.group_id: group for group in (*known, *groups)}
    ordered = tuple(by_id[number] for number in sorted(by_id))
    names = program.names.extended(ports_of_groups(ordered))
    for group in ordered:
        for bucket in group.buckets:
            used = bits_used(Match(), bucket.actions)
            names = replace(names, tlv_map=names.tlv_map.extended(used))
    counted = dict(program.groups.statistics) if program.groups else {}
    counted |= {stats.group_id: stats for stats in statistics}
    table = _Compiler(ordered, names).table(counted)
    mask = union(table.reads, {Column.RECIRC: _WORD} if table.by_datapath else {})
    columns = tuple(sorted(mask))
    wide = widened(
        program, Mask(columns, tuple(mask[column] for column in columns)), table.operations
    )
    written = union(wide.written, {Column.RECIRC: _WORD}) if table.by_datapath else wide.written
    return replace(wide, names=names, groups=table, written=written)


def ports_of_groups(groups: Iterable[Group]) -> list[str]:
    """The names of ports that ``groups`` use, in the order in which they are used."""
    found: dict[str, None] = {}

    def see(port: Port | None) -> None:
        if isinstance(port, str):
            found[port] = None

    for group in groups:
        for bucket in group.buckets:
            see(bucket.watch_port)
            for action in all_actions(bucket.actions):
                for attribute in ("port", "in_port"):
                    see(getattr(action, attribute, None))
                for port in getattr(action, "member_ports", ()):
                    see(port)
                see(getattr(action, "value", None))
    return list(found)


class _Compiler:
    """Some groups on their way into a table."""

    def __init__(self, groups: Sequence[Group], names: Names) -> None:
        self._groups = groups
        self._names = names
        self._by_id = {group.group_id: group for group in groups}
        self._alive: dict[tuple[int, int], bool] = {}
        self._selections: dict[Selection, int] = {}
        self._hash_maps: list[NDArray[np.int64]] = []
        self._quotas: dict[tuple[int, ...], NDArray[np.int64] | None] = {}
        self._reads: Mapping[int, int] = {}

    def table(self, statistics: Mapping[int, GroupStats]) -> GroupTable:
        """All of them, compiled."""
        n = len(self._groups)
        choice = np.zeros(n, np.int8)
        selection = np.full(n, NONE, np.int64)
        basis = np.zeros(n, np.uint32)
        algorithm = np.zeros(n, np.int8)
        start, mask = np.zeros(n, np.int64), np.zeros(n, np.int64)
        unsupported = {}
        for place, group in enumerate(self._groups):
            why = self._unsupported(group)
            if why:
                choice[place], unsupported[place] = Choice.UNSUPPORTED, why
            elif group.type in ("all", "indirect"):
                choice[place] = Choice.EVERY
            elif group.type == "ff":
                choice[place] = Choice.FIRST_LIVE
            elif (quotas := self._datapath_quotas(group)) is not None:
                choice[place] = Choice.BY_DATAPATH
                algorithm[place], basis[place] = _datapath_hash(group)
                self._reads = union(self._reads, _DATAPATH_READS)
                mask[place] = len(quotas) - 1
                start[place] = sum(map(len, self._hash_maps))
                self._hash_maps.append(quotas)
            else:
                choice[place] = Choice.BY_HEADERS
                chosen = self._selection(group)
                selection[place] = self._selections.setdefault(chosen, len(self._selections))
                basis[place] = hashing.of_64_bits(group.selection_method_param)[0]
        counts = np.array([len(group.buckets) for group in self._groups], np.int64)
        first = np.cumsum(counts) - counts
        live = np.array([self._is_live(g, b, 0) for g in self._groups for b in g.buckets], bool)
        # The map of a group counts buckets from its own first one.
        maps = [
            np.where(some == NONE, NONE, some + first[place])
            for place, some in zip(
                np.flatnonzero(choice == Choice.BY_DATAPATH).tolist(), self._hash_maps, strict=True
            )
        ]
        buckets = [bucket for group in self._groups for bucket in group.buckets]
        in_order = tuple(_in_order(bucket.actions) for bucket in buckets)
        shape, row, shapes = self._shapes(in_order)
        return GroupTable(
            groups=tuple(self._groups),
            ids=np.array([group.group_id for group in self._groups], np.int64),
            choice=choice,
            first_bucket=first,
            n_buckets=counts,
            first_live=_first_live(live, first, counts),
            selection=selection,
            selections=tuple(self._selections),
            basis=basis,
            algorithm=algorithm,
            hash_map_start=start,
            hash_map_mask=mask,
            hash_map=np.concatenate([np.zeros(0, np.int64), *maps]),
            bucket_id=np.array([n for group in self._groups for n in bucket_ids(group)], np.uint32),
            weight=np.array([_weight(g, b) for g in self._groups for b in g.buckets], np.uint32),
            live=live,
            shape=shape,
            row=row,
            shapes=shapes,
            actions=in_order,
            reads=self._reads,
            unsupported=MappingProxyType(unsupported),
            statistics=MappingProxyType(dict(statistics)),
        )

    def _unsupported(self, group: Group) -> str | None:
        """What of ``group`` cannot be told, if anything."""
        if any(
            bucket.watch_port in (ReservedPort.CONTROLLER, "CONTROLLER") for bucket in group.buckets
        ):
            return f"group:{group.group_id} watching the controller"
        for field in group.fields if _chooses_by_fields(group) else ():
            if field.field.bits is None or field.field.name in _UNHASHED:
                return f"group:{group.group_id} hashing {field.field.name}"
        if group.selection_method not in (None, "hash", "dp_hash"):
            return f"group:{group.group_id} with selection_method={group.selection_method}"
        return None

    # -- select ---------------------------------------------------------------------------------

    def _selection(self, group: Group) -> Selection:
        fields = group.fields if _chooses_by_fields(group) else ()
        hashed = sorted(map(_hashed_field, fields), key=lambda one: _ORDER[one.source.field.name])
        reads = [hashing.HASHES["symmetric_l4"].reads] if not hashed else []
        for one in hashed:
            reads += [subfield_bits(one.source), needs(one.source.field.prerequisite)]
        self._reads = union(self._reads, *reads)
        return Selection(tuple(hashed))

    def _datapath_quotas(self, group: Group) -> NDArray[np.int64] | None:
        """The bucket for each value of the datapath's hash, if that is how the group chooses."""
        if group.selection_method == "hash":
            return None
        weights = tuple(_weight(group, bucket) for bucket in group.buckets)
        if weights not in self._quotas:
            self._quotas[weights] = _webster(weights)
        quotas = self._quotas[weights]
        if quotas is None:
            return None
        live = np.array([self._is_live(group, bucket, 0) for bucket in group.buckets])
        usable = np.flatnonzero(live[quotas])
        if not len(usable):
            return np.full(len(quotas), NONE)
        # A bucket that is not live gives its place to the next that is.
        following = np.searchsorted(usable, np.arange(len(quotas))) % len(usable)
        return quotas[usable[following]]

    # -- liveness -------------------------------------------------------------------------------

    def _is_live(self, group: Group, bucket: Bucket, depth: int) -> bool:
        if depth >= MOST_WATCH_LINKS:
            return False
        if group.type == "select" and _weight(group, bucket) == 0:
            return False
        port, watched = bucket.watched
        if port is None and watched is None:
            return True
        if port is not None and self._names.is_live(self._names.port(port)):
            return True
        return watched is not None and self._group_is_live(watched, depth + 1)

    def _group_is_live(self, group_id: int, depth: int) -> bool:
        known = self._alive.get((group_id, depth))
        if known is None:
            group = self._by_id.get(group_id)
            known = group is not None and any(
                self._is_live(group, bucket, depth) for bucket in group.buckets
            )
            self._alive[group_id, depth] = known
        return known

    # -- actions --------------------------------------------------------------------------------

    def _shapes(
        self, actions: Sequence[tuple[Action, ...]]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[Shape, ...]]:
        """The shape and row of each bucket, and the shapes."""
        shape, row = np.zeros(len(actions), np.int64), np.zeros(len(actions), np.int64)
        numbers: dict[tuple[Operation, ...], int] = {}
        members: list[list[tuple[Lowered, ...]]] = []
        for bucket, some in enumerate(actions):
            lowered = tuple(self._lower(action) for action in some)
            operations = tuple(step.operation for step in lowered)
            number = numbers.setdefault(operations, len(numbers))
            if number == len(members):
                members.append([])
            shape[bucket], row[bucket] = number, len(members[number])
            members[number].append(lowered)
        shapes = (
            Shape(operations, stack_operands(members[number]))
            for operations, number in numbers.items()
        )
        return shape, row, tuple(shapes)

    def _lower(self, action: Action) -> Lowered:
        if slot_of(action) is None:
            return Lowered(Unsupported(f"{action} in a bucket"))
        return lower_action(action, self._names)


_DATAPATH_READS = union(hashing.HASHES["symmetric_l3l4"].reads, hashing.FIVE_TUPLE.reads)


def _chooses_by_fields(group: Group) -> bool:
    return group.type == "select" and group.selection_method == "hash" and bool(group.fields)


def _hashed_field(selection: SelectionField) -> HashedField:
    row = selection.field
    assert row.bits is not None
    last = max(row.width, row.bits.width) - 1
    mask = selection.mask
    if row.is_wide_port and mask == row.full_mask:
        mask = mask_of(row.width)
    return HashedField(Subfield(row, 0, last, row.name), mask, _bytes_of(row))


def _bytes_of(row: Field) -> int:
    """How many bytes a value of the field takes in OVS (``n_bytes``)."""
    assert row.width < TUN_METADATA_WIDTH
    n_bytes = (row.width + 7) // 8
    return 4 if n_bytes == 3 else n_bytes


def _datapath_hash(group: Group) -> tuple[DatapathHash, int]:
    """The algorithm and the basis of ``dp_hash``."""
    if group.selection_method is None:
        return DatapathHash.SYMMETRIC_L4, 0
    algorithm, basis = group.selection_method_param >> 32, group.selection_method_param & _WORD
    known = algorithm in DatapathHash.__members__.values()
    return DatapathHash(algorithm) if known else DatapathHash.L4, basis


def _webster(weights: tuple[int, ...]) -> NDArray[np.int64] | None:
    """The buckets that values of the hash stand for, ``None`` if there are too many to say.

    Each gets its share by Webster's method, ties going to the first.
    """
    used = [weight for weight in weights if weight]
    if not used:
        return None
    slots = -(-sum(used) // min(used))
    n_hashes = max(LEAST_HASHES, 1 << (slots - 1).bit_length())
    if n_hashes > MOST_HASHES:
        return None
    exact = np.array(weights, np.float64)
    divisors = np.ones(len(weights))
    quotients = exact.copy()
    chosen = np.zeros(n_hashes, np.int64)
    for slot in range(n_hashes):
        winner = int(quotients.argmax())
        chosen[slot] = winner
        divisors[winner] += 2
        quotients[winner] = exact[winner] / divisors[winner]
    return chosen


def _first_live(
    live: NDArray[np.bool_], first: NDArray[np.int64], counts: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The first live bucket of each group."""
    places = np.flatnonzero(live)
    following = np.searchsorted(places, first)
    found = np.append(places, len(live))[following]
    return np.where(found < first + counts, found, NONE)


def _weight(group: Group, bucket: Bucket) -> int:
    if bucket.weight is not None:
        return bucket.weight
    return 1 if group.type == "select" else 0


def bucket_ids(group: Group) -> list[int]:
    """The ID of each bucket: buckets without one get the lowest that are free, in order."""
    taken = {bucket.bucket_id for bucket in group.buckets}
    free = (number for number in range(len(group.buckets) + 1) if number not in taken)
    return [
        next(free) if bucket.bucket_id is None else bucket.bucket_id for bucket in group.buckets
    ]


def _in_order(actions: tuple[Action, ...]) -> tuple[Action, ...]:
    """What a bucket does, in the order of an action set; all of it if it cannot be one."""
    slots = [slot_of(action) for action in actions]
    known = [slot for slot in slots if slot is not None]
    if len(known) < len(slots):
        return actions
    return tuple(actions[i] for i in execution_order(known))
