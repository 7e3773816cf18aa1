"""Rows of Open vSwitch's database: columns by name, and what values they can have.

Semantics: ovs-vswitchd.conf.db(5); RFC 7047, 5.1, for values as JSON.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from flowvm.port_settings import VlanMode
from flowvm.text.datum import Datum, parse_datum
from flowvm.text.errors import WordError

Row = Mapping[str, Datum]


def atoms(row: Row, column: str) -> tuple[str, ...]:
    """The values of a set; of an atom, that one."""
    value = row.get(column, ())
    return (value,) if isinstance(value, str) else tuple(value)


def atom(row: Row, column: str) -> str | None:
    """The column's value, if it has one."""
    return next(iter(atoms(row, column)), None)


def number(row: Row, column: str) -> int | None:
    """The column's number, if it has one."""
    value = atom(row, column)
    return None if value is None else int(value)


def numbers(row: Row, column: str) -> frozenset[int]:
    """The numbers of a set."""
    return frozenset(map(int, atoms(row, column)))


def mapping(row: Row, column: str) -> Mapping[str, str]:
    """The keys and values of a map."""
    value = row.get(column, ())
    return MappingProxyType(value) if isinstance(value, dict) else MappingProxyType({})


def parse_column(column: str, text: str) -> Datum:
    """The value of ``column`` as ``ovs-vsctl`` prints it. Raises WordError."""
    return checked(column, parse_datum(text), text)


def checked(column: str, value: Datum, text: str = "") -> Datum:
    """``value``, if it can be one of ``column``. Raises WordError, which points into ``text``."""
    if column in _MAPS:
        if value and not isinstance(value, dict):
            raise WordError(text, f"{column} is a map", "{key=value, ...}")
        return value
    if column in _RIGHT:
        is_right, expected = _RIGHT[column]
        for word in (value,) if isinstance(value, str) else value:
            if isinstance(value, dict) or not is_right(word):
                raise WordError(word or text, f'"{word}" is not a value of {column}', expected)
    return value


def _between(least: int, most: int) -> Callable[[str], bool]:
    return lambda word: re.fullmatch(r"-?\d{1,10}", word) is not None and least <= int(word) <= most


def _like(pattern: str) -> Callable[[str], bool]:
    return lambda word: re.fullmatch(pattern, word) is not None


_VLAN = (_between(0, 4095), "a VLAN ID from 0 to 4095")
_MODES = tuple(mode.value for mode in VlanMode)
_BOOLEAN = (frozenset({"true", "false"}).__contains__, "true or false")
_RIGHT: Mapping[str, tuple[Callable[[str], bool], str]] = MappingProxyType(
    {
        "tag": _VLAN,
        "trunks": _VLAN,
        "cvlans": _VLAN,
        "flood_vlans": _VLAN,
        "ofport": (_between(-1, 0xFFFF), "a port number, or -1"),
        "vlan_mode": (_MODES.__contains__, f"one of {', '.join(_MODES)}"),
        "protected": _BOOLEAN,
        "stp_enable": _BOOLEAN,
        "rstp_enable": _BOOLEAN,
        "mcast_snooping_enable": _BOOLEAN,
        "datapath_id": (_like("[0-9a-fA-F]{1,16}"), "hexadecimal digits"),
        "mac_in_use": (_like("([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}"), "an Ethernet address"),
    }
)
_MAPS = frozenset({"options", "other_config", "external_ids"})


def datum_of_json(value: object) -> Datum:
    """The value that JSON describes. Raises WordError."""
    match value:
        case ["set", list(members)]:
            return tuple(_atom_of_json(member) for member in members)
        case ["map", list(pairs)]:
            return dict(_pair_of_json(pair) for pair in pairs)
        case _:
            return _atom_of_json(value)


def _pair_of_json(pair: object) -> tuple[str, str]:
    match pair:
        case [key, value]:
            return _atom_of_json(key), _atom_of_json(value)
    raise WordError("", "a member of a map is no pair of key and value")


def _atom_of_json(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case int() | float():
            return str(value)
        case ["uuid" | "named-uuid", str(uuid)]:
            return uuid
    raise WordError("", "this is no value of a database")
