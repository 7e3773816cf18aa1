"""Reading a large dump: text to program, without a flow made that nobody looks at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from flowvm.bulk.fill import Filled
from flowvm.bulk.lines import LazyFlows, Lines
from flowvm.bulk.scan import IRREGULAR, Scanner, whole_lines
from flowvm.bulk.template import Template, template_of
from flowvm.flow import Flow
from flowvm.names import Names
from flowvm.pipeline.assemble import FlowBlock, FlowColumns, Numbers, assemble
from flowvm.pipeline.compile import FlowBlocks, UsedNames
from flowvm.pipeline.compile_groups import with_groups
from flowvm.pipeline.program import Program
from flowvm.text.dump import DumpReader
from flowvm.text.errors import FlowSyntaxError
from flowvm.text.group_stats import GroupStats
from flowvm.text.groups import Group
from flowvm.tlv_map import TlvMap

FEW = 2
"""Of a shape with fewer lines than this, each is read by itself."""


@dataclass(frozen=True)
class BulkDump:
    """A dump, compiled: its flows, and what else it says.

    ``group_lines`` are the lines, from 0, that the groups stand on. ``skipped`` is how many lines
    are neither flows nor groups and are meant not to be. ``errors`` is empty unless the dump was
    read leniently.
    """

    program: Program
    groups: tuple[Group, ...] = ()
    group_lines: tuple[int, ...] = ()
    skipped: int = 0
    errors: tuple[FlowSyntaxError, ...] = ()
    group_stats: tuple[GroupStats, ...] = ()


def read_bulk(
    blocks: Iterable[bytes],
    ports: Mapping[str, int] | Names | None = None,
    *,
    file: str | None = None,
    lenient: bool = False,
    tlv_map: TlvMap | None = None,
) -> BulkDump:
    """What :func:`flowvm.text.dump.parse_dump` and compiling make of a text, but in bulk.

    ``blocks`` are the text in pieces of any size, in UTF-8; some hundred kilobytes are best.
    ``ports`` maps names of ports to numbers, if those of all ports of the bridge are known; as
    :class:`~flowvm.names.Names` it is all the names there are. ``tlv_map`` says what
    ``tun_metadata`` fields are, by default it is inferred. ``file`` is the name errors give.

    A line that cannot be read raises FlowSyntaxError, unless ``lenient``: then it is left out.
    Raises KeyError for a name that ``ports``, being Names, does not know.
    """
    scanner = Scanner()
    lines = Lines.of([scanner.scan(block) for block in whole_lines(blocks)])
    reader = _Reader(lines, file, lenient)
    reader.read_by_shape()
    reader.read_the_rest()
    return reader.dump(ports, tlv_map)


class _Reader:
    """What is known of a text so far: shapes that are filled, and lines that are not."""

    def __init__(self, lines: Lines, file: str | None, lenient: bool) -> None:
        self._lines = lines
        self._columns = FlowColumns(len(lines.text))
        self._filled: list[Filled] = []
        self._rest: list[Numbers] = []
        self._single = DumpReader(file, lenient)

    def read_by_shape(self) -> None:
        """Fill the lines of each shape in from the first of them, as far as they fit."""
        shapes = self._lines.shapes
        order = np.argsort(shapes, kind="stable")
        counts = np.bincount(shapes + 1)  # the first is that of irregular lines
        ends = np.cumsum(counts)
        for shape, (count, end) in enumerate(
            zip(counts.tolist(), ends.tolist(), strict=True), start=IRREGULAR
        ):
            members = order[end - count : end]
            template = None
            if shape != IRREGULAR and count >= FEW:
                template = self._template(int(members[0]))
            if template is None:
                self._rest.append(members)
                continue
            filled = Filled(template, members, self._lines, self._columns)
            self._rest.append(filled.rest)
            if len(filled.flows):
                self._filled.append(filled)

    def _template(self, line: int) -> Template | None:
        lines = self._lines
        first = int(lines.first_literal[line])
        following = lines.first_literal[line + 1 : line + 2].tolist()
        last = following[0] if following else len(lines.values)
        begin = lines.text.line_start(line)
        return template_of(
            lines.text.line(line),
            lines.starts[first:last].astype(np.int64) - begin,
            lines.lengths[first:last],
            lines.kinds[first:last],
            lines.values[first:last],
        )

    def read_the_rest(self) -> None:
        """Read one by one what no template fits. Raises FlowSyntaxError unless lenient."""
        rest = np.sort(np.concatenate([np.zeros(0, np.int64), *self._rest]))
        for number, text in zip(rest.tolist(), self._lines.text.lines(rest), strict=True):
            self._single.read(number + 1, text)
        for number, flow in self._single_flows():
            self._columns.put(number, flow)

    def _single_flows(self) -> Iterator[tuple[int, Flow]]:
        """The flows that were read one by one, with the numbers of their lines, from 0."""
        for line, flow in zip(self._single.flow_lines, self._single.flows, strict=True):
            yield line - 1, flow

    def dump(
        self, ports: Mapping[str, int] | Names | None, tlv_map: TlvMap | None = None
    ) -> BulkDump:
        """Compile what was read."""
        names = ports if isinstance(ports, Names) else self._names(ports, tlv_map)
        text, single = self._lines.text, self._single.dump()
        program = assemble(
            list(self._blocks(names)),
            self._columns,
            names,
            lambda numbers: LazyFlows(text, numbers),
        )
        if single.groups:
            program = with_groups(program, single.groups, single.group_stats)
        return BulkDump(
            program,
            single.groups,
            tuple(line - 1 for line in single.group_lines),
            len(single.skipped),
            single.errors,
            single.group_stats,
        )

    def _names(self, ports: Mapping[str, int] | None, tlv_map: TlvMap | None) -> Names:
        used = UsedNames()
        for filled in self._filled:
            filled.see_names(used)
        for number, flow in self._single_flows():
            used.see(flow, number)
        return used.names(ports, tlv_map)

    def _blocks(self, names: Names) -> Iterator[FlowBlock]:
        for filled in self._filled:
            yield from filled.blocks(names)
        one_by_one = FlowBlocks(names)
        for number, flow in self._single_flows():
            one_by_one.add(number, flow)
        yield from one_by_one.blocks()
