"""All fields, and how they are found by their names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from flowvm.columns import Column
from flowvm.fields import headers, metadata
from flowvm.fields.bits import Bits
from flowvm.fields.row import Field

FIELDS: tuple[Field, ...] = (*metadata.ROWS, *headers.ROWS)
"""All rows. Of fields that one packet can have at once, in the order in which OVS hashes them."""


def _by_name() -> dict[str, Field]:
    names: dict[str, Field] = {}
    for row in FIELDS:
        for name in (row.name, *row.aliases, row.nxm, row.oxm):
            if name is not None:
                names.setdefault(name.lower(), row)
    return names


_BY_NAME = _by_name()
_PACKET_TUN_FLAGS = replace(_BY_NAME["tun_flags"], width=16, bits=Bits(Column.TUN, 48, 16))


def field(name: str) -> Field:
    """The field of that name, alias, NXM or OXM name, in any case; KeyError if there is none."""
    return _BY_NAME[name.lower()]


def packet_field(name: str) -> Field:
    """As :func:`field`, but with the bits that a packet has of it besides (``tun_flags``)."""
    row = field(name)
    return _PACKET_TUN_FLAGS if row.name == "tun_flags" else row


def field_names() -> Mapping[str, Field]:
    """Every spelling in lower case (names, aliases, NXM, OXM) and its field; read-only."""
    return MappingProxyType(_BY_NAME)
