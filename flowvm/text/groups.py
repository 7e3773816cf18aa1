"""Groups: the text of ``ovs-ofctl dump-groups``.

Semantics: ovs-ofctl(8), "Group Syntax"; ovs-actions(7), "group".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from flowvm.actions.base import Action, format_actions
from flowvm.actions.catalog import make_actions
from flowvm.fields import Field
from flowvm.flow import Port, ReservedPort
from flowvm.text.errors import WordError, suggestion
from flowvm.text.parse import read
from flowvm.text.tree import Item, Items
from flowvm.text.values import (
    find_field,
    format_port,
    format_value,
    parse_number,
    parse_port,
    parse_value,
)

ANY_GROUP = 0xFFFF_FFFF
"""As the group that a bucket watches: none."""

GROUP_TYPES: Mapping[str, str] = MappingProxyType(
    {"all": "all", "select": "select", "indirect": "indirect", "ff": "ff", "fast_failover": "ff"}
)
"""The words for a group's type, and how ovs-ofctl prints it."""


@dataclass(frozen=True)
class Bucket:
    """One bucket of a group; what the text did not say is ``None``.

    ``weight`` is 1 for a bucket of a ``select`` group that names none.
    """

    actions: tuple[Action, ...] = ()
    bucket_id: int | None = None
    weight: int | None = None
    watch_port: Port | None = None
    watch_group: int | None = None

    @property
    def watched(self) -> tuple[Port | None, int | None]:
        """The port and the group that tell whether the bucket is live, as far as there are any."""
        any_port = self.watch_port in (ReservedPort.NONE, "ANY", "NONE")
        any_group = self.watch_group == ANY_GROUP
        return None if any_port else self.watch_port, None if any_group else self.watch_group

    def __str__(self) -> str:
        parts = []
        if self.bucket_id is not None:
            parts.append(f"bucket_id:{self.bucket_id}")
        if self.weight is not None:
            parts.append(f"weight:{self.weight}")
        if self.watch_port is not None:
            parts.append(f"watch_port:{format_port(self.watch_port)}")
        if self.watch_group is not None:
            parts.append(f"watch_group:{self.watch_group}")
        parts.append(f"actions={format_actions(self.actions)}")
        return f"bucket={','.join(parts)}"


@dataclass(frozen=True)
class SelectionField:
    """A field that a ``select`` group hashes; ``mask`` says which of its bits."""

    field: Field
    mask: int
    spelling: str

    def __str__(self) -> str:
        if self.mask == self.field.full_mask:
            return self.spelling
        return f"{self.spelling}={format_value(self.field, self.mask, self.field.full_mask)}"


@dataclass(frozen=True)
class Group:
    """One group; ``str()`` gives its line of ``ovs-ofctl dump-groups``, leading space included."""

    group_id: int
    type: str = "all"
    selection_method: str | None = None
    selection_method_param: int = 0
    fields: tuple[SelectionField, ...] = ()
    buckets: tuple[Bucket, ...] = ()

    def __str__(self) -> str:
        parts = [f"group_id={self.group_id}", f"type={self.type}"]
        if self.selection_method is not None:
            parts.append(f"selection_method={self.selection_method}")
        if self.selection_method_param:
            parts.append(f"selection_method_param={self.selection_method_param}")
        if len(self.fields) == 1:
            parts.append(f"fields={self.fields[0]}")
        elif self.fields:
            parts.append(f"fields({','.join(map(str, self.fields))})")
        return " " + ",".join([*parts, *map(str, self.buckets)])


def parse_group(text: str) -> Group:
    """The group of one line of ``dump-groups``. Raises FlowSyntaxError."""
    return read(text, "group", _make_group)


def _make_group(parts: tuple[Items, tuple[tuple[Items, Items | None], ...]]) -> Group:
    head, buckets = parts
    group_id: int | None = None
    attributes: dict[str, object] = {}
    for item in head:
        if item is None:
            continue
        match item.key:
            case "group_id":
                group_id = parse_number(item.argument("a group ID"), 32, "a group ID")
            case "type":
                word = item.argument("a type")
                if word not in GROUP_TYPES:
                    hint = suggestion(word, GROUP_TYPES)
                    raise WordError(
                        word, f'unknown type "{word}"{hint}', f"one of {', '.join(GROUP_TYPES)}"
                    )
                attributes["type"] = GROUP_TYPES[word]
            case "selection_method":
                attributes["selection_method"] = str(item.argument("a method"))
            case "selection_method_param":
                attributes["selection_method_param"] = parse_number(item.argument("a number"))
            case "fields":
                attributes["fields"] = _selection_fields(item)
            case _:
                raise WordError(
                    item.key, f'unknown property "{item.key}" of a group', "type= or bucket="
                )
    if group_id is None:
        raise WordError("", "the group has no ID", "group_id=")
    return Group(
        group_id,
        buckets=tuple(_make_bucket(*bucket) for bucket in buckets),
        **attributes,  # type: ignore[arg-type]
    )


def _selection_fields(item: Item) -> tuple[SelectionField, ...]:
    fields = []
    for part in item.parts():
        # A single field may be given a mask without parentheses: fields=ip_src=255.0.0.0.
        name, _, mask = part.key.partition("=")
        word = part.value or mask
        row = find_field(name, part.key)
        value = parse_value(row, word)[0] if word else row.full_mask
        if isinstance(value, str):
            raise WordError(part.key, f"{name} cannot be masked")
        fields.append(SelectionField(row, value, name))
    return tuple(fields)


_NUMBERS: Mapping[str, int] = MappingProxyType({"bucket_id": 32, "weight": 16, "watch_group": 32})


def _make_bucket(head: Items, actions: Items | None) -> Bucket:
    attributes: dict[str, object] = {}
    bare: list[Item] = []
    for item in head:
        if item is None:
            continue
        if item.key in _NUMBERS:
            attributes[str(item.key)] = parse_number(item.argument("a number"), _NUMBERS[item.key])
        elif item.key == "watch_port":
            attributes["watch_port"] = parse_port(item.argument("a port"))
        else:
            # add-group takes actions without "actions=" as well.
            bare.append(item)
    return Bucket(make_actions([*bare, *(actions or ())]), **attributes)  # type: ignore[arg-type]
