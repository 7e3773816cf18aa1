"""Fragments that join a packet on its way: what they must have in common."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flowvm.columns import Column
from flowvm.fields import ETH_TYPE_BITS, NW_TOS_BITS, NW_TTL_BITS
from flowvm.packet.translate import packet_columns
from flowvm.pipeline.ct_columns import CT_COLUMNS
from flowvm.pipeline.recirculation import RECIRC_ID_BITS

_NW = sum(bits.mask[Column.NW] for bits in (ETH_TYPE_BITS, NW_TOS_BITS, NW_TTL_BITS))
_OWN_TO_EACH = (*range(Column.IPV4, Column.FLOW_LABEL), Column.TP)
"""Addresses, which translation changes, and ports, which only the first fragment has."""


def share_headers(columns: NDArray[np.uint64], frame: bytes) -> bool:
    """Whether what is set in the headers of a packet, ``columns``, can be set in ``frame`` too.

    The datapath sets all that the packet's flow is known to be. That is all the same where they
    agree but for what differs in fragments of one datagram.
    """
    differing = columns[Column.ETH_SRC :] ^ packet_columns(frame)
    differing[Column.NW - Column.ETH_SRC] &= np.uint64(_NW)
    for column in _OWN_TO_EACH:
        differing[column - Column.ETH_SRC] = 0
    return not differing.any()


def fragment_context(columns: NDArray[np.uint64]) -> bytes:
    """What fragments of one datagram share beside their headers: how they were resumed."""
    shared = columns[: Column.ETH_SRC].copy()
    shared[Column.RECIRC] >>= np.uint64(RECIRC_ID_BITS.shift)
    if not shared[Column.RECIRC]:
        return b""
    for column in CT_COLUMNS:
        shared[column] = 0
    return shared.tobytes()
