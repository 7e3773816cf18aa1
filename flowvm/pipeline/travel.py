"""The way of a packet through the datapath: output, steps, recirculation.

A packet's way begins with the translation that its arrival makes. Where a step says so, a copy of
the packet goes on with a translation of its own, before the rest of the first one is executed
(``dp_execute_cb`` in Open vSwitch 3.1's lib/dpif-netdev.c). One translation's worth of the way is a
*leg*. Legs are packets in their own right: they have a frame, headers and a path.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from flowvm.columns import Column
from flowvm.conntrack.extract import Datagram
from flowvm.conntrack.fragments import BATCH, Assembly, Fragment
from flowvm.conntrack.nat import Translation, UnpredictableError
from flowvm.conntrack.request import Request, Tracking
from flowvm.conntrack.tracker import track
from flowvm.fields import (
    ETH_TYPE_BITS,
    ETH_TYPE_IP,
    ETH_TYPE_IPV6,
    ETH_TYPE_QINQ,
    ETH_TYPE_VLAN,
    NW_FRAG_BITS,
    NW_PROTO_BITS,
    PACKET_TYPE_BITS,
    TP_DST_BITS,
    TP_SRC_BITS,
)
from flowvm.flow import ReservedPort
from flowvm.packet.decode import DEFAULT_VLAN_LIMIT, ETH_HEADER
from flowvm.packet.encode import keep_network, rewrite
from flowvm.packet.frames import Frames
from flowvm.packet.keys import count_tags
from flowvm.packet.layout import NOWHERE
from flowvm.packet.translate import packet_columns, translate
from flowvm.pipeline.ct_columns import set_tracking
from flowvm.pipeline.emission import UNLIMITED
from flowvm.pipeline.joining import fragment_context, share_headers
from flowvm.pipeline.legs import (
    Leg,
    Offsets,
    Resumption,
    offsets_of,
    packet_types_of,
)
from flowvm.pipeline.pretence import pretend, pretended_translation
from flowvm.pipeline.recirculation import (
    MAX_RECIRCULATIONS,
    RECIRC_ID_BITS,
    TOO_DEEP,
    ComeBack,
    Condition,
    DatapathStep,
    EndOfBranch,
)
from flowvm.pipeline.world import World

_NO_COMMIT = -1
_DP_HASH = (1 << 32) - 1
_TRACKED_HEADERS = [
    Column.IPV4,
    *(Column.IPV6_SRC, Column.IPV6_SRC_LOW, Column.IPV6_DST, Column.IPV6_DST_LOW),
    Column.TP,
]
"""Header columns whose rewriting makes the datapath forget the packet's connection."""
_AFTER_FORKS = 1 << 32
_REWRITTEN = "rewriting of fragments together with a packet of other headers"


def travel(world: World, leg: Leg) -> None:
    """Take ``leg``, whose path is known, and all that follows from it, to the end."""
    Traveller(world, leg).go()
    while world.waiting:
        leg, request = world.waiting.popleft()
        assert world.ct_next is not None
        pretend(leg, request, world.ct_next.popleft() if world.ct_next else None)
        _resume(world, leg)


def _resume(world: World, leg: Leg) -> None:
    """Take a leg that goes on to its end."""
    leg.path = world.guide.take(leg)
    world.journal.legs.append(leg)
    Traveller(world, leg).go()


def _has_tag_behind(columns: NDArray[np.uint64]) -> bool:
    """Whether a packet has more tags than the datapath finds when it looks at it anew."""
    tags = int(count_tags(columns[Column.VLAN : Column.VLAN + 1])[0])
    behind = int(columns[ETH_TYPE_BITS.column]) >> ETH_TYPE_BITS.shift & 0xFFFF
    return tags > DEFAULT_VLAN_LIMIT or behind in (ETH_TYPE_VLAN, ETH_TYPE_QINQ)


def _is_of_protocol_0(columns: NDArray[np.uint64]) -> bool:
    """Whether it is a packet of IP into the headers of which the datapath does not write."""
    word = int(columns[Column.NW])
    is_ip = word >> ETH_TYPE_BITS.shift & 0xFFFF in (ETH_TYPE_IP, ETH_TYPE_IPV6)
    return is_ip and not word >> NW_PROTO_BITS.shift & 0xFF


@dataclass(frozen=True, eq=False, slots=True)
class _Moment:
    frame: bytes
    commit: int
    translated: bool
    dropped: bool
    tracking: Tracking


class Traveller:
    """A packet while the datapath executes one leg of its way."""

    def __init__(self, world: World, leg: Leg) -> None:
        paths = world.guide.paths
        self._world = world
        self._leg = leg
        self._steps = paths.steps
        self._commits = paths.commits
        self._emissions = paths.emissions
        self._first_commit = int(paths.commits.starts[leg.path])
        self._first_emission = int(paths.emissions.starts[leg.path])
        self._frame = leg.frame
        self._commit = _NO_COMMIT
        self._translated = False
        self._decoded = self._forgotten = False
        self._packet_type = 0
        self._moments: list[_Moment] = []
        self._place = 0
        self._passed_over = 0
        self._pretended: Request | None = None
        self._dropped = self._performed = self._tracked = self._gone = False
        self._assembly: Assembly | None = None
        self._n_joined = self._born = 0
        self._rank: tuple[int, ...] = ()
        self._alike = True
        self.tracking = leg.tracking

    def go(self) -> None:
        """Execute the leg, and the legs that begin in it.

        Fragments that connection tracking holds no more join the packet for the rest of its path.
        """
        leg, steps = self._leg, self._steps
        self._moments.append(self._moment())
        batch, done = [self], 0
        first, last = int(steps.starts[leg.path]), int(steps.starts[leg.path + 1])
        try:
            for entry in range(first, last):
                position = int(steps["position"][entry])
                _emit(batch, done, position)
                done = position
                for member in batch:
                    member._perform(entry)
                if any(member._tracked for member in batch):
                    self._let_join(batch)
                batch = [member for member in batch if not member._gone]
                for member in batch:
                    member._end_step(int(steps["frozen"][entry]))
            _emit(batch, done, self._emissions.counts_of(leg.path))
        except UnpredictableError as error:
            self._world.journal.unsupported.setdefault(leg.packet, str(error))

    def _perform(self, entry: int) -> None:
        """Execute a step, unless it is passed over."""
        steps = self._steps
        step = self._world.steps[int(steps["step"][entry])]
        self._tracked = False
        self._performed = not self._passes_over(step)
        if self._performed:
            self._advance(int(steps["commit"][entry]))
            step.perform(self, steps["values"][:, entry].tolist())

    def _end_step(self, frozen: int) -> None:
        """Let a copy of the packet go on, if one does after this step."""
        if frozen and self._performed and not self._dropped:
            self._fork(frozen)
        if self._pretended is not None:
            self._end_pretence(self._pretended)
        self._moments.append(self._moment())
        self._place += 2

    def _let_join(self, batch: list[Traveller]) -> None:
        """Add the fragments that are released when packets have been tracked."""
        world = self._world
        room = BATCH - sum(not member._dropped for member in batch)
        for fragment in world.fragments.release(world.now, room):
            batch.append(self._joined(fragment))
        for member in batch:
            if member._assembly is not None and not member._assembly.sent:
                world.journal.held.add(member._leg.packet)
            member._assembly = None

    def _joined(self, fragment: Fragment) -> Traveller:
        """A fragment that goes on from here."""
        world, leg, datagram = self._world, self._leg, fragment.datagram
        self._n_joined += 1
        new = replace(
            leg,
            number=world.journal.n + len(world.journal.legs) + len(world.waiting),
            frame=datagram.frame,
            tracking=fragment.tracking,
            offsets=(datagram.l3, datagram.l4, len(datagram.frame) - datagram.end),
            joins=True,
        )
        world.journal.legs.append(new)
        member = Traveller(world, new)
        member._commit, member._place = self._commit, self._place
        member._rank = (self._n_joined,)
        member._translated = member._performed = True
        member._alike = share_headers(self._header(self._commit), new.frame)
        member._born = len(self._moments)
        member._moments = [member._moment()] * member._born
        return member

    # -- what steps ask ---------------------------------------------------------------------------

    def track(self, request: Request) -> None:
        """Send the packet through connection tracking."""
        world = self._world
        if world.ct_next is not None:
            self._pretended = request
            return
        self._tracked = True
        datagram, now = self._datagram(), world.now
        context = fragment_context(self._leg.columns)
        held = world.fragments.take(datagram, self.tracking, request.zone, context, now)
        if held is not None:
            self._hold(held, request)
            return
        translation = track(world.connections, datagram, self.tracking, request, now, self._ports())
        if translation is not None:
            self._translate(translation)

    def _hold(self, assembly: Assembly, request: Request) -> None:
        """Stop here, as a fragment; if it was the last that lacked, the datagram is tracked."""
        world = self._world
        self._dropped, self._assembly = True, assembly
        whole = world.fragments.close(assembly) if assembly.is_complete else None
        if whole is None:
            return
        tracking = assembly.fragments[0].tracking.copy()
        translation = track(world.connections, whole, tracking, request, world.now, self._ports())
        if translation is not None:
            if translation.control is not None:
                raise UnpredictableError("FTP in fragments with nat")
            whole = replace(whole, frame=translate(whole.frame, translation, whole.l3))
        assembly.settle(whole, tracking)

    def _end_pretence(self, request: Request) -> None:
        """Go on after a pretended ct action: untracked, and translated if that was asked for."""
        self.tracking, self._pretended = Tracking(), None
        translation = pretended_translation(self._header(self._commit), request.nat)
        if translation is not None:
            self._translate(translation)

    def _translate(self, translation: Translation) -> None:
        self._frame = translate(self._frame, translation, self._offsets(self._frame)[0])
        self._translated = True

    def untrack(self) -> None:
        """Forget what connection tracking found out about the packet."""
        if self._world.ct_next is None:
            self.tracking.clear()
        else:
            self.tracking = Tracking()

    def decode_again(self, *, tracked: bool, packet_type: int) -> None:
        """Let the copy that goes on have the headers that its bytes have."""
        self._decoded, self._forgotten = True, not tracked
        self._packet_type = packet_type

    @property
    def length(self) -> int:
        """How many bytes the packet has now, beside padding."""
        return len(self._frame) - self._offsets(self._leg.frame)[2]

    def meet_meter(self, meter_id: int) -> None:
        """Pass a meter of the switch, or be dropped."""
        assert self._world.meters is not None
        if not self._world.meters.passes(meter_id, len(self._frame), self._world.now):
            self._dropped = True

    def pass_over(self) -> None:
        """Do nothing up to the end of the branch that begins here."""
        self._passed_over = 1

    def _passes_over(self, step: DatapathStep) -> bool:
        """Whether ``step`` is in a branch that is not taken."""
        if self._passed_over:
            self._passed_over += isinstance(step, Condition) - isinstance(step, EndOfBranch)
            return True
        if self._dropped and isinstance(step, Condition):
            self.pass_over()
        return self._dropped and not isinstance(step, ComeBack)

    def come_back(self, steps: int) -> None:
        """Be again what the packet was after so many steps."""
        self._gone = steps < self._born
        moment = self._moments[steps]
        self._frame, self._commit = moment.frame, moment.commit
        self._translated = moment.translated
        self._dropped = moment.dropped
        self.tracking = moment.tracking.copy()

    def _moment(self) -> _Moment:
        return _Moment(
            self._frame, self._commit, self._translated, self._dropped, self.tracking.copy()
        )

    def _datagram(self) -> Datagram:
        frame, leg = self._frame, self._leg
        l3, l4, padding = self._offsets(frame)
        if packet_types_of([self._header(self._commit)])[0]:
            # Connection tracking knows connections of packets with an Ethernet header only.
            if int(leg.columns[NW_FRAG_BITS.column]) & NW_FRAG_BITS.mask[NW_FRAG_BITS.column]:
                raise UnpredictableError("ct of a fragment without an Ethernet header")
            l4 = NOWHERE
        eth_type = int(leg.columns[ETH_TYPE_BITS.column]) >> ETH_TYPE_BITS.shift & 0xFFFF
        return Datagram(frame, eth_type, l3, l4, len(frame) - padding)

    def _ports(self) -> tuple[int, int]:
        """The ports that the datapath found when it took the packet up."""
        word = int(self._leg.columns[Column.TP])
        return word >> TP_SRC_BITS.shift & 0xFFFF, word >> TP_DST_BITS.shift & 0xFFFF

    def _offsets(self, frame: bytes) -> Offsets:
        """Where the headers of ``frame`` are.

        The datapath knows it from the packet's arrival, also behind tags that were pushed since
        (behind other headers nobody asks).
        """
        leg = self._leg
        if leg.offsets is None:
            leg.offsets = offsets_of(Frames.of([leg.frame]), packet_types_of([leg.columns]))[0]
        l3, l4, padding = leg.offsets
        moved = len(frame) - len(leg.frame)
        return (l3 if l3 < 0 else l3 + moved, l4 if l4 < 0 else l4 + moved, padding)

    # -- the packet itself ------------------------------------------------------------------------

    def _header(self, commit: int) -> NDArray[np.uint64]:
        """The columns at a commit of the path."""
        columns = self._leg.columns.copy()
        if commit != _NO_COMMIT:
            values = self._commits["header"][:, self._first_commit + commit]
            for (column, mask), value in zip(self._world.written, values.tolist(), strict=True):
                columns[column] = int(columns[column]) & ~mask | value & mask
        return columns

    def _frame_at(self, commit: int) -> tuple[bytes, bool]:
        """The packet's bytes at a commit, and whether headers of its connection changed."""
        frame, chain, leg = self._frame, [], self._leg
        at = commit
        while at not in (self._commit, _NO_COMMIT):
            chain.append(at)
            at = int(self._commits["parent"][self._first_commit + at])
        if at != self._commit:
            frame = leg.frame
            if leg.joins:
                raise UnpredictableError(_REWRITTEN)
        before = self._base(at)
        moved = False
        for number in reversed(chain):
            after = self._header(number)
            if (before[Column.ETH_SRC :] != after[Column.ETH_SRC :]).any():
                if not self._alike or (leg.joins and before[Column.TP] != after[Column.TP]):
                    raise UnpredictableError(_REWRITTEN)
                moved |= bool((before[_TRACKED_HEADERS] != after[_TRACKED_HEADERS]).any())
                frame = rewrite(
                    Frames.of([frame]),
                    before[:, None],
                    after[:, None],
                    contexts=self._world.contexts,
                )[0]
            before = keep_network(after[:, None], before[:, None])[:, 0]
        return frame, moved

    def _base(self, commit: int) -> NDArray[np.uint64]:
        """The columns at a commit, network headers included that a label hides."""
        header = self._header(commit)
        if commit == _NO_COMMIT or int(header[NW_PROTO_BITS.column]) >> NW_PROTO_BITS.shift & 0xFF:
            return header
        parent = int(self._commits["parent"][self._first_commit + commit])
        return keep_network(header[:, None], self._base(parent)[:, None])[:, 0]

    def _advance(self, commit: int) -> None:
        if commit != self._commit:
            self._frame, moved = self._frame_at(commit)
            self._commit = commit
            if moved:
                self.tracking.connection = None

    def _emit(self, first: int, last: int, *order: int) -> None:
        if first == last or self._passed_over or self._dropped:
            return
        number, journal = self._leg.number, self._world.journal
        place = (*self._leg.place, self._place, *order, *self._rank)
        journal.segments.append((place, number, first, last))
        if not self._translated:
            return
        for entry in range(first, last):
            at = self._first_emission + entry
            frame = self._frame_at(int(self._emissions["commit"][at]))[0]
            max_len = int(self._emissions["max_len"][at])
            if max_len < UNLIMITED:
                before = self._frame_at(int(self._emissions["before"][at]))[0]
                frame = frame[: len(frame) - max(len(before) - max_len, 0)]
            journal.replaced[number, entry] = frame

    def _fork(self, frozen: int) -> None:
        """Let a copy of the packet go on with what is frozen under that number."""
        world, leg = self._world, self._leg
        # The translation may have gone deeper already, where the datapath hashed the packet.
        depth = world.frozen[frozen].depth or leg.depth + 1
        if depth > MAX_RECIRCULATIONS:
            world.journal.lost.setdefault(leg.packet, TOO_DEEP)
            return
        if len(self._frame) < ETH_HEADER:
            # The datapath takes up no packet that is shorter, even of one without Ethernet.
            return
        columns = self._header(self._commit)
        if not self._decoded:
            self._packet_type = int(packet_types_of([columns])[0])
        anew = self._pretended is None and (self._translated or _is_of_protocol_0(columns))
        anew |= _has_tag_behind(columns)
        if anew or self._decoded:
            columns[Column.ETH_SRC :] = packet_columns(self._frame, self._packet_type)
        columns[Column.ACTSET_OUTPUT] = ReservedPort.UNSET
        columns[Column.PACKET_TYPE] = self._packet_type << PACKET_TYPE_BITS.shift
        columns[Column.LAYERS] = 0
        dp_hash = int(columns[Column.RECIRC]) & _DP_HASH
        columns[Column.RECIRC] = frozen << RECIRC_ID_BITS.shift | dp_hash
        copy = Leg(
            world.journal.n + len(world.journal.legs) + len(world.waiting),
            leg.packet,
            columns,
            self._frame,
            self.tracking.copy(),
            (*leg.place, self._place + 1, *(_AFTER_FORKS + rank for rank in self._rank)),
            depth,
            offsets=leg.offsets if self._frame is leg.frame else None,
            resumed=Resumption(None if self._decoded else self.tracking.state),
        )
        set_tracking(columns, Tracking() if self._forgotten else self.tracking)
        self._decoded = self._forgotten = False
        if self._pretended is None:
            _resume(world, copy)
        else:
            world.waiting.append((copy, self._pretended))


def _emit(batch: list[Traveller], first: int, last: int) -> None:
    """Let packets that go together leave: by one port after the other, all of them by each."""
    if len(batch) == 1:
        batch[0]._emit(first, last)
        return
    for entry in range(first, last):
        for member in batch:
            member._emit(entry, entry + 1, entry)
