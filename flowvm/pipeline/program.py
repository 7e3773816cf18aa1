"""The compiled form of a set of flows: immutable, and shared by every state that runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flowvm.flow import Flow
from flowvm.names import Names
from flowvm.pipeline.subtable import NO_ENTRY, KeyIndex, Mask

if TYPE_CHECKING:
    from flowvm.actions.base import Lowered, Operation


@dataclass(frozen=True)
class Subtable:
    """Rules of one table that share a mask.

    ``heads[k]`` is the rule of highest priority that has key number ``k``; the others with that
    key follow by :attr:`Rules.next_with_key`.
    """

    mask: Mask
    index: KeyIndex
    heads: NDArray[np.int64]
    max_priority: int


@dataclass(frozen=True)
class Shape:
    """The operations that some rules have in common, and the operands in which they differ.

    ``operands[i]`` belongs to ``operations[i]``: shape (operands of that operation, rules).
    """

    operations: tuple[Operation, ...]
    operands: tuple[NDArray[np.uint64], ...]


@dataclass(frozen=True)
class Rules:
    """What the engine needs of each rule; every array has one entry a rule."""

    table: NDArray[np.int32]
    priority: NDArray[np.int32]
    shape: NDArray[np.int32]
    row: NDArray[np.int64]
    next_with_key: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.table)


@dataclass(frozen=True)
class Program:
    """Flows, compiled: rules by number, the subtables of each table, the shapes of the actions."""

    flows: tuple[Flow, ...]
    rules: Rules
    shapes: tuple[Shape, ...]
    tables: Mapping[int, tuple[Subtable, ...]]
    names: Names
    written: Mapping[int, int] = field(default_factory=dict)
    """The bits that some action of the program (or of a flow it learns) can change."""

    key: Mask = field(default_factory=lambda: Mask((), ()))
    """The bits of a packet that can make a difference to what becomes of it."""

    learnable: Mapping[int, frozenset[int]] = field(default_factory=dict)
    """The tables that flows can be learned into, and the columns those flows can match."""

    shortest_timeout: int | None = None
    """Seconds: no flow that the program learns expires sooner after its last use."""

    @cached_property
    def learnable_columns(self) -> tuple[int, ...]:
        """All columns that learned flows can match."""
        return tuple(sorted(frozenset[int]().union(*self.learnable.values())))


def chain_same_keys(
    keys: NDArray[np.uint64], rules: NDArray[np.int64], next_with_key: NDArray[np.int64]
) -> tuple[KeyIndex, NDArray[np.int64]]:
    """Index the distinct ``keys`` of ``rules`` and chain the rules that share one.

    ``rules`` come in descending priority. Writes ``next_with_key`` in place.
    """
    n_words, n = keys.shape
    if n_words:
        order = np.lexsort(keys[::-1])
        ordered = keys[:, order]
        same = np.zeros(n, bool)
        same[1:] = (ordered[:, 1:] == ordered[:, :-1]).all(axis=0)
    else:
        order = np.arange(n)
        ordered = keys
        same = np.arange(n) > 0
    # lexsort is stable, so that within one key the rules keep their descending priority.
    in_order = rules[order]
    follows = np.flatnonzero(same)
    next_with_key[in_order[follows - 1]] = in_order[follows]
    index = KeyIndex(n_words, max(8, n))
    index.add(ordered[:, ~same])
    return index, in_order[~same]


def stack_operands(lowered: list[tuple[Lowered, ...]]) -> tuple[NDArray[np.uint64], ...]:
    """The operands of rules of one shape as arrays, one a position in the action list."""
    return tuple(
        np.array([step.operands for step in steps], np.uint64).reshape(len(steps), -1).T
        for steps in zip(*lowered, strict=True)
    )


__all__ = ["NO_ENTRY", "Program", "Rules", "Shape", "Subtable", "chain_same_keys", "stack_operands"]
