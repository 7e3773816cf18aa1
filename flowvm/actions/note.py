"""``note`` and ``exit``.

Semantics: ovs-actions(7), "note" and "exit".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowvm.actions.base import Action, Kept, Lowered, Operands, Operation, Packets, Resolver
from flowvm.actions.controller import parse_hex_bytes
from flowvm.text.tree import Item

if TYPE_CHECKING:
    from flowvm.pipeline.engine import Run


@dataclass(frozen=True)
class Note(Action):
    """``note:HH.HH...``: bytes that do nothing."""

    data: bytes

    def __str__(self) -> str:
        return f"note:{self.data.hex('.')}"

    def lower(self, resolver: Resolver) -> Lowered:  # noqa: ARG002
        return Lowered(Nothing())


@dataclass(frozen=True)
class Exit(Action):
    """``exit``."""

    def __str__(self) -> str:
        return "exit"

    def lower(self, resolver: Resolver) -> Lowered:  # noqa: ARG002
        return Lowered(Halt())


@dataclass(frozen=True)
class Nothing(Operation):
    """Do nothing."""

    @property
    def is_frozen(self) -> bool:
        return False

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:  # noqa: ARG002
        return None


@dataclass(frozen=True)
class Halt(Operation):
    """No further action, here or in any table that called this one, nor of the action set."""

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:  # noqa: ARG002
        run.freezer.exited[packets] = True
        run.halt(packets)
        return None


def make_note(item: Item) -> Note:
    data = parse_hex_bytes(item.value or "".join(part.key for part in item.parts()))
    # On the wire a note is a multiple of 8 bytes with 10 of header (ovs-actions(7), "note").
    return Note(data + bytes(-(len(data) + 10) % 8))


def make_exit(item: Item) -> Exit:
    item.no_argument()
    return Exit()
