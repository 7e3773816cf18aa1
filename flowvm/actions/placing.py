"""Tunnel options in actions: how many bits of each are used, and where a TLV map puts them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from flowvm.actions.base import Action, Subfield
from flowvm.actions.set_field import Load, SetField
from flowvm.fields import Field
from flowvm.flow import Match
from flowvm.tlv_map import TlvMap, option_index

_Part = TypeVar("_Part")


def bits_used(match: Match, actions: tuple[Action, ...]) -> dict[int, int]:
    """The ``tun_metadata`` fields that a flow names, by number, and how many bits of each.

    A ``set_field`` whose mask fills its bytes is one of a longer field: Open vSwitch prints no mask
    that is all ones.
    """
    used: dict[int, int] = {}
    for row, value, mask in match.constraints():
        if row.bits is None and isinstance(value, int):
            bits = (value if mask == row.full_mask else mask | value).bit_length()
            used[option_index(row)] = max(bits, used.get(option_index(row), 0))
    for index, bits in _used_by(actions):
        used[index] = max(bits, used.get(index, 0))
    return used


def _used_by(part: object) -> Iterator[tuple[int, int]]:
    match part:
        case SetField(Field(bits=None) as row, int(value), mask):
            used = (value if mask is None else value | mask).bit_length()
            full = mask is not None and not mask & mask + 1 and not used % 32
            yield option_index(row), used + full
        case Load(value, Subfield(Field(bits=None) as row) as all_) if _is_whole(all_):
            yield option_index(row), value.bit_length()
        case Subfield(Field(bits=None) as row):
            yield option_index(row), 0 if _is_whole(part) else part.end + 1
        case Field(bits=None):
            yield option_index(part), 0
        case tuple():
            for one in part:
                yield from _used_by(one)
        case _ if is_dataclass(part) and not isinstance(part, Field | type):
            for one in vars(part).values():
                yield from _used_by(one)


def _is_whole(subfield: Subfield) -> bool:
    return subfield.start == 0 and subfield.width == subfield.field.width


def placed(part: _Part, tlv_map: TlvMap) -> _Part:
    """An action, or a part of one, with places for the fields of ``tlv_map``.

    What does not fit into a field stays without a place, as Open vSwitch refuses it.
    """
    result: Any = part
    match part:
        case SetField(Field(bits=None) as row, int(value), mask):
            if not (value | (mask or 0)) >> tlv_map.place(row).width:
                result = replace(part, field=tlv_map.place(row))
        case Load(value, Subfield(Field(bits=None) as row) as all_) if _is_whole(all_):
            there = tlv_map.place(row)
            if there.width and not value >> there.width:
                subfield = replace(all_, field=there, end=there.width - 1)
                result = replace(part, destination=subfield)
        case Subfield(Field(bits=None) as row):
            if part.end < tlv_map.place(row).width:
                result = replace(part, field=tlv_map.place(row))
        case Field():
            result = tlv_map.place(part)
        case tuple():
            result = tuple(placed(one, tlv_map) for one in part)
        case _ if is_dataclass(part) and not isinstance(part, type):
            old = {field.name: getattr(part, field.name) for field in fields(part)}
            new = {name: placed(value, tlv_map) for name, value in old.items()}
            if any(new[name] != value for name, value in old.items()):
                result = replace(part, **new)
    return result  # type: ignore[no-any-return]
