"""Where extraction puts what it finds: the rows of the key that are wanted, and the layout."""

from __future__ import annotations

from collections.abc import Collection

from flowvm.columns import Column
from flowvm.packet.layout import Layout
from flowvm.packet.words import U64, Index

Who = Index | slice

_LINK = frozenset((Column.ETH_SRC, Column.ETH_DST))
_TRANSPORT = frozenset(
    (
        *(Column.TP, Column.FLOW_LABEL, Column.ARP_SHA, Column.ARP_THA),
        *(Column.ND_TARGET, Column.ND_TARGET_LOW),
    )
)
_IPV6 = range(Column.IPV6_SRC, Column.IPV6_DST_LOW + 1)
_NETWORK = _TRANSPORT | {Column.NW, Column.IPV4, *map(Column, _IPV6)}


class Sink:
    """``columns``, ``uint64`` of shape (N_COLUMNS, N), of which only ``wanted`` rows are written.

    ``layout`` is filled too if there is one. ``typed``, ``network`` and ``transport`` say how deep
    into the headers that takes: to tags and EtherTypes, to IP and ARP, to what IP carries.
    """

    __slots__ = ("columns", "layout", "network", "transport", "typed", "wanted")

    def __init__(self, columns: U64, wanted: Collection[Column], layout: Layout | None) -> None:
        self.columns = columns
        self.wanted = frozenset(column for column in wanted if column >= Column.ETH_SRC)
        self.layout = layout
        self.transport = not self.wanted.isdisjoint(_TRANSPORT)
        self.network = layout is not None or not self.wanted.isdisjoint(_NETWORK)
        self.typed = layout is not None or not self.wanted <= _LINK

    def part(self, start: int, stop: int) -> Sink:
        """A view of packets ``start`` to ``stop``."""
        if (start, stop) == (0, self.columns.shape[1]):
            return self
        layout = None if self.layout is None else self.layout.part(start, stop)
        return Sink(self.columns[:, start:stop], self.wanted, layout)

    def wants(self, column: Column) -> bool:
        """Whether the row is to be written."""
        return column in self.wanted

    def put(self, column: Column, who: Who, value: U64 | int) -> None:
        """Write packets ``who`` of a row, if it is wanted."""
        if column in self.wanted:
            self.columns[column][who] = value

    def add(self, column: Column, who: Who, value: U64 | int) -> None:
        """Set bits in packets ``who`` of a row, if it is wanted."""
        if column in self.wanted:
            self.columns[column][who] |= value
