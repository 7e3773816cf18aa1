"""The seed's receive pipeline, which learns, and packets for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flowvm.columns import Column
from flowvm.packet.batch import PacketBatch
from flowvm.packet.frames import TAIL, Frames
from flowvm.switch import Switch, load

TUNNEL_PORT = 2
TUN_ID = 1
FIRST_MAC = 0x5254_0000_0000
SPACING = 1000  # ns from packet to packet
BATCH = 1 << 15

_ETHERNET = bytes.fromhex("fa163e000001 000000000000 0800")
_IPV4 = bytes.fromhex("4500002e000100004011665b 0a000001 0a000002")
_UDP = bytes.fromhex("03e807d0001a0000") + bytes(18)
FRAME = _ETHERNET + _IPV4 + _UDP
_SOURCE = slice(6, 12)


def capture(name: str) -> Path | None:
    """A captured dump of FLOWVM_CAPTURES, if there is one of that name."""
    directory = os.environ.get("FLOWVM_CAPTURES")
    path = Path(directory or ".") / name
    return path if directory and path.is_file() else None


def source() -> str:
    """The seed's dump; without captures the shipped example, which is the same pipeline."""
    found = capture("seed-computenode-br-tun.txt")
    return "example:br-tun" if found is None else str(found)


def switch() -> Switch:
    """The seed's switch."""
    return load(source())


def frames(senders: NDArray[np.int64]) -> Frames:
    """A UDP frame of 60 bytes from each of ``senders``, which count from 0; shape (packets,)."""
    n = len(senders)
    content = np.zeros(n * len(FRAME) + TAIL, np.uint8)
    rows = content[: n * len(FRAME)].reshape(n, len(FRAME))
    rows[:] = np.frombuffer(FRAME, np.uint8)
    macs = (FIRST_MAC + senders).astype(">u8").view(np.uint8).reshape(n, 8)
    rows[:, _SOURCE] = macs[:, 2:]
    lengths = np.full(n, len(FRAME), np.int64)
    return Frames(content, np.arange(n) * len(FRAME), lengths)


def received(switch: Switch, packets: Frames, spacing: int = SPACING) -> Iterator[PacketBatch]:
    """The packets as they come out of the tunnel from now on, batch by batch."""
    wanted = switch.program.wanted
    times = switch.now + spacing * np.arange(1, len(packets) + 1)
    for first in range(0, len(packets), BATCH):
        part = slice(first, first + BATCH)
        some = Frames(packets.buffer, packets.offsets[part], packets.lengths[part])
        batch = PacketBatch.of(some, TUNNEL_PORT, times[part], wanted=wanted)
        batch.columns[Column.TUN_ID] = TUN_ID
        yield batch


def receive(switch: Switch, packets: Frames, spacing: int = SPACING) -> int:
    """Decode the packets and run them; returns how many leave."""
    return sum(
        sum(switch.run(batch).port_counts().values())
        for batch in received(switch, packets, spacing)
    )
