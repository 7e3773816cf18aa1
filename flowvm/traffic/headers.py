"""Headers of packets that nobody sent: random ones, and others like them."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from flowvm.columns import N_COLUMNS, VLAN_CFI, Column
from flowvm.fields import (
    ETH_TYPE_BITS,
    ETH_TYPE_IP,
    ETH_TYPE_IPV6,
    ETH_TYPE_VLAN,
    INNER_TCI,
    INNER_TPID,
    NW_PROTO_BITS,
    NW_TTL_BITS,
    OUTER_TCI,
    OUTER_TPID,
    TP_DST_BITS,
    TP_SRC_BITS,
)
from flowvm.flow import ReservedPort
from flowvm.packet.batch import PacketBatch
from flowvm.packet.compose import compose
from flowvm.packet.keys import read
from flowvm.packet.words import U64
from flowvm.protocols import TCP, UDP

_TTL = 64
_MAC = (1 << 40) - 1  # not the first byte, which says what kind of address it is
_HOSTS = 0x00FF_FFFF_00FF_FFFF
_PORTS = 0xFFFF << TP_SRC_BITS.shift | 0xFFFF << TP_DST_BITS.shift
_LOCAL_MAC = 0x02 << 40
_NETWORKS = 0x0A00_0000_0A00_0000

_ARRIVES_WITH = (
    Column.IN_PORT,
    *(column for column in Column if Column.TUN_ID <= column <= Column.TUN_EXTRA),
)
"""What packets have when they come in, besides their frames."""


def strangers(random: Generator, n: int, ports: U64) -> U64:
    """``n`` packets that come in by ``ports``: TCP and UDP between random hosts."""
    columns = np.zeros((N_COLUMNS, n), np.uint64)
    columns[Column.IN_PORT] = random.choice(ports, n)
    columns[Column.ETH_SRC] = columns[Column.ETH_DST] = _LOCAL_MAC
    columns[Column.IPV4] = _NETWORKS
    proto = random.choice(np.array([TCP, UDP], np.uint64), n)
    columns[Column.NW] = (
        proto << NW_PROTO_BITS.shift
        | ETH_TYPE_IP << ETH_TYPE_BITS.shift
        | _TTL << NW_TTL_BITS.shift
    )
    return siblings(random, columns, np.zeros_like(columns))


def siblings(random: Generator, columns: U64, pinned: U64) -> U64:
    """Packets like those of ``columns`` from other hosts; ``pinned`` bits stay as they are."""
    proto = read(columns, NW_PROTO_BITS)
    kind = read(columns, ETH_TYPE_BITS)
    found = columns.copy()
    for column, mask in (
        (Column.ETH_SRC, _MAC),
        (Column.ETH_DST, _MAC),
        (Column.IPV4, np.where(kind == ETH_TYPE_IPV6, 0, _HOSTS).astype(np.uint64)),
        (Column.IPV6_SRC_LOW, np.where(kind == ETH_TYPE_IPV6, _MAC, 0).astype(np.uint64)),
        (Column.IPV6_DST_LOW, np.where(kind == ETH_TYPE_IPV6, _MAC, 0).astype(np.uint64)),
        # Of ICMP these are not ports, but say what the message is.
        (Column.TP, np.where((proto == TCP) | (proto == UDP), _PORTS, 0).astype(np.uint64)),
    ):
        noise = random.integers(0, 1 << 64, columns.shape[1], np.uint64)
        found[column] ^= noise & mask & ~pinned[column]
    return found


def arriving(columns: U64) -> PacketBatch:
    """Packets whose headers are those of ``columns`` as far as a frame can have them.

    What is there but does not fit the rest is left out; what has to be there is added: a TTL, a
    transport, the TPID of a tag.
    """
    wanted = columns.copy()
    kind = read(wanted, ETH_TYPE_BITS)
    ip = (kind == ETH_TYPE_IP) | (kind == ETH_TYPE_IPV6)
    for bits, value in ((NW_TTL_BITS, _TTL), (NW_PROTO_BITS, UDP)):
        wanted[bits.column, ip & (read(wanted, bits) == 0)] |= np.uint64(value << bits.shift)
    for tpid, tci in ((OUTER_TPID, OUTER_TCI), (INNER_TPID, INNER_TCI)):
        tagged = read(wanted, tci) != 0
        wanted[Column.VLAN, tagged] |= np.uint64(VLAN_CFI << tci.shift)
        untyped = tagged & (read(wanted, tpid) == 0)
        wanted[Column.VLAN, untyped] |= np.uint64(ETH_TYPE_VLAN << tpid.shift)
    wanted[Column.PACKET_TYPE] = 0
    frames = compose(wanted, exact=False)
    batch = PacketBatch.of(frames, wanted[Column.IN_PORT].astype(np.int64))
    for column in _ARRIVES_WITH:
        batch.columns[column] = wanted[column]
    batch.columns[Column.ACTSET_OUTPUT] = ReservedPort.UNSET
    return batch
