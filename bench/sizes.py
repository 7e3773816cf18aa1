"""How large the benchmarks are: ``FLOWVM_BENCH=tiny``, ``quick`` (the default) or ``full``.

``tiny`` only shows that they run; ``quick`` takes some three minutes for all of them; ``full`` goes
to a million rules, packets and learned rows.
"""

from __future__ import annotations

import os
from typing import TypeVar

T = TypeVar("T")

SIZES = ("tiny", "quick", "full")


def size() -> str:
    """The size that is asked for. Raises ValueError for one that there is not."""
    name = os.environ.get("FLOWVM_BENCH", "quick")
    if name not in SIZES:
        raise ValueError(f"FLOWVM_BENCH={name}: it can be {', '.join(SIZES)}")
    return name


def sized(tiny: T, quick: T, full: T) -> T:
    """The one of three that goes with the size asked for."""
    return {"tiny": tiny, "quick": quick, "full": full}[size()]
