"""``check_pkt_larger``: the length of a packet as a bit.

Semantics: ovs-actions(7), "check_pkt_larger".
"""

from __future__ import annotations

from dataclasses import dataclass

from flowvm.actions.base import Action, Subfield
from flowvm.text.errors import WordError
from flowvm.text.tree import Item
from flowvm.text.values import parse_number, parse_subfield


@dataclass(frozen=True)
class CheckPktLarger(Action):
    """``check_pkt_larger(BYTES)->BIT``."""

    length: int
    destination: Subfield

    def __str__(self) -> str:
        return f"check_pkt_larger({self.length})->{self.destination}"


def make_check_pkt_larger(item: Item) -> CheckPktLarger:
    length = parse_number(item.argument("a number of bytes"), 16, "a number of bytes")
    word = item.destination()
    destination = parse_subfield(word)
    if destination.width != 1:
        raise WordError(word, "the result must go to a single bit", "FIELD[bit]")
    return CheckPktLarger(length, destination)
