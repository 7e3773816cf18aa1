"""Dumps and nodes that come with flowvm, to try things on.

Wherever a file of flows is asked for, ``example:NAME`` stands for one of the dumps; wherever a node
is, ``example:CLOUD/NODE`` for one of the nodes. The clouds are one and the same three times: a
compute node with the virtual machines of two tenants (by the local tags 2 and 3), and a network
node with the DHCP server and the router of the first (by the local tag 1). The nodes are joined by
``gre`` (the first tenant's segment is 0x1), ``vxlan``, or by the VLANs of a physical network
(``vlan``: 101, on eth1); ``br-ex`` of the network node is the way out.
"""

from __future__ import annotations

import errno
import io
from collections.abc import Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import BinaryIO

from flowvm.text.blocks import read_blocks

PREFIX = "example:"


def example_names() -> list[str]:
    """The names of the examples, sorted."""
    entries = (entry.name for entry in files(__name__).iterdir())
    return sorted(name.removesuffix(".txt") for name in entries if name.endswith(".txt"))


def example_nodes() -> list[str]:
    """The names of the nodes, sorted: ``gre/compute``."""
    clouds = (entry for entry in files(__name__).iterdir() if entry.is_dir())
    nodes = ((cloud.name, node) for cloud in clouds for node in cloud.iterdir())
    return sorted(f"{cloud}/{node.name}" for cloud, node in nodes if node.is_dir())


def node_source(source: str | Path) -> Traversable:
    """The directory or archive, or the node that ``example:CLOUD/NODE`` stands for.

    Raises OSError for an example that there is not.
    """
    if not str(source).startswith(PREFIX):
        return Path(source)
    name = str(source).removeprefix(PREFIX)
    if name not in example_nodes():
        raise _unknown(source, example_nodes())
    return files(__name__).joinpath(*name.split("/"))


def read_source(source: str | Path) -> str:
    """The text of :func:`open_source`, decompressed.

    Bytes that are not UTF-8 come out as replacement characters. Raises OSError.
    """
    with open_source(source) as file:
        return b"".join(read_blocks(file)).decode("utf-8", "replace")


def open_source(source: str | Path) -> BinaryIO:
    """A file, or the example that ``example:NAME`` stands for. Raises OSError."""
    if not str(source).startswith(PREFIX):
        return Path(source).open("rb")
    name = str(source).removeprefix(PREFIX)
    if name not in example_names():
        raise _unknown(source, example_names())
    return io.BytesIO((files(__name__) / f"{name}.txt").read_bytes())


def _unknown(source: str | Path, known: Sequence[str]) -> OSError:
    what = f"no such example; there is {', '.join(known)}"
    return FileNotFoundError(errno.ENOENT, what, str(source))
