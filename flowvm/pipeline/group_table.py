"""The groups of a program, compiled: immutable columns, one entry a group or one a bucket."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flowvm.actions.base import Subfield
from flowvm.actions.write import read_subfield
from flowvm.pipeline.bits import Columns, mask_of, words_needed
from flowvm.pipeline.hashing import Hash, murmur, packed, symmetric_l4
from flowvm.pipeline.prerequisites import holds
from flowvm.pipeline.program import Shape

if TYPE_CHECKING:
    from flowvm.actions.base import Action, Operation
    from flowvm.text.group_stats import GroupStats
    from flowvm.text.groups import Group

NONE = -1
"""Stands for no group, no bucket."""

MOST_WATCH_LINKS = 128
"""A bucket that watches a group that watches a group, and so on, so far."""


class Choice(IntEnum):
    """How a group chooses among its buckets."""

    EVERY = 0
    FIRST_LIVE = 1
    BY_HEADERS = 2
    BY_DATAPATH = 3
    UNSUPPORTED = 4


class DatapathHash(IntEnum):
    """How the datapath hashes a packet (``enum ovs_hash_alg``)."""

    L4 = 0
    SYMMETRIC_L4 = 1


@dataclass(frozen=True)
class HashedField:
    """A field of ``fields=`` of a group; ``mask`` says which of its bits count."""

    source: Subfield
    mask: int
    n_bytes: int

    def take(self, columns: Columns, packets: NDArray[np.int64], basis: Hash) -> Hash:
        """``basis`` with the field of each packet hashed in, where the packet has that field."""
        room = 64 * words_needed(8 * self.n_bytes)
        words = read_subfield(columns, packets, self.source)
        masks = [np.uint64(self.mask >> 64 * i & mask_of(64)) for i in range(room // 64)]
        parts = [(word & mask, 8) for word, mask in zip(words, masks, strict=True)]
        data = packed(*reversed(parts))[:, room // 8 - self.n_bytes :]
        hashed = murmur(data, basis)
        met = holds(self.source.field.prerequisite, columns, packets)
        return hashed if met is None else np.where(met, hashed, basis)


@dataclass(frozen=True)
class Selection:
    """What is hashed to choose a bucket; no ``fields``: what OVS hashes unless it is told."""

    fields: tuple[HashedField, ...]

    def hash(self, columns: Columns, packets: NDArray[np.int64], basis: Hash) -> Hash:
        """The hash of each packet, ``basis`` being an array too."""
        if not self.fields:
            return symmetric_l4(columns, packets, 0)
        for field in self.fields:
            basis = field.take(columns, packets, basis)
        return basis


@dataclass(frozen=True, eq=False)
class GroupTable:
    """All groups, in ascending order of ``ids``, and their buckets, in the order of the groups.

    Of each group: ``choice`` (a :class:`Choice`); the place of its first bucket and how many it
    has; ``first_live``, a bucket or ``NONE``; ``selection`` (a number of ``selections``) and
    ``basis`` for ``BY_HEADERS``; ``algorithm`` (a :class:`DatapathHash`), ``basis``, and
    ``hash_map_mask`` and ``hash_map_start`` for ``BY_DATAPATH``: the bucket for a hash is at
    ``hash_map[hash_map_start + (hash & hash_map_mask)]``.

    Of each bucket: its ID, weight and whether it is live; the shape of its actions, in the order of
    an action set, and its row there.
    """

    groups: tuple[Group, ...]
    ids: NDArray[np.int64]
    choice: NDArray[np.int8]
    first_bucket: NDArray[np.int64]
    n_buckets: NDArray[np.int64]
    first_live: NDArray[np.int64]
    selection: NDArray[np.int64]
    selections: tuple[Selection, ...]
    basis: NDArray[np.uint32]
    algorithm: NDArray[np.int8]
    hash_map_start: NDArray[np.int64]
    hash_map_mask: NDArray[np.int64]
    hash_map: NDArray[np.int64]
    bucket_id: NDArray[np.uint32]
    weight: NDArray[np.uint32]
    live: NDArray[np.bool_]
    shape: NDArray[np.int64]
    row: NDArray[np.int64]
    shapes: tuple[Shape, ...]
    actions: tuple[tuple[Action, ...], ...]
    """What each bucket does, in the order in which it does it."""

    reads: Mapping[int, int]
    """The bits of a packet (column -> mask) that choosing a bucket depends on."""

    unsupported: Mapping[int, str]
    """What of a group is not supported, by its place."""

    statistics: Mapping[int, GroupStats]
    """What the dump says that groups have counted, by ID."""

    def find(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """The place of each of those groups, or ``NONE`` if there is no such group."""
        if not len(self.ids):
            return np.full(len(ids), NONE, np.int64)
        places = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[places] == ids, places, NONE)

    @cached_property
    def group_of_bucket(self) -> NDArray[np.int64]:
        """The place of the group of each bucket."""
        return np.repeat(np.arange(len(self.ids)), self.n_buckets)

    @cached_property
    def by_datapath(self) -> bool:
        """Whether there are groups for which the datapath hashes packets."""
        return bool((self.choice == Choice.BY_DATAPATH).any())

    @cached_property
    def by_reception(self) -> bool:
        """Whether it matters what the datapath hashed packets to when it received them."""
        by_datapath = self.choice == Choice.BY_DATAPATH
        return bool((self.algorithm[by_datapath] == DatapathHash.L4).any())

    @property
    def operations(self) -> tuple[Operation, ...]:
        """All operations of all buckets."""
        return tuple(operation for shape in self.shapes for operation in shape.operations)
