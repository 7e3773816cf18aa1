"""``flowvm collect``."""

from __future__ import annotations


def collect() -> None:
    """Print the script that gathers what flowvm reads of a node: flowvm collect > collect.sh

    It is for the POSIX shell, and needs nothing of flowvm where it runs.
    """
    from importlib.resources import files

    print((files("flowvm.network") / "collect.sh").read_text(encoding="utf-8"), end="")
