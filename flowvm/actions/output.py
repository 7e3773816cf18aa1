"""Output to ports: ``output``, the reserved ports, ``enqueue``.

Semantics: ovs-actions(7), "Output Actions".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

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
    TableCall,
)
from flowvm.actions.controller import MAX_LEN_ALL, Controller
from flowvm.actions.normal import Normal, forward_normally
from flowvm.actions.queue import store_priority
from flowvm.actions.write import subfield_bits
from flowvm.arrays import all_of, any_of, are_among, distinct
from flowvm.columns import Column
from flowvm.fields import SKB_PRIORITY_BITS
from flowvm.flow import Port, ReservedPort
from flowvm.pipeline.departure import may_leave
from flowvm.pipeline.emission import Reason
from flowvm.pipeline.prerequisites import is_ethernet, value
from flowvm.text.errors import WordError
from flowvm.text.tree import Item
from flowvm.text.values import format_port, parse_number, parse_port, parse_subfield

if TYPE_CHECKING:
    from flowvm.pipeline.engine import Run

MIN_TRUNCATED = 14
"""The least ``max_len`` of ``output``: an Ethernet header."""

_LINKLESS = "Trying to send non-Ethernet packet through legacy L2 port. Dropping packet."
# In Open vSwitch the limit then stays for the next output.
_CUT_LINKLESS = "max_len on the output of a packet without an Ethernet header"


@dataclass(frozen=True)
class Output(Action):
    """``output:PORT``, or a reserved port by its name alone (``NORMAL``, ``IN_PORT``, ...).

    To the controller it is :class:`Controller` instead.
    """

    port: Port

    def __str__(self) -> str:
        if isinstance(self.port, int) and self.port >= ReservedPort.MAX:
            return format_port(self.port)
        return f"output:{format_port(self.port)}"

    def lower(self, resolver: Resolver) -> Lowered:
        port = resolver.port(self.port)
        if port == ReservedPort.TABLE:
            return Lowered(TableCall(0, by_output=True), (ReservedPort.IN_PORT,))
        if port == ReservedPort.NORMAL:
            return Lowered(Normal())
        return Lowered(Emit(), (port,))

    @property
    def operand_limit(self) -> int:
        return ReservedPort.MAX


@dataclass(frozen=True)
class OutputReg(Action):
    """``output:SUBFIELD``: to the port whose number the subfield holds."""

    source: Subfield

    def __str__(self) -> str:
        return f"output:{self.source}"

    def lower(self, resolver: Resolver) -> Lowered:
        if self.source.field.bits is None:
            return super().lower(resolver)
        return Lowered(EmitToField(self.source))


@dataclass(frozen=True)
class OutputTrunc(Action):
    """``output(port=PORT,max_len=BYTES)``: only the first bytes of the packet."""

    port: Port
    max_len: int

    def __str__(self) -> str:
        return f"output(port={format_port(self.port)},max_len={self.max_len})"

    def lower(self, resolver: Resolver) -> Lowered:
        return Lowered(EmitCut(), (resolver.port(self.port), self.max_len))


@dataclass(frozen=True)
class Enqueue(Action):
    """``enqueue:PORT:QUEUE``."""

    port: Port
    queue: int

    def __str__(self) -> str:
        return f"enqueue:{format_port(self.port)}:{self.queue}"

    def lower(self, resolver: Resolver) -> Lowered:
        return Lowered(EmitToQueue(), (resolver.port(self.port), self.queue))


@dataclass(frozen=True)
class Emit(Operation):
    """Output to the port in the operand."""

    @property
    def needs_headers(self) -> bool:
        return False

    @property
    def needs_rule(self) -> bool:
        return True

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:
        emit(run, packets, operands[0].astype(np.int64))
        return None


@dataclass(frozen=True)
class EmitToField(Operation):
    """Output to the port whose number some bits of a field hold."""

    source: Subfield

    @property
    def reads(self) -> ColumnBits:
        return subfield_bits(self.source)

    @property
    def may_choose_normal(self) -> bool:
        return True

    @property
    def needs_headers(self) -> bool:
        return False

    @property
    def needs_rule(self) -> bool:
        return True

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:  # noqa: ARG002
        words = run.read(packets, self.source)
        in_range = (words[0] <= ReservedPort.NONE) & ~words[1:].any(axis=0)
        ports = words[0].astype(np.int64)
        if run.recorder:
            if in_range[0]:
                run.recorder.detail(f"output port is {ports[0]}")
            else:
                run.recorder.warning(f"output port {ports[0]} is out of range")
        emit(run, packets[in_range], ports[in_range])
        return None


@dataclass(frozen=True)
class EmitCut(Operation):
    """Output to the port in the first operand at most as many bytes as the second says."""

    @property
    def needs_headers(self) -> bool:
        return False

    @property
    def needs_rule(self) -> bool:
        return True

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:
        ports = operands[0].astype(np.int64)
        # A reserved port other than LOCAL is not a port of the bridge; not even IN_PORT.
        real = (ports < ReservedPort.MAX) | (ports == ReservedPort.LOCAL)
        if run.recorder and not all_of(real):
            name = format_port(int(ports[0]))
            run.recorder.error(f"output_trunc does not support patch port {name}")
        for max_len in distinct(operands[1][real]):
            mine = real & (operands[1] == max_len)
            emit(run, packets[mine], ports[mine], int(max_len))
        return None


@dataclass(frozen=True)
class EmitToQueue(Operation):
    """Output to the port in the first operand, with the queue in the second for this once."""

    @property
    def needs_headers(self) -> bool:
        return False

    @property
    def reads(self) -> ColumnBits:
        return SKB_PRIORITY_BITS.mask

    @property
    def writes(self) -> ColumnBits:
        return SKB_PRIORITY_BITS.mask

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:
        in_ports = run.columns[Column.IN_PORT][packets].astype(np.int64)
        ports = operands[0].astype(np.int64)
        leaves = ports != in_ports
        ports = np.where(ports == ReservedPort.IN_PORT, in_ports, ports)
        packets, ports, queues = packets[leaves], ports[leaves], operands[1][leaves]
        before = value(run.columns, packets, SKB_PRIORITY_BITS)
        store_priority(run, packets, queues)
        _emit_to_existing(run, packets, ports, MAX_LEN_ALL)
        store_priority(run, packets, before)
        return None


def emit(run: Run, packets: Packets, ports: NDArray[np.int64], max_len: int = MAX_LEN_ALL) -> None:
    """Output each of ``packets`` to its port, whichever kind of port that is."""
    special = ports >= ReservedPort.MAX
    if any_of(special):
        for port in distinct(ports[special]):
            _emit_specially(run, packets[ports == port], port, max_len)
        packets, ports = packets[~special], ports[~special]
    _emit_to_others(run, packets, ports, max_len)


def _emit_specially(run: Run, packets: Packets, port: int, max_len: int) -> None:
    in_ports = run.columns[Column.IN_PORT][packets].astype(np.int64)
    match port:
        case ReservedPort.IN_PORT:
            _emit_to_existing(run, packets, in_ports, max_len)
        case ReservedPort.LOCAL:
            _emit_to_others(run, packets, np.full(len(packets), port), max_len)
        case ReservedPort.ALL | ReservedPort.FLOOD:
            _flood(run, packets, in_ports, with_no_flood=port == ReservedPort.ALL)
        case ReservedPort.CONTROLLER:
            run.to_controller(packets, Reason.ACTION)
        case ReservedPort.TABLE:
            run.call(0, packets, np.full(len(packets), ReservedPort.IN_PORT, np.uint64))
        case ReservedPort.NORMAL:
            forward_normally(run, packets)
        case ReservedPort.NONE:
            pass
        case _:
            _emit_to_existing(run, packets, np.full(len(packets), port), max_len)


def _emit_to_others(run: Run, packets: Packets, ports: NDArray[np.int64], max_len: int) -> None:
    """Output, but not to where a packet came from."""
    elsewhere = ports != run.columns[Column.IN_PORT][packets].astype(np.int64)
    if run.recorder and not all_of(elsewhere):
        run.recorder.warning("skipping output to input port")
    _emit_to_existing(run, packets[elsewhere], ports[elsewhere], max_len)


def _emit_to_existing(run: Run, packets: Packets, ports: NDArray[np.int64], max_len: int) -> None:
    program = run.state.program
    if program.names.known_ports:
        exists = are_among(ports, program.existing_ports)
        if run.recorder and not all_of(exists):
            run.recorder.warning("Nonexistent output port")
        packets, ports = packets[exists], ports[exists]
    allowed = may_leave(run, packets, ports)
    _emit_ethernet(run, packets[allowed], ports[allowed], max_len)


def _emit_ethernet(run: Run, packets: Packets, ports: NDArray[np.int64], max_len: int) -> None:
    """Output packets that have an Ethernet header; by other ports than these no others leave."""
    ethernet = is_ethernet(run.columns, packets)
    if not all_of(ethernet):
        if max_len != MAX_LEN_ALL:
            run.stop_unsupported(packets[~ethernet], _CUT_LINKLESS)
        elif run.recorder:
            run.recorder.warning(_LINKLESS)
        packets, ports = packets[ethernet], ports[ethernet]
    run.emissions.emit(packets, ports, max_len)


def _flood(run: Run, packets: Packets, in_ports: NDArray[np.int64], *, with_no_flood: bool) -> None:
    names = run.state.program.names
    if not names.known_ports:
        word = "ALL" if with_no_flood else "FLOOD"
        run.stop_unsupported(packets, f"{word} without knowing the bridge's ports (--ports)")
        return
    for port in names.flood_order():
        if with_no_flood or port not in names.no_flood:
            some = packets[in_ports != port]
            some = some[may_leave(run, some, np.full(len(some), port))]
            _emit_ethernet(run, some, np.full(len(some), port), MAX_LEN_ALL)


def to_port(port: Port) -> Action:
    """The action that a port's number or name alone stands for."""
    return Controller() if port == ReservedPort.CONTROLLER else Output(port)


def make_output(item: Item) -> Action:
    if item.items is not None and any(part.value is not None for part in item.parts()):
        return _make_truncated(item)
    word = item.argument("a port or a field")
    try:
        port = parse_port(word)
    except WordError:
        if "[" in word:
            return OutputReg(parse_subfield(word))
        raise
    if isinstance(port, str) and word[:1] != '"':
        # A word that is no port may still be a field; in a --names dump it is a port's name.
        try:
            return OutputReg(parse_subfield(word))
        except WordError:
            if "[" in word:
                raise
    return to_port(port)


def _make_truncated(item: Item) -> OutputTrunc:
    port: Port | None = None
    max_len = None
    for part in item.parts():
        if part.name == "port":
            port = parse_port(part.argument("a port"))
        elif part.name == "max_len":
            word = part.argument("a number of bytes")
            max_len = parse_number(word, 32, "a number of bytes")
            if max_len < MIN_TRUNCATED:
                raise WordError(word, f"max_len is less than {MIN_TRUNCATED}")
        else:
            raise WordError(part.key, f'unknown key "{part.key}" in output', "port= or max_len=")
    if port is None or max_len is None:
        raise WordError(item.key, "output(...) lacks a key", "both port= and max_len=")
    if (
        isinstance(port, int)
        and port > ReservedPort.MAX
        and port not in (ReservedPort.LOCAL, ReservedPort.IN_PORT)
    ):
        raise WordError(item.key, f"output to {format_port(port)} cannot be truncated")
    return OutputTrunc(port, max_len)


def make_enqueue(item: Item) -> Enqueue:
    if item.value is not None:
        port, colon, queue = item.value.rpartition(":")
        if not colon:
            port, _, queue = item.value.partition("q")
    else:
        words = [part.key for part in item.parts()]
        port, queue = words if len(words) == 2 else ("", "")
    if not port or not queue:
        raise WordError(item.last, "enqueue lacks a port or a queue", "enqueue:PORT:QUEUE")
    return Enqueue(parse_port(port), parse_number(queue, 32, "a queue"))
