"""The engine: takes a batch of packets through the tables, all of them at once.

In a table every packet finds its rule; rules of one shape are executed together, operation by
operation, with their operands gathered by rule. A resubmit is a call on a subset that comes back,
except where nothing follows it: then the packets go on in the caller's place, and those that meet
in one table meet there however they came. The facts are those of Open vSwitch's translation
(ofproto/ofproto-dpif-xlate.c): depth 64, 4,096 resubmits, errors drop the packet whole.

A :class:`Run` never changes the :class:`~flowvm.pipeline.state.State` it began from. It keeps logs
of what happened, and :mod:`flowvm.pipeline.machine` decides how much of them stands.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flowvm.actions.base import (
    Forerunner,
    Operands,
    Operation,
    Packets,
    Subfield,
    TableCall,
)
from flowvm.actions.meter import CONTROLLER_METER, meet_meters
from flowvm.actions.write import read_subfield
from flowvm.arrays import all_of, any_of, distinct, nonzero
from flowvm.columns import Column
from flowvm.fields import TP_DST_BITS, TP_SRC_BITS
from flowvm.flow import ReservedPort
from flowvm.names import Configuration, FragmentHandling
from flowvm.pipeline.actionset import ActionSets
from flowvm.pipeline.bits import Columns
from flowvm.pipeline.emission import PLAIN, EmissionLog, PacketInOptions, Reason
from flowvm.pipeline.entry import Entry
from flowvm.pipeline.failures import Failure
from flowvm.pipeline.freezing import Freezer
from flowvm.pipeline.group_run import GroupHits
from flowvm.pipeline.layers import Layers
from flowvm.pipeline.learning import LearnEvents, LearnTemplate
from flowvm.pipeline.mac_log import MacLog
from flowvm.pipeline.misreading import Misreadings
from flowvm.pipeline.noted_hashes import NotedHashes
from flowvm.pipeline.original_tuple import have_original, swapped
from flowvm.pipeline.pending import Pending
from flowvm.pipeline.reception import are_fragments, are_refused
from flowvm.pipeline.recirculation import (
    NOT_FROZEN,
    RECIRC_ID_BITS,
    DatapathLog,
    thaw,
)
from flowvm.pipeline.recording import OF_ACTION, OF_ACTION_SET, OF_RULE, Recorder
from flowvm.pipeline.reentry import Reentries
from flowvm.pipeline.run_log import Consulted, Hits, TimeoutCut
from flowvm.pipeline.stack import Stacks
from flowvm.pipeline.subtable import NO_ENTRY
from flowvm.text.values import format_value

if TYPE_CHECKING:
    from flowvm.pipeline.state import State

MAX_DEPTH = 64
MAX_RESUBMITS = 4096
START_TABLE = 0
_FRAMES = 20_000
_PORTS_MASK = np.uint64(
    ~(0xFFFF << TP_SRC_BITS.shift | 0xFFFF << TP_DST_BITS.shift) & (1 << 64) - 1
)


@dataclass
class Run:
    """One pass of a batch of packets. All arrays have one entry (or column) a packet.

    ``original`` is what the packets are when they come, and stays; ``columns`` changes with them.
    Columns that nothing changes are the same arrays in both.
    """

    state: State
    original: Columns
    recorder: Recorder | None = None
    entry: Entry | None = None
    columns: Columns = field(init=False)

    def __post_init__(self) -> None:
        n = len(self.original[Column.IN_PORT])
        # A lookup changes port columns too, for as long as it takes.
        changing = {*self.state.program.written, Column.IN_PORT, Column.TP}
        self.columns = [
            column.copy() if number in changing else column
            for number, column in enumerate(self.original)
        ]
        self.halted = np.zeros(n, bool)
        came = self.entry or Entry()
        self.depth = np.full(n, came.depth, np.int32)
        self.resubmits = np.full(n, came.resubmits, np.int32)
        self.table = np.full(n, START_TABLE, np.int32)
        self.rule = np.full(n, -1, np.int64)
        """The rule whose actions each packet is executing: gives cookies and tells table misses."""
        self.last_table = np.full(n, START_TABLE, np.int32)
        self.last_rule = np.full(n, -1, np.int64)
        self.errors: dict[int, str] = {}
        self.unsupported: dict[int, str] = {}
        self.volatile = np.zeros(n, bool)
        """Packets whose outcome depends on everything that packets before them changed."""
        self.hits: list[Hits] = []
        self.consulted: list[Consulted] = []
        self.learned: list[LearnEvents] = []
        self.macs = MacLog(self)
        self.timeout_cuts: list[TimeoutCut] = []
        self.layers = Layers(self, n)
        self.emissions = EmissionLog(self)
        self.datapath = DatapathLog(self)
        self.stacks = Stacks(n)
        self.action_sets = ActionSets(n)
        self.at_end = True
        """Whether nothing comes after the action that is being executed, action sets aside."""
        self.in_action_set = False
        self.group_hits: list[GroupHits] = []
        self.reentries = Reentries(self, n)
        self.hashes = NotedHashes(self, n)
        self.misreadings = Misreadings(self, n)
        self.freezer = Freezer(self, n)
        self._in_bucket = False
        self._learnable = self.state.program.learnable
        self._config = self.state.program.names.config

    # -- the pipeline ---------------------------------------------------------------------------

    def run(self) -> None:
        """Take all packets from table 0 to their end."""
        # At full depth each table may have its actions within actions within actions.
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(max(limit, _FRAMES))
        try:
            self._run()
        finally:
            sys.setrecursionlimit(limit)

    def _run(self) -> None:
        if self.recorder:
            self.recorder.begin(self)
        packets = nonzero(~self.halted)
        if self._config != Configuration():
            # They are looked up, but no more.
            refused = are_refused(self.state.program.names, self.columns, packets)
            self.halted[packets[refused]] = True
        frozen = self.columns[Column.RECIRC][packets] >> np.uint64(RECIRC_ID_BITS.shift)
        for number in distinct(frozen.astype(np.int32)):
            some = packets[frozen == number]
            table = START_TABLE
            if number != NOT_FROZEN:
                table = thaw(self, some, number)
                if self.freezer.resume(some, number):
                    continue
            self._call(table, some, self.columns[Column.IN_PORT][some], first=True)
        if len(self.reentries):
            self.reentries.return_left()
        failed = [*self.errors, *self.unsupported]
        self.execute_action_sets(packets[~np.isin(packets, failed)] if failed else packets)

    def execute_action_sets(self, packets: Packets) -> None:
        """Execute the action sets of ``packets``, which are empty then.

        Those that froze take theirs with them.
        """
        place = self.table[packets], self.rule[packets]
        if len(self.reentries):
            self.reentries.settle(packets)
        everyone, packets = packets, packets[~self.freezer.froze(packets)]
        lists = list(self.action_sets.execution(packets))
        self.action_sets.clear(packets)
        before = self.emissions.freezings(packets)
        mark = self.recorder.mark() if self.recorder else None
        at_end, self.at_end = self.at_end, True
        for operations, operands, some in lists:
            if self.recorder and operations:
                self.recorder.action_set()
            self.in_action_set = True
            self._execute_list(operations, operands, some, None, source=OF_ACTION_SET)
            # Also if it was executed on the way through another.
            self.in_action_set = False
        self.at_end = at_end
        if self.recorder:
            self.recorder.back(mark)
        # A packet that the datapath took up again has had its set written anew since.
        again = packets[self.emissions.freezings(packets) != before]
        if len(again):
            self.execute_action_sets(again)
        self.freezer.finish(everyone)
        # If that was for a copy, the packet itself goes on where it is.
        self.table[everyone], self.rule[everyone] = place

    def call(self, table: int | None, packets: Packets, ports: NDArray[np.uint64]) -> None:
        """Look ``packets`` up in ``table`` (None: where they are) and come back when done.

        ``ports`` is the ingress port each lookup sees, ``IN_PORT`` for the packet's own.
        """
        for number, some, their_ports in self._by_table(table, packets, ports):
            self._call(number, some, their_ports)

    def _by_table(
        self, table: int | None, packets: Packets, ports: NDArray[np.uint64]
    ) -> list[tuple[int, Packets, NDArray[np.uint64]]]:
        own = ports == ReservedPort.IN_PORT
        ports = np.where(own, self.columns[Column.IN_PORT][packets], ports)
        if table is not None:
            return [(table, packets, ports)]
        tables = self.table[packets]
        return [
            (number, packets[tables == number], ports[tables == number])
            for number in distinct(tables)
        ]

    def _call(
        self,
        table: int,
        packets: Packets,
        ports: NDArray[np.uint64],
        *,
        first: bool = False,
        by_original: bool = False,
    ) -> None:
        before = self.depth[packets], self.table[packets], self.rule[packets]
        thawed = self.freezer.thawed[packets]
        mark = self.recorder.mark() if self.recorder else None
        in_bucket, self._in_bucket = self._in_bucket, False
        entered = self.emissions.freezings(packets)
        pending = Pending()
        pending.add(table, packets, ports)
        while (waiting := pending.next()) is not None:
            number, some, their_ports = waiting
            if not first:
                some, their_ports = self._within_limits(number, some, their_ports)
            self._visit(number, some, their_ports, pending, by_original=by_original)
            by_original = False
            if first:
                # What the action set does is done by the flow that the packet met first.
                before = self.depth[packets], self.table[packets], self.rule[packets]
                first = False
        self._in_bucket = in_bucket
        self.depth[packets], self.table[packets], self.rule[packets] = before
        # What the datapath took up on the way goes on without a rule.
        self.freezer.thawed[packets] = thawed | (self.emissions.freezings(packets) != entered)
        if self.recorder:
            self.recorder.back(mark)

    def within_depth(self, packets: Packets) -> NDArray[np.bool_]:
        """Which of ``packets`` may go deeper; the others fail."""
        too_deep = self.depth[packets] >= MAX_DEPTH
        too_many = self.resubmits[packets] >= MAX_RESUBMITS
        fine = ~(too_deep | too_many)
        if all_of(fine):
            return fine
        if any_of(too_deep):
            self.fail(
                packets[too_deep],
                f"over max translation depth {MAX_DEPTH}",
                Failure.DEPTH,
            )
        if any_of(too_many & ~too_deep):
            self.fail(
                packets[too_many & ~too_deep],
                f"over {MAX_RESUBMITS} resubmit actions",
                Failure.RESUBMITS,
            )
        return fine

    def _within_limits(
        self, table: int, packets: Packets, ports: NDArray[np.uint64]
    ) -> tuple[Packets, NDArray[np.uint64]]:
        fine = self.within_depth(packets)
        if not all_of(fine):
            packets, ports = packets[fine], ports[fine]
        self.resubmits[packets] += 1
        # Only a call that does not go forward counts as deeper (xlate_table_action).
        self.depth[packets] += table <= self.table[packets]
        return packets, ports

    def _visit(
        self,
        table: int,
        packets: Packets,
        ports: NDArray[np.uint64],
        pending: Pending,
        *,
        by_original: bool,
    ) -> None:
        """Look ``packets`` up in ``table`` and execute what they find."""
        if len(self.reentries) and self.learned:
            self._stop_at_lessons(table, packets)
            going_on = ~self.halted[packets]
            packets, ports = packets[going_on], ports[going_on]
        if not len(packets):
            return
        rules = self._lookup(table, packets, ports, by_original=by_original)
        self.table[packets] = table
        self.rule[packets] = rules
        self.freezer.thawed[packets] = False
        self.last_table[packets] = table
        self.last_rule[packets] = rules
        if self.recorder:
            self.recorder.table(table, int(rules[0]))
        hit = rules >= 0
        if not all_of(hit):
            packets, rules = packets[hit], rules[hit]
        shapes = self.state.rules.shape[rules]
        for number in distinct(shapes):
            mine = shapes == number
            shape = self.state.shapes[number]
            rows = self.state.rules.row[rules[mine]]
            operands = tuple(o[:, rows] for o in shape.operands)
            self._execute_list(shape.operations, operands, packets[mine], pending)

    def _stop_at_lessons(self, table: int, packets: Packets) -> None:
        """Stop ``packets`` that went through the datapath anew, where they have learned before.

        There they may hit what they taught. That is settled only when this run is over.
        """
        again = packets[self.reentries.happened(packets)]
        taught = [e.packets for e in self.learned if e.template.target.table == table]
        if len(again) and taught:
            wiser = again[np.isin(again, np.concatenate(taught))]
            self.stop_unsupported(wiser, "recirculation of a packet to a table it has taught")

    def _lookup(
        self, table: int, packets: Packets, ports: NDArray[np.uint64], *, by_original: bool
    ) -> NDArray[np.int64]:
        columns = swapped(self.columns, packets) if by_original else self.columns
        own_ports = columns[Column.IN_PORT][packets]
        columns[Column.IN_PORT][packets] = ports
        handling = self._config.fragments
        are_parts = are_fragments(columns, packets)
        fragments = packets[are_parts]
        transport = columns[Column.TP][fragments]
        if len(fragments) and handling is FragmentHandling.NORMAL:
            # No lookup sees ports of any fragment.
            columns[Column.TP][fragments] = transport & _PORTS_MASK
        rules = self.state.lookup(table, columns, packets)
        if handling is FragmentHandling.DROP:
            rules[are_parts] = NO_ENTRY
        freezings = self.emissions.freezings(packets)
        grown = self.reentries.grown[packets]
        hits = Hits(table, packets, rules, grown, freezings, len(self.learned))
        self.hits.append(hits)
        if table in self._learnable:
            wanted = self.state.program.learnable_columns
            key = np.array([columns[column][packets] for column in wanted], np.uint64)
            self.consulted.append(Consulted(hits, key.reshape(len(wanted), len(packets))))
        if len(fragments):
            columns[Column.TP][fragments] = transport
        columns[Column.IN_PORT][packets] = own_ports
        return rules

    def _execute_list(
        self,
        operations: tuple[Operation, ...],
        operands: tuple[Operands, ...],
        packets: Packets,
        pending: Pending | None,
        *,
        source: int | None = None,
    ) -> None:
        """Execute an action list on ``packets``; calls at its end go to ``pending``, if given.

        The list is that of the rule that the packets are at, or another ``source``:
        ``OF_ACTION_SET``, ``OF_ACTION``.
        """
        last = len(operations) - 1
        where = OF_RULE if source is None else source
        at_end = self.at_end
        entered = self.reentries.moment()
        alive: NDArray[np.bool_] | None = None
        for position, operation in enumerate(operations):
            halted = self.halted[packets]
            if any_of(halted):
                if self.freezer.is_used:
                    self.freezer.keep(packets, operations, operands, where, position)
                alive = ~halted if alive is None else alive & ~halted
            if alive is not None:
                packets = packets[alive]
                operands = tuple(o[:, alive] for o in operands)
                alive = None
            if self.freezer.is_used and operation.needs_headers:
                seeing = self.freezer.divert(packets)
                if not all_of(seeing):
                    self.freezer.keep_now(packets, operations, operands, where, position)
                    packets = packets[seeing]
                    operands = tuple(o[:, seeing] for o in operands)
            if not len(packets):
                break
            self.at_end = at_end and position == last
            if self.recorder:
                rule = int(self.rule[packets[0]]) if source is None else source
                self.recorder.action(rule, position)
            taken = self.reentries.take_tables(entered, packets) if len(self.reentries) else None
            if isinstance(operation, TableCall):
                self._table_call(
                    operation, packets, operands[position][0], pending, position == last
                )
            elif isinstance(operation, Forerunner):
                if len(self.reentries):
                    self.reentries.stop_since(entered, packets)
                rest = slice(position + 1, None)
                operation.execute_with_rest(
                    self, packets, operands[position], operations[rest], operands[rest]
                )
                break
            else:
                alive = operation.execute(self, packets, operands[position])
                if alive is not None and len(self.reentries):
                    self.reentries.leave_since(entered, packets[~alive])
            # Who goes on in the place of this list counts its depth from there.
            if taken is not None and (pending is None or position < last):
                self.table[taken[0]] = taken[1]
            if len(self.reentries):
                self.reentries.note_rest(entered, packets, operations[position + 1 :])
        if self.freezer.is_used:
            self.freezer.keep(packets, operations, operands, where, len(operations))
        self.at_end = at_end

    def _table_call(
        self,
        call: TableCall,
        packets: Packets,
        ports: NDArray[np.uint64],
        pending: Pending | None,
        last: bool,
    ) -> None:
        if call.by_output and self.freezer.is_used:
            seeing = self.freezer.divert(packets)
            packets, ports = packets[seeing], ports[seeing]
        if call.swap_conntrack:
            self._call_by_original(call.table, packets, ports)
        elif last and pending is not None:
            for number, some, their_ports in self._by_table(call.table, packets, ports):
                pending.add(number, some, their_ports)
        else:
            self.call(call.table, packets, ports)

    def _call_by_original(
        self, table: int | None, packets: Packets, ports: NDArray[np.uint64]
    ) -> None:
        """Look up by what connections began with; packets of none go on without."""
        known = have_original(self.columns, packets)
        if self.recorder and not all_of(known):
            self.recorder.error("resubmit(ct) with non-tracked or non-IP packet!")
        if not any_of(known):
            return
        for number, some, their_ports in self._by_table(table, packets[known], ports[known]):
            self._call(number, some, their_ports, by_original=True)

    def execute(
        self, operations: tuple[Operation, ...], operands: tuple[Operands, ...], packets: Packets
    ) -> None:
        """Execute a list within an action: ``operands`` as for the list of a shape."""
        recorder, self.recorder = self.recorder, None
        self._execute_list(operations, operands, packets, None)
        self.recorder = recorder

    def execute_inner(
        self, operations: tuple[Operation, ...], operands: tuple[Operands, ...], packets: Packets
    ) -> None:
        """As :meth:`execute`, and the recorder is told; for use within its ``nest``."""
        self._execute_list(operations, operands, packets, None, source=OF_ACTION)

    def execute_bucket(
        self, operations: tuple[Operation, ...], operands: tuple[Operands, ...], packets: Packets
    ) -> None:
        """As :meth:`execute_inner`, for a bucket of a group."""
        outer, self._in_bucket = self._in_bucket, True
        self._execute_list(operations, operands, packets, None, source=OF_ACTION)
        self._in_bucket = outer

    # -- what operations ask of a run -------------------------------------------------------------

    def read(self, packets: Packets, source: Subfield) -> Operands:
        """The bits of ``source`` in each packet: words (least significant first), packets."""
        return read_subfield(self.columns, packets, source)

    def to_controller(
        self,
        packets: Packets,
        reason: Reason,
        options: PacketInOptions = PLAIN,
        meter_id: int | None = None,
        *,
        by_output: bool = True,
    ) -> None:
        """Send ``packets`` to the controller, through a meter if there is one.

        It is told where an output stood, but not where ``controller(...)`` did.
        """
        if meter_id is None and self.state.meters and CONTROLLER_METER in self.state.meters:
            meter_id = CONTROLLER_METER
        if meter_id is None:
            self._to_controller(packets, reason, options, by_output)
            return
        self.emissions.commit(packets)
        counts = self.datapath.counts(packets)
        meet_meters(self, packets, np.full(len(packets), meter_id, np.uint64))
        self._to_controller(packets[~self.halted[packets]], reason, options, by_output)
        self.datapath.come_back(packets, counts)

    def _to_controller(
        self, packets: Packets, reason: Reason, options: PacketInOptions, by_output: bool
    ) -> None:
        again = self.reentries.levels[packets] > 1
        if any_of(again):
            # By then Open vSwitch has mixed up the tables that lists of actions come from.
            self.stop_unsupported(packets[again], "CONTROLLER after a second hash")
            packets = packets[~again]
        reasons = np.full(len(packets), reason)
        if reason is Reason.ACTION:
            if by_output and (self._in_bucket or self.in_action_set):
                reasons[:] = Reason.GROUP if self._in_bucket else Reason.ACTION_SET
            else:
                rules = self.rule[packets]
                miss = (rules >= 0) & self.state.rules.is_table_miss[rules]
                miss &= ~self.freezer.thawed[packets]
                reasons[miss] = Reason.EXPLICIT_MISS
        for why in distinct(reasons):
            some = packets[reasons == why]
            self.emissions.emit(some, self._controller(some), reason=Reason(why), options=options)

    @staticmethod
    def _controller(packets: Packets) -> NDArray[np.int64]:
        return np.full(len(packets), ReservedPort.CONTROLLER)

    def learn(
        self,
        template: LearnTemplate,
        shape: int,
        packets: Packets,
        keys: NDArray[np.uint64],
        operands: Operands,
    ) -> None:
        """Note that a learn action ran; what comes of it is settled when the run is over."""
        if len(packets):
            order = np.full(len(packets), len(self.learned))
            events = LearnEvents(template, shape, packets, order, keys, operands)
            self.learned.append(events)
            if self.recorder:
                self.recorder.learned(events)

    def cut_timeouts(self, packets: Packets, idle_timeout: int, hard_timeout: int) -> None:
        """Shorten the timeouts of the rules that ``packets`` are at; seconds, 0 for no change."""
        packets = packets[~self.freezer.thawed[packets]]
        if len(packets):
            rules, lessons = self.rule[packets], len(self.learned)
            cut = TimeoutCut(packets, rules, idle_timeout, hard_timeout, lessons)
            self.timeout_cuts.append(cut)

    def report_subfield(self, packets: Packets, written: Subfield) -> None:
        """Tell the recorder what ``written`` holds now."""
        if not self.recorder or not len(packets):
            return
        words = self.read(packets[:1], written)[:, 0]
        number = sum(int(word) << 64 * i for i, word in enumerate(words))
        if written.width == written.field.width:
            text = format_value(written.field, number, written.field.full_mask)
        else:
            text = f"{number:#x}" if number else "0"
        self.recorder.detail(f"{written} is now {text}")

    def report_action_set(self, packets: Packets, verb: str) -> None:
        """Tell the recorder what the action set holds."""
        if self.recorder and len(packets):
            self.recorder.action_set_detail(verb)

    # -- how packets stop -----------------------------------------------------------------------

    def halt(self, packets: Packets) -> None:
        """No further action for ``packets``, wherever they are (``exit``)."""
        self.halted[packets] = True

    def revive(self, packets: Packets, came_back: NDArray[np.bool_]) -> None:
        """Let those of ``packets`` go on that :meth:`halt` alone has stopped.

        And those that failed when they were through the datapath once more, but have now
        ``came_back`` to where they had not been.
        """
        self.reentries.failed[packets[came_back]] = False
        self.go_on(packets)

    def go_on(self, packets: Packets) -> None:
        """Let ``packets`` do further actions after ``exit``, but for those that failed."""
        failed = [*self.errors, *self.unsupported]
        self.halted[packets] = np.isin(packets, failed) | self.reentries.failed[packets]

    def fail(self, packets: Packets, detail: str, reason: Failure) -> None:
        """Drop ``packets`` whole, with what they had output before, as a failed translation.

        Of those that have been through the datapath since, what they output after that. Some
        failures only end the bucket that packets are in.
        """
        self._fail(packets, detail, reason)
        if self.recorder and len(packets):
            self.recorder.error(detail)

    def refuse(self, packets: Packets, said: str, reason: Failure) -> None:
        """As :meth:`fail`; what is ``said`` is no error to Open vSwitch."""
        self._fail(packets, said, reason)
        if self.recorder and len(packets):
            self.recorder.remark(said)

    def _fail(self, packets: Packets, detail: str, reason: Failure) -> None:
        self.halted[packets] = True
        if reason.ends_bucket and self.freezer.in_bucket:
            packets = packets[self.emissions.have_frozen(packets)]
        again = self.reentries.fail(packets, detail)
        for packet in packets[~again].tolist():
            self.errors.setdefault(packet, reason)

    def stop_unsupported(self, packets: Packets, what: str) -> None:
        """Stop ``packets`` with the verdict "unsupported"; ``what`` names the reason."""
        for packet in packets.tolist():
            self.unsupported.setdefault(packet, what)
        self.halted[packets] = True
        if self.recorder and len(packets):
            self.recorder.error(f"{what} is not supported")

    def await_state(self, packets: Packets) -> None:
        """What ``packets`` do next depends on what all packets before them changed."""
        self.volatile[packets] = True
