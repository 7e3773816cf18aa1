"""What a run tells of a batch of one while it goes on: a trace is made of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from flowvm.actions.base import Action
    from flowvm.pipeline.engine import Run
    from flowvm.pipeline.learning import LearnEvents
    from flowvm.pipeline.legs import Leg

OF_ACTION_SET, OF_ACTION, OF_RULE = -1, -2, -3
"""Lists of actions: an action set, one within an action, that of the rule the packet is at."""


class Recorder(Protocol):
    """Is told what a batch of one does, in the order it is done."""

    def begin(self, run: Run) -> None:
        """``run`` is about to begin; its columns are there to be read at any time."""

    def table(self, table: int, rule: int) -> None:
        """The packet is looked up in ``table`` and hits ``rule`` (-1: a miss)."""

    def mark(self) -> object:
        """Where in the tree of steps things are now, for :meth:`back`."""

    def back(self, mark: object) -> None:
        """A call has come back to ``mark``."""

    def action(self, rule: int, position: int) -> None:
        """The action at ``position`` of a list begins: the rule's, or ``OF_ACTION_SET``..."""

    def rest(self) -> object:
        """What comes after the current action in its list, for :meth:`nest`."""

    def nest(self, rest: object = None) -> None:
        """The list within the current action begins, or the ``rest`` of the list it was in.

        What happens to the action set is undone by :meth:`unnest`.
        """

    def remaining(self, source: int, position: int) -> tuple[object, ...]:
        """What to tell of the rest of a list that is done later, first where it comes from."""

    def freeze(self, number: int, rest: tuple[object, ...]) -> None:
        """The ``rest`` of the lists is what the packet goes on with, frozen under ``number``."""

    def thaw(self, number: int) -> None:
        """What was frozen under ``number`` begins; ends with :meth:`end_thaw`."""

    def end_thaw(self) -> None:
        """It is through; what it has made of the action set stays."""

    def repeat(self) -> None:
        """The list that began last begins again, with an empty action set."""

    def unnest(self) -> None:
        """That list is through."""

    def bucket(self, bucket_id: int, actions: Sequence[Action]) -> None:
        """A bucket of a group begins, which does ``actions``."""

    def end_bucket(self) -> None:
        """That bucket is through."""

    def action_set(self) -> None:
        """The action set begins."""

    def action_set_detail(self, verb: str) -> None:
        """The action set changed or is about to; ``verb`` is "is" or "was"."""

    def learned(self, events: LearnEvents) -> None:
        """A learn action makes (or makes again) a flow."""

    def resume(self, leg: Leg) -> Recorder:
        """Will be told what becomes of a copy that goes on after recirculation."""

    def remark(self, text: str) -> None:
        """What Open vSwitch says after an action as if it were one."""

    def detail(self, text: str) -> None:
        """What an action did."""

    def warning(self, text: str) -> None:
        """Why an action did less than it says."""

    def error(self, text: str) -> None:
        """Why the packet goes no further."""
