"""What the literals of a shape mean.

One line of the shape is parsed with the grammar. Each literal then stands in some word of some
item: a statistic, a term of the match, an action. Where any literal of its kind is sure to mean the
same there but for its value, all lines' literals are taken as a column of numbers. Otherwise the
item is put together anew from each distinct text and read like any other: what the parser would
have made of it, without parsing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from lark import Token
from lark.exceptions import UnexpectedInput
from numpy.typing import NDArray

from flowvm.actions.base import Action
from flowvm.actions.catalog import make_action
from flowvm.bulk.literals import Kind
from flowvm.clock import SECOND
from flowvm.columns import Column
from flowvm.fields import Format
from flowvm.flow import FieldMatch, Flow, MatchTerm
from flowvm.names import Names
from flowvm.text.dump import is_group, is_skipped
from flowvm.text.errors import WordError
from flowvm.text.grammar import parser
from flowvm.text.parse import FLAGS, STATISTICS, make_flow, make_term
from flowvm.text.tree import Item, Items, Word
from flowvm.text.values import number_limit

_NUMBERS = frozenset({Kind.DECIMAL, Kind.HEXADECIMAL})
_WITHOUT_COLON = frozenset({*_NUMBERS, Kind.IPV4, Kind.DURATION, Kind.QUOTED})

STATISTIC_LIMITS: Mapping[str, int] = MappingProxyType(
    {"cookie": 1 << 64, "n_packets": 1 << 63, "n_bytes": 1 << 63}
    | dict.fromkeys(("idle_timeout", "hard_timeout", "importance", "priority"), 1 << 16)
    | dict.fromkeys(("idle_age", "hard_age"), 1 << 32)
)
"""The statistics that are read as columns of numbers, and what the numbers must be less than."""

_FIELD_KINDS: Mapping[Format, frozenset[Kind]] = MappingProxyType(
    {
        Format.DECIMAL: _NUMBERS,
        Format.HEXADECIMAL: _NUMBERS,
        Format.PORT: frozenset({Kind.DECIMAL}),
        Format.ETHERNET: frozenset({Kind.ETHERNET}),
        Format.IPV4: frozenset({Kind.IPV4}),
        Format.IPV6: frozenset({Kind.IPV6}),
    }
)
"""The literals that mean their value in a match; flags and the like are not among them."""


@dataclass(frozen=True)
class Slot:
    """A literal of the parsed line; ``start`` and ``end`` are its place in the line."""

    number: int
    start: int
    end: int
    kind: Kind
    value: int


@dataclass(frozen=True)
class StatisticUse:
    """A literal that is the statistic of that name, and less than ``limit``."""

    name: str
    slot: int
    limit: int


@dataclass(frozen=True)
class Place:
    """What a literal's value makes of one word of the match: the bits ``room`` of ``column``.

    ``implied`` are bits that are 1 whatever the value, ``mask`` is what the match compares. Of a
    value of 128 bits ``upper`` tells which half; of a shorter one the upper half is 0.
    """

    column: Column
    shift: int
    room: int
    implied: int
    mask: int
    upper: bool = False

    def word(self, value: int) -> int:
        """The word that ``value`` makes."""
        return (value << self.shift & self.room) | self.implied


@dataclass(frozen=True)
class TextTerm:
    """A term that has to be made anew for each text of its literals."""

    item: TextItem

    def make(self, texts: Sequence[str]) -> MatchTerm:
        """Raises WordError."""
        return make_term(self.item.with_texts(texts))


@dataclass(frozen=True)
class TextAction:
    """An action that has to be made anew for each text of its literals."""

    item: TextItem

    def make(self, texts: Sequence[str]) -> Action:
        """Raises WordError."""
        return make_action(self.item.with_texts(texts))


@dataclass(frozen=True)
class ColumnTerm:
    """A term of the match of which a literal, if less than ``limit``, is the value.

    A ``wide`` value has 128 bits; otherwise there are at most 64, also if the field is wider.
    """

    term: FieldMatch
    slot: int
    limit: int
    places: tuple[Place, ...]
    wide: bool
    text: TextTerm


@dataclass(frozen=True)
class ColumnAction:
    """An action of which a literal, if less than ``limit``, is the first operand."""

    action: Action
    slot: int
    limit: int
    text: TextAction


TermUse = MatchTerm | ColumnTerm | TextTerm
ActionUse = Action | ColumnAction | TextAction


@dataclass(frozen=True)
class Template:
    """What a shape says: a flow of it, and how its literals make others.

    ``terms`` and ``actions`` have one entry each for those of ``flow``: the thing itself if no
    literal is in it.
    """

    flow: Flow
    statistics: tuple[StatisticUse, ...]
    terms: tuple[TermUse, ...]
    actions: tuple[ActionUse, ...]


class NotATemplateError(Exception):
    """Lines of this shape have to be read one by one."""


@dataclass(frozen=True)
class _Span:
    """A word of an item, and which slots are inside it."""

    word: Token
    slots: tuple[Slot, ...]

    @property
    def start(self) -> int:
        return self.word.start_pos or 0

    def is_whole(self, slot: Slot) -> bool:
        """Whether the word is nothing but the slot."""
        return self.start == slot.start and len(self.word) == slot.end - slot.start

    def is_masked(self, slot: Slot) -> bool:
        """Whether the word is the slot with a mask after it."""
        return self.start == slot.start and self.word[slot.end - slot.start :][:1] == "/"


@dataclass(frozen=True)
class TextItem:
    """An item in some of whose words literals stand. ``spans`` are those words."""

    item: Item
    spans: tuple[_Span, ...]

    @property
    def slots(self) -> tuple[Slot, ...]:
        return tuple(slot for span in self.spans for slot in span.slots)

    def with_texts(self, texts: Sequence[str]) -> Item:
        """The item with other literals, in the order of ``slots``."""
        left = iter(texts)
        words: dict[int, Word] = {}
        for span in self.spans:
            parts: list[str] = []
            at = 0
            for slot in span.slots:
                parts += [span.word[at : slot.start - span.start], next(left)]
                at = slot.end - span.start
            parts.append(span.word[at:])
            words[id(span.word)] = "".join(parts)
        return _rebuilt(self.item, words)


def _rebuilt(item: Item, words: Mapping[int, Word]) -> Item:
    def new(word: Word | None) -> Word | None:
        return word if word is None else words.get(id(word), word)

    items = None
    if item.items is not None:
        items = tuple(part and _rebuilt(part, words) for part in item.items)
    return Item(words.get(id(item.key), item.key), new(item.value), items, new(item.target))


def template_of(
    line: str,
    starts: NDArray[np.int64],
    lengths: NDArray[np.uint8],
    kinds: NDArray[np.uint8],
    values: NDArray[np.uint64],
) -> Template | None:
    """The template of the shape of ``line``, if it is a flow and can serve as one.

    The arrays have one entry a literal of the line, with its place in the line.
    """
    if is_skipped(line) or is_group(line):
        return None
    ends = starts + lengths
    columns = (column.tolist() for column in (starts, ends, kinds, values))
    slots = [
        Slot(number, start, end, Kind(kind), value)
        for number, (start, end, kind, value) in enumerate(zip(*columns, strict=True))
    ]
    try:
        return make_template(line, slots)
    except NotATemplateError:
        return None


def make_template(line: str, slots: Sequence[Slot]) -> Template:
    """The template of the shape of ``line``. Raises NotATemplateError."""
    try:
        parts: Any = parser().parse(line.rstrip(), start="flow")
        flow = make_flow(parts)
    except (UnexpectedInput, WordError):
        raise NotATemplateError from None
    head, action_items = parts
    cutter = _Cutter(slots)
    statistics: dict[str, StatisticUse | None] = {}
    terms: list[TermUse] = []
    of_match = iter(flow.match.terms)
    for item in _present(head):
        text_item = cutter.cut(item)
        if item.key in STATISTICS:
            if item.key in statistics:
                raise NotATemplateError
            statistics[str(item.key)] = _statistic_use(text_item, flow)
        elif item.key not in FLAGS:
            terms.append(_term_use(next(of_match), text_item))
        elif text_item.spans:
            raise NotATemplateError
    actions: list[ActionUse] = []
    items = _present(action_items)
    if flow.actions:
        for action, item in zip(flow.actions, items, strict=True):
            actions.append(_action_use(action, cutter.cut(item)))
    if cutter.left:
        raise NotATemplateError
    uses = tuple(use for use in statistics.values() if use is not None)
    return Template(flow, uses, tuple(terms), tuple(actions))


def _present(items: Items) -> list[Item]:
    return [item for item in items if item is not None]


class _Cutter:
    """Hands the slots of a line, in order, to the items they are in."""

    def __init__(self, slots: Sequence[Slot]) -> None:
        self._slots = list(reversed(slots))

    @property
    def left(self) -> bool:
        """Whether some slots are in no item."""
        return bool(self._slots)

    def cut(self, item: Item) -> TextItem:
        """Raises NotATemplateError if literals are not wholly in words of the item."""
        return TextItem(item, tuple(self._spans(item)))

    def _spans(self, item: Item) -> Iterator[_Span]:
        yield from self._span(item.key, is_key=True)
        if item.value is not None:
            yield from self._span(item.value)
        for part in item.items or ():
            if part is not None:
                yield from self._spans(part)
        if item.target is not None:
            yield from self._span(item.target)

    def _span(self, word: Word, *, is_key: bool = False) -> Iterator[_Span]:
        assert isinstance(word, Token)
        start = word.start_pos or 0
        end = start + len(word)
        inside: list[Slot] = []
        while self._slots and self._slots[-1].start < end:
            slot = self._slots.pop()
            # In a key another literal with a colon in it would be more words than one.
            if slot.start < start or slot.end > end or (is_key and slot.kind not in _WITHOUT_COLON):
                raise NotATemplateError
            inside.append(slot)
        if inside:
            yield _Span(word, tuple(inside))


def _statistic_use(item: TextItem, flow: Flow) -> StatisticUse | None:
    if not item.spans:
        return None
    name = str(item.item.key)
    (span,) = item.spans[:1]
    slot = span.slots[0]
    alone = item.slots == (slot,) and span.is_whole(slot)
    if name == "duration":
        assert flow.duration is not None
        if alone and slot.kind is Kind.DURATION and slot.value == int(flow.duration * SECOND):
            return StatisticUse(name, slot.number, 1 << 63)
    elif alone and slot.kind in _NUMBERS and slot.value == getattr(flow, name):
        return StatisticUse(name, slot.number, STATISTIC_LIMITS[name])
    raise NotATemplateError


def _term_use(term: MatchTerm, item: TextItem) -> TermUse:
    if not item.spans:
        return term
    slot = item.spans[0].slots[0]
    if item.slots == (slot,) and isinstance(term, FieldMatch):
        span = item.spans[0]
        of_field = span.word is item.item.value and "[" not in item.item.key
        if of_field and (span.is_whole(slot) or span.is_masked(slot)):
            places = _places(term, slot)
            if places:
                limit = min(number_limit(term.field), 1 << 64)
                wide = slot.kind is Kind.IPV6
                return ColumnTerm(term, slot.number, limit, places, wide, TextTerm(item))
    return TextTerm(item)


def _places(term: FieldMatch, slot: Slot) -> tuple[Place, ...]:
    """Where the value of ``slot`` goes in the words of ``term``; none if that is not sure."""
    row = term.field
    if row.bits is None or slot.kind not in _FIELD_KINDS.get(row.format, ()):
        return ()
    if not isinstance(term.value, int) or (row.width <= 64 and slot.value >= number_limit(row)):
        return ()
    words = list(row.match_words(term.value, term.mask))
    shift = row.bits.shift if row.bits.width <= 64 else 0
    places = []
    for position, (column, word, mask) in enumerate(words):
        upper = position < len(words) - 1
        place = Place(column, shift, mask & ~row.implied, row.implied, mask, upper)
        value = slot.value
        if upper:
            value = term.value >> 64 if slot.kind is Kind.IPV6 else 0
        if place.word(value) != word:
            return ()
        places.append(place)
    return tuple(places)


def _action_use(action: Action, item: TextItem) -> ActionUse:
    if not item.spans:
        return action
    slot = item.spans[0].slots[0]
    limit = min(action.operand_limit, 1 << 64)
    if limit and item.slots == (slot,) and item.spans[0].is_whole(slot):
        try:
            operands = action.lower(Names()).operands
        except KeyError:
            operands = ()
        if operands[:1] == (slot.value,) and not any(operands[1:]):
            return ColumnAction(action, slot.number, limit, TextAction(item))
    return TextAction(item)
