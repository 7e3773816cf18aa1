"""What a packet has when it comes to the next bridge of a network."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flowvm.columns import Column
from flowvm.flow import ReservedPort
from flowvm.network.tunnels import TUNNEL_COLUMNS
from flowvm.packet.batch import PacketBatch
from flowvm.packet.frames import Frames
from flowvm.pipeline.ct_columns import CT_COLUMNS
from flowvm.pipeline.recirculation import RECIRC_ID_BITS

_CLEARED_BY_PATCH = (
    *(Column.METADATA, *TUNNEL_COLUMNS, *CT_COLUMNS),
    *(Column(number) for number in range(Column.XREG0, Column.ETH_SRC)),
)
_LOW_WORD = (1 << RECIRC_ID_BITS.shift) - 1


def handed_over(columns: NDArray[np.uint64], port: int) -> NDArray[np.uint64]:
    """What is left of a packet's headers and metadata at the peer of a patch port."""
    handed = columns.copy()
    handed[Column.LAYERS] = 0
    handed[list(_CLEARED_BY_PATCH)] = 0
    handed[Column.IN_PORT] = port
    handed[Column.ACTSET_OUTPUT] = ReservedPort.UNSET
    # The hash stays, but what was frozen in the other bridge is nothing to this one.
    handed[Column.RECIRC] &= np.uint64(_LOW_WORD)
    handed[Column.PACKET_TYPE] &= np.uint64(~_LOW_WORD & (1 << 64) - 1)
    return handed


def decoded(frame: bytes) -> NDArray[np.uint64]:
    """The headers of a frame, shape (columns,)."""
    return PacketBatch.of(Frames.of([frame]), 0).columns[:, 0].copy()
