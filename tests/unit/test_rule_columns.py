"""The columns of rules: what a copy shares, and what it does not."""

from __future__ import annotations

import numpy as np
import pytest

from flowvm.pipeline.rules import RuleColumns


def test_a_copy_shares_columns_until_one_is_about_to_be_written() -> None:
    """A copy costs no memory; what is written to either then is not seen in the other."""
    rules = RuleColumns(4)
    twin = rules.copy()
    assert np.shares_memory(rules.n_packets, twin.n_packets)
    rules.own("n_packets")
    rules.n_packets[2] = 7
    twin.own("n_packets")
    twin.n_packets[1] = 3
    assert rules.n_packets.tolist() == [0, 0, 7, 0]
    assert twin.n_packets.tolist() == [0, 3, 0, 0]
    assert np.shares_memory(rules.n_bytes, twin.n_bytes)


def test_shared_columns_cannot_be_written() -> None:
    """Whoever forgets to say so is told, before the copy is changed too."""
    rules = RuleColumns(1)
    twin = rules.copy()
    for one in (rules, twin):
        with pytest.raises(ValueError, match="read-only"):
            one.cookie[0] = 1


def test_rules_added_to_a_copy_are_its_own() -> None:
    """What is appended to one of two that share columns does not show in the other."""
    rules = RuleColumns(2)
    twin = rules.copy()
    (new,) = twin.append(1).tolist()
    twin.cookie[new] = 5
    (other,) = rules.append(1).tolist()
    assert (len(rules), len(twin)) == (3, 3)
    assert (int(rules.cookie[other]), int(twin.cookie[new])) == (0, 5)


def test_new_rules_are_blank_however_columns_have_grown() -> None:
    """What the old ones say stays; the new ones have what a rule has that nothing is known of."""
    rules = RuleColumns(3)
    blank = rules.take(np.zeros(1, np.int64))
    for size in (5, 100, 1, 40, 3000):
        rules.n_packets[:] = rules.template[:] = 7
        before = len(rules)
        assert rules.append(size).tolist() == [*range(before, before + size)]
        for name in ("alive", "next_with_key", "n_packets", "template", "is_table_miss"):
            new = getattr(rules, name)[before:]
            assert new.tolist() == getattr(blank, name).tolist() * size
        assert (rules.n_packets[:before] == 7).all()
        assert (rules.template[:before] == 7).all()
