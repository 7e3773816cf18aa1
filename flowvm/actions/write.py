"""The operations that write header and metadata bits, shared by all actions that do so."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flowvm import port_numbers
from flowvm.actions.base import ColumnBits, Kept, Operands, Operation, Packets, Subfield
from flowvm.columns import Column
from flowvm.fields import ETH_TYPE_VLAN, OUTER_TCI, OUTER_TPID, Bits, Field, Prerequisite
from flowvm.pipeline import bits
from flowvm.pipeline.bits import Piece
from flowvm.pipeline.prerequisites import Holds, holds, is_later_fragment, needs, union, value

if TYPE_CHECKING:
    from flowvm.pipeline.engine import Run

_PART_OF_ND_RESERVED = "setting a part of nd_reserved, the rest of which is not 0,"
_PART_OF_PORT = "setting a part of a port in a later fragment"
_UNREADABLE = "nd_options_type"
_UNREADABLE_NSH = "setting a field of a malformed network service header"


@lru_cache(1 << 10)
def subfield_pieces(field: Field, start: int, width: int) -> tuple[Piece, ...]:
    """Where a run of a field's bits is stored; ValueError for a field without a place."""
    return tuple(bits.pieces(_place(field), start, width))


def read_subfield(columns: bits.Columns, packets: Packets, source: Subfield) -> Operands:
    """The bits of ``source`` in each packet: words (least significant first), packets."""
    row, start, width = source.field, source.start, source.width
    if row.is_wide_port:
        number = port_numbers.all_openflow11(columns[_place(row).column][packets])
        return (number >> np.uint64(start) & np.uint64(bits.mask_of(width)))[None]
    # OVS 3.1 reads one byte of the two that keep nd_options_type, and not that with the value.
    pieces = () if row.name == _UNREADABLE else subfield_pieces(row, start, width)
    return np.array(bits.read(columns, packets, pieces, bits.words_needed(width)))


def _place(row: Field) -> Bits:
    if row.bits is None:
        raise ValueError(f"{row.name} has no place in a packet's columns")
    return row.bits


def pieces_bits(pieces: Iterable[Piece]) -> ColumnBits:
    """The bits that ``pieces`` cover."""
    parts: list[dict[int, int]] = []
    for piece in pieces:
        parts.append({piece.column: bits.mask_of(piece.width) << piece.shift})
    return union(*parts)


def subfield_bits(subfield: Subfield) -> ColumnBits:
    """The bits of a packet's key that a subfield is, or depends on."""
    if subfield.field.is_wide_port:
        return _place(subfield.field).mask
    return pieces_bits(subfield_pieces(subfield.field, subfield.start, subfield.width))


def settle_vlan(run: Run, packets: Packets, implied: int) -> None:
    """Make the outer tag whole after a write: a tag that came to be is of type 0x8100."""
    column = run.columns[Column.VLAN]
    word = column[packets] | np.uint64(implied)
    bare = (word >> np.uint64(OUTER_TPID.shift)) == 0
    bare &= (word >> np.uint64(OUTER_TCI.shift)) != 0
    column[packets] = np.where(bare, word | np.uint64(ETH_TYPE_VLAN << OUTER_TPID.shift), word)


@dataclass(frozen=True)
class _Writer(Operation):
    """Writes bits ``start`` to ``start + width`` of ``field`` where the packet has that field."""

    field: Field
    start: int
    width: int

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        """Where those bits are stored."""
        return subfield_pieces(self.field, self.start, self.width)

    @property
    def reads(self) -> ColumnBits:
        if self.field.prerequisite is Prerequisite.NSH:
            return union(needs(Prerequisite.NSH), {Column.NSH: bits.ONES})
        return needs(self.field.prerequisite)

    @cached_property
    def _loses_rest(self) -> bool:
        """Whether OVS may clear the bits of the field that are not written."""
        return self.field.name in (_UNREADABLE, "nd_reserved")

    def _lose_rest(self, run: Run, packets: Packets, written: NDArray[np.uint64]) -> None:
        """Clear the bits of the field that are not ``written``, a mask for each packet.

        Of ``nd_reserved`` OVS keeps those that rules on the way match, or other actions have had to
        do with: packets that have any stop.
        """
        place = _place(self.field)
        if self.field.name == _UNREADABLE:
            for column, mask in place.mask.items():
                run.columns[column][packets] &= np.uint64(~mask & bits.ONES)
            return
        lost = (value(run.columns, packets, place) & ~written) != 0
        met = holds(self.field.prerequisite, run.columns, packets)
        run.stop_unsupported(packets[lost if met is None else lost & met], _PART_OF_ND_RESERVED)

    @cached_property
    def _is_part_of_port(self) -> bool:
        """Whether the rest of what is written may be in a packet, but not in what is known of it.

        So it is with a fragment that begins behind its ports.
        """
        where = self.field.bits
        return where is not None and where.column is Column.TP and self.width < self.field.width

    @property
    def needs_headers(self) -> bool:
        return self.field.bits is not None and self.field.bits.column >= Column.NW

    @property
    def writes(self) -> ColumnBits:
        written = pieces_bits(self.pieces)
        if self.field.presence is not None:
            written = union(written, self.field.presence.mask)
        if self._loses_rest or self.field.is_wide_port:
            written = union(written, _place(self.field).mask)
        # A tag may come to be, or change its type, with any bit that is written.
        return {Column.VLAN: bits.ONES} if Column.VLAN in written else written

    def _with_field(
        self, run: Run, packets: Packets, operands: Operands
    ) -> tuple[Packets, Operands]:
        """Those of ``packets`` that have the field, and their operands."""
        met = self._have_field(run, packets)
        if met is None:
            return packets, operands
        if run.recorder:
            run.recorder.warning(f"unmet prerequisites for {self.field.name}, set_field ignored")
        return packets[met], operands[:, met]

    def _have_field(self, run: Run, packets: Packets) -> Holds | None:
        """Which of ``packets`` have the field; ``None`` for all of them."""
        met = holds(self.field.prerequisite, run.columns, packets)
        if self.field.prerequisite is Prerequisite.NSH:
            # What Open vSwitch writes over a header that it cannot read depends on which fields
            # the rules of the tables on the way match.
            some = packets if met is None else packets[met]
            run.stop_unsupported(some[run.columns[Column.NSH][some] == 0], _UNREADABLE_NSH)
        return met

    def _change_port(
        self,
        run: Run,
        packets: Packets,
        value: NDArray[np.uint64],
        mask: NDArray[np.uint64] | np.uint64,
    ) -> None:
        """Write bits of what is kept as a port of OpenFlow 1.0 into its number in OpenFlow 1.1."""
        column = run.columns[_place(self.field).column]
        column[packets] = port_numbers.with_bits(column[packets], value, mask)

    def _settle(self, run: Run, packets: Packets) -> None:
        if Column.VLAN in self.writes:
            settle_vlan(run, packets, self.field.implied)
        if self.field.presence is not None:
            for column, bit in self.field.presence.mask.items():
                run.columns[column][packets] |= np.uint64(bit)
        run.emissions.touch(packets)


@dataclass(frozen=True)
class WriteBits(_Writer):
    """Write the operands (words, least significant first) into some bits of a field."""

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:
        self.store(run, *self._with_field(run, packets, operands))
        return None

    def execute_quietly(self, run: Run, packets: Packets, operands: Operands) -> None:
        """As :meth:`execute`, without telling of packets that lack the field."""
        met = self._have_field(run, packets)
        if met is not None:
            packets, operands = packets[met], operands[:, met]
        self.store(run, packets, operands)

    def store(self, run: Run, packets: Packets, operands: Operands) -> None:
        """Write, whether or not the packets have the field."""
        if self._loses_rest:
            mask = np.uint64(bits.mask_of(self.width) << self.start)
            self._lose_rest(run, packets, np.full(len(packets), mask))
        if self._is_part_of_port:
            later = is_later_fragment(run.columns, packets)
            run.stop_unsupported(packets[later], _PART_OF_PORT)
        if self.field.is_wide_port:
            mask = np.uint64(bits.mask_of(self.width) << self.start)
            self._change_port(run, packets, operands[0] << np.uint64(self.start), mask)
        else:
            bits.write(run.columns, packets, self.pieces, operands)
        self._settle(run, packets)


@dataclass(frozen=True)
class WriteMasked(_Writer):
    """As :class:`WriteBits`; the second half of the operands is the mask of what to write."""

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:
        packets, operands = self._with_field(run, packets, operands)
        n = len(operands) // 2
        if self._loses_rest:
            self._lose_rest(run, packets, operands[n])
        if self.field.is_wide_port:
            self._change_port(run, packets, operands[0], operands[1])
        else:
            bits.write_masked(run.columns, packets, self.pieces, operands[:n], operands[n:])
        self._settle(run, packets)
        return None


def write_subfield(destination: Subfield) -> WriteBits:
    """The operation of ``load`` into ``destination``."""
    return WriteBits(destination.field, destination.start, destination.width)


def write_field(field: Field) -> WriteBits:
    """The operation of ``set_field`` of all of ``field``."""
    return WriteBits(field, 0, stored_width(field))


def stored_width(field: Field) -> int:
    """The bits that a value of the whole field takes: 13 of ``vlan_vid``, CFI included."""
    return max(field.width, field.bits.width) if field.bits else field.width
