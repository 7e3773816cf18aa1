"""Why translations of packets fail, in the words of Open vSwitch 3.1's ``xlate_strerror``."""

from __future__ import annotations

from enum import StrEnum


class Failure(StrEnum):
    """What a packet that fails is dropped for, whole."""

    DEPTH = "Recursion too deep"
    RESUBMITS = "Too many resubmits"
    LABELS = "Too many MPLS labels"
    PACKET_TYPE = "Unsupported packet type"

    @property
    def ends_bucket(self) -> bool:
        """Whether in a bucket of a group it ends no more than the bucket."""
        return self in (Failure.LABELS, Failure.PACKET_TYPE)
