"""A batch of packets as the engine takes it: frames, their columns, and when each arrives."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from flowvm.columns import Column
from flowvm.fields import PACKET_TYPE_BITS, packet_field
from flowvm.flow import ReservedPort
from flowvm.packet.decode import (
    DEFAULT_VLAN_LIMIT,
    ETH_HEADER,
    blank_columns,
    decode_columns,
)
from flowvm.packet.frames import Frames
from flowvm.tlv_map import NO_TLV_MAP, TlvMap


class Room:
    """Memory for the columns of one batch at a time, for many batches in a row.

    To clear and to touch fresh memory takes longer than to decode packets into it. ``written`` are
    the columns that are written, by decoding or afterwards; a batch that is made in the room
    overwrites those of the batch before.
    """

    def __init__(self, written: Collection[Column]) -> None:
        self._written = sorted({*written, Column.IN_PORT, Column.ACTSET_OUTPUT})
        self._columns = blank_columns(0)

    def take(self, n: int) -> NDArray[np.uint64]:
        """Columns of ``n`` packets, all zero."""
        if n > self._columns.shape[1]:
            self._columns = blank_columns(n)
        columns = self._columns[:, :n]
        for column in self._written:
            columns[column] = 0
        return columns


@dataclass(frozen=True, eq=False)
class PacketBatch:
    """N packets. ``columns`` has shape (columns, N), ``times`` (ns, ascending) shape (N,).

    ``tlv_map`` says where the tunnel options are that the packets have, if they have any.
    """

    frames: Frames
    columns: NDArray[np.uint64]
    times: NDArray[np.int64]
    tlv_map: TlvMap = NO_TLV_MAP

    def __len__(self) -> int:
        return len(self.frames)

    def is_cut(self, packet: int) -> bool:
        """Whether a packet is shorter than the Ethernet header that it should have."""
        is_ethernet = not int(self.columns[PACKET_TYPE_BITS.column, packet]) >> (
            PACKET_TYPE_BITS.shift
        )
        return is_ethernet and int(self.frames.lengths[packet]) < ETH_HEADER

    @classmethod
    def of(
        cls,
        frames: Frames,
        in_ports: Sequence[int] | NDArray[np.int64] | int,
        times: Sequence[int] | NDArray[np.int64] | int = 0,
        metadata: Sequence[Mapping[str, int]] | None = None,
        wanted: Collection[Column] | None = None,
        room: Room | None = None,
        tlv_map: TlvMap = NO_TLV_MAP,
    ) -> Self:
        """Packets from frames as they arrive.

        ``metadata`` gives, a packet each, fields that no frame carries (``tun_id``, ``reg0``) by
        name. ``wanted`` are the columns that will be looked at, by default all; headers in others
        stay zero. For frames that will be rewritten they include
        :func:`~flowvm.packet.encode.needed_to_rewrite`. In a ``room`` the batch holds until the
        next one is made there. ``tlv_map`` is that of the switch they are for
        (``switch.names.tlv_map``); packets without ``tun_metadata`` need none. Raises ValueError
        for times that go back, and for ``tun_metadata`` that the map has no room for.
        """
        n = len(frames)
        ports = np.broadcast_to(np.asarray(in_ports, np.int64), n)
        blank = None if room is None else room.take(n)
        columns = decode_columns(frames, ports, DEFAULT_VLAN_LIMIT, wanted, blank)
        columns[Column.ACTSET_OUTPUT] = ReservedPort.UNSET
        for packet, values in enumerate(metadata or ()):
            for name, value in values.items():
                row = packet_field(name)
                for column, word, mask in tlv_map.words(row, value, row.full_mask):
                    old = int(columns[column, packet])
                    columns[column, packet] = old & ~mask | word
        when = np.broadcast_to(np.asarray(times, np.int64), n)
        if (np.diff(when) < 0).any():
            raise ValueError("packets must come in the order of their times")
        return cls(frames, columns, when, tlv_map)
