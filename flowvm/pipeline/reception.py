"""What a bridge takes in: ports that do not receive, and what becomes of fragments.

Semantics: ovs-ofctl(8), "mod-port" and "set-frags"; ``may_receive`` in
ofproto/ofproto-dpif-xlate.c and ``rule_dpif_lookup_from_table`` in ofproto/ofproto-dpif.c.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from flowvm.columns import FRAG_ANY, Column
from flowvm.fields import ETH_TYPE_BITS, NW_FRAG_BITS
from flowvm.names import FragmentHandling, Names
from flowvm.packet.decode import ETH_TYPE_NONE
from flowvm.pipeline.bits import ONES, Columns
from flowvm.pipeline.prerequisites import has_eth_type, union

_SPANNING_TREE = 0x0180_C200_0000
_ANY_FRAGMENT = np.uint64(FRAG_ANY << NW_FRAG_BITS.shift)


def reception_reads(names: Names) -> Mapping[int, int]:
    """The bits of a packet that it depends on whether it is taken in, beside its port."""
    parts: list[Mapping[int, int]] = [{}]
    if names.config.no_recv != names.config.no_recv_stp:
        parts += [{Column.ETH_DST: ONES}, ETH_TYPE_BITS.mask]
    if names.config.fragments is FragmentHandling.DROP:
        parts.append(NW_FRAG_BITS.mask)
    return union(*parts)


def are_refused(names: Names, columns: Columns, packets: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of ``packets`` came in on a port that is configured not to receive them."""
    config = names.config
    ports = columns[Column.IN_PORT][packets]
    refused = np.isin(ports, list(config.no_recv))
    if config.no_recv != config.no_recv_stp:
        special = columns[Column.ETH_DST][packets] == _SPANNING_TREE
        special &= has_eth_type(columns, packets, ETH_TYPE_NONE)
        refused = np.where(special, np.isin(ports, list(config.no_recv_stp)), refused)
    return np.asarray(refused, bool)


def are_fragments(columns: Columns, packets: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of ``packets`` are fragments of IP datagrams."""
    return np.asarray(columns[Column.NW][packets] & _ANY_FRAGMENT != 0, bool)


def is_dropped_fragment(names: Names, columns: Columns, packet: int) -> bool:
    """Whether a packet is a fragment and the bridge drops those."""
    drops = names.config.fragments is FragmentHandling.DROP
    return drops and bool(int(columns[Column.NW][packet]) & int(_ANY_FRAGMENT))
