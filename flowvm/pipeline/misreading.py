"""What the datapath gets wrong when it looks at a packet in the middle of its way.

To hand a packet to a controller, or to hash it, the datapath looks at its headers anew, and
remembers where they begin. It looks behind one tag, and behind labels only as far as the network
header. What is then done to headers that it did not see is done in the wrong place, or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flowvm.arrays import any_of
from flowvm.columns import Column
from flowvm.fields import ETH_TYPE_MPLS, ETH_TYPE_MPLS_MCAST, ETH_TYPE_QINQ, ETH_TYPE_VLAN
from flowvm.packet.decode import DEFAULT_VLAN_LIMIT
from flowvm.packet.keys import count_tags
from flowvm.pipeline.prerequisites import has_eth_type

if TYPE_CHECKING:
    from flowvm.actions.base import Packets
    from flowvm.pipeline.bits import Columns
    from flowvm.pipeline.engine import Run

MISREAD = "changing headers behind two VLAN tags after CONTROLLER"
BLIND = "changing headers behind a label that has been popped after CONTROLLER or a hash"
TRACK_MISREAD = "ct behind two VLAN tags after CONTROLLER"
TRACK_BLIND = "ct behind a label that has been popped after CONTROLLER or a hash"

_SUMMED = (
    *(Column.IPV4, Column.IPV6_SRC, Column.IPV6_SRC_LOW, Column.IPV6_DST, Column.IPV6_DST_LOW),
    *(Column.FLOW_LABEL, Column.TP, Column.ARP_SHA, Column.ARP_THA),
    *(Column.ND_TARGET, Column.ND_TARGET_LOW),
)
"""What is in a transport header or goes into its checksum."""


class Misreadings:
    """Those of the packets of one run; ``happened`` is false as long as there may be none."""

    def __init__(self, run: Run, n: int) -> None:
        written = run.state.program.written
        self._run = run
        self._misread = np.zeros(n, bool)
        self._blind = np.zeros(n, bool)
        self.happened = False
        self._is_tagged = Column.VLAN in written
        self._is_labelled = Column.MPLS in written

    def note_sent(self, packets: Packets) -> None:
        """Note that ``packets`` are sent to the controller as they are now."""
        self.note_looked_at(packets)
        if self._is_tagged:
            columns = self._run.columns
            tags = count_tags(columns[Column.VLAN][packets])
            hidden = has_eth_type(columns, packets, ETH_TYPE_VLAN, ETH_TYPE_QINQ)
            self._misread[packets] |= (tags > DEFAULT_VLAN_LIMIT) | (tags == 0) & hidden
            self.happened = True

    def note_looked_at(self, packets: Packets) -> None:
        """Note that the datapath looks at ``packets`` as they are now."""
        if self._is_labelled:
            self._blind[packets] |= self._have_labels(packets)
            self.happened = True

    def stop_tracking(self, packets: Packets) -> NDArray[np.bool_]:
        """Stop those of ``packets`` of which connection tracking would see what is not there.

        Returns which go on.
        """
        misread = self._misread[packets]
        blind = self._are_blind(packets) & ~misread
        self._run.stop_unsupported(packets[misread], TRACK_MISREAD)
        self._run.stop_unsupported(packets[blind], TRACK_BLIND)
        return np.asarray(~misread & ~blind, bool)

    def stop_changes(self, packets: Packets) -> NDArray[np.bool_]:
        """Stop those of ``packets`` that headers would be changed of in the wrong place.

        Returns which go on.
        """
        run = self._run
        misread, blind = self._misread[packets], self._are_blind(packets)
        if any_of(misread):
            written = [column for column in run.state.program.written if column > Column.VLAN]
            misread &= self._differ(packets, run.emissions.committed(packets), written)
            run.stop_unsupported(packets[misread], MISREAD)
        if any_of(blind):
            # By which of these changes it was blind already is not asked.
            before = [column[packets] for column in run.original]
            blind &= self._differ(packets, before, _SUMMED) & ~misread
            run.stop_unsupported(packets[blind], BLIND)
        return np.asarray(~misread & ~blind, bool)

    def _differ(
        self, packets: Packets, before: Columns, columns: Iterable[int]
    ) -> NDArray[np.bool_]:
        """Which of ``packets`` are not what they were ``before`` (an entry a packet)."""
        differ = np.zeros(len(packets), bool)
        for column in columns:
            differ |= before[column] != self._run.columns[column][packets]
        return differ

    def _are_blind(self, packets: Packets) -> NDArray[np.bool_]:
        return np.asarray(self._blind[packets] & ~self._have_labels(packets), bool)

    def _have_labels(self, packets: Packets) -> NDArray[np.bool_]:
        return has_eth_type(self._run.columns, packets, ETH_TYPE_MPLS, ETH_TYPE_MPLS_MCAST)
