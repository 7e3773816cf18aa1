"""Programs are the same: every rule, in every part."""

from __future__ import annotations

import numpy as np

from flowvm.pipeline.program import Program


def assert_same_program(one: Program, other: Program) -> None:
    """Fail unless both have the same flows, and number and arrange all they consist of alike."""
    assert one.names == other.names
    assert list(one.flows) == list(other.flows)
    for part in ("rules", "statistics"):
        ours, theirs = vars(getattr(one, part)), vars(getattr(other, part))
        assert ours.keys() == theirs.keys()
        for name, column in ours.items():
            assert np.array_equal(column, theirs[name]), f"{part}.{name}"
    assert [shape.operations for shape in one.shapes] == [s.operations for s in other.shapes]
    for ours, theirs in zip(one.shapes, other.shapes, strict=True):
        for mine, yours in zip(ours.operands, theirs.operands, strict=True):
            assert np.array_equal(mine, yours), ours.operations
    assert list(one.tables) == list(other.tables)
    for table, subtables in one.tables.items():
        for ours, theirs in zip(subtables, other.tables[table], strict=True):
            assert (ours.mask, ours.max_priority) == (theirs.mask, theirs.max_priority)
            assert np.array_equal(ours.index.keys, theirs.index.keys)
            assert np.array_equal(ours.heads, theirs.heads)
    for name in ("written", "key", "learnable", "shortest_timeout"):
        assert getattr(one, name) == getattr(other, name), name
