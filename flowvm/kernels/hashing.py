"""How keys are hashed, and what a slot of a hash table holds; compiled or not."""

from __future__ import annotations

import numpy as np

MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
FOLD = np.uint64(32)

SLOT_BITS = 31
"""A slot has so many bits, beside a sign that says that it is free.

The lowest are a key's number, as many as it takes to number the slots of the table; the others are
the highest of the key's hash, which tell most other keys apart.
"""
