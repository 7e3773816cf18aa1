"""What a batch does, against what its packets do one at a time."""

from __future__ import annotations

from collections.abc import Sequence

from flowvm.flow import Flow
from flowvm.packet.batch import PacketBatch
from flowvm.packet.frames import Frames
from flowvm.switch import Switch


def batch(frames: Sequence[bytes]) -> PacketBatch:
    """They come in on port 1, at once."""
    return PacketBatch.of(Frames.of(frames), 1, 0)


def assert_one_at_a_time(flows: Sequence[Flow], frames: Sequence[bytes]) -> None:
    """All at once or one after the other: the same frames leave, and flows count the same."""
    together, apart = Switch(flows), Switch(flows)
    whole = together.run(batch(frames)).emissions
    found = []
    for number, one in enumerate(frames):
        emissions = apart.run(batch([one])).emissions
        pairs = zip(emissions.port.tolist(), emissions.frames, strict=True)
        found += [(number, port, sent) for port, sent in pairs]
    assert found == list(zip(whole.packet.tolist(), whole.port.tolist(), whole.frames, strict=True))
    counts = [[flow.n_packets for flow in switch.flows()] for switch in (together, apart)]
    assert counts[0] == counts[1]
