"""How ``ct`` and ``ct_clear`` are executed.

The translation works out what a packet asks of connection tracking; the datapath does it in a step
of its own (:mod:`flowvm.pipeline.travel`). For what follows in the action list the packet is not
tracked. Semantics: ovs-actions(7), "ct" and "ct_clear"; ``compose_conntrack_action`` in
ofproto/ofproto-dpif-xlate.c.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from flowvm.actions.base import ColumnBits, Kept, Operands, Operation, Packets, Subfield
from flowvm.actions.write import subfield_bits
from flowvm.arrays import all_of
from flowvm.columns import Column
from flowvm.conntrack.nat import NatRequest
from flowvm.conntrack.request import TRACKED, Masked, Request
from flowvm.fields import Bits
from flowvm.pipeline.bits import ONES
from flowvm.pipeline.ct_columns import CT_COLUMNS
from flowvm.pipeline.prerequisites import union
from flowvm.pipeline.recirculation import RECIRC_ID_BITS

if TYPE_CHECKING:
    from flowvm.pipeline.engine import Run
    from flowvm.pipeline.travel import Traveller

_STATE_BITS = Bits(Column.CT, 32, 32)
_IS_TRACKED = TRACKED << _STATE_BITS.shift
_LABEL = (Column.CT_LABEL, Column.CT_LABEL_LOW)

_FILLED_SET = "ct to a table with a filled action set, which Open vSwitch 3.1 does not survive,"
_UNTRACKED = "Sets the packet to an untracked state, and clears all the conntrack fields."
_FORKED = (
    "A clone of the packet is forked to recirculate. "
    "The forked pipeline will be resumed at table {}."
)


def clear_fields(run: Run, packets: Packets) -> None:
    """Clear the ct fields of ``packets``."""
    for column in CT_COLUMNS:
        run.columns[column][packets] = 0


@dataclass(frozen=True)
class Track(Operation):
    """Send packets through connection tracking; a copy may go on in ``table``.

    ``zone`` is where the zone is, else it is an operand. Operands are the zone, the bits of ct_mark
    and of ct_label (high word, low word) that ``nested`` operations write, and the operands of
    those, ``widths`` of each.
    """

    commit: bool
    force: bool
    table: int | None
    zone: Subfield | None
    nat: NatRequest | None
    helper: str
    nested: tuple[Operation, ...]
    widths: tuple[int, ...]

    @property
    def reads(self) -> ColumnBits:
        return union(
            RECIRC_ID_BITS.mask,
            subfield_bits(self.zone) if self.zone is not None else {},
            *(operation.reads for operation in self.nested),
        )

    @property
    def resets(self) -> ColumnBits:
        return dict.fromkeys(CT_COLUMNS, ONES)

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:
        if self.table is not None:
            filled = run.action_sets.filled(packets)
            if filled.any():
                run.stop_unsupported(packets[filled], _FILLED_SET)
                packets, operands = packets[~filled], operands[:, ~filled]
        layered = run.layers.have_changed(packets)
        run.stop_unsupported(packets[layered], "ct after encap or decap")
        kept = ~layered
        if run.misreadings.happened:
            kept &= run.misreadings.stop_tracking(packets)
        if not all_of(kept):
            packets, operands = packets[kept], operands[:, kept]
        zones = operands[0] if self.zone is None else run.read(packets, self.zone)[0]
        run.emissions.commit(packets)
        if run.recorder:
            run.recorder.nest()
        ends = [4 + sum(self.widths[:i]) for i in range(len(self.widths) + 1)]
        parts = tuple(operands[first:last] for first, last in pairwise(ends))
        run.execute_inner(self.nested, parts, packets)
        if run.recorder:
            run.recorder.unnest()
        columns = run.columns
        values = [zones, operands[1], columns[Column.CT_MARK][packets] & operands[1]]
        for column, mask in zip(_LABEL, operands[2:4], strict=True):
            values += [mask, columns[column][packets] & mask]
        run.datapath.add(packets, self._step, np.array(values, np.uint64), self.table)
        clear_fields(run, packets)
        if run.recorder:
            if self.table is not None:
                run.recorder.detail(_FORKED.format(self.table))
            run.recorder.detail(_UNTRACKED)
        return None

    @property
    def _step(self) -> TrackStep:
        return TrackStep(self.commit, self.force, self.nat, self.helper)


@dataclass(frozen=True)
class TranslateLater(Operation):
    """``nat`` within ``ct``: nothing before the datapath comes to it."""

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:  # noqa: ARG002
        return None


@dataclass(frozen=True)
class TrackStep:
    """What the datapath does for ``ct``.

    The values are the zone, and mask and value of the mark and of each word of the label.
    """

    commit: bool
    force: bool
    nat: NatRequest | None
    helper: str

    def perform(self, traveller: Traveller, values: Sequence[int]) -> None:
        zone, mark_mask, mark, high_mask, high, low_mask, low = values
        mask = high_mask << 64 | low_mask
        traveller.track(
            Request(
                zone,
                self.commit,
                self.force,
                Masked(mark, mark_mask) if mark_mask else None,
                Masked(high << 64 | low, mask) if mask else None,
                self.nat,
                self.helper,
            )
        )


@dataclass(frozen=True)
class ClearTracking(Operation):
    """``ct_clear``: does nothing to a packet that is not tracked."""

    @property
    def reads(self) -> ColumnBits:
        return {Column.CT: _IS_TRACKED}

    @property
    def resets(self) -> ColumnBits:
        return dict.fromkeys(CT_COLUMNS, ONES)

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:  # noqa: ARG002
        tracked = packets[run.columns[Column.CT][packets] & np.uint64(_IS_TRACKED) != 0]
        run.datapath.mark(tracked, _CLEAR)
        clear_fields(run, tracked)
        return None


@dataclass(frozen=True)
class _ClearStep:
    def perform(self, traveller: Traveller, values: Sequence[int]) -> None:  # noqa: ARG002
        traveller.untrack()


_CLEAR = _ClearStep()
