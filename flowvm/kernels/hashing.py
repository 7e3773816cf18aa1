"""How keys are hashed, and what a slot of a hash table holds; compiled or not."""

from __future__ import annotations

import numpy as np

MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
FOLD = np.uint64(32)

NUMBER_BITS = 32
"""A slot holds a key's number in so many bits, and above them the upper 31 bits of its hash."""
