"""The units of flowvm's clock: times are whole nanoseconds in an ``int64``."""

from __future__ import annotations

import numpy as np

SECOND = 1_000_000_000

NEVER = np.iinfo(np.int64).max
"""The time of what does not happen."""
