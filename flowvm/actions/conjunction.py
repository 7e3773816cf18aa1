"""``conjunction``: one clause of a conjunctive match.

Semantics: ovs-actions(7), "conjunction"; ovs-fields(7), "Conjunctive Match Fields".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowvm.actions.base import (
    Action,
    Kept,
    Lowered,
    Operands,
    Operation,
    Packets,
    Resolver,
)
from flowvm.text.errors import WordError
from flowvm.text.tree import Item
from flowvm.text.values import parse_number

if TYPE_CHECKING:
    from flowvm.pipeline.engine import Run


@dataclass(frozen=True)
class Conjunction(Action):
    """``conjunction(ID,K/N)``: this flow is clause ``k`` of ``n``, counted from 1."""

    conj_id: int
    k: int
    n: int

    def __str__(self) -> str:
        return f"conjunction({self.conj_id},{self.k}/{self.n})"

    def lower(self, resolver: Resolver) -> Lowered:  # noqa: ARG002
        return Lowered(Clause(self.k, self.n), (self.conj_id,))

    @property
    def operand_limit(self) -> int:
        return 1 << 32


@dataclass(frozen=True)
class Clause(Operation):
    """Be clause ``k`` of ``n`` of the conjunction in the operand.

    It is what a rule is, not what it does: see :mod:`flowvm.pipeline.conjunction`. A list can only
    come to be executed from within another action.
    """

    k: int
    n: int

    @property
    def is_frozen(self) -> bool:
        return False

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:  # noqa: ARG002
        if run.recorder:
            run.recorder.error("executing no-op conjunction action")
        return None


def make_conjunction(item: Item) -> Conjunction:
    parts = item.parts()
    expected = "conjunction(ID,K/N)"
    if len(parts) != 2:
        raise WordError(item.last, "conjunction takes an ID and a clause", expected)
    k_text, _, n_text = parts[1].key.partition("/")
    try:
        k, n = parse_number(k_text, 8), parse_number(n_text, 8)
    except WordError as error:
        raise WordError(parts[1].key, error.problem, expected) from None
    if not 1 <= k <= n or not 2 <= n <= 64:
        raise WordError(parts[1].key, f"there is no clause {k} of {n}", "K/N, with N from 2 to 64")
    return Conjunction(parse_number(parts[0].key, 32, "a conjunction ID"), k, n)
