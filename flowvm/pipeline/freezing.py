"""Freezing: packets that the datapath has to look at again before they can go on.

A packet that is not MPLS any more has headers that nobody has looked at. Open vSwitch pops the
label, lets the datapath take up the packet again, and goes on with the actions that were left, in
the list that it was in and in those around it (``recirc_for_mpls`` and ``freeze_unroll_actions`` in
ofproto/ofproto-dpif-xlate.c). An output does not need to know more; such actions are done before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flowvm.actions.base import Kept, Operands, Operation, Packets
from flowvm.arrays import all_of, nonzero
from flowvm.columns import Column
from flowvm.fields import PACKET_TYPE_BITS
from flowvm.flow import ReservedPort
from flowvm.pipeline.emission import PacketInOptions, Reason
from flowvm.pipeline.prerequisites import value
from flowvm.pipeline.recirculation import freeze
from flowvm.pipeline.reentry import AFTER_EXIT

if TYPE_CHECKING:
    from flowvm.pipeline.engine import Run
    from flowvm.pipeline.travel import Traveller

START_TABLE = 0
FILLED_SET = "recirculation with a filled action set, which Open vSwitch 3.1 does not survive,"
_TRACKED = np.uint64(0x20 << 32)

Values = tuple[int, ...]
"""The operands of an operation for one packet."""


@dataclass(frozen=True)
class Rest:
    """What a packet has yet to do: a list of operations. If it is empty there is a lookup next."""

    operations: tuple[Operation, ...]
    operands: tuple[Values, ...]


@dataclass(frozen=True)
class Unroll(Operation):
    """What follows is of ``rule``, which was found in ``table``."""

    table: int
    rule: int

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:  # noqa: ARG002
        run.table[packets] = self.table
        run.rule[packets] = self.rule
        return None


@dataclass(frozen=True)
class DecodeAgain:
    """The datapath takes up the packet again.

    The values say if its connection is known then, and of what type it is.
    """

    def perform(self, traveller: Traveller, values: Sequence[int]) -> None:
        traveller.decode_again(tracked=bool(values[0]), packet_type=values[1])


_DECODE_AGAIN = DecodeAgain()


class Freezer:
    """Knows which packets of a run lost their last label, and what those that froze have left.

    ``popped`` has an entry a packet. ``is_used`` is false as long as there are none of them.
    ``exited`` are packets that ended their lists by ``exit``: Open vSwitch then mistakes what was
    left of those lists for what is to be done. ``in_bucket`` and ``in_copy`` tell that a bucket is
    executed, or what the datapath does to a copy of the packets.
    """

    def __init__(self, run: Run, n: int) -> None:
        self._run = run
        self._freezing = np.zeros(n, bool)
        self._left: dict[int, list[tuple[Operation, Values]]] = {}
        self._noted: dict[int, Unroll] = {}
        self._told: tuple[object, ...] = ()
        self._type_behind: dict[int, int] = {}
        self.popped = np.zeros(n, bool)
        self.thawed = np.zeros(n, bool)
        """Packets whose actions are not those of a rule that they were looked up by."""
        self.is_used = False
        self.exited = np.zeros(n, bool)
        self._pausing = np.zeros(n, bool)
        self._pauses: list[tuple[Packets, Reason, PacketInOptions]] = []
        self.in_bucket = False
        self.in_copy = False

    def note_popped(self, packets: Packets) -> None:
        """Note that headers of ``packets`` are not known any more."""
        self.popped[packets] = True
        self.is_used = True

    def freeze(self, packets: Packets, packet_type: int | None = None) -> None:
        """Freeze ``packets``; of them the datapath then says that they have ``packet_type``.

        By default that which they have by then.
        """
        if not len(packets):
            return
        self.is_used = True
        self._freezing[packets] = True
        self._run.halt(packets)
        if packet_type is not None:
            self._type_behind.update(dict.fromkeys(packets.tolist(), packet_type))

    def divert(self, packets: Packets) -> NDArray[np.bool_]:
        """Freeze those of ``packets`` whose headers have to be known now; which go on."""
        blind = self.popped[packets] & ~self._run.halted[packets]
        some = packets[blind]
        self._freezing[some] = True
        self._run.halt(some)
        return np.asarray(~blind, bool)

    def keep(
        self,
        packets: Packets,
        operations: tuple[Operation, ...],
        operands: tuple[Operands, ...],
        source: int,
        position: int,
    ) -> None:
        """Let those of ``packets`` that froze in the operation before ``position`` do the rest.

        That operation is part of the rest if nothing is left of it, unless it is done once.
        ``source`` tells a recorder which list the ``operations`` are.
        """
        for i in nonzero(self._freezing[packets]).tolist():
            again = not operations[position - 1].is_done_once
            first = position - (int(packets[i]) not in self._left and again)
            self._keep(int(packets[i]), i, operations, operands, source, first)

    def keep_now(
        self,
        packets: Packets,
        operations: tuple[Operation, ...],
        operands: tuple[Operands, ...],
        source: int,
        position: int,
    ) -> None:
        """As :meth:`keep` for packets that froze before the operation at ``position``."""
        for i in nonzero(self._freezing[packets]).tolist():
            self._keep(int(packets[i]), i, operations, operands, source, position)

    def _keep(
        self,
        packet: int,
        i: int,
        operations: tuple[Operation, ...],
        operands: tuple[Operands, ...],
        source: int,
        first: int,
    ) -> None:
        run = self._run
        kept = [n for n in range(first, len(operations)) if operations[n].is_frozen]
        if not kept:
            return
        left = self._left.setdefault(packet, [])
        told = run.recorder.remaining(source, first) if run.recorder else ()
        place = Unroll(int(run.table[packet]), int(run.rule[packet]))
        for n in kept:
            if operations[n].needs_rule and self._noted.get(packet) != place:
                # What is noted once is not noted again, whatever notes of before come in between.
                left.append((place, ()))
                self._told += told[:1]
                self._noted[packet] = place
            left.append((operations[n], tuple(operands[n][:, i].tolist())))
            self._told += told[1 + n - first : 2 + n - first]

    def finish(self, packets: Packets) -> None:
        """Let the datapath take up those of ``packets`` that froze."""
        run, store = self._run, self._run.state.frozen
        if self._pauses:
            self._finish_pauses(packets)
        packets = packets[self._freezing[packets]]
        self._freezing[packets] = False
        run.stop_unsupported(packets[self.exited[packets]], AFTER_EXIT)
        packets = packets[~self.exited[packets]]
        filled = run.action_sets.filled(packets)
        run.stop_unsupported(packets[filled], FILLED_SET)
        packets = packets[~filled]
        if not len(packets):
            return
        numbers = freeze(run, packets, START_TABLE)
        for i, packet in enumerate(packets.tolist()):
            left = self._left.pop(packet, [])
            self._noted.pop(packet, None)
            rest = Rest(
                tuple(operation for operation, _ in left),
                tuple(values for _, values in left),
            )
            numbers[i] = store.number(replace(store[int(numbers[i])], rest=rest))
            if run.recorder:
                run.recorder.freeze(int(numbers[i]), self._told)
                self._told = ()
        tracked = ((run.columns[Column.CT][packets] & _TRACKED) != 0).astype(np.uint64)
        types = value(run.columns, packets, PACKET_TYPE_BITS)
        for i, packet in enumerate(packets.tolist()):
            types[i] = self._type_behind.pop(packet, types[i])
        run.datapath.resume(packets, _DECODE_AGAIN, np.array([tracked, types]), numbers)

    def pause(self, packets: Packets, reason: Reason, options: PacketInOptions) -> None:
        """Freeze ``packets`` for a controller, which may let them go on some time."""
        self._pausing[packets] = True
        self._pauses.append((packets, reason, options))
        self._run.halt(packets)

    def _finish_pauses(self, packets: Packets) -> None:
        """Send those of ``packets`` that paused to the controller.

        By then they are out of the tables that they were in, and the packets say so.
        """
        run = self._run
        pauses, self._pauses = self._pauses, []
        for paused, reason, options in pauses:
            ended = np.isin(paused, packets)
            some = paused[ended]
            if not all_of(ended):
                self._pauses.append((paused[~ended], reason, options))
            tables = run.table[some]
            run.table[some] = START_TABLE
            to = np.full(len(some), ReservedPort.CONTROLLER)
            run.emissions.emit(some, to, reason=reason, options=options)
            run.table[some] = tables
            self._pausing[some] = False

    def froze(self, packets: Packets) -> NDArray[np.bool_]:
        """Which of ``packets`` froze and are not finished."""
        return np.asarray(self._freezing[packets] | self._pausing[packets], bool)

    def resume(self, packets: Packets, number: int) -> bool:
        """Let ``packets`` do what they had left when they froze; false if that was nothing."""
        run = self._run
        rest = run.state.frozen[number].rest
        if rest is None or not rest.operations:
            return False
        self.thawed[packets] = True
        operands = tuple(_spread(some, len(packets)) for some in rest.operands)
        if run.recorder:
            run.recorder.thaw(number)
        run.execute_inner(rest.operations, operands, packets)
        if run.recorder:
            run.recorder.end_thaw()
        return True


def _spread(values: Values, n: int) -> Operands:
    """The same operands for each of ``n`` packets."""
    return np.repeat(np.array(values, np.uint64)[:, None], n, axis=1)
