"""Flows that were put in, or changed, after the dump: what their text would say."""

from __future__ import annotations

from dataclasses import dataclass

from flowvm.actions.base import Action
from flowvm.flow import Flow


@dataclass(frozen=True)
class Edit:
    """What a flow mod made of a rule: its actions, and the whole flow if it added it."""

    actions: tuple[Action, ...]
    flow: Flow | None = None
