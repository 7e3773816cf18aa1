"""Writing into fields: ``load``, ``set_field``, ``move``, ``set_tunnel``, ``write_metadata``...

Semantics: ovs-actions(7), "Field Modification Actions" and "Metadata Actions".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from flowvm.actions.base import (
    Action,
    ColumnBits,
    Kept,
    Lowered,
    Operands,
    Operation,
    Packets,
    Resolver,
    Subfield,
)
from flowvm.actions.write import (
    WriteMasked,
    stored_width,
    subfield_bits,
    write_field,
    write_subfield,
)
from flowvm.fields import TUN_METADATA_WIDTH, Field, Format, field
from flowvm.pipeline.bits import ONES, split
from flowvm.pipeline.prerequisites import holds, needs, union
from flowvm.port_numbers import openflow11
from flowvm.text.errors import WordError
from flowvm.text.tree import Item
from flowvm.text.values import (
    find_field,
    format_hex,
    format_value,
    number_limit,
    parse_number,
    parse_subfield,
    parse_value,
)

if TYPE_CHECKING:
    from flowvm.pipeline.engine import Run

ALL_64 = 0xFFFF_FFFF_FFFF_FFFF


@dataclass(frozen=True)
class Load(Action):
    """``load:VALUE->SUBFIELD``."""

    value: int
    destination: Subfield

    def __str__(self) -> str:
        return f"load:{format_hex(self.value)}->{self.destination}"

    def lower(self, resolver: Resolver) -> Lowered:
        if self.destination.field.bits is None:
            return super().lower(resolver)
        operation = write_subfield(self.destination)
        return Lowered(operation, split(self.value, operation.width))

    @property
    def operand_limit(self) -> int:
        return 1 << self.destination.width


@dataclass(frozen=True)
class SetField(Action):
    """``set_field:VALUE[/MASK]->FIELD``; ``mask`` is ``None`` if there is none.

    Open vSwitch tells no mask from one of all bits where they do not fill bytes
    (``0/0x7->vlan_pcp``): the latter is what a ``load`` becomes in OpenFlow 1.5.

    ``value`` is a ``str`` only for a port given by name; ``spelling`` is the name the text used.
    """

    field: Field
    value: int | str
    mask: int | None
    spelling: str

    def __str__(self) -> str:
        full = self.field.full_mask
        text = format_value(self.field, self.value, full if self.mask is None else self.mask)
        if self.mask == full:
            text += f"/{format_hex(full)}"
        return f"set_field:{text}->{self.spelling}"

    def lower(self, resolver: Resolver) -> Lowered:
        value = resolver.port(self.value) if isinstance(self.value, str) else self.value
        if self.field.bits is None:
            return super().lower(resolver)
        if self.field.is_wide_port:
            value = openflow11(value)
        width = stored_width(self.field)
        full = self.field.full_mask
        if self.mask is None or self.mask & full == full:
            return Lowered(write_field(self.field), split(value, width))
        operation = WriteMasked(self.field, 0, width)
        return Lowered(operation, split(value, width) + split(self.mask, width))

    @property
    def operand_limit(self) -> int:
        # Not every number is a set of flags.
        plain = self.mask is None and self.field.format is not Format.TUN_FLAGS
        return number_limit(self.field) if plain else 0


@dataclass(frozen=True)
class Move(Action):
    """``move:SUBFIELD->SUBFIELD``; both have the same width."""

    source: Subfield
    destination: Subfield

    def __str__(self) -> str:
        return f"move:{self.source}->{self.destination}"

    def lower(self, resolver: Resolver) -> Lowered:
        if self.source.field.bits is None or self.destination.field.bits is None:
            return super().lower(resolver)
        return Lowered(MoveBits(self.source, self.destination))


@dataclass(frozen=True)
class SetTunnel(Action):
    """``set_tunnel:ID`` or ``set_tunnel64:ID``; both set the whole ``tun_id``."""

    tun_id: int
    spelling: str = "set_tunnel"

    def __str__(self) -> str:
        return f"{self.spelling}:{format_hex(self.tun_id)}"

    def lower(self, resolver: Resolver) -> Lowered:  # noqa: ARG002
        return Lowered(write_field(field("tun_id")), (self.tun_id,))

    @property
    def operand_limit(self) -> int:
        return 1 << 64


@dataclass(frozen=True)
class WriteMetadata(Action):
    """``write_metadata:VALUE[/MASK]``."""

    value: int
    mask: int = ALL_64

    def __str__(self) -> str:
        mask = "" if self.mask == ALL_64 else f"/{format_hex(self.mask)}"
        return f"write_metadata:{format_hex(self.value)}{mask}"

    def lower(self, resolver: Resolver) -> Lowered:  # noqa: ARG002
        return Lowered(WriteMasked(field("metadata"), 0, 64), (self.value, self.mask))


@dataclass(frozen=True)
class DeleteField(Action):
    """``delete_field:FIELD``: for ``tun_metadata`` fields."""

    field: Field
    spelling: str

    def __str__(self) -> str:
        return f"delete_field:{self.spelling}"

    def lower(self, resolver: Resolver) -> Lowered:
        if self.field.presence is None:
            return super().lower(resolver)
        return Lowered(DeleteOption(self.field))


@dataclass(frozen=True)
class DeleteOption(Operation):
    """Let packets be without a tunnel option. Its value stays, for ``move`` and the like to see."""

    field: Field

    @property
    def writes(self) -> ColumnBits:
        assert self.field.presence is not None
        return self.field.presence.mask

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:  # noqa: ARG002
        for column, bit in self.writes.items():
            run.columns[column][packets] &= np.uint64(~bit & ONES)
        run.emissions.touch(packets)
        if run.recorder:
            run.recorder.detail(f"delete {self.field.name}")
        return None


@dataclass(frozen=True)
class MoveBits(Operation):
    """Copy bits from one field to another, where the packet has both."""

    source: Subfield
    destination: Subfield

    @property
    def reads(self) -> ColumnBits:
        return union(
            subfield_bits(self.source),
            needs(self.source.field.prerequisite),
            write_subfield(self.destination).reads,
        )

    @property
    def writes(self) -> ColumnBits:
        return write_subfield(self.destination).writes

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:  # noqa: ARG002
        met = holds(self.source.field.prerequisite, run.columns, packets)
        some = packets if met is None else packets[met]
        write_subfield(self.destination).execute_quietly(run, some, run.read(some, self.source))
        run.report_subfield(packets, self.destination)
        return None


def make_load(item: Item) -> Load:
    value = parse_number(item.argument("a number"), TUN_METADATA_WIDTH)
    destination = _writable(item.destination())
    if value >> destination.width:
        raise WordError(
            item.last if item.value is None else item.value,
            f"the value does not fit into the {destination.width} bits of {destination}",
        )
    return Load(value, destination)


def make_set_field(item: Item) -> SetField:
    word = item.argument("a value")
    name = item.destination()
    row = find_field(name)
    if not row.writable:
        raise WordError(name, f"{name} is read-only", "a field that can be written")
    # ovs-ofctl refuses masks of some fields that Open vSwitch itself makes of a load and prints.
    value, mask = parse_value(row, word, any_mask=True)
    n_bytes = -(-row.width // 8)
    # No number has three bytes: nsh_spi is 24 bits of four.
    whole_bytes = (1 << 8 * (n_bytes + (n_bytes == 3))) - 1
    unmasked = "/" not in word or mask == whole_bytes
    return SetField(row, value, None if unmasked else mask, str(name))


def make_move(item: Item) -> Move:
    source = parse_subfield(item.argument("a field"))
    word = item.destination()
    destination = _writable(word)
    if source.width != destination.width:
        raise WordError(
            word, f"{source} has {source.width} bits, but {destination} has {destination.width}"
        )
    return Move(source, destination)


def _writable(word: str) -> Subfield:
    subfield = parse_subfield(word)
    if not subfield.field.writable:
        raise WordError(word, f"{subfield.spelling} is read-only", "a field that can be written")
    return subfield


def make_set_tunnel(item: Item) -> SetTunnel:
    tun_id = parse_number(item.argument("a tunnel ID"), 64, "a tunnel ID")
    return SetTunnel(tun_id, "set_tunnel64" if tun_id >> 32 else item.name)


def make_write_metadata(item: Item) -> WriteMetadata:
    word = item.argument("a number")
    value, mask = parse_value(field("metadata"), word)
    assert isinstance(value, int)
    return WriteMetadata(value, mask)


def make_delete_field(item: Item) -> DeleteField:
    name = item.argument("a tun_metadata field")
    row = find_field(name)
    if not row.name.startswith("tun_metadata"):
        raise WordError(name, f"{name} cannot be deleted", "a tun_metadata field")
    return DeleteField(row, str(name))
