"""Port numbers: of 16 bits in OpenFlow 1.0, as packets have them here, of 32 bits from 1.1 on.

Reserved ports are the last of either (``ofputil_port_from_ofp11`` in lib/ofp-port.c).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flowvm.flow import ReservedPort

OFFSET = 0xFFFF_0000
"""What a reserved port of OpenFlow 1.1 and later is more than that of 1.0."""


def openflow11(port: int) -> int:
    """The number that OpenFlow 1.1 has for ``port`` of OpenFlow 1.0."""
    return port if port < ReservedPort.MAX else port + OFFSET


def openflow10(number: int) -> int | None:
    """The port of OpenFlow 1.0 that has this ``number`` in 1.1; ``None`` if there is none."""
    if number < ReservedPort.MAX:
        return number
    return number - OFFSET if ReservedPort.MAX + OFFSET <= number < 1 << 32 else None


def all_openflow11(ports: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """As :func:`openflow11`."""
    return np.where(ports < ReservedPort.MAX, ports, ports + np.uint64(OFFSET))


def all_openflow10(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """As :func:`openflow10`; NONE where there is none."""
    known = (numbers < ReservedPort.MAX) | (numbers >= ReservedPort.MAX + OFFSET)
    return np.where(known, numbers & np.uint64(0xFFFF), np.uint64(ReservedPort.NONE))


def with_bits(
    ports: NDArray[np.uint64], value: NDArray[np.uint64], mask: NDArray[np.uint64] | np.uint64
) -> NDArray[np.uint64]:
    """``ports`` of OpenFlow 1.0 with some bits of their numbers in 1.1 replaced."""
    return all_openflow10(all_openflow11(ports) & ~mask | value & mask)
