"""``learn`` actions, with all their options."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flowvm.actions.base import Action, Subfield
from flowvm.actions.learn import (
    Learn,
    LearnSpec,
    LoadField,
    LoadValue,
    MatchField,
    MatchValue,
    OutputField,
)
from flowvm.fields import Field, Format, field
from flowvm.flow import DEFAULT_PRIORITY
from flowvm.testing.choices import Choices
from flowvm.testing.kinds import Kind, fields_of
from flowvm.testing.setting import Setting, choose_rows, choose_subfield, subfield
from flowvm.testing.values import READABLE, WRITABLE, standard, value_of, value_width

_TIMEOUTS = (0, 0, 1, 2, 5, 10)


_SOURCES = standard(READABLE)
_TARGETS = tuple(
    row for row in standard(READABLE) if row.name != "actset_output" and row.presence is None
)
_FREE_TARGETS = tuple(row for row in _TARGETS if row.name not in ("eth_type", "nw_proto"))
"""Those whose prerequisites are kept by writing any of them."""
_LOADED = tuple(row for row in standard(WRITABLE) if row.prerequisite.name in ("NONE", "ETHERNET"))


class Teacher:
    """Makes learn actions for the flows of one table set.

    ``tables`` are those that may be learned into. No two learn actions share table and priority,
    and none has one that ``taken`` gives to a flow, so that flows of equal priority cannot overlap.
    """

    def __init__(self, tables: Sequence[int], taken: Callable[[int, int], bool]) -> None:
        self._tables = tables
        self._taken = taken
        self._used: dict[tuple[int, int], Learn] = {}

    def choose(self, choose: Choices, setting: Setting) -> Action:
        """A learn action for packets of ``setting.kind``."""
        if self._used and choose.percent(20):
            return self._another_like(choose, setting)
        table = choose.one(self._tables)
        priority = choose.one((DEFAULT_PRIORITY, 1, 2, 100))
        while self._taken(table, priority) or (table, priority) in self._used:
            priority += 1
        made = Learn(
            table=table,
            idle_timeout=choose.one(_TIMEOUTS),
            hard_timeout=choose.one(_TIMEOUTS),
            fin_idle_timeout=choose.one((0, 0, 0, 0, 1, 3)),
            fin_hard_timeout=choose.one((0, 0, 0, 0, 1, 3)),
            priority=priority,
            send_flow_rem=choose.percent(10),
            delete_learned=choose.percent(15),
            cookie=0x1000 + len(self._used) if choose.percent(60) else 0,
            limit=choose.one((1, 2)) if choose.percent(15) else 0,
            result_dst=self._result(choose, setting.kind) if choose.percent(15) else None,
            specs=(*_matches(choose, setting.kind), *_actions(choose, setting.kind)),
        )
        self._used[table, priority] = made
        return made

    def _another_like(self, choose: Choices, setting: Setting) -> Action:
        """One that makes flows with the same match as another, but teaches them something else."""
        model = choose.one(list(self._used.values()))
        matches = [spec for spec in model.specs if isinstance(spec, MatchField | MatchValue)]
        sources = [spec.source.field for spec in matches if isinstance(spec, MatchField)]
        if not all(setting.kind.has(row) for row in sources):
            return self.choose(choose, setting) if not choose.percent(99) else model_without(model)
        return Learn(
            table=model.table,
            priority=model.priority,
            hard_timeout=choose.one(_TIMEOUTS),
            # All ones, "leave it alone", would end Open vSwitch 3.1 where there is no flow yet.
            cookie=choose.one((model.cookie, 0x2000)),
            specs=(*matches, *_actions(choose, setting.kind)),
        )

    @staticmethod
    def _result(choose: Choices, kind: Kind) -> Subfield | None:
        return choose_subfield(choose, fields_of(kind, standard(WRITABLE)), 1)


def model_without(model: Learn) -> Learn:
    """A learn action like ``model`` that reads nothing of the packet."""
    matches = tuple(spec for spec in model.specs if isinstance(spec, MatchValue))
    return Learn(table=model.table, priority=model.priority, specs=matches)


def _matches(choose: Choices, kind: Kind) -> list[LearnSpec]:
    specs: list[LearnSpec] = []
    learned = Kind()
    if kind.eth_type and choose.percent(50):
        # The flow to be needs its own protocols before it can match their fields.
        for name, value in (("eth_type", kind.eth_type), ("nw_proto", kind.nw_proto)):
            if value and (name == "eth_type" or kind.is_ip):
                specs.append(MatchValue(_whole(field(name)), value))
        learned = Kind(kind.eth_type, kind.nw_proto if kind.is_ip else 0)
    for _ in range(choose.number(0 if specs else 1, 3)):
        spec = _match(choose, kind, learned)
        if spec is not None:
            specs.append(spec)
    return specs


def _whole(row: Field) -> Subfield:
    return subfield(row, 0, row.width)


def _match(choose: Choices, kind: Kind, learned: Kind) -> LearnSpec | None:
    if choose.percent(25):
        tag = subfield(field("vlan_tci"), 0, choose.one((12, 16, 13)))
        return MatchField(tag, tag)
    targets = choose_rows(choose, learned, _FREE_TARGETS if learned.eth_type else _TARGETS)
    if choose.percent(15):
        row = choose.one([row for row in targets if row.name != "vlan_vid"])
        return _value(choose, row)
    sources = fields_of(kind, _SOURCES)
    common = [row for row in targets if row in sources]
    if common and choose.percent(40):
        both = choose_subfield(choose, common)
        assert both is not None
        return MatchField(both, both)
    destination = choose_subfield(choose, targets)
    assert destination is not None
    source = choose_subfield(choose, sources, destination.width)
    return None if source is None else MatchField(destination, source)


def _value(choose: Choices, row: Field) -> LearnSpec:
    if choose.percent(60) or row.format is Format.PORT or row.width == 1:
        value = value_of(choose, row, (1, 2, 3)) & ((1 << value_width(row)) - 1)
        return MatchValue(_whole(row), value)
    width = choose.number(1, min(row.width - 1, 32))
    part = subfield(row, choose.number(0, row.width - width), width)
    return MatchValue(part, choose.bits(width))


def _actions(choose: Choices, kind: Kind) -> list[LearnSpec]:
    return [_action(choose, kind) for _ in range(choose.weighted(((3, 1), (3, 2), (1, 0), (1, 3))))]


def _action(choose: Choices, kind: Kind) -> LearnSpec:
    match choose.number(0, 5):
        case 0 | 1 | 2:
            names = ("in_port", "in_port", "reg0", "reg1")
            row = field(choose.one(names))
            return OutputField(subfield(row, 0, choose.one((row.width, 8, 16))))
        case 3:
            destination = choose_subfield(choose, _LOADED)
            assert destination is not None
            value = choose.bits(min(destination.width, 32))
            return LoadValue(value, destination)
        case _:
            source = choose_subfield(choose, choose_rows(choose, kind, _SOURCES))
            assert source is not None
            target = choose_subfield(choose, _LOADED, source.width)
            if target is None:
                return LoadValue(0, _whole(field("vlan_tci")))
            return LoadField(source, target)
