"""Meters at work: token buckets on the virtual clock.

Semantics: those of the userspace datapath (``dp_netdev_run_meter`` in lib/dpif-netdev.c), where
packets meet a meter one by one. A dump does not say how full buckets are: they are full at first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flowvm.text.meters import MeterConfig

_UNITS = 1000
"""The parts of a packet, or of a kilobit, in which buckets are counted."""


@dataclass(eq=False)
class _Bucket:
    """What a band has left, in bits or 1/1000 packets."""

    rate: int
    size: int
    level: int


@dataclass(eq=False)
class _Meter:
    """The state of a meter; ``used`` is when it was last met, in ms on the virtual clock."""

    counts_packets: bool
    buckets: list[_Bucket]
    used: int = 0

    @classmethod
    def of(cls, config: MeterConfig) -> _Meter:
        sizes = [(band.burst_size or band.rate) * _UNITS for band in config.bands]
        buckets = [
            _Bucket(band.rate, size, size) for band, size in zip(config.bands, sizes, strict=True)
        ]
        return cls(config.counts_packets, buckets)

    def copy(self) -> _Meter:
        buckets = [_Bucket(bucket.rate, bucket.size, bucket.level) for bucket in self.buckets]
        return _Meter(self.counts_packets, buckets, self.used)

    def passes(self, length: int, now: int) -> bool:
        volume = _UNITS if self.counts_packets else length * 8
        # No bucket fills up for longer than it takes the slowest to be full.
        most = max((bucket.size // bucket.rate for bucket in self.buckets), default=0)
        passed = min(max(now - self.used, 0), most)
        self.used = now
        exceeded = False
        for bucket in self.buckets:
            bucket.level = min(bucket.level + passed * bucket.rate, bucket.size)
            if bucket.level >= volume:
                bucket.level -= volume
            else:
                exceeded = True
        return not exceeded


class MeterTable:
    """The meters of a running switch, by ID. It can be copied; a copy goes its own way."""

    def __init__(self, meters: Mapping[int, _Meter]) -> None:
        self._meters = dict(meters)

    @classmethod
    def of(cls, configs: Iterable[MeterConfig]) -> MeterTable:
        """Meters with full buckets."""
        return cls({config.meter_id: _Meter.of(config) for config in configs})

    def copy(self) -> MeterTable:
        """The same meters, as full as they are now."""
        return MeterTable({number: meter.copy() for number, meter in self._meters.items()})

    def __contains__(self, meter_id: object) -> bool:
        return meter_id in self._meters

    def passes(self, meter_id: int, length: int, now: int) -> bool:
        """Whether a packet of ``length`` bytes passes at ``now`` (ms); it is counted."""
        return self._meters[meter_id].passes(length, now)
