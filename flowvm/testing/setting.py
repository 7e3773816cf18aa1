"""What generated actions can refer to, and bits of fields for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache

from flowvm.actions.base import Action, Subfield
from flowvm.fields import Field, Prerequisite
from flowvm.testing.choices import Choices
from flowvm.testing.kinds import Kind, fields_of
from flowvm.testing.values import unplaced
from flowvm.text.values import nxm_name


class Family(Enum):
    """Kinds of actions that a table has many of or none."""

    TRACKING = "ct, and matches on connections"
    LABELS = "MPLS"
    CHOICES = "bundle, multipath"
    NESTING = "clone, check_pkt_larger, sample"
    QUEUES = "set_queue, pop_queue, enqueue"
    GROUPS = "group"
    METERS = "meter"
    CONJUNCTIONS = "conjunction"
    SWITCHING = "NORMAL"
    LAYERS = "encap, decap"


@dataclass
class Setting:
    """What the actions of one flow can refer to.

    ``modern`` is OpenFlow 1.5, else 1.0. ``later`` are the tables after the flow's own, ``tables``
    all; ``learn`` makes a learn action or is ``None``. ``groups`` and ``meters`` are IDs of those
    that there are. ``families`` are kinds of actions that only some tables have. ``tracked`` and
    ``invalid`` say that the match asks for packets of a connection, or of none. The rest is what
    the list has so far: words on the stack, ``checks`` of lengths; ``depth`` is how many lists it
    is nested in.
    """

    kind: Kind = field(default_factory=Kind)
    modern: bool = True
    ports: Sequence[int] = (1, 2, 3)
    tables: Sequence[int] = (0,)
    later: Sequence[int] = ()
    learn: Callable[[Choices, Setting], Action] | None = None
    floods: bool = True
    controller: bool = True
    groups: Sequence[int] = ()
    meters: Sequence[int] = ()
    families: frozenset[Family] = frozenset()
    tracked: bool = False
    invalid: bool = False
    pushed: int = 0
    checks: int = 0
    depth: int = 0


def subfield(row: Field, start: int, width: int) -> Subfield:
    """Bits of a field under the name that Open vSwitch gives it."""
    return Subfield(unplaced(row), start, start + width - 1, nxm_name(row))


def choose_subfield(
    choose: Choices, rows: Sequence[Field], width: int | None = None
) -> Subfield | None:
    """Bits of one of ``rows``: ``width`` of them if given; ``None`` if no field is so wide."""
    wide = [row for row in rows if width is None or row.width >= width]
    if not wide:
        return None
    row = choose.one(wide)
    if width is None:
        width = row.width if choose.percent(60) else choose.number(1, min(row.width, 64))
    return subfield(row, choose.number(0, row.width - width) if width < row.width else 0, width)


def choose_rows(choose: Choices, kind: Kind, rows: tuple[Field, ...]) -> Sequence[Field]:
    """Fields of ``kind`` among ``rows``: often only those of its protocols."""
    special = _special(kind, rows)
    return special if special and choose.percent(50) else fields_of(kind, rows)


@lru_cache(maxsize=4096)
def _special(kind: Kind, rows: tuple[Field, ...]) -> tuple[Field, ...]:
    common = Prerequisite.NONE, Prerequisite.ETHERNET
    return tuple(row for row in fields_of(kind, rows) if row.prerequisite not in common)
