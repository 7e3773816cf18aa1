"""The ct fields of a packet, and what connection tracking knows of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flowvm.columns import Column
from flowvm.conntrack.key import OriginalTuple
from flowvm.conntrack.request import Tracking
from flowvm.fields import ETH_TYPE_BITS, ETH_TYPE_IP, ETH_TYPE_IPV6

CT_COLUMNS = tuple(Column(number) for number in range(Column.CT, Column.CT_TP + 1))


def tracking_of(columns: NDArray[np.uint64]) -> Tracking:
    """What the ct fields in ``columns`` say of the packet's connection."""
    word = int(columns[Column.CT])
    if not word:
        return Tracking()
    label = int(columns[Column.CT_LABEL]) << 64 | int(columns[Column.CT_LABEL_LOW])
    mark = int(columns[Column.CT_MARK])
    return Tracking(word >> 32, word >> 16 & 0xFFFF, mark, label)


def set_tracking(columns: NDArray[np.uint64], tracking: Tracking) -> None:
    """Let the ct fields in ``columns`` say what is known of the packet's connection."""
    for column in CT_COLUMNS:
        columns[column] = 0
    if not tracking.state:
        return
    eth_type = int(columns[ETH_TYPE_BITS.column]) >> ETH_TYPE_BITS.shift & 0xFFFF
    original = tracking.original
    # To Open vSwitch a protocol of 0 means that there is no such tuple.
    if original.eth_type != eth_type or not original.protocol:
        original = OriginalTuple()
    columns[Column.CT] = tracking.state << 32 | tracking.zone << 16 | original.protocol << 8
    columns[Column.CT_MARK] = tracking.mark
    columns[Column.CT_LABEL] = tracking.label >> 64
    columns[Column.CT_LABEL_LOW] = tracking.label & (1 << 64) - 1
    columns[Column.CT_TP] = original.source_port << 16 | original.destination_port
    if original.eth_type == ETH_TYPE_IP:
        columns[Column.CT_IPV4] = original.source << 32 | original.destination
    elif original.eth_type == ETH_TYPE_IPV6:
        for column, address in (
            (Column.CT_IPV6_SRC, original.source),
            (Column.CT_IPV6_DST, original.destination),
        ):
            columns[column] = address >> 64
            columns[column + 1] = address & (1 << 64) - 1
