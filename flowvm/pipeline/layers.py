"""Layers: headers that packets of a run were put behind, or that were taken off them.

As Open vSwitch does it, an encapsulation is but noted. It is carried out with the next output,
which is when the header gets its values. Where that does not come before the packet is again what
it was without the header, at the end of a clone or a bucket, and where the packet then goes on as
if the header had not been there, Open vSwitch loses track of the packet's bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flowvm.columns import Column
from flowvm.fields import Bits
from flowvm.packet.keys import labels
from flowvm.packet.layers import BEFORE_BITS, CONTEXT_BITS, LAYER_BITS, SERIAL_BITS, Layer

if TYPE_CHECKING:
    from flowvm.actions.base import Packets
    from flowvm.pipeline.engine import Run

Words = NDArray[np.uint64]

LOST = "an output after an encap or decap that was only for a clone or a bucket"
UNSETTLED = "an encap without an output, which Open vSwitch 3.1 does not survive,"
NO_LABEL = "encap(mpls) of a packet with labels, which Open vSwitch 3.1 does not survive,"
AFTER_MPLS = "encap(mpls) without encap(ethernet), which Open vSwitch 3.1 does not survive,"

_MPLS = (Layer.PUSH_MPLS, Layer.PUSH_MPLS_AFRESH)


class Layers:
    """Those of the packets of one run.

    A packet's word in the column ``LAYERS`` says what was done last, and what before. Words are
    noted with each commit; ``pending`` has an entry a packet.
    """

    def __init__(self, run: Run, n: int) -> None:
        self._run = run
        self._pending = np.zeros(n, bool)
        self._of_commit: Words = np.zeros(0, np.uint64)
        self._serial = 0

    def change(self, packets: Packets, layer: Layer, context: int = 0) -> None:
        """Note that ``layer`` is done to ``packets``, whose headers have been committed."""
        self._serial += 1
        column = self._run.columns[Column.LAYERS]
        before = column[packets] & np.uint64((1 << SERIAL_BITS.width) - 1)
        word = layer << LAYER_BITS.shift | context << CONTEXT_BITS.shift | self._serial
        column[packets] = np.uint64(word) | before << np.uint64(BEFORE_BITS.shift)
        # That Ethernet is taken off, the packet's type says.
        self._pending[packets] = layer is not Layer.POP_ETHERNET
        self._run.emissions.touch(packets)

    def have_changed(self, packets: Packets) -> NDArray[np.bool_]:
        """To which of ``packets`` more was done since the datapath looked at them.

        More than to take off the Ethernet header: all the rest of them is known as before then.
        """
        word = self._run.columns[Column.LAYERS][packets]
        bare = _read(word, LAYER_BITS) == Layer.POP_ETHERNET
        bare &= _read(word, BEFORE_BITS) == 0
        return np.asarray((word != 0) & ~bare, bool)

    def check(self, packets: Packets, commits: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Stop those of ``packets`` that cannot be committed; ``commits`` are their latest.

        Returns which can.
        """
        run = self._run
        now = run.columns[Column.LAYERS][packets]
        before = np.zeros(len(packets), np.uint64)
        known = commits >= 0
        before[known] = self._of_commit[commits[known]]
        same = _read(now, SERIAL_BITS) == _read(before, SERIAL_BITS)
        follows = ~same & (_read(now, BEFORE_BITS) == _read(before, SERIAL_BITS))
        new_label = follows & np.isin(_read(now, LAYER_BITS), _MPLS)
        goes_on = new_label | (_read(now, LAYER_BITS) == Layer.PUSH_ETHERNET) & follows
        # Of labels that are not for multicast none is left, and a header without labels is none.
        stack = labels(np.array([column[packets] for column in run.columns]))
        fine = np.ones(len(packets), bool)
        for bad, what in (
            (~same & ~follows, LOST),
            (same & self._pending[packets], UNSETTLED),
            (np.isin(_read(before, LAYER_BITS), _MPLS) & ~goes_on, AFTER_MPLS),
            (new_label & ~stack.any(axis=0), NO_LABEL),
        ):
            run.stop_unsupported(packets[bad & fine], what)
            fine &= ~bad
        self._pending[packets[fine]] = False
        return fine

    def note(self, packets: Packets) -> None:
        """Note the words of ``packets``, which are committed now, in that order."""
        words = self._run.columns[Column.LAYERS][packets]
        self._of_commit = np.concatenate([self._of_commit, words])


def _read(words: Words, bits: Bits) -> Words:
    return words >> np.uint64(bits.shift) & np.uint64((1 << bits.width) - 1)
