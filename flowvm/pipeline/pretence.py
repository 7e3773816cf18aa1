"""Connections as ``ofproto/trace`` pretends them: it knows of none, and has the user say."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flowvm.columns import Column
from flowvm.conntrack.nat import DESTINATION, SOURCE, NatRequest, Translation
from flowvm.conntrack.request import NEW, TRACKED, Request
from flowvm.fields import (
    ETH_TYPE_BITS,
    ETH_TYPE_IP,
    ETH_TYPE_IPV6,
    NW_PROTO_BITS,
    PACKET_TYPE_BITS,
    TP_DST_BITS,
    TP_SRC_BITS,
)
from flowvm.packet.translate import packet_columns, translate
from flowvm.pipeline.ct_columns import set_tracking
from flowvm.pipeline.legs import Leg, Resumption
from flowvm.protocols import TCP, UDP

_PORTS = (TP_SRC_BITS, TP_DST_BITS)


def pretend(leg: Leg, request: Request, state: int | None) -> None:
    """Let ``leg`` go on as in ``ofproto/trace``, which knows of no connections.

    Its ``ct_state`` is what the user says, or new; mark and label are what the action sets. NAT is
    taken to be to the first address and port.
    """
    tracking, nat = leg.tracking, request.nat
    tracking.state = TRACKED | NEW if state is None else state
    tracking.zone = request.zone
    if request.mark is not None:
        tracking.mark = request.mark.applied(tracking.mark)
    if request.label is not None:
        tracking.label = request.label.applied(tracking.label)
    set_tracking(leg.columns, tracking)
    before = leg.columns.copy()
    translation = pretended_translation(leg.columns, nat)
    if translation is not None:
        leg.frame = translate(leg.frame, translation)
        leg.columns[Column.ETH_SRC :] = packet_columns(leg.frame)
    leg.resumed = Resumption(tracking.state, state is None, nat, before, leg.columns)


def pretended_translation(
    columns: NDArray[np.uint64], nat: NatRequest | None
) -> Translation | None:
    """What NAT makes of a packet if it is taken to be to the first address and port."""
    eth_type, protocol = (
        int(columns[bits.column]) >> bits.shift & (1 << bits.width) - 1
        for bits in (ETH_TYPE_BITS, NW_PROTO_BITS)
    )
    if nat is None or not nat.which or nat.addresses is None:
        return None
    if int(columns[PACKET_TYPE_BITS.column]) >> PACKET_TYPE_BITS.shift:
        # There is no connection then that an address could be translated for.
        return None
    if eth_type != (ETH_TYPE_IP if nat.ip_version == 4 else ETH_TYPE_IPV6):
        return None
    ports = [int(columns[TP_SRC_BITS.column]) >> bits.shift & 0xFFFF for bits in _PORTS]
    if nat.ports is not None:
        ports[nat.which - 1] = nat.ports[0]
    address = nat.addresses[0]
    return Translation(
        address if nat.which == SOURCE else None,
        address if nat.which == DESTINATION else None,
        (ports[0], ports[1]) if protocol in (TCP, UDP) else None,
        protocol,
    )
