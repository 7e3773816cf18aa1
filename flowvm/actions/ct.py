"""Connection tracking: ``ct``, its ``nat``, and ``ct_clear``.

Semantics: ovs-actions(7), "Firewalling Actions".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from flowvm.actions.base import Action, Lowered, Resolver, Subfield, Unsupported
from flowvm.actions.set_field import SetField
from flowvm.actions.tracking import ClearTracking, Track, TranslateLater
from flowvm.conntrack.nat import DESTINATION, SOURCE, NatRequest
from flowvm.fields import Field
from flowvm.flow import Table
from flowvm.text.errors import WordError
from flowvm.text.tree import Item, MakeActions
from flowvm.text.values import (
    TABLE_NONE,
    format_ipv4,
    format_ipv6,
    format_table,
    parse_ipv4,
    parse_ipv6,
    parse_number,
    parse_subfield,
    parse_table,
)

ALG_PORTS = {"ftp": 21, "tftp": 69}


@dataclass(frozen=True)
class Nat(Action):
    """``nat`` or ``nat(src|dst[=ADDRESSES[:PORTS]][,FLAG]...)``, inside ``ct``.

    A single address or port is a range whose ends are equal; absent ones are ``None``.
    """

    direction: str | None = None
    ip_version: int | None = None
    addresses: tuple[int, int] | None = None
    ports: tuple[int, int] | None = None
    persistent: bool = False
    hash: bool = False
    random: bool = False

    def __str__(self) -> str:
        if self.direction is None:
            return "nat"
        parts = [self.direction + self._range()]
        parts += [name for name in ("persistent", "hash", "random") if getattr(self, name)]
        return f"nat({','.join(parts)})"

    def lower(self, resolver: Resolver) -> Lowered:  # noqa: ARG002
        return Lowered(TranslateLater())

    def request(self) -> NatRequest:
        """What it asks of connection tracking; of its flags the userspace datapath heeds none."""
        which = {"src": SOURCE, "dst": DESTINATION, None: 0}[self.direction]
        return NatRequest(which, self.ip_version or 4, self.addresses, self.ports)

    def _range(self) -> str:
        if self.addresses is None:
            return ""
        low, high = (self._address(address) for address in self.addresses)
        text = f"={low}" if low == high else f"={low}-{high}"
        if self.ports is not None:
            first, last = self.ports
            text += f":{first}" if first == last else f":{first}-{last}"
        return text

    def _address(self, address: int) -> str:
        if self.ip_version == 4:
            return format_ipv4(address)
        return f"[{format_ipv6(address)}]" if self.ports else format_ipv6(address)


@dataclass(frozen=True)
class Ct(Action):
    """``ct([ARGUMENT,...])``.

    ``zone`` is a number, or the subfield that holds it. ``actions`` are those that run on the
    connection: ``nat``, and what stands in ``exec(...)``, in the order of the text. ``alg`` is the
    well-known port of the helper's protocol, 0 for none.
    """

    commit: bool = False
    force: bool = False
    table: Table | None = None
    zone: int | Subfield = 0
    actions: tuple[Action, ...] = ()
    alg: int = 0

    @property
    def nat(self) -> Nat | None:
        return next((action for action in self.actions if isinstance(action, Nat)), None)

    def __str__(self) -> str:
        parts = []
        if self.commit:
            parts.append("commit")
        if self.force:
            parts.append("force")
        if self.table is not None:
            parts.append(f"table={format_table(self.table)}")
        if self.zone:
            parts.append(f"zone={self.zone}")
        actions = [str(action) for action in self.actions]
        # ovs-ofctl writes nat outside of exec() if it comes first.
        if self.actions and isinstance(self.actions[0], Nat):
            parts.append(actions.pop(0))
        if actions:
            parts.append(f"exec({','.join(actions)})")
        if self.alg:
            names = {port: name for name, port in ALG_PORTS.items()}
            parts.append(f"alg={names.get(self.alg, self.alg)}")
        return f"ct({','.join(parts)})"

    def lower(self, resolver: Resolver) -> Lowered:
        lowered = [action.lower(resolver) for action in self.actions]
        for step in lowered:
            if isinstance(step.operation, Unsupported):
                return Lowered(Unsupported(str(self)))
        if isinstance(self.zone, Subfield) and self.zone.field.bits is None:
            return super().lower(resolver)
        operation = Track(
            self.commit,
            self.force,
            None if self.table is None else resolver.table(self.table),
            self.zone if isinstance(self.zone, Subfield) else None,
            None if self.nat is None else self.nat.request(),
            _helper(self.alg),
            tuple(step.operation for step in lowered),
            tuple(len(step.operands) for step in lowered),
        )
        zone = self.zone if isinstance(self.zone, int) else 0
        masks = set_bits(self.actions)
        operands = tuple(number for step in lowered for number in step.operands)
        return Lowered(operation, (zone, *masks, *operands))


def _helper(port: int) -> str:
    names = {number: name for name, number in ALG_PORTS.items()}
    return names.get(port, "")


def set_bits(actions: Sequence[Action]) -> tuple[int, int, int]:
    """The bits of ct_mark and of ct_label (high word, low word) that ``actions`` set.

    As for Open vSwitch, bits that are but read count as set to what they are.
    """
    mark = label = 0
    for action in actions:
        for row, mask in _touched(action):
            if row.name == "ct_mark":
                mark |= mask
            elif row.name == "ct_label":
                label |= mask
    return mark, label >> 64, label & (1 << 64) - 1


def _touched(action: Action) -> Iterator[tuple[Field, int]]:
    if isinstance(action, SetField):
        full = action.field.full_mask
        yield action.field, full if action.mask is None else action.mask & full
    for name in ("source", "destination"):
        subfield = getattr(action, name, None)
        if isinstance(subfield, Subfield):
            yield subfield.field, (1 << subfield.width) - 1 << subfield.start


@dataclass(frozen=True)
class CtClear(Action):
    """``ct_clear``."""

    def __str__(self) -> str:
        return "ct_clear"

    def lower(self, resolver: Resolver) -> Lowered:  # noqa: ARG002
        return Lowered(ClearTracking())


def make_ct(item: Item, make_actions: MakeActions) -> Ct:
    commit = force = False
    table: Table | None = None
    zone: int | Subfield = 0
    actions: list[Action] = []
    alg = 0
    for part in item.parts():
        match part.key:
            case "commit":
                commit = True
            case "force":
                force = True
            case "table":
                word = part.argument("a table")
                table = parse_table(word)
                if table == TABLE_NONE:
                    raise WordError(word, "ct cannot go to table 255", "a table from 0 to 254")
            case "zone":
                word = part.argument("a zone")
                zone = (
                    parse_number(word, 16, "a zone") if word[:1].isdigit() else parse_subfield(word)
                )
            case "alg":
                word = part.argument("a helper")
                if word not in ALG_PORTS:
                    raise WordError(word, f'unknown helper "{word}"', " or ".join(ALG_PORTS))
                alg = ALG_PORTS[word]
            case "nat":
                actions.append(make_nat(part))
            case "exec":
                actions.extend(make_actions(part.items or ()))
            case _:
                raise WordError(
                    part.key,
                    f'unknown argument "{part.key}" of ct',
                    "commit, force, table, zone, nat, exec or alg",
                )
    if force and not commit:
        raise WordError(item.key, 'the "force" flag requires "commit"')
    return Ct(commit, force, table, zone, tuple(actions), alg)


_NAT_FLAGS = ("persistent", "hash", "random")
_RANGE = re.compile(
    r"(?P<low4>[\d.]+)(?:-(?P<high4>[\d.]+))?(?::(?P<ports4>[\d-]+))?\Z"
    r"|\[(?P<low6>[0-9a-fA-F:.]+)\](?:-\[(?P<high6>[0-9a-fA-F:.]+)\])?(?::(?P<ports6>[\d-]+))?\Z"
    r"|(?P<low>[0-9a-fA-F:.]+)(?:-(?P<high>[0-9a-fA-F:.]+))?\Z"
)


def make_nat(item: Item) -> Nat:
    direction = None
    version: int | None = None
    addresses = ports = None
    flags: dict[str, bool] = {}
    for part in item.parts():
        name = part.key
        if name in ("src", "dst"):
            if direction is not None:
                raise WordError(name, "nat takes only one of src and dst")
            direction = str(name)
            if part.value:
                version, addresses, ports = _parse_range(part.value)
        elif name in _NAT_FLAGS:
            flags[name] = True
        else:
            raise WordError(
                name, f'unknown key "{name}" in nat', "src, dst, persistent, hash or random"
            )
    if flags and direction is None:
        raise WordError(item.key, "flags of nat need src or dst")
    if "hash" in flags and "random" in flags:
        raise WordError(item.key, "nat takes only one of hash and random")
    return Nat(direction, version, addresses, ports, **flags)


def _parse_range(word: str) -> tuple[int, tuple[int, int], tuple[int, int] | None]:
    expected = "ADDRESS[-ADDRESS][:PORT[-PORT]]"
    parts = _RANGE.match(word)
    if parts is None:
        raise WordError(word, f'"{word}" is not a range of addresses', expected)
    version = 4 if parts["low4"] else 6
    low = parts["low4"] or parts["low6"] or parts["low"]
    high = parts["high4"] or parts["high6"] or parts["high"] or low
    port_text = parts["ports4"] or parts["ports6"]
    parse = parse_ipv4 if version == 4 else parse_ipv6
    try:
        addresses = parse(low), parse(high)
        ports = None
        if port_text:
            first, _, last = port_text.partition("-")
            ports = parse_number(first, 16), parse_number(last or first, 16)
    except WordError as error:
        raise WordError(word, error.problem, expected) from None
    if addresses[1] < addresses[0] or (ports and ports[1] < ports[0]):
        raise WordError(word, f'"{word}" ends before it begins', expected)
    # A port of 0 is the same as none.
    return version, addresses, ports if ports and ports[0] else None


def make_ct_clear(item: Item) -> CtClear:
    item.no_argument()
    return CtClear()
