"""Hashes that the datapath's packets carry along, beside their bytes.

One is that which a packet was received with (``dpif_netdev_packet_get_rss_hash`` in
lib/dpif-netdev.c). To take a label off forgets it, until the packet is looked at again. The other
is what a ``hash`` action made of the packet last. A translation that goes back to what a packet was
before a bucket does not take that from the packet, so that it is there when it recirculates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flowvm.columns import Column
from flowvm.fields import DP_HASH_BITS, ETH_TYPE_BITS, ETH_TYPE_NSH
from flowvm.packet.keys import MAX_MPLS_LABELS, count_labels, labels
from flowvm.pipeline import hashing
from flowvm.pipeline.group_table import DatapathHash
from flowvm.pipeline.prerequisites import value

if TYPE_CHECKING:
    from flowvm.actions.base import Packets
    from flowvm.pipeline.bits import Columns
    from flowvm.pipeline.engine import Run

NOT_RECEIVED = -1
"""For a received hash: it is that of the headers with which the packet came."""
_FORGOTTEN = -2
_DP_HASH = np.uint64(DP_HASH_BITS.mask[Column.RECIRC])

Received = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class SavedHashes:
    """Those of some packets at one moment."""

    received: Received
    taken: hashing.Hash


class NotedHashes:
    """Those of the packets of one run; arrays have one entry a packet.

    ``received`` is the hash that a packet was received with, or ``NOT_RECEIVED``; ``taken`` the one
    that was taken last, 0 for none. ``are_used`` is whether any of that matters, ``is_forgetful``
    whether packets can be without the former.
    """

    def __init__(self, run: Run, n: int) -> None:
        groups, written = run.state.program.groups, run.state.program.written
        self._run = run
        self.are_used = groups is not None and groups.by_datapath
        self.is_forgetful = groups is not None and groups.by_reception and Column.MPLS in written
        self.received = np.full(n, NOT_RECEIVED, np.int64)
        self.taken = np.zeros(n, np.uint32)
        if self.are_used:
            self.taken[:] = run.original[Column.RECIRC] & _DP_HASH

    def save(self, packets: Packets) -> SavedHashes:
        return SavedHashes(self.received[packets], self.taken[packets])

    def restore(self, packets: Packets, saved: SavedHashes) -> None:
        self.received[packets], self.taken[packets] = saved.received, saved.taken

    def received_hashes(self, packets: Packets) -> Received:
        """The hash with which the datapath received each of ``packets``.

        Negative for those of which it has forgotten it.
        """
        known = self.received[packets]
        arrived = hashing.five_tuple(self._run.original, packets, 0).astype(np.int64)
        return np.where(known == NOT_RECEIVED, arrived, known)

    def take(
        self, packets: Packets, algorithm: NDArray[np.int8], basis: NDArray[np.uint32]
    ) -> hashing.Hash:
        """Hash ``packets``, which are committed, as the datapath does."""
        columns = self._run.columns
        hashed = np.zeros(len(packets), np.uint32)
        # By "L4" the datapath means what it hashed the packet to when that came in.
        by_l4 = algorithm == DatapathHash.L4
        received = self.received_hashes(packets[by_l4])
        again = hashing.five_tuple(columns, packets[by_l4], basis[by_l4], as_received=False)
        known = hashing.two_words(received.astype(np.uint32), basis[by_l4])
        hashed[by_l4] = np.where(received == _FORGOTTEN, again, known)
        for number in np.unique(basis[~by_l4]).tolist():
            some = ~by_l4 & (basis == number)
            hashed[some] = hashing.symmetric_l3l4(columns, packets[some], number)
        extracted = packets[~by_l4 | (self.received[packets] == _FORGOTTEN)]
        self.look_at(extracted)
        self._run.misreadings.note_looked_at(extracted)
        self.taken[packets] = hashed
        return hashed

    def look_at(self, packets: Packets) -> None:
        """Note that the datapath has looked at headers of ``packets`` on their way.

        That gives those of TCP and UDP the hash they have been without.
        """
        if self.is_forgetful:
            self._remember(packets[hashing.have_transport(self._run.columns, packets)])

    def receive(self, packets: Packets) -> None:
        """Note that the datapath takes up ``packets`` as they are now."""
        if self.is_forgetful:
            self._remember(packets)

    def _remember(self, packets: Packets) -> None:
        packets = packets[self.received[packets] == _FORGOTTEN]
        self.received[packets] = hashing.five_tuple(self._run.columns, packets, 0)

    def note_commit(self, packets: Packets, before: Columns) -> None:
        """Note that ``packets`` are committed, which were ``before`` (an entry a packet)."""
        after = [column[packets] for column in self._run.columns]
        bare = value(after, np.arange(len(packets)), ETH_TYPE_BITS) != ETH_TYPE_NSH
        self.received[packets[_lose_labels(before, after) & bare]] = _FORGOTTEN

    def commit_copies(self, packets: Packets) -> NDArray[np.int64]:
        """The commits that say what copies of ``packets`` are that the datapath takes up again."""
        run = self._run
        if not self.are_used:
            return run.emissions.commit(packets)
        column = run.columns[Column.RECIRC]
        own = column[packets]
        carried = own & ~_DP_HASH | self.taken[packets].astype(np.uint64)
        others = packets[carried != own]
        column[packets] = carried
        run.emissions.touch(others)
        commits = run.emissions.commit(packets)
        column[packets] = own
        run.emissions.touch(others)
        return commits


def _lose_labels(before: Columns, after: Columns) -> NDArray[np.bool_]:
    """Which packets have to lose labels to become what they are ``after`` (``commit_mpls_action``).

    A label is set if it is above all that stay, and one is to be in its place.
    """
    stacks = [labels(np.array(columns)) for columns in (before, after)]
    who = np.arange(stacks[0].shape[1])
    counts = [
        count_labels(value(columns, who, ETH_TYPE_BITS), stack)
        for columns, stack in zip((before, after), stacks, strict=True)
    ]
    common = np.zeros(len(who), np.int64)
    for number in range(MAX_MPLS_LABELS):
        there = (common == number) & (counts[0] > number) & (counts[1] > number)
        entries = [
            stack[np.maximum(count - 1 - number, 0), who]
            for stack, count in zip(stacks, counts, strict=True)
        ]
        common += there & (entries[0] == entries[1])
    is_set = (counts[0] > common) & (counts[1] > common)
    return np.asarray(counts[0] - common - is_set > 0, bool)
