"""All lines of one shape at once: from columns of literals to columns of a program.

This happens in two steps, since the numbers of ports and tables given by name are known only when
all lines have been seen: what lines say (:class:`Filled`), then what it comes to
(:meth:`Filled.blocks`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flowvm.actions.base import Action, Operands, Operation
from flowvm.bulk.lines import Lines
from flowvm.bulk.template import (
    ColumnAction,
    ColumnTerm,
    StatisticUse,
    Template,
    TextAction,
    TextTerm,
)
from flowvm.columns import Column
from flowvm.fields import Format
from flowvm.flow import Flow, Match, MatchTerm
from flowvm.names import Names
from flowvm.pipeline.assemble import FlowBlock, FlowColumns, Numbers
from flowvm.pipeline.compile import UsedNames, lower, lower_action, match_words, ports_of
from flowvm.pipeline.subtable import Mask
from flowvm.text.errors import WordError

Word = NDArray[np.uint64] | int
"""The value of one column of the match: for all lines the same, or one a line."""


@dataclass(frozen=True, eq=False)
class _Made:
    """What the different texts of an item make: that of line i is ``things[codes[i]]``."""

    codes: NDArray[np.int64]
    things: tuple[MatchTerm | Action | None, ...]
    """None for a text of which nothing can be made."""


class Filled:
    """The lines of a shape, except those that turn out not to fit its template: ``rest``.

    ``flows`` are the numbers of the lines that do. Their statistics are entered into ``columns``.
    """

    def __init__(
        self, template: Template, flows: Numbers, lines: Lines, columns: FlowColumns
    ) -> None:
        self.template = template
        self._lines = lines
        first = lines.first_literal[flows]
        fits = np.ones(len(flows), np.bool_)
        for use in (*template.statistics, *template.terms, *template.actions):
            if isinstance(use, StatisticUse | ColumnTerm | ColumnAction) and use.limit < 1 << 64:
                fits &= lines.values[first + use.slot] < np.uint64(use.limit)
        made: dict[int, _Made] = {}
        for position, use in enumerate((*template.terms, *template.actions)):
            if isinstance(use, TextTerm | TextAction):
                made[position], fine = self._make(use, flows, first)
                fits &= fine
        self.flows, self.rest = flows[fits], flows[~fits]
        self._first = first[fits]
        self._made = {position: _Made(m.codes[fits], m.things) for position, m in made.items()}
        self._enter_statistics(columns)

    def _make(
        self, use: TextTerm | TextAction, flows: Numbers, first: NDArray[np.int64]
    ) -> tuple[_Made, NDArray[np.bool_]]:
        """What the texts of ``use`` make in each line, and in which lines they make that."""
        columns = [self._lines.literal_texts(flows, first + s.number) for s in use.item.slots]
        numbers: dict[tuple[str, ...], int] = {}
        texts = zip(*columns, strict=True)
        codes = np.array([numbers.setdefault(text, len(numbers)) for text in texts], np.int64)
        things: list[MatchTerm | Action | None] = []
        fine = np.zeros(len(numbers), np.bool_)
        wanted: object = None
        for number, text in enumerate(numbers):
            try:
                thing = use.make(text)
            except WordError:
                # Read by itself, the line says what is wrong, and where.
                things.append(None)
                continue
            things.append(thing)
            compares = None if isinstance(thing, Action) else _compares(thing)
            wanted = wanted or compares
            fine[number] = compares == wanted
        return _Made(codes, tuple(things)), fine[codes]

    def _values(self, slot: int) -> NDArray[np.uint64]:
        return self._lines.values[self._first + slot]

    def _enter_statistics(self, columns: FlowColumns) -> None:
        columns.put(self.flows, self.template.flow)
        for use in self.template.statistics:
            column = getattr(columns, use.name, None)
            if column is not None:
                column[self.flows] = self._values(use.slot)

    def see_names(self, used: UsedNames) -> None:
        """Tell which ports and tables these lines name."""
        line = int(self.flows[0])
        for position, use in enumerate((*self.template.terms, *self.template.actions)):
            if position in self._made:
                made = self._made[position]
                codes, where = np.unique(made.codes, return_index=True)
                for code, at in zip(codes.tolist(), where.tolist(), strict=True):
                    used.see(self._flow_with(made.things[code]), int(self.flows[at]), position)
            elif isinstance(use, ColumnTerm):
                if use.term.field.format is Format.PORT:
                    used.port_numbers.update(np.unique(self._values(use.slot)).tolist())
            elif isinstance(use, ColumnAction):
                used.see(self._flow_with(use.action), line, position)
                if any(ports_of(self._flow_with(use.action))):
                    used.port_numbers.update(np.unique(self._values(use.slot)).tolist())
            elif not isinstance(use, TextTerm | TextAction):
                used.see(self._flow_with(use), line, position)
        used.see(self._flow_with(None), line, -1)

    def _flow_with(self, thing: MatchTerm | Action | None) -> Flow:
        """A flow in the table of these lines that names what ``thing`` names, and nothing else."""
        match = Match() if thing is None or isinstance(thing, Action) else Match((thing,))
        actions = (thing,) if isinstance(thing, Action) else ()
        return Flow(match, actions, table=self.template.flow.table)

    # -- what it comes to -----------------------------------------------------------------------

    def blocks(self, names: Names) -> Iterator[FlowBlock]:
        """The lines as flows of a program. Raises KeyError for a name that is not known."""
        words, missing = self._words(names)
        columns = sorted(words)
        mask = Mask(tuple(columns), tuple(words[column][1] for column in columns))
        keys = np.empty((len(columns), len(self.flows)), np.uint64)
        for row, column in enumerate(columns):
            keys[row] = words[column][0]
        table = names.table(self.template.flow.table or 0)
        for operations, operands, some in self._actions(missing, names):
            if some is None:
                yield FlowBlock(self.flows, table, mask, keys, operations, operands)
            else:
                yield FlowBlock(self.flows[some], table, mask, keys[:, some], operations, operands)

    def _words(self, names: Names) -> tuple[dict[Column, tuple[Word, int]], list[str]]:
        """What the match compares, (value, mask) of each column; and fields it cannot."""
        words: dict[Column, tuple[Word, int]] = {}
        missing: list[str] = []
        for position, use in enumerate(self.template.terms):
            if isinstance(use, ColumnTerm):
                terms = self._column_words(use)
            elif position in self._made:
                terms = self._made_words(self._made[position], names, missing)
            else:
                assert not isinstance(use, TextTerm)
                found, lacking = match_words(Match((use,)), names)
                missing += lacking
                terms = [(column, value, mask) for column, (value, mask) in found.items()]
            for column, value, mask in terms:
                old, old_mask = words.get(column, (0, 0))
                if mask and old_mask:
                    value = _word(old) & np.uint64(~mask & (1 << 64) - 1) | _word(value)
                if mask:
                    words[column] = value, old_mask | mask
        return words, missing

    def _column_words(self, use: ColumnTerm) -> list[tuple[Column, Word, int]]:
        low = self._values(use.slot)
        words: list[tuple[Column, Word, int]] = []
        for place in use.places:
            value = low
            if place.upper:
                value = self._lines.high(self._first + use.slot) if use.wide else low * np.uint64(0)
            word = (value << np.uint64(place.shift)) & np.uint64(place.room)
            words.append((place.column, word | np.uint64(place.implied), place.mask))
        return words

    def _made_words(
        self, made: _Made, names: Names, missing: list[str]
    ) -> list[tuple[Column, Word, int]]:
        used = np.unique(made.codes)
        table: dict[Column, NDArray[np.uint64]] = {}
        masks: dict[Column, int] = {}
        lacking: list[str] = []
        for code in used.tolist():
            term = made.things[code]
            assert term is not None
            assert not isinstance(term, Action)
            found, lacking = match_words(Match((term,)), names)
            for column, (value, mask) in found.items():
                values = table.setdefault(column, np.zeros(len(made.things), np.uint64))
                values[code] = value
                masks[column] = mask
        missing += lacking
        return [(column, values[made.codes], masks[column]) for column, values in table.items()]

    def _actions(
        self, missing: Sequence[str], names: Names
    ) -> Iterator[tuple[tuple[Operation, ...], tuple[Operands, ...], NDArray[np.int64] | None]]:
        """Operations, operands, and which of the lines have them (None: all)."""
        n = len(self.flows)
        if missing:
            (step,) = lower((), missing, names)
            yield (step.operation,), (np.zeros((0, n), np.uint64),), None
            return
        steps = []
        for position, use in enumerate(self.template.actions, start=len(self.template.terms)):
            if position in self._made:
                steps.append(_made_steps(self._made[position], names))
            elif isinstance(use, ColumnAction):
                steps.append(_same_steps(use.action, n, names))
                steps[-1].operands[0] = self._values(use.slot)
            else:
                assert isinstance(use, Action)
                steps.append(_same_steps(use, n, names))
        yield from _combined(steps, n)


@dataclass(frozen=True, eq=False)
class _Steps:
    """What lines do at one place of their lists: that of line i is ``operations[which[i]]``.

    ``counts`` says how many operands each of the operations has; ``operands`` has shape (the
    highest of those, lines).
    """

    operations: tuple[Operation, ...]
    counts: tuple[int, ...]
    which: NDArray[np.int64]
    operands: Operands


def _same_steps(action: Action, n: int, names: Names) -> _Steps:
    """The same action in ``n`` lines."""
    step = lower_action(action, names)
    count = len(step.operands)
    operands = np.repeat(np.array(step.operands, np.uint64)[:, None], n, axis=1)
    return _Steps((step.operation,), (count,), np.zeros(n, np.int64), operands)


def _made_steps(made: _Made, names: Names) -> _Steps:
    """Actions made of different texts."""
    used = np.unique(made.codes)
    lowered = []
    for code in used.tolist():
        action = made.things[code]
        assert isinstance(action, Action)
        lowered.append(lower_action(action, names))
    numbers: dict[Operation, int] = {}
    which = [numbers.setdefault(step.operation, len(numbers)) for step in lowered]
    counts = {step.operation: len(step.operands) for step in lowered}
    operands = np.zeros((max(counts.values()), len(lowered)), np.uint64)
    for place, step in enumerate(lowered):
        operands[: len(step.operands), place] = step.operands
    place_of = np.searchsorted(used, made.codes)
    return _Steps(
        tuple(numbers),
        tuple(counts[operation] for operation in numbers),
        np.array(which, np.int64)[place_of],
        operands[:, place_of],
    )


def _combined(
    steps: Sequence[_Steps], n: int
) -> Iterator[tuple[tuple[Operation, ...], tuple[Operands, ...], NDArray[np.int64] | None]]:
    """The distinct lists of operations, their operands, and which lines have them (None: all)."""
    varying = [step.which for step in steps if len(step.operations) > 1]
    if not varying:
        operations = tuple(step.operations[0] for step in steps)
        yield operations, tuple(step.operands for step in steps), None
        return
    _, list_of = np.unique(np.array(varying).reshape(-1, n), axis=1, return_inverse=True)
    for number in range(int(list_of.max()) + 1):
        some = np.flatnonzero(list_of == number)
        chosen = [int(step.which[some[0]]) for step in steps]
        yield (
            tuple(step.operations[c] for step, c in zip(steps, chosen, strict=True)),
            tuple(
                step.operands[: step.counts[c], some] for step, c in zip(steps, chosen, strict=True)
            ),
            some,
        )


def _compares(term: MatchTerm) -> object:
    """What a term compares, whatever the value: terms for which that is equal go together."""
    compared: list[object] = []
    for row, value, mask in term.constraints():
        if row.bits is None:
            # Whether a TLV map has room for the value is not known yet.
            assert isinstance(value, int)
            compared += [row, mask, -(-value.bit_length() // 8)]
        else:
            words = row.match_words(0 if isinstance(value, str) else value, mask)
            compared += [(column, bits) for column, _, bits in words]
    return compared


def _word(value: Word) -> NDArray[np.uint64]:
    return np.asarray(value, np.uint64)
