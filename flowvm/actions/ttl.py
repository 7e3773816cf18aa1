"""Decrementing time to live: ``dec_ttl`` and ``dec_nsh_ttl``.

Semantics: ovs-actions(7), "dec_ttl", "dec_nsh_ttl".
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
)
from flowvm.columns import Column
from flowvm.fields import (
    ETH_TYPE_BITS,
    ETH_TYPE_IPV6,
    ETH_TYPE_NSH,
    NSH_TTL_BITS,
    NW_TTL_BITS,
    Bits,
    Prerequisite,
)
from flowvm.pipeline.emission import PacketInOptions, Reason
from flowvm.pipeline.prerequisites import has_eth_type, is_ip, needs, union, value
from flowvm.text.errors import WordError
from flowvm.text.tree import Item
from flowvm.text.values import parse_number

if TYPE_CHECKING:
    from flowvm.pipeline.engine import Run


@dataclass(frozen=True)
class DecTtl(Action):
    """``dec_ttl``, or ``dec_ttl(ID,...)``: the controllers to tell when the TTL runs out.

    ``controllers`` of ``None`` (no list) means the one controller with ID 0.
    """

    controllers: tuple[int, ...] | None = None

    def __str__(self) -> str:
        if self.controllers is None:
            return "dec_ttl"
        return f"dec_ttl({','.join(map(str, self.controllers))})"

    def lower(self, resolver: Resolver) -> Lowered:  # noqa: ARG002
        return Lowered(DecrementTtl((0,) if self.controllers is None else self.controllers))


@dataclass(frozen=True)
class DecrementTtl(Operation):
    """Count the TTL down; at 1 tell ``controllers`` and leave the action list."""

    controllers: tuple[int, ...]

    @property
    def reads(self) -> ColumnBits:
        return union(needs(Prerequisite.IP), self.writes)

    @property
    def writes(self) -> ColumnBits:
        return NW_TTL_BITS.mask

    @property
    def needs_rule(self) -> bool:
        return True

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:  # noqa: ARG002
        ip = is_ip(run.columns, packets)
        ttl = value(run.columns, packets, NW_TTL_BITS)
        expired = ip & (ttl <= 1)
        alive = packets[ip & ~expired]
        run.columns[Column.NW][alive] -= np.uint64(1 << NW_TTL_BITS.shift)
        run.emissions.touch(alive)
        if not expired.any():
            return None
        out = packets[expired]
        for controller_id in self.controllers:
            run.to_controller(out, Reason.INVALID_TTL, PacketInOptions(controller_id))
        if run.recorder:
            version = 6 if has_eth_type(run.columns, out, ETH_TYPE_IPV6)[0] else 4
            run.recorder.warning(f"IPv{version} decrement TTL exception")
        return ~expired


@dataclass(frozen=True)
class DecNshTtl(Action):
    """``dec_nsh_ttl``."""

    def __str__(self) -> str:
        return "dec_nsh_ttl"

    def lower(self, resolver: Resolver) -> Lowered:  # noqa: ARG002
        return Lowered(DecrementHeaderTtl("NSH", (ETH_TYPE_NSH,), NSH_TTL_BITS))


@dataclass(frozen=True)
class DecrementHeaderTtl(Operation):
    """Count the TTL of a header of ``eth_types`` down; at 1 tell the controller.

    Then, and if there is no such header, leave the action list. ``header`` is its name in traces.
    """

    header: str
    eth_types: tuple[int, ...]
    ttl: Bits

    @property
    def reads(self) -> ColumnBits:
        return union(ETH_TYPE_BITS.mask, self.writes)

    @property
    def writes(self) -> ColumnBits:
        return self.ttl.mask

    @property
    def needs_rule(self) -> bool:
        return True

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:  # noqa: ARG002
        there = has_eth_type(run.columns, packets, *self.eth_types)
        alive = there & (value(run.columns, packets, self.ttl) > 1)
        run.columns[self.ttl.column][packets[alive]] -= np.uint64(1 << self.ttl.shift)
        run.emissions.touch(packets[alive])
        if alive.all():
            return None
        run.to_controller(packets[there & ~alive], Reason.INVALID_TTL)
        if run.recorder:
            run.recorder.warning(f"{self.header} decrement TTL exception")
        return alive


def make_dec_ttl(item: Item) -> DecTtl:
    parts = item.parts()
    if not parts:
        if item.items is not None:
            raise WordError(item.key, "dec_ttl() lists no controllers", "a controller ID")
        return DecTtl()
    return DecTtl(tuple(parse_number(part.key, 16, "a controller ID") for part in parts))


def make_dec_nsh_ttl(item: Item) -> DecNshTtl:
    item.no_argument()
    return DecNshTtl()
