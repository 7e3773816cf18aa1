"""Many lines to flows: each shape is parsed once, and of other lines only what differs is read.

For those who want to look at the flows of a large dump one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from flowvm.actions.base import Action
from flowvm.bulk.scan import IRREGULAR, Block, Scanner, whole_lines
from flowvm.bulk.template import (
    ColumnAction,
    ColumnTerm,
    Template,
    TextAction,
    TextTerm,
    template_of,
)
from flowvm.flow import FieldMatch, Flow, Match, MatchTerm
from flowvm.text.dump import Dump, DumpReader
from flowvm.text.errors import WordError
from flowvm.text.parse import STATISTICS

_MARK = "\N{BYTE ORDER MARK}"

Part = TypeVar("Part", MatchTerm, Action)


def decode_line(number: int, line: bytes) -> str:
    """The text of the line of that number, from 0, without blanks at its end.

    What is not UTF-8 comes out as replacement characters.
    """
    text = line.decode("utf-8", "replace").rstrip()
    return text.removeprefix(_MARK) if number == 0 else text


class FlowReader:
    """Reads the flows of one text, in blocks of whole lines."""

    def __init__(self) -> None:
        self._scanner = Scanner()
        self._makers: dict[int, _Maker | None] = {}

    def read(self, data: bytes, wanted: NDArray[np.int64]) -> Iterator[Flow | None]:
        """The flows on those lines of ``data`` that are ``wanted``, by number from 0.

        ``None`` for a line that has to be read by itself.
        """
        block = self._scanner.scan(data)
        shapes = block.shapes[wanted].tolist()
        first = block.first_literal
        after = np.append(first[1:], len(block.values))
        spans = zip(first[wanted].tolist(), after[wanted].tolist(), strict=True)
        starts = block.starts.tolist()
        ends = (block.starts + block.lengths).tolist()
        values = block.values.tolist()
        for line, shape, (begin, end) in zip(wanted.tolist(), shapes, spans, strict=True):
            if shape not in self._makers:
                self._makers[shape] = self._maker(block, line, begin, end)
            maker = self._makers[shape]
            if maker is None:
                yield None
                continue
            places = zip(starts[begin:end], ends[begin:end], strict=True)
            texts = [data[start:stop].decode() for start, stop in places]
            try:
                flow = maker.make(texts, values[begin:end])
            except WordError:
                # Read by itself, the line says what is wrong, and where.
                flow = None
            yield flow

    def _maker(self, block: Block, line: int, begin: int, end: int) -> _Maker | None:
        if block.shapes[line] == IRREGULAR:
            return None
        start = int(block.line_starts[line])
        text = block.data[start : block.data.index(b"\n", start)].decode().rstrip()
        some = slice(begin, end)
        template = template_of(
            text,
            block.starts[some].astype(np.int64) - start,
            block.lengths[some],
            block.kinds[some],
            block.values[some],
        )
        return None if template is None else _Maker(template)


@dataclass(frozen=True)
class _Varying(Generic[Part]):
    """A term or action that its literals decide, and what it was for those that came up."""

    slots: tuple[int, ...]
    make: Callable[[Sequence[str]], Part]
    made: dict[tuple[str, ...], Part]

    def of(self, texts: Sequence[str], _: Sequence[int]) -> Part:
        key = tuple([texts[slot] for slot in self.slots])
        if key not in self.made:
            self.made[key] = self.make(key)
        return self.made[key]


@dataclass(frozen=True)
class _Numbered:
    """A term of which a literal is the value, and what it was for the values that came up."""

    use: ColumnTerm
    otherwise: _Varying[MatchTerm]
    made: dict[int, FieldMatch]

    def of(self, texts: Sequence[str], values: Sequence[int]) -> MatchTerm:
        value = values[self.use.slot]
        found = self.made.get(value)
        if found is None:
            if value >= self.use.limit:
                return self.otherwise.of(texts, values)
            term = self.use.term
            found = FieldMatch(term.field, value & term.mask, term.mask, term.spelling)
            self.made[value] = found
        return found


class _Maker:
    """Makes the flows of one shape."""

    def __init__(self, template: Template) -> None:
        flow = template.flow
        self._same: dict[str, Any] = {
            field.name: getattr(flow, field.name)
            for field in fields(Flow)
            if field.name not in ("match", "actions")
        }
        # As text, a duration says how many digits it has.
        self._statistics = [
            (use.name, use.slot, 0 if use.name == "duration" else use.limit)
            for use in template.statistics
        ]
        self._terms = [_varying(use) for use in template.terms]
        self._actions = [_varying(use) for use in template.actions]

    def make(self, texts: Sequence[str], values: Sequence[int]) -> Flow:
        """The flow with these literals. Raises WordError if there is none."""
        said = self._same.copy()
        for name, slot, limit in self._statistics:
            value = values[slot]
            said[name] = value if value < limit else STATISTICS[name](texts[slot])
        terms = [_made(part, texts, values) for part in self._terms]
        actions = [_made(part, texts, values) for part in self._actions]
        return Flow(Match(tuple(terms)), tuple(actions), **said)


def _made(part: Any, texts: Sequence[str], values: Sequence[int]) -> Any:
    return part.of(texts, values) if isinstance(part, _Varying | _Numbered) else part


def _varying(use: Any) -> Any:
    if isinstance(use, ColumnTerm) and not use.wide:
        (slot,) = use.text.item.slots
        if slot.value & use.term.mask == use.term.value:
            return _Numbered(use, _varying(use.text), {})
    if isinstance(use, ColumnTerm | ColumnAction):
        use = use.text
    if isinstance(use, TextTerm | TextAction):
        return _Varying(tuple(slot.number for slot in use.item.slots), use.make, {})
    return use


def read_flows(blocks: Iterable[bytes], *, file: str | None = None, lenient: bool = False) -> Dump:
    """What :func:`flowvm.text.dump.parse_dump` makes of a text, but sooner.

    ``blocks`` are the text in pieces of any size, in UTF-8. Raises what that does.
    """
    reader, single = FlowReader(), DumpReader(file, lenient)
    first = 1
    for data in whole_lines(blocks):
        n = data.count(b"\n")
        lines = data.split(b"\n")
        for number, flow in enumerate(reader.read(data, np.arange(n)), start=first):
            if flow is not None:
                single.add(number, flow)
            else:
                single.read(number, decode_line(number - 1, lines[number - first]))
        first += n
    return single.dump()
