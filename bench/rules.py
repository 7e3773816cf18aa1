"""Programs of many rules in many subtables, made without text."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flowvm.actions.base import Operation
from flowvm.columns import N_COLUMNS, Column
from flowvm.names import Names
from flowvm.pipeline.assemble import FlowBlock, FlowColumns, assemble
from flowvm.pipeline.bits import Columns
from flowvm.pipeline.program import Program
from flowvm.pipeline.subtable import Mask

PRIORITY = 100

_FIELDS = (Column.IN_PORT, Column.METADATA, Column.ETH_SRC, Column.ETH_DST, Column.NW, Column.TP)
_NOTHING: tuple[Operation, ...] = ()


def masks(n: int) -> list[Mask]:
    """``n`` masks that differ: all compare IPv4 addresses, each some other columns besides."""
    found = []
    for number in range(n):
        some = [column for i, column in enumerate(_FIELDS) if (number + 1) >> i & 1]
        columns = tuple(sorted([*some, Column.IPV4]))
        found.append(Mask(columns, ((1 << 64) - 1,) * len(columns)))
    return found


def program(n_rules: int, n_subtables: int) -> tuple[Program, Columns]:
    """Rules of one priority, so that each lookup goes through all subtables; and what they match.

    Returns the program, and columns of packets (one a rule) that match one rule each.
    """
    random = np.random.default_rng(n_rules + n_subtables)
    nothing = np.zeros(n_rules, np.uint64)
    columns: list[NDArray[np.uint64]] = [nothing] * N_COLUMNS
    for column in (*_FIELDS, Column.IPV4):
        columns[column] = random.integers(0, 1 << 64, n_rules, np.uint64)
    blocks = []
    for number, mask in enumerate(masks(n_subtables)):
        flows = np.arange(number, n_rules, n_subtables)
        keys = np.array([columns[column][flows] for column in mask.columns], np.uint64)
        blocks.append(FlowBlock(flows, 0, mask, keys, _NOTHING, ()))
    others = FlowColumns(n_rules)
    others.priority[:] = PRIORITY
    names = Names.of(None, (), (), (), ())
    return assemble(blocks, others, names, lambda _: ()), columns
