"""How ``learn`` is executed: reading what the packets hold into flows to be.

Semantics: ovs-actions(7), "learn"; ``learn_execute`` in lib/learn.c.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flowvm import port_numbers
from flowvm.actions.base import Action, ColumnBits, Kept, Operands, Operation, Packets, Subfield
from flowvm.actions.output import Emit, Output
from flowvm.actions.set_field import Load, SetField
from flowvm.actions.timeout import CutTimeouts, FinTimeout
from flowvm.actions.write import (
    WriteBits,
    pieces_bits,
    subfield_bits,
    subfield_pieces,
    write_subfield,
)
from flowvm.arrays import distinct, nonzero
from flowvm.flow import ReservedPort
from flowvm.pipeline import bits
from flowvm.pipeline.learning import LearnTemplate, Renderer, Target
from flowvm.pipeline.prerequisites import union
from flowvm.pipeline.subtable import Mask
from flowvm.text.values import nxm_name

if TYPE_CHECKING:
    from flowvm.pipeline.engine import Run

_PORT_WIDTH = 16
_LEARNABLE_RESERVED = (
    ReservedPort.IN_PORT,
    ReservedPort.FLOOD,
    ReservedPort.ALL,
    ReservedPort.LOCAL,
)


@dataclass(frozen=True)
class Source:
    """Where a learned value comes from: bits of the packet, or a constant."""

    subfield: Subfield | None = None
    value: int = 0

    def read(self, run: Run, packets: Packets, width: int) -> Operands:
        """The value for each packet: words (least significant first), packets."""
        if self.subfield is not None:
            return run.read(packets, self.subfield)
        words = np.array(bits.split(self.value, width), np.uint64)
        return np.repeat(words[:, None], len(packets), axis=1)


@dataclass(frozen=True)
class LearnFlow(Operation):
    """Make a flow in ``table`` that matches and does what the packet at hand says.

    ``matches`` pairs what the flow matches with where the value is from; ``actions`` what it loads
    (``None``: a port to output to) likewise. Timeouts are seconds, 0 for none.
    """

    table: int
    priority: int
    cookie: int
    idle_timeout: int
    hard_timeout: int
    fin_timeouts: tuple[int, int]
    flags: tuple[str, ...]
    delete_learned: bool
    limit: int
    result_dst: Subfield | None
    matches: tuple[tuple[Subfield, Source], ...]
    actions: tuple[tuple[Subfield | None, Source], ...]

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        # It is looked up whenever it is executed.
        return hash((self.table, self.priority, self.cookie, self.matches, self.actions))

    @cached_property
    def mask(self) -> Mask:
        """What the learned flows match on."""
        masks = union(*(pieces_bits(pieces) for _, _, pieces in self._placed))
        columns = tuple(sorted(masks))
        return Mask(columns, tuple(masks[column] for column in columns))

    @cached_property
    def _placed(self) -> tuple[tuple[Subfield, Source, tuple[bits.Piece, ...]], ...]:
        """What is matched, in order: the bits, the source of the value, and where it goes.

        OVS in effect leaves some matches out. Of a field that cannot be masked the whole must be
        matched once these bits are too, and OVS counts in bytes there: a match on
        ``OXM_OF_VLAN_PCP[]``, three bits of a byte, is always lost (``mf_write_subfield``).
        """
        found = []
        masks: ColumnBits = {}
        for destination, source in self.matches:
            row, start, width = destination.field, destination.start, destination.width
            assert row.bits is not None
            if not row.maskable:
                before = masks.get(row.bits.column, 0) >> row.bits.shift
                before &= bits.mask_of(min(row.width, row.bits.width)) & -1 << row.bits.unused
                if row.is_wide_port and before:
                    before = bits.mask_of(row.width)
                together = before | bits.mask_of(width) << start
                if row.width % 8 or together != bits.mask_of(row.width):
                    continue
            stored = width
            if width == row.width and width % 8 == 0:
                stored = max(width, row.bits.width)
            if row.is_wide_port:
                start, stored = 0, row.bits.width
            pieces = subfield_pieces(row, start, stored)
            masks = union(masks, pieces_bits(pieces))
            found.append((destination, source, pieces))
        return tuple(found)

    @property
    def shortest_timeout(self) -> int | None:
        """The least of its timeouts, in seconds; ``None`` if there is none."""
        timeouts = (self.idle_timeout, self.hard_timeout, *self.fin_timeouts)
        return min((seconds for seconds in timeouts if seconds), default=None)

    @property
    def owns(self) -> tuple[int, int] | None:
        return (self.table, self.cookie) if self.delete_learned else None

    @property
    def reads(self) -> ColumnBits:
        sources = (source for _, source in (*self.matches, *self.actions))
        return union(*(subfield_bits(s.subfield) for s in sources if s.subfield is not None))

    @property
    def writes(self) -> ColumnBits:
        return write_subfield(self.result_dst).writes if self.result_dst else {}

    @cached_property
    def inner(self) -> tuple[Operation, ...]:
        found: list[Operation] = [CutTimeouts(*self.fin_timeouts)] if any(self.fin_timeouts) else []
        for destination, _ in self.actions:
            found += [Emit()] if destination is None else _loads(destination)
        return tuple(found)

    @property
    def may_choose_normal(self) -> bool:
        return any(destination is None for destination, _ in self.actions)

    def template(self, number: int) -> LearnTemplate:
        """What all flows learned by this have in common."""
        return LearnTemplate(
            number,
            Target(self.table, self.priority, self.mask),
            self.cookie,
            self.idle_timeout,
            self.hard_timeout,
            self.flags,
            self.limit,
            renderer,
        )

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:  # noqa: ARG002
        template = run.state.template(self)
        keys = self._keys(run, packets)
        learned = np.ones(len(packets), bool)
        if self.limit:
            run.await_state(packets)
        for operations, widths, some, values in self._variants(run, packets):
            shape = run.state.shape_of(operations, widths)
            if self.limit:
                for i, packet in enumerate(some.tolist()):
                    content = np.array([shape, *values[:, i].tolist()], np.uint64)[:, None]
                    learned[packet] = self._allowed(
                        run, template, int(packets[packet]), keys[:, packet], content
                    )
            chosen = some[learned[some]]
            rows = values[:, learned[some]]
            run.learn(template, shape, packets[chosen], keys[:, chosen], rows)
        if run.recorder and not learned[0]:
            run.recorder.detail("Limit exceeded, learn failed")
        if self.result_dst is not None:
            result = learned[None].astype(np.uint64)
            write_subfield(self.result_dst).store(run, packets, result)
            run.report_subfield(packets, self.result_dst)
        return None

    def _keys(self, run: Run, packets: Packets) -> NDArray[np.uint64]:
        mask = self.mask
        keys = np.zeros((len(mask.columns), len(packets)), np.uint64)
        row_of = {column: row for row, column in enumerate(mask.columns)}
        for destination, source, pieces in self._placed:
            words = source.read(run, packets, destination.width)
            if destination.field.is_wide_port:
                known = keys[row_of[pieces[0].column]] >> np.uint64(pieces[0].shift)
                first = np.uint64(destination.start)
                written = np.uint64(bits.mask_of(destination.width)) << first
                known &= np.uint64(ReservedPort.NONE)
                words = port_numbers.with_bits(known, words << first, written)
            for piece in pieces:
                room = bits.mask_of(piece.width) << piece.shift
                value = (words[piece.word] >> np.uint64(piece.offset)) << np.uint64(piece.shift)
                row = keys[row_of[piece.column]]
                row &= np.uint64(~room & bits.ONES)
                row |= value & np.uint64(room)
        return keys

    def _variants(
        self, run: Run, packets: Packets
    ) -> Iterator[tuple[tuple[Operation, ...], tuple[int, ...], NDArray[np.int64], Operands]]:
        """The action lists that the flows come to have: which of ``packets``, and the operands.

        They differ where a port to output to is none that a flow may be taught.
        """
        steps: list[tuple[Operation, Operands, NDArray[np.bool_]]] = []
        always = np.ones(len(packets), bool)
        if any(self.fin_timeouts):
            none = np.zeros((0, len(packets)), np.uint64)
            steps.append((CutTimeouts(*self.fin_timeouts), none, always))
        for destination, source in self.actions:
            if destination is None:
                words = source.read(run, packets, _PORT_WIDTH)
                steps.append((Emit(), words[:1], _is_port(words)))
                continue
            words = source.read(run, packets, destination.width)
            loads = _loads(destination)
            size = len(words) // len(loads)
            for number, operation in enumerate(loads):
                part = words[number * size : (number + 1) * size]
                steps.append((operation, part, always))
        which = np.zeros(len(packets), np.int64)
        for number, (_, _, there) in enumerate(steps):
            which |= there.astype(np.int64) << number
        for variant in distinct(which):
            some = nonzero(which == variant)
            kept = [step for number, step in enumerate(steps) if variant >> number & 1]
            rows = [words[:, some] for _, words, _ in kept]
            yield (
                tuple(operation for operation, _, _ in kept),
                tuple(len(words) for words in rows),
                some,
                np.concatenate([np.zeros((0, len(some)), np.uint64), *rows]),
            )

    def _allowed(
        self,
        run: Run,
        template: LearnTemplate,
        packet: int,
        key: NDArray[np.uint64],
        content: NDArray[np.uint64],
    ) -> bool:
        """Whether ``limit`` allows this flow: one that is there just so is always refreshed."""
        # What the packet itself has taught is not part of the state yet.
        just = {
            events.flow_of(i): (events, i)
            for events in run.learned
            for i in np.flatnonzero(events.packets == packet).tolist()
        }
        latest = just.get((template.target, key.tobytes()))
        existing = run.state.find_exactly(template.target, key[:, None])
        if latest is not None:
            events, i = latest
            same = events.template.makes_like(template)
            if same and events.content_of(i) == content[:, 0].tolist():
                return True
        elif existing[0] >= 0 and run.state.is_as_taught(int(existing[0]), template, content):
            return True
        more = 0
        for events, i in just.values():
            target = events.template.target
            if target.table == self.table:
                replaced = int(run.state.find_exactly(target, events.keys[:, [i]])[0])
                more += events.template.cookie == self.cookie
                more -= replaced >= 0 and int(run.state.rules.cookie[replaced]) == self.cookie
        return run.state.has_room(template, more)


def _loads(destination: Subfield) -> list[WriteBits]:
    """What writes ``destination``: as many loads as it has words, the lowest bits first.

    But what Open vSwitch shows as ``set_field`` (tunnel options) is one.
    """
    row, width = destination.field, destination.width
    if row.presence is not None:
        return [write_subfield(destination)]
    return [
        WriteBits(row, destination.start + bit, min(64, width - bit)) for bit in range(0, width, 64)
    ]


def _is_port(words: Operands) -> NDArray[np.bool_]:
    """Which values are ports that a learned flow may output to."""
    ports = words[0]
    fits = (ports <= ReservedPort.NONE) & ~words[1:].any(axis=0)
    allowed = ports < ReservedPort.MAX
    for reserved in _LEARNABLE_RESERVED:
        allowed |= ports == reserved
    return np.asarray(fits & allowed, bool)


@lru_cache(1 << 8)
def renderer(operations: tuple[Operation, ...]) -> Renderer:
    """What turns operands of ``operations`` into the actions of a learned flow."""
    makers: list[Callable[[Sequence[int]], Action]] = []
    first = 0
    for operation in operations:
        maker, n_operands = _maker(operation, first)
        makers.append(maker)
        first += n_operands
    return lambda operands: tuple([make(operands) for make in makers])


def _maker(operation: Operation, first: int) -> tuple[Callable[[Sequence[int]], Action], int]:
    """What makes the action of a learned flow, and of how many operands from ``first`` on."""
    match operation:
        case CutTimeouts(idle_timeout, hard_timeout):
            cut = FinTimeout(idle_timeout, hard_timeout)
            return lambda _: cut, 0
        case Emit():
            return lambda operands: Output(operands[first]), 1
        case WriteBits(row, start, width) if row.presence is not None:
            n = bits.words_needed(width)
            mask = None if width == row.width else bits.mask_of(width) << start

            def set_option(operands: Sequence[int]) -> Action:
                words = operands[first : first + n]
                value = sum(word << 64 * i for i, word in enumerate(words)) << start
                return SetField(row, value, mask, row.name)

            return set_option, n
        case WriteBits(row, start, width):
            where = Subfield(row, start, start + width - 1, nxm_name(row))
            return lambda operands: Load(operands[first], where), 1
        case _:
            raise TypeError(f"a learned flow cannot do {operation}")
