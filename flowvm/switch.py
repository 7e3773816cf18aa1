"""One bridge: its flows, what has happened to them so far, and a clock.

A :class:`Switch` is what a user of the library holds. It starts at time 0, the moment the dump was
taken, and moves on with the packets it is given. To ask without moving it on there is
:meth:`Switch.trace`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self, TextIO

from flowvm.bulk.files import read_file
from flowvm.bulk.read import read_bulk
from flowvm.clock import SECOND
from flowvm.examples import open_source
from flowvm.flow import Flow, Port
from flowvm.flow_mod import FlowMod
from flowvm.names import Names
from flowvm.packet.batch import PacketBatch
from flowvm.pipeline.assemble import with_bridge
from flowvm.pipeline.compile import compile_flows, flow_names
from flowvm.pipeline.compile_groups import with_groups
from flowvm.pipeline.machine import MILLISECOND, Machine
from flowvm.pipeline.modify import apply_flow_mods, protocol_of
from flowvm.pipeline.program import Program
from flowvm.pipeline.recording import Recorder
from flowvm.pipeline.result import Result
from flowvm.pipeline.snapshot import flows_now
from flowvm.pipeline.state import State
from flowvm.port_settings import BridgeSettings, MacEntry, PortSettings
from flowvm.tlv_map import TlvMap

if TYPE_CHECKING:
    from scapy.packet import Packet

    from flowvm.arrival import Seconds
    from flowvm.text.group_stats import GroupStats
    from flowvm.text.groups import Group
    from flowvm.text.meters import MeterConfig
    from flowvm.trace import Trace


class Switch:
    """A bridge with ``flows``; ``ports`` maps the names of its ports to numbers, if known.

    Where ``ports`` is :class:`~flowvm.names.Names`, that is all the names there are. ``groups`` are
    all the bridge's groups; without them a packet that comes to a group stops as unsupported.
    ``bridge`` is what ``NORMAL`` goes by (or all the bridge's ports, in the order in which it
    floods to them), ``macs`` what it knows at time 0, as ``fdb/show`` says; without ``bridge``
    NORMAL is unsupported.
    ``tlv_map`` says what ``tun_metadata`` fields are; without one it is inferred from the flows
    (:mod:`flowvm.tlv_map`).
    """

    def __init__(
        self,
        flows: Iterable[Flow],
        ports: Mapping[str, int] | Names | None = None,
        groups: Iterable[Group] | None = None,
        meters: Iterable[MeterConfig] | None = None,
        bridge: BridgeSettings | Iterable[PortSettings] | None = None,
        macs: Iterable[MacEntry] = (),
        tlv_map: TlvMap | None = None,
    ) -> None:
        flows = tuple(flows)
        names = ports if isinstance(ports, Names) else flow_names(flows, ports, tlv_map)
        program = _with(compile_flows(flows, names), groups, meters, bridge)
        self._state = State(program)
        self._machine = Machine(self._state)
        self.load_macs(macs)

    @classmethod
    def of(cls, program: Program) -> Self:
        """The switch that runs ``program``."""
        switch = object.__new__(cls)
        switch._state = State(program)
        switch._machine = Machine(switch._state)
        return switch

    @classmethod
    def running(cls, machine: Machine) -> Self:
        """The switch that ``machine`` runs, and goes on to run."""
        switch = object.__new__(cls)
        switch._state, switch._machine = machine.state, machine
        return switch

    @property
    def program(self) -> Program:
        """The flows, compiled."""
        return self._state.program

    @property
    def state(self) -> State:
        """What has changed since the dump: counters, timers, learned flows."""
        return self._state

    @property
    def names(self) -> Names:
        """The names of ports and tables."""
        return self.program.names

    @property
    def now(self) -> int:
        """Nanoseconds since the dump was taken."""
        return self._state.now

    def copy(self) -> Self:
        """A switch like this one that goes its own way from here."""
        twin = object.__new__(type(self))
        twin._state = self._state.copy()
        twin._machine = Machine(twin._state)
        return twin

    def port(self, port: Port) -> int:
        """The number of a port given by number or name. Raises KeyError for an unknown name."""
        return self.names.port(port)

    def apply(
        self, mods: Iterable[FlowMod], *, openflow: str = "OpenFlow10", bundle: bool = False
    ) -> None:
        """Change the flows as ``ovs-ofctl`` does: add, modify, delete, without compiling anew.

        :func:`flowvm.text.flow_mods.parse_flow_mods` reads such changes from a file. ``openflow``
        is the version they come by, as ``ovs-ofctl -O`` names it: in OpenFlow 1.0, ovs-ofctl's own
        choice, adding a flow that is there resets its counters, and modifying one that is not
        there adds it; from 1.2 on neither is so. A ``bundle`` comes by OpenFlow 1.4 unless 1.3 or
        1.5 is said, and is done all or not at all.

        Raises FlowModError, a ValueError, at the first change that cannot be made; without a
        bundle, those before it are.

        >>> from flowvm import load
        >>> from flowvm.text.flow_mods import parse_flow_mods
        >>> switch = load("example:br-tun")
        >>> switch.apply(parse_flow_mods("delete table=20"))
        >>> [str(flow.table) for flow in switch.flows() if flow.table == 20]
        []
        """
        protocol = protocol_of(openflow, bundle)
        if bundle:
            changed = self._state.copy()
            apply_flow_mods(changed, mods, protocol)
            self._state = changed
            self._machine = Machine(changed)
            return
        try:
            apply_flow_mods(self._state, mods, protocol)
        finally:
            # What it knew of paths is not true any more.
            self._machine = Machine(self._state)

    def flows(self) -> list[Flow]:
        """The flows as ``dump-flows`` would print them now, learned ones included."""
        return flows_now(self._state)

    def group_stats(self) -> list[GroupStats]:
        """What the groups have counted, as ``dump-group-stats`` would print it, by group ID."""
        groups = self._state.groups
        return groups.statistics(self.now) if groups is not None else []

    def macs(self) -> list[MacEntry]:
        """The MAC addresses that NORMAL knows, in the order of ``fdb/show``.

        :func:`flowvm.text.fdb.format_fdb` prints them likewise. Without the bridge's settings there
        are none.
        """
        macs = self._state.macs
        return macs.rows(self.now // SECOND) if macs is not None else []

    def load_macs(self, entries: Iterable[MacEntry]) -> None:
        """Let NORMAL know what ``fdb/show`` printed, read by :func:`flowvm.text.fdb.parse_fdb`.

        Entries that are too old by now are left out; one for an address that is known already takes
        its place, as with ``fdb/add``. Raises ValueError if the bridge's settings are not known.
        """
        entries = tuple(entries)
        if not entries:
            return
        if self._state.macs is None:
            raise ValueError("MAC addresses are known to bridges only whose ports are")
        self._state.macs.load(entries, self.now // SECOND)
        # What it knew of paths is not true any more.
        self._machine = Machine(self._state)

    def connections(self) -> list[str]:
        """The tracked connections as ``dpctl/dump-conntrack -s`` prints them, sorted."""
        from flowvm.conntrack.text import format_connection

        now = self.now // MILLISECOND
        return [format_connection(found, now) for found in self._state.connections.connections(now)]

    @property
    def nat_basis(self) -> int | None:
        """The number by which the switch picks from the ranges of ``ct(nat)``; 32 bits.

        Open vSwitch draws it when it starts, and tells nobody. While it is ``None``, not
        known, packets for which there is a choice stop as unsupported.
        """
        return self._state.connections.nat_basis

    @nat_basis.setter
    def nat_basis(self, number: int | None) -> None:
        if number is not None and not 0 <= number < 1 << 32:
            raise ValueError(f"{number} is not a number of 32 bits")
        self._state.connections.nat_basis = number

    def track(self, text: str, *, file: str | None = None) -> None:
        """Enter connections, as ``ovs-appctl dpctl/dump-conntrack`` printed them.

        They live as long as the text says (with ``-s``), or as one that has just seen a packet.
        Sequence numbers of TCP, which no dump tells, are not checked. ``file`` is the name that
        errors give. Raises FlowSyntaxError for a line that cannot be read.
        """
        from flowvm.conntrack.text import parse_connections

        now = self.now // MILLISECOND
        for connection in parse_connections(text, now, file=file):
            self._state.connections.add(connection, now)

    def run(self, batch: PacketBatch, recorder: Recorder | None = None) -> Result:
        """Run packets, as if one came after the other; the switch moves on with them.

        The result has their emissions, verdicts and reasons. A ``recorder`` is told each step; it
        needs a batch of one. Raises ValueError if the first packet comes before the switch's time.

        >>> from flowvm import Frames, PacketBatch, load
        >>> switch = load("example:br-tun")
        >>> frames = Frames.of([bytes.fromhex("ffffffffffff 525400000001 0800") + bytes(46)] * 2)
        >>> batch = PacketBatch.of(frames, 2, [0, 10**9], [{"tun_id": 1}, {"tun_id": 7}])
        >>> result = switch.run(batch)
        >>> result.emissions.port.tolist(), [str(result.verdict(i)) for i in range(2)]
        ([1], ['output', 'drop'])
        """
        return self._machine.run(batch, recorder)

    def advance(self, now: int) -> None:
        """Let time pass until ``now``, nanoseconds since the dump was taken, without a packet.

        Flows whose time is over by then go. A time before the switch's own changes nothing.
        """
        self._machine.advance(now)

    def trace(
        self,
        packet: str | bytes | Packet,
        *,
        br_flow: str = "",
        in_port: Port | None = None,
        at: Seconds | None = None,
        ct_next: Sequence[str] | None = None,
    ) -> Trace:
        """What would happen to one packet, and why; nothing changes by it.

        ``packet`` is a frame (bytes, or a Scapy packet that begins with Ethernet), or headers in
        the syntax of ``ofproto/trace``: ``"in_port=1,tcp,nw_src=10.0.0.1"``, for which a frame is
        made up, with zeroes for what is not named and a TTL of 64. ``br_flow``, in the same syntax,
        adds to a frame what no frame carries: ``"tun_id=0x1,reg0=5"``. ``in_port`` is a number or
        a name; without one the packet comes from no port. ``at`` is a time in seconds since the
        dump was taken, by default the switch's own.

        ``ct_next`` are connection states ("trk,est") that the packet's ``ct`` actions find in turn,
        and then "trk,new", as in ``ofproto/trace``. Without it a frame meets the connections that
        the switch tracks; so do headers, unless it tracks none: then they count as new.

        Raises FlowSyntaxError for headers that cannot be read, and PacketError for an unknown port,
        for a time before the switch's own, and for headers that no frame can have; both are
        ValueErrors.
        """
        from flowvm.arrival import arrive, parse_ct_states
        from flowvm.trace import trace_packet

        arrival = arrive(self._state, packet, br_flow, in_port, at)
        states = None if ct_next is None else parse_ct_states(ct_next)
        if ct_next is None and isinstance(packet, str) and not self._state.connections:
            states = []
        return trace_packet(self._state, arrival, states)


def load(
    source: str | Path | TextIO,
    ports: Mapping[str, int] | None = None,
    *,
    lenient: bool = False,
    groups: Iterable[Group] | None = None,
    meters: Iterable[MeterConfig] | None = None,
    bridge: BridgeSettings | Iterable[PortSettings] | None = None,
    macs: Iterable[MacEntry] = (),
    tlv_map: TlvMap | None = None,
) -> Switch:
    """The switch that a dump describes.

    ``source`` is a file with what ``ovs-ofctl dump-flows`` printed: its path, or the file itself,
    opened as text; or the name of a dump that comes with flowvm (``"example:br-tun"``). The file
    may be compressed (gzip, xz, bzip2, zstd), or be one that ``flowvm compile`` wrote. ``ports``
    maps the names of *all* ports of the bridge to their numbers, as
    :func:`flowvm.text.show.parse_show` reads them from ``ovs-ofctl show``; without it ``FLOOD`` and
    ``ALL`` are unsupported, and an output to any other port is taken for one to an existing port.
    ``groups``, as :func:`flowvm.text.dump.parse_dump` reads them from ``ovs-ofctl dump-groups``,
    are added to those that stand in the file; without any, ``group`` is unsupported. ``meters``, as
    :func:`flowvm.text.meters.parse_meters` reads them, are needed for ``meter`` likewise, and
    ``bridge`` and ``macs``, as for :class:`Switch`, for ``NORMAL``. ``tlv_map``, as
    :func:`flowvm.text.tlv_map.parse_tlv_map` reads it from ``ovs-ofctl dump-tlv-map``, says what
    ``tun_metadata`` fields are; without one it is inferred (:mod:`flowvm.tlv_map`).

    Raises FlowSyntaxError for a line that cannot be read; if ``lenient``, such lines are left out,
    with a warning each. Raises OSError if there is no such file, or it cannot be decompressed, and
    ValueError for a compiled file that is damaged.
    """
    if isinstance(source, str | Path):
        with open_source(source) as file:
            dump = read_file(file, ports, name=str(source), lenient=lenient, tlv_map=tlv_map)
    else:
        name = getattr(source, "name", None)
        data = [source.read().encode()]
        dump = read_bulk(data, ports, file=name, lenient=lenient, tlv_map=tlv_map)
    for error in dump.errors:
        warnings.warn(str(error), stacklevel=2)
    switch = Switch.of(_with(dump.program, groups, meters, bridge))
    switch.load_macs(macs)
    return switch


def _with(
    program: Program,
    groups: Iterable[Group] | None,
    meters: Iterable[MeterConfig] | None,
    bridge: BridgeSettings | Iterable[PortSettings] | None,
) -> Program:
    if groups is not None:
        program = with_groups(program, groups)
    if bridge is not None:
        settings = bridge if isinstance(bridge, BridgeSettings) else BridgeSettings(tuple(bridge))
        program = with_bridge(program, settings)
    return program if meters is None else replace(program, meters=tuple(meters))
