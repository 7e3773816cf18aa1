"""The stack: ``push`` and ``pop``.

Semantics: ovs-actions(7), "push" and "pop".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from flowvm.actions.base import (
    Action,
    ColumnBits,
    Kept,
    Lowered,
    Operands,
    Operation,
    Packets,
    Resolver,
    Subfield,
)
from flowvm.actions.write import subfield_bits, write_subfield
from flowvm.pipeline.bits import words_needed
from flowvm.text.errors import WordError
from flowvm.text.tree import Item
from flowvm.text.values import parse_subfield

if TYPE_CHECKING:
    from flowvm.pipeline.engine import Run


@dataclass(frozen=True)
class Push(Action):
    """``push:SUBFIELD``."""

    source: Subfield

    def __str__(self) -> str:
        return f"push:{self.source}"

    def lower(self, resolver: Resolver) -> Lowered:
        if self.source.field.bits is None:
            return super().lower(resolver)
        return Lowered(PushBits(self.source))


@dataclass(frozen=True)
class Pop(Action):
    """``pop:SUBFIELD``."""

    destination: Subfield

    def __str__(self) -> str:
        return f"pop:{self.destination}"

    def lower(self, resolver: Resolver) -> Lowered:
        if self.destination.field.bits is None:
            return super().lower(resolver)
        return Lowered(PopBits(self.destination))


@dataclass(frozen=True)
class PushBits(Operation):
    """Push bits of a field, whether or not the packet has it."""

    source: Subfield

    @property
    def reads(self) -> ColumnBits:
        return subfield_bits(self.source)

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:  # noqa: ARG002
        run.stacks.push(packets, list(run.read(packets, self.source)))
        return None


@dataclass(frozen=True)
class PopBits(Operation):
    """Pop into bits of a field, whether or not the packet has it."""

    destination: Subfield

    @property
    def writes(self) -> ColumnBits:
        return write_subfield(self.destination).writes

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:  # noqa: ARG002
        there, words = run.stacks.pop(packets, words_needed(self.destination.width))
        if run.recorder and not there.all():
            run.recorder.error("stack underflow")
        packets = packets[there]
        values = np.array([word[there] for word in words])
        write_subfield(self.destination).store(run, packets, values)
        run.report_subfield(packets, self.destination)
        return None


def make_push(item: Item) -> Push:
    return Push(parse_subfield(item.argument("a field")))


def make_pop(item: Item) -> Pop:
    word = item.argument("a field")
    destination = parse_subfield(word)
    if not destination.field.writable:
        raise WordError(word, f"{destination.spelling} is read-only", "a field that can be written")
    return Pop(destination)
