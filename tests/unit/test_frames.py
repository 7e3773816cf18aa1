"""Frames in one buffer."""

from __future__ import annotations

import numpy as np
import pytest

from flowvm.packet.frames import HEADROOM, TAIL, Frames

ITEMS = [b"", b"a", bytes(range(60)), b"xyz" * 500]


def test_frames_give_back_the_bytes_they_were_made_of() -> None:
    """Indexing and iteration return each frame whole, the empty one too."""
    frames = Frames.of(ITEMS)
    assert len(frames) == 4
    assert list(frames) == ITEMS
    assert [frames[i] for i in range(4)] == ITEMS
    assert repr(frames) == "<Frames 4, 1561 bytes>"


def test_no_frames_are_frames_too() -> None:
    """An empty batch can be listed, copied and taken from."""
    none = Frames.of([])
    assert list(none) == list(none.copy()) == list(none.take([])) == []
    assert list(Frames.concatenate([])) == []


def test_take_chooses_by_index_and_by_mask() -> None:
    """Frames can be repeated and reordered; they share the buffer."""
    frames = Frames.of(ITEMS)
    taken = frames.take([3, 1, 1])
    assert list(taken) == [ITEMS[3], ITEMS[1], ITEMS[1]]
    assert taken.buffer is frames.buffer
    assert list(frames.take(np.array([True, False, True, False]))) == [ITEMS[0], ITEMS[2]]


def test_a_copy_can_be_written_without_touching_the_original() -> None:
    """A copy has room before every frame and a tail after the last."""
    frames = Frames.of(ITEMS).take([2, 2, 3])
    copy = frames.copy()
    assert list(copy) == list(frames)
    copy.buffer[:] = 0
    assert list(frames) == [ITEMS[2], ITEMS[2], ITEMS[3]]
    ends = copy.offsets + copy.lengths
    assert copy.offsets[0] >= HEADROOM
    assert (copy.offsets[1:] - ends[:-1] >= HEADROOM).all()
    assert copy.buffer.size - ends[-1] >= TAIL


def test_concatenation_keeps_the_order() -> None:
    """Batches with buffers of their own become one."""
    parts = [Frames.of(ITEMS[:2]), Frames.of([]), Frames.of(ITEMS).take([3, 2])]
    assert list(Frames.concatenate(parts)) == [*ITEMS[:2], ITEMS[3], ITEMS[2]]


@pytest.mark.parametrize("width", [1, 4, 100])
def test_matrix_is_zero_behind_a_frame(width: int) -> None:
    """What is behind a frame's end reads as zero, not as the next frame."""
    rows = Frames.of(ITEMS).matrix(width)
    assert [row.tobytes() for row in rows] == [item[:width].ljust(width, b"\0") for item in ITEMS]
