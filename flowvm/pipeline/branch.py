"""Branches: packets that do something on the side and then go on as if they had not.

What they were is saved and brought back: their headers and metadata, stacks and action sets. What
they did on the side stays done: frames left, flows were learned, lookups counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flowvm.pipeline.actionset import SavedSets
from flowvm.pipeline.emission import Place
from flowvm.pipeline.noted_hashes import SavedHashes
from flowvm.pipeline.stack import SavedStacks

if TYPE_CHECKING:
    from flowvm.actions.base import Packets
    from flowvm.pipeline.engine import Run


@dataclass(frozen=True, eq=False)
class Branch:
    """What some packets of a run are at one moment."""

    packets: Packets
    columns: dict[int, NDArray[np.uint64]]
    stacks: SavedStacks
    action_sets: SavedSets
    place: Place
    datapath: NDArray[np.int64]
    n_reentries: int
    popped: NDArray[np.bool_]
    hashes: SavedHashes

    @classmethod
    def begin(cls, run: Run, packets: Packets) -> Branch:
        """Save what ``packets`` are now."""
        return cls(
            packets,
            {column: run.columns[column][packets] for column in run.state.program.written},
            run.stacks.save(packets),
            run.action_sets.save(packets),
            run.emissions.place(packets),
            run.datapath.counts(packets),
            len(run.reentries),
            run.freezer.popped[packets],
            run.hashes.save(packets),
        )

    def end(self, run: Run, *, rewind: bool) -> None:
        """Let the packets be again what they were.

        With ``rewind`` the datapath worked on a copy, so that the next output rewrites the packet
        as it was before the branch; else it rewrites what the last output of the branch made of it.
        """
        froze = self.froze(run)
        self.bring_back_stacks(run)
        self.bring_back_headers(run, rewind=rewind)
        # To OVS the branch that the datapath takes up again has ended in an exit.
        run.revive(self.packets[froze], froze[froze])
        run.freezer.exited[self.packets[froze]] = True
        run.halt(self.packets[froze])

    def froze(self, run: Run) -> NDArray[np.bool_]:
        """Which of the packets the datapath took up again since the branch began."""
        return np.asarray(run.emissions.freezings(self.packets) != self.place.freezings, bool)

    def bring_back_stacks(self, run: Run) -> None:
        """Let the stacks and action sets be again what they were."""
        run.stacks.restore(self.packets, self.stacks)
        run.action_sets.restore(self.packets, self.action_sets)

    def bring_back_headers(self, run: Run, *, rewind: bool) -> None:
        """As :meth:`end`, but for stacks, action sets, and what has stopped the packets."""
        run.reentries.come_back(self.n_reentries)
        for column, saved in self.columns.items():
            run.columns[column][self.packets] = saved
        run.emissions.come_back(self.packets, self.place, rewind=rewind)
        if rewind:
            run.datapath.come_back(self.packets, self.datapath)
            run.freezer.popped[self.packets] = self.popped
            run.hashes.restore(self.packets, self.hashes)
