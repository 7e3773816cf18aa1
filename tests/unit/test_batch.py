"""Batches of packets: memory that one after the other takes."""

from __future__ import annotations

import numpy as np
import pytest

from flowvm.columns import Column
from flowvm.packet.batch import PacketBatch, Room
from flowvm.packet.frames import Frames

TAGGED = bytes.fromhex("ffffffffffff 525400000001 8100 0005 0800") + bytes(46)
UNTAGGED = bytes.fromhex("ffffffffffff 525400000002 0806") + bytes(46)


@pytest.mark.parametrize("sizes", [(3, 3), (5, 2), (2, 5), (4, 1, 4)])
def test_a_batch_in_a_room_is_like_any_other(sizes: tuple[int, ...]) -> None:
    """Nothing is left of those before it, whatever their size and what was written to them."""
    room = Room([*Column])
    for number, size in enumerate(sizes):
        frames = Frames.of([TAGGED if (number + i) % 2 else UNTAGGED for i in range(size)])
        batch = PacketBatch.of(frames, number, room=room)
        assert np.array_equal(batch.columns, PacketBatch.of(frames, number).columns)
        batch.columns[Column.TUN_ID] = 7
