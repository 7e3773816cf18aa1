"""Re-entry: the datapath takes up a packet again in the middle of a list of actions.

That is what it takes for the datapath to hash a packet. What follows is a translation of its own,
with limits of its own; but since it goes on just where the one before has stopped, with what the
packet has become, a run simply goes on. It differs in what a failure drops, what counters count,
and in what a packet is again after a branch: the datapath went on with a copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flowvm.columns import Column
from flowvm.fields import (
    ETH_TYPE_BITS,
    ETH_TYPE_MPLS,
    ETH_TYPE_MPLS_MCAST,
    ETH_TYPE_QINQ,
    ETH_TYPE_VLAN,
    NW_PROTO_BITS,
)
from flowvm.packet.decode import DEFAULT_VLAN_LIMIT
from flowvm.packet.keys import count_labels, count_tags
from flowvm.pipeline.actionset import SavedSets
from flowvm.pipeline.bits import Columns
from flowvm.pipeline.noted_hashes import SavedHashes
from flowvm.pipeline.prerequisites import has_eth_type, is_ip, value
from flowvm.pipeline.stack import SavedStacks

if TYPE_CHECKING:
    from flowvm.actions.base import Operation, Packets
    from flowvm.pipeline.engine import Run

AFTER_EXIT = "recirculation after exit"
MAX_REENTRIES = 256
MOST_RESUBMITS = 4096
"""How often a packet may be taken up again, and how many resubmits it may make on those ways.

Limits begin anew each time; so many only a loop makes.
"""

_TAG_BYTES = 4
_LABEL_BYTES = 4


@dataclass(frozen=True, eq=False)
class _Frozen:
    """What packets are when the datapath is to take up them, or copies of them, again."""

    packets: Packets
    stacks: SavedStacks
    action_sets: SavedSets
    steps: NDArray[np.int64]
    resubmits: NDArray[np.int32]
    thawed: NDArray[np.bool_]
    hashes: SavedHashes
    levels: NDArray[np.int64]
    grown: NDArray[np.int64]
    exited: NDArray[np.bool_]
    places: NDArray[np.int64]


class Reentries:
    """Those of the packets of one run; arrays have one entry a packet.

    ``grown`` is how many bytes longer each packet is, as counters see it, than it came in.
    ``began_at`` is how deep in recirculations it was when the run began, ``levels`` how much deeper
    it is now. ``hides_tags`` marks packets to which a third VLAN tag was pushed, ``failed`` those
    that failed after re-entry. ``in_branch`` tells that the datapath may do nothing of what is
    being executed.
    """

    def __init__(self, run: Run, n: int) -> None:
        self._run = run
        self._frozen: list[_Frozen] = []
        self.grown = np.zeros(n, np.int64)
        self.began_at = np.full(n, run.entry.recirculations if run.entry else 0)
        self.levels = np.zeros(n, np.int64)
        self.hides_tags = np.zeros(n, bool)
        self.failed = np.zeros(n, bool)
        self.in_branch = False
        self._left = np.zeros(n, bool)
        self._steps_before = np.zeros(n, np.int64)
        self._counts = np.zeros(n, np.int64)
        self._resubmits_before = np.zeros(n, np.int64)
        self._places = np.zeros((2, n), np.int64)
        """Table and rule that the controller is told after all lists."""

    def __len__(self) -> int:
        return len(self._frozen)

    def happened(self, packets: Packets) -> NDArray[np.bool_]:
        """Which of ``packets``, as they are now, have been taken up again."""
        return np.isin(packets, np.concatenate([some.packets for some in self._frozen]))

    def enter(self, packets: Packets) -> None:
        """The datapath takes up ``packets`` again, as they are now; what follows is for those."""
        run = self._run
        run.emissions.freeze(packets)
        steps = run.datapath.counts(packets)
        self._frozen.append(
            _Frozen(
                packets,
                run.stacks.save(packets),
                run.action_sets.save(packets),
                steps,
                run.resubmits[packets],
                run.freezer.thawed[packets],
                run.hashes.save(packets),
                self.levels[packets],
                self.grown[packets],
                run.freezer.exited[packets],
                self._places[:, packets],
            )
        )
        self._note_place(packets)
        run.hashes.receive(packets)
        self.levels[packets] += 1
        if self.in_branch:
            run.stop_unsupported(packets, "recirculation for a hash after check_pkt_larger")
        run.stop_unsupported(packets[run.freezer.exited[packets]], AFTER_EXIT)
        run.freezer.exited[packets] = False
        self._counts[packets] += 1
        many = self._counts[packets] > MAX_REENTRIES
        many |= self._resubmits_before[packets] > MOST_RESUBMITS
        run.stop_unsupported(packets[many], f"more than {MAX_REENTRIES} recirculations")
        self._steps_before[packets] = steps
        run.freezer.thawed[packets] = True
        run.depth[packets] = 0
        run.resubmits[packets] = 0
        now, before = (columns[Column.VLAN][packets] for columns in (run.columns, run.original))
        # The datapath looks at the frame anew, which is not what the headers here say if there are
        # tags that it does not look behind.
        more = has_eth_type(run.original, packets, ETH_TYPE_VLAN, ETH_TYPE_QINQ)
        hidden = (count_tags(now) > DEFAULT_VLAN_LIMIT) | self.hides_tags[packets]
        hidden |= more & (now != before)
        run.stop_unsupported(packets[hidden], "recirculation of a packet with several VLAN tags")
        bare = _have_no_labels(run.columns, packets) & ~_have_no_labels(run.original, packets)
        run.stop_unsupported(packets[bare], "recirculation of a packet without the label it had")
        unwritten = _are_of_protocol_0(run.columns, packets) & _differ(run, packets)
        run.stop_unsupported(
            packets[unwritten], "recirculation for a hash of IP protocol 0 with changed headers"
        )
        layered = run.layers.have_changed(packets)
        run.stop_unsupported(packets[layered], "recirculation for a hash after encap or decap")
        # What the datapath drops it does not take up again; what follows would not happen then.
        metered = run.datapath.metered[packets]
        run.stop_unsupported(packets[metered], "recirculation for a hash after a meter")
        self.grown[packets] = _TAG_BYTES * (count_tags(now) - count_tags(before))
        labels = [_labels(columns, packets) for columns in (run.original, run.columns)]
        self.grown[packets] += _LABEL_BYTES * (labels[1] - labels[0])

    def depths(self, packets: Packets) -> NDArray[np.int64]:
        """How deep in recirculations each of ``packets`` is."""
        return self.began_at[packets] + self.levels[packets]

    def moment(self) -> NDArray[np.int64] | None:
        """What tells which packets re-enter from now on."""
        everyone = np.arange(len(self.grown))
        return self._run.emissions.freezings(everyone) if self._frozen else None

    def _since(self, moment: NDArray[np.int64] | None, packets: Packets) -> Packets:
        before = np.zeros(len(packets), np.int64) if moment is None else moment[packets]
        return np.asarray(packets[self._run.emissions.freezings(packets) != before], np.int64)

    def leave_since(self, moment: NDArray[np.int64] | None, packets: Packets) -> None:
        """Let ``packets``, which leave a list, leave those around it too if they have re-entered.

        Of all those lists the datapath has made one, but for action sets.
        """
        left = self._since(moment, packets)
        left = left[~self._run.halted[left]]
        self._left[left] = True
        self._run.halt(left)

    def return_left(self) -> None:
        """Let packets that have left their lists do what comes after all lists."""
        self._run.go_on(np.flatnonzero(self._left))
        self._left[:] = False

    def _note_place(self, packets: Packets) -> None:
        self._places[:, packets] = self._run.table[packets], self._run.rule[packets]

    def note_rest(
        self, moment: NDArray[np.int64] | None, packets: Packets, rest: tuple[Operation, ...]
    ) -> None:
        """Note where ``packets`` are that re-entered, and come back to a list with this ``rest``.

        Open vSwitch knows if the rest may tell the controller; the list does not end for it then.
        """
        if any(operation.needs_rule for operation in rest):
            self._note_place(self._since(moment, packets))

    def take_tables(
        self, moment: NDArray[np.int64] | None, packets: Packets
    ) -> tuple[Packets, NDArray[np.int32]]:
        """Let packets that re-entered since be in the table that Open vSwitch takes the list for.

        Returns those packets, and the tables that they were in.
        """
        again = self._since(moment, packets)
        tables = self._run.table[again]
        self._run.table[again] = self._places[0, again]
        return again, tables

    def settle(self, packets: Packets) -> None:
        """After all lists, let ``packets`` that have re-entered be where they were known to be."""
        again = packets[self.happened(packets)]
        self._run.table[again], self._run.rule[again] = self._places[:, again]

    def stop_since(self, moment: NDArray[np.int64] | None, packets: Packets) -> None:
        """Stop those of ``packets`` that have re-entered: what is left of outer lists branches."""
        again = self._since(moment, packets)
        self._run.stop_unsupported(again, "check_pkt_larger after recirculation for a hash")

    def come_back(self, first: int) -> None:
        """Let packets go on as they were when they re-entered, but for the ``first`` times."""
        run, frozen = self._run, self._frozen[first:]
        seen = np.zeros(len(run.halted), bool)
        for some in frozen:
            self._resubmits_before[some.packets] += run.resubmits[some.packets]
            new = ~seen[some.packets]
            run.datapath.come_back(some.packets[new], some.steps[new])
            seen[some.packets] = True
        for some in reversed(frozen):
            run.stacks.restore(some.packets, some.stacks)
            run.action_sets.restore(some.packets, some.action_sets)
            run.resubmits[some.packets] = some.resubmits
            run.freezer.thawed[some.packets] = some.thawed
            run.hashes.restore(some.packets, some.hashes)
            self.levels[some.packets] = some.levels
            self.grown[some.packets] = some.grown
            run.freezer.exited[some.packets] = some.exited
            self._places[:, some.packets] = some.places
        del self._frozen[first:]

    def fail(self, packets: Packets, detail: str) -> NDArray[np.bool_]:
        """Which of ``packets``, which fail, lose only what they did since re-entry."""
        run = self._run
        again = run.emissions.withdraw(packets)
        # Steps of the datapath and lessons are not taken back.
        beyond = again & (run.datapath.counts(packets) > self._steps_before[packets])
        taught = [events.packets for events in run.learned]
        taught += [cut.packets for cut in run.timeout_cuts]
        if taught:
            beyond |= run.emissions.has_nested(packets) & np.isin(packets, np.concatenate(taught))
        for packet in packets[beyond].tolist():
            run.unsupported.setdefault(packet, f"{detail} after recirculation")
        self.failed[packets[again]] = True
        return again


def _have_no_labels(columns: Columns, packets: Packets) -> NDArray[np.bool_]:
    """Which of ``packets`` only their type says that they have labels."""
    is_mpls = has_eth_type(columns, packets, ETH_TYPE_MPLS, ETH_TYPE_MPLS_MCAST)
    return np.asarray(is_mpls & (_labels(columns, packets) == 0), bool)


def _are_of_protocol_0(columns: Columns, packets: Packets) -> NDArray[np.bool_]:
    """Which of ``packets`` are of IP, but the datapath does not write into their headers."""
    return np.asarray(is_ip(columns, packets) & (value(columns, packets, NW_PROTO_BITS) == 0))


def _differ(run: Run, packets: Packets) -> NDArray[np.bool_]:
    """Which of ``packets`` have other network headers by now than they came with."""
    both = zip(
        run.columns[Column.NW : Column.MPLS], run.original[Column.NW : Column.MPLS], strict=True
    )
    changed = [now[packets] != before[packets] for now, before in both]
    return np.asarray(np.any(changed, axis=0))


def _labels(columns: Columns, packets: Packets) -> NDArray[np.int64]:
    """How many labels each of ``packets`` has."""
    first, second = columns[Column.MPLS][packets], columns[Column.MPLS_2][packets]
    half = np.uint64(32)
    stack = np.array([first >> half, first & np.uint64(0xFFFF_FFFF), second >> half])
    return count_labels(value(columns, packets, ETH_TYPE_BITS), stack)
