"""The recorder: notes what the engine does to one packet, for a trace to tell.

The words and their nesting are those of Open vSwitch 3.1's ``ofproto/trace``, whose reports stand
in ofproto/ofproto-dpif-xlate.c.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from numpy import ndarray

from flowvm.actions.base import Action, Operation, Subfield, Unsupported
from flowvm.actions.debug import UnrollXlate
from flowvm.actions.nest import ClearActions, WriteActions, slot_of
from flowvm.actions.placing import placed
from flowvm.actions.set_field import Load, SetField
from flowvm.columns import Column
from flowvm.flow import FieldMatch, Flow, Match, MatchTerm
from flowvm.packet.batch import PacketBatch
from flowvm.pipeline.actionset import execution_order
from flowvm.pipeline.emission import NO_COOKIE
from flowvm.pipeline.engine import Run
from flowvm.pipeline.learning import LearnEvents
from flowvm.pipeline.legs import Leg
from flowvm.pipeline.reception import is_dropped_fragment
from flowvm.pipeline.recirculation import RECIRC_ID_BITS
from flowvm.pipeline.recording import OF_ACTION, OF_ACTION_SET, OF_RULE
from flowvm.pipeline.snapshot import flow_of
from flowvm.pipeline.state import State
from flowvm.report.headers import format_packet
from flowvm.text.canonical import canonical_match
from flowvm.text.format import format_actions, format_learned, format_match
from flowvm.text.values import nxm_name
from flowvm.tlv_map import TlvMap

UNCHANGED = "unchanged"


class Kind(Enum):
    """What a step of a trace is."""

    TABLE = "table"
    ACTION = "action"
    BUCKET = "bucket"
    DETAIL = "detail"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a trace, as ``ofproto/trace`` words it.

    ``level`` is how deep the step is nested: a step belongs to the last one before it whose level
    is less by one. A lookup in a table (and nothing else) has ``table`` set, ``depth``, how many
    lookups it is nested in, and ``flow``, what was found: ``None`` for a miss. ``match`` is the
    flow's match in Open vSwitch's own terms, without the priority.
    """

    kind: Kind
    text: str
    level: int
    table: int | None = None
    depth: int = 0
    flow: Flow | None = None
    match: str = ""

    @property
    def missed(self) -> bool:
        """Whether this is a lookup that found nothing."""
        return self.table is not None and self.flow is None


_Place = tuple[int, int]
"""Level of the steps to come, and how many lookups they are nested in."""


@dataclass(frozen=True, slots=True)
class _Nest:
    """A list of actions within one, and what the action sets were before it."""

    actions: tuple[Action, ...]
    set_before: tuple[Action, ...]
    ordered_before: list[Action]


class StepRecorder:
    """Implements :class:`~flowvm.pipeline.recording.Recorder`; for one run of one packet."""

    def __init__(self, state: State, recirc_id: int = 0) -> None:
        self._state = state
        self.recirc_id = recirc_id
        self._steps: list[Step] = []
        self._place: _Place = 0, 0
        self._first: _Place = 0, 0
        self._run: Run | None = None
        self._set: list[Action] = []
        self._ordered: list[Action] = []
        self._current: Action | None = None
        self._list: Sequence[Action] = ()
        self._position = 0
        self._nests: list[_Nest] = []
        self._flows: dict[int, Flow] = {}
        self.resumed: list[tuple[Leg, StepRecorder]] = []
        """What became of the copies that went on after recirculation, in that order."""
        self.frozen: dict[int, tuple[object, ...]] = {}
        """The actions that packets had left when they froze."""

    def resume(self, leg: Leg) -> StepRecorder:
        twin = StepRecorder(self._state, len(self.resumed) + 1)
        twin.resumed, twin.frozen = self.resumed, self.frozen
        self.resumed.append((leg, twin))
        return twin

    def steps(self) -> tuple[Step, ...]:
        """What has been noted."""
        return tuple(self._steps)

    def initial_flow(self, packet: PacketBatch) -> str:
        """The packet's headers as it came in."""
        return self.format(packet.columns[:, 0].tolist())

    def final_flow(self) -> str:
        """Its headers when the pipeline was through, or "unchanged"."""
        if self._run is None:
            return UNCHANGED
        before, now = ([*map(ndarray.item, key)] for key in (self._run.original, self._run.columns))
        return UNCHANGED if now == before else self.format(now)

    def format(self, columns: list[int]) -> str:
        """Headers of the packet, with ``recirc_id`` as it is told."""
        columns[Column.RECIRC] = self.recirc_id << RECIRC_ID_BITS.shift
        return format_packet(columns, self._state.program.names.tlv_map)

    # -- what the engine says -------------------------------------------------------------------

    def begin(self, run: Run) -> None:
        self._run = run

    def table(self, table: int, rule: int) -> None:
        level, depth = self._place
        flow = self._flow(rule) if rule >= 0 else None
        match = match_text(flow.match, self._state) if flow else ""
        text = f"{table:2d}. {_found(flow, match)}"
        assert self._run is not None
        if is_dropped_fragment(self._state.program.names, self._run.columns, 0):
            text = f"{table:2d}. {_DROPPED}"
        self._steps.append(Step(Kind.TABLE, text, level, table, depth, flow, match))
        self._place = level + 1, depth + 1
        if len(self._steps) == 1:
            self._first = self._place
        if not self._operations(rule) and not self._run.halted[0]:
            self._note(Kind.ACTION, "drop")

    def mark(self) -> object:
        return self._place

    def back(self, mark: object) -> None:
        assert isinstance(mark, tuple)
        self._place = mark

    def action(self, rule: int, position: int) -> None:
        if rule == OF_ACTION_SET:
            self._at(self._ordered, position)
        elif rule == OF_ACTION:
            self._at(self._nests[-1].actions, position)
        else:
            self._at(self._flow(rule).actions, position)
            operation = self._operations(rule)[position]
            if isinstance(operation, Unsupported) and operation.what != str(self._current):
                # It is the match that cannot be told; the actions are never come to.
                return
        self._note(Kind.ACTION, self._text(self._current))

    def _text(self, action: Action | None) -> str:
        """An action, in which a whole tunnel option is ``NAME[]`` if the TLV map is known."""
        tlv_map = self._state.program.names.tlv_map
        return str(action if tlv_map.inferred else placed(action, tlv_map))

    def rest(self) -> object:
        return tuple(self._list[self._position + 1 :])

    def nest(self, rest: object = None) -> None:
        actions = getattr(self._current, "actions", ()) if rest is None else rest
        assert isinstance(actions, tuple)
        if not actions:
            self._note(Kind.ACTION, "drop")
        self._nests.append(_Nest(actions, tuple(self._set), self._ordered))

    def remaining(self, source: int, position: int) -> tuple[object, ...]:
        assert self._run is not None
        table, rule = int(self._run.table[0]), int(self._run.rule[0])
        if source == OF_RULE:
            actions: Sequence[Action] = self._flow(rule).actions
        else:
            actions = self._ordered if source == OF_ACTION_SET else self._nests[-1].actions
        cookie = (self._flow(rule).cookie or 0) if rule >= 0 else NO_COOKIE
        return (UnrollXlate(table, cookie), *actions[position:])

    def freeze(self, number: int, rest: tuple[object, ...]) -> None:
        self.frozen[number] = rest

    def thaw(self, number: int) -> None:
        self.nest(self.frozen[number])

    def end_thaw(self) -> None:
        self._nests.pop()

    def repeat(self) -> None:
        self._set.clear()
        if not self._nests[-1].actions:
            self._note(Kind.ACTION, "drop")

    def unnest(self) -> None:
        nest = self._nests.pop()
        self._set = list(nest.set_before)
        self._ordered = nest.ordered_before

    def bucket(self, bucket_id: int, actions: Sequence[Action]) -> None:
        self._note(Kind.BUCKET, f"bucket {bucket_id}")
        level, depth = self._place
        self._place = level + 1, depth
        if not actions:
            self._note(Kind.ACTION, "drop")
        self._nests.append(_Nest(tuple(actions), (), []))

    def end_bucket(self) -> None:
        self._nests.pop()

    def action_set(self) -> None:
        self._ordered = self._in_order()
        self._set.clear()
        # Open vSwitch shows the action set as a part of the first lookup.
        level, depth = self._place if self._nests else self._first
        self._steps.append(Step(Kind.TABLE, "--. Executing action set:", level))
        self._place = level + 1, depth

    def action_set_detail(self, verb: str) -> None:
        if isinstance(self._current, WriteActions):
            self._set += self._current.actions
        actions = self._in_order()
        held = f": {format_actions(actions)}" if actions else " empty"
        self._note(Kind.DETAIL, f"action set {verb}{held}")
        if isinstance(self._current, ClearActions):
            self._set.clear()

    def learned(self, events: LearnEvents) -> None:
        operations = self._state.shapes[events.shape].operations
        key, operands = events.keys[:, 0].tolist(), events.operands[:, 0].tolist()
        flow = events.template.flow(operations, key, operands)
        flow = flow.replace(actions=tuple(map(_as_load, flow.actions)))
        self._note(Kind.DETAIL, format_learned(flow))

    def remark(self, text: str) -> None:
        self._note(Kind.ACTION, text)

    def detail(self, text: str) -> None:
        self._note(Kind.DETAIL, text)

    def warning(self, text: str) -> None:
        self._note(Kind.WARNING, text)

    def error(self, text: str) -> None:
        self._note(Kind.ERROR, text)

    def _at(self, actions: Sequence[Action], position: int) -> None:
        self._list, self._position = actions, position
        self._current = actions[position] if position < len(actions) else None

    # -- what it makes of it --------------------------------------------------------------------

    def _note(self, kind: Kind, text: str) -> None:
        self._steps.append(Step(kind, text, self._place[0]))

    def _flow(self, rule: int) -> Flow:
        if rule not in self._flows:
            self._flows[rule] = flow_of(self._state, rule)
        return self._flows[rule]

    def _operations(self, rule: int) -> tuple[Operation, ...]:
        return self._state.shapes[self._state.rules.shape[rule]].operations if rule >= 0 else ()

    def _in_order(self) -> list[Action]:
        """The action set as it would be executed."""
        slots = [slot for slot in map(slot_of, self._set) if slot is not None]
        return [self._set[i] for i in execution_order(slots)]


def _as_load(action: Action) -> Action:
    """What sets a tunnel option, as Open vSwitch words it while a flow is being learned."""
    if not isinstance(action, SetField) or action.field.presence is None:
        return action
    assert isinstance(action.value, int)
    mask = action.field.full_mask if action.mask is None else action.mask
    start = (mask & -mask).bit_length() - 1
    bits = Subfield(action.field, start, mask.bit_length() - 1, nxm_name(action.field))
    return Load(action.value >> start, bits)


_DROPPED = 'Packets are IP fragments and the fragment handling mode is "drop".'


def _found(flow: Flow | None, match: str) -> str:
    if flow is None:
        return "No match."
    cookie = f", cookie {flow.cookie:#x}" if flow.cookie else ""
    return f"{match}{', ' if match else ''}priority {flow.priority}{cookie}"


def match_text(match: Match, state: State) -> str:
    """A match in Open vSwitch's own terms and order, whatever the dump's; without a priority.

    A match on a tunnel option without a place is left as the dump has it. Ports keep their names.
    """
    names = state.program.names
    named = tuple(
        term for term in match.terms if isinstance(term, FieldMatch) and isinstance(term.value, str)
    )
    ports = tuple(names.ports[str(term.value)] for term in named)
    return _match_text(match, named, ports, names.tlv_map)


@lru_cache(1 << 10)
def _match_text(
    match: Match, named: tuple[FieldMatch, ...], ports: tuple[int, ...], tlv_map: TlvMap
) -> str:
    numbers = {str(term.value): port for term, port in zip(named, ports, strict=True)}
    try:
        terms = canonical_match(match.words(numbers, tlv_map), tlv_map).terms
    except ValueError:
        return format_match(match)
    return format_match(Match(tuple(_with_name(term, named) for term in terms)))


def _with_name(term: MatchTerm, named: Sequence[FieldMatch]) -> MatchTerm:
    if isinstance(term, FieldMatch):
        for other in named:
            if other.field == term.field:
                return FieldMatch(term.field, other.value, term.mask, term.spelling)
    return term
