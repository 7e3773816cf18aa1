"""Compiled loops, for much traffic: what numpy does in many passes, in one.

numba compiles them, where it is installed (``pip install flowvm[fast]``). It takes a fraction of a
second to start, and a second to compile for the first time, so nobody pays for it who has little to
run: :func:`load` is called when :data:`WORTHWHILE` packets have gone through a machine. Until then,
and without numba, numpy does the same. The loops are in :mod:`flowvm.kernels.loops`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

Loop = Callable[..., None]

WORTHWHILE = 1 << 19
"""Packets that take numpy about as long as numba takes to start."""


@dataclass(frozen=True)
class Kernels:
    """The compiled loops, as described in :mod:`flowvm.kernels.loops`."""

    find: Loop
    place: Loop
    copy: Loop
    records: Loop
    retag: Loop
    step: Loop
    gather: Loop
    tally: Loop
    credit: Loop
    matches: Loop


class _Loaded:
    """What :func:`load` has come to in this process."""

    kernels: Kernels | None = None
    tried = False


def kernels() -> Kernels | None:
    """The compiled loops, if they are loaded."""
    return _Loaded.kernels


def load() -> Kernels | None:
    """Compile the loops, or take them from numba's cache; ``None`` without numba."""
    if not _Loaded.tried:
        _Loaded.tried = True
        if importlib.util.find_spec("numba") is not None:
            _Loaded.kernels = _compiled()
    return _Loaded.kernels


def _compiled() -> Kernels:
    from flowvm.kernels.compile import SIGNATURES, compiled

    return Kernels(**{name: compiled(name) for name in SIGNATURES})


def unload() -> None:
    """Do without compiled loops again, until they are loaded anew."""
    _Loaded.kernels, _Loaded.tried = None, False
