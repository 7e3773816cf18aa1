"""The loops as machine code. Importing this imports numba."""

from __future__ import annotations

from typing import Any

from numba import njit, types

from flowvm.kernels import loops


def _array(dtype: Any, ndim: int = 1, *, strided: bool = False, aligned: bool = True) -> Any:
    return types.Array(dtype, ndim, "A" if strided else "C", readonly=True, aligned=aligned)


def _written(array: Any) -> Any:
    return array.copy(readonly=False)


_INT, _UINT = types.int64, types.uint64
_INTS, _UINTS = _array(_INT), _array(_UINT)
_ANY_INTS = _array(_INT, strided=True)
_KEYS = _array(_UINT, 2)
_WORDS = _array(_UINT, strided=True, aligned=False)
_WORDS_32 = _array(types.uint32, strided=True, aligned=False)
_COUNTS = _written(_INTS)
_SLOTS = _array(types.int32)

SIGNATURES = {
    "find": (_SLOTS, _KEYS, _UINTS, _INTS, _UINTS, _COUNTS),
    "place": (_written(_SLOTS), _SLOTS, _UINTS),
    "copy": (_WORDS, _ANY_INTS, _written(_WORDS), _ANY_INTS, _ANY_INTS),
    "records": (_WORDS, *(_ANY_INTS,) * 5, _written(_WORDS), _written(_WORDS_32)),
    "retag": (
        *(_written(_WORDS), _written(_WORDS_32)),
        *(_ANY_INTS, _ANY_INTS, _ANY_INTS, _array(_UINT, 2, strided=True)),
    ),
    "step": (_WORDS_32, _INT, _INT, _INTS, _COUNTS, _COUNTS),
    "gather": (_WORDS_32, _INTS, _INT, _written(_array(_INT, 2))),
    "tally": (_ANY_INTS, _ANY_INTS, _COUNTS, _COUNTS, _COUNTS, _COUNTS),
    "credit": (*(_INTS,) * 6, _ANY_INTS, _COUNTS, _COUNTS, _COUNTS),
    "matches": (_INTS, _INTS, _SLOTS, _INTS, _COUNTS),
}
"""What each loop takes. Types are fixed: it is compiled once, and never while packets wait."""


def compiled(name: str) -> Any:
    """A loop, from the cache on disk if it is there; it lets other threads run meanwhile."""
    loop, signature = getattr(loops, name), types.void(*SIGNATURES[name])
    options = {"nogil": True, "error_model": "numpy"}
    try:
        return njit([signature], cache=True, **options)(loop)
    except RuntimeError:
        # There is no directory that a cache can be written to.
        return njit([signature], **options)(loop)
