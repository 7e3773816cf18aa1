"""What all benchmarks have in common."""

from __future__ import annotations

from flowvm.kernels import load

from .sizes import size


def pytest_sessionstart() -> None:
    """Compile the loops first, as they are once half a million packets have gone through."""
    if size() != "tiny":
        load()
