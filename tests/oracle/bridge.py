"""A bridge of the real switch: load flows, send frames, see what leaves and what it learned.

Semantics are those of one packet at a time. After each frame the datapath is purged, so that the
next one is translated anew: a cached datapath flow would re-run `learn` only when revalidators
get to it, and counters would lag.
"""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cmp_to_key
from pathlib import Path
from typing import TYPE_CHECKING

from .dumps import flow_stats
from .loading import plan, versions
from .openflow import OpenFlow, OpenFlowError, PacketIn
from .order import DatapathFlow, Order, UndecidedError, orders, parse_flows
from .unixctl import Call, UnixctlError

if TYPE_CHECKING:
    from .server import OpenVSwitch

LOCAL = 0xFFFE

# A frame is handled in the turn of the switch's main loop after the one that took the command in.
# A turn answers up to ten commands of a connection, so this many take at least two turns.
_FENCE: tuple[Call, ...] = (("version", ()),) * 24
_PURGE: Call = ("revalidator/purge", ())
_FRAGMENTS = "dpctl/ipf-get-status"
_NO_FRAGMENTS = "num frag: 0\n"
_FRAGMENTS_LAST = 30_000  # ms; those that time is up for are looked for once a minute
_DATAPATH_FLOWS: Call = ("dpctl/dump-flows", ("--names",))

_GROUP_VERSIONS = ("OpenFlow15", "OpenFlow13")

_ENTRY_COOKIE = "0xfeedfeedfeedfeed"
_ENTRY_BASE = 60001
_ATTEMPTS = 1000

# As large as it goes: a port drops a frame above its MTU together with those that the same packet
# sends to that port after it.
MTU = 65000

_MIN_FRAME = 14
_PCAP_HEADER = 24
_RECORD = struct.Struct("=IIII")


class OracleRefusedError(Exception):
    """Open vSwitch refused what it was given; `str()` is its own message."""


@dataclass(frozen=True)
class Emission:
    """One frame that left one port."""

    port: int
    frame: bytes


@dataclass(frozen=True)
class Outcome:
    """What one injected frame made the bridge emit.

    `emissions` are in the order of the actions. Where `ordered` is false that order is unknown:
    they are then sorted by port (still in order within each port), and only `by_port()` or a
    multiset may be compared. `datapath` is the text of the datapath flows of the frame.
    """

    emissions: tuple[Emission, ...]
    ordered: bool
    datapath: str

    def __iter__(self) -> Iterator[Emission]:
        return iter(self.emissions)

    def __len__(self) -> int:
        return len(self.emissions)

    @property
    def ports(self) -> tuple[int, ...]:
        return tuple(emission.port for emission in self.emissions)

    def by_port(self) -> dict[int, tuple[bytes, ...]]:
        """The frames of each port that emitted any, in order."""
        found: dict[int, tuple[bytes, ...]] = {}
        for emission in self.emissions:
            found[emission.port] = (*found.get(emission.port, ()), emission.frame)
        return found


class _Capture:
    """Reads what was appended to a port's tx_pcap since the last time."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR)
        self._offset = _PCAP_HEADER

    def close(self) -> None:
        os.close(self._file)

    def read(self) -> list[bytes]:
        data = os.pread(self._file, os.fstat(self._file).st_size - self._offset, self._offset)
        frames, at = [], 0
        while at < len(data):
            length = _RECORD.unpack_from(data, at)[2]
            at += _RECORD.size
            frames.append(data[at : at + length])
            at += length
        self._offset += at
        return frames

    def forget(self) -> None:
        """Empty the file. The switch appends, so it goes on behind the header."""
        if os.fstat(self._file).st_size > _PCAP_HEADER:
            os.ftruncate(self._file, _PCAP_HEADER)
        self._offset = _PCAP_HEADER


class Bridge:
    """One bridge; made by `OpenVSwitch`. `ports` maps OpenFlow numbers to interface names."""

    def __init__(
        self, switch: OpenVSwitch, name: str, ports: Mapping[str, int], captures: Mapping[str, Path]
    ) -> None:
        self.name = name
        self.ports = {number: port for port, number in ports.items()} | {LOCAL: name}
        self._switch = switch
        self._socket = switch.directory / f"{name}.mgmt"
        self._target = f"unix:{self._socket}"
        self._numbers = {port: number for number, port in self.ports.items()}
        self._names = frozenset(self._numbers)
        self._captures = {self._numbers[port]: _Capture(path) for port, path in captures.items()}
        self._openflow = OpenFlow(self._socket)
        self._entries: list[str] = []
        self._entries_used = 0
        self._tlv_map = False

    def close(self) -> None:
        self._openflow.close()
        for capture in self._captures.values():
            capture.close()

    def reset(self) -> None:
        """Forget all: flows, groups, meters, what was learned or tracked, captures, packets-in.

        The clock moves only if fragments wait for others, which nothing but time takes away. Ports
        stay as they are, also if `ofctl` changed them.
        """
        self._openflow.clear()
        self._entries_used = 0
        self._switch.ctl.pipeline(
            [
                _PURGE,
                ("dpctl/flush-conntrack", ()),
                ("fdb/flush", (self.name,)),
                *_FENCE,
            ]
        )
        self._drop_fragments()
        self._openflow.take_packet_ins()
        if self._tlv_map:
            self._clear_tlv_map()
        for capture in self._captures.values():
            capture.forget()

    def ofctl(self, command: str, *arguments: str, text: str | None = None) -> str:
        """Run `ovs-ofctl` with `command` on this bridge; `text` is its standard input.

        Options go among `arguments`. Raises OracleRefusedError with its message.
        """
        try:
            return self._switch.run("ovs-ofctl", (command, self._target, *arguments), text)
        except subprocess.CalledProcessError as error:
            raise OracleRefusedError(str(error.stderr).strip()) from error

    def add_flows(self, text: str) -> None:
        """Add the flows of `text`, one a line, as `ovs-ofctl add-flows` reads them.

        Lines of a dump's header are left out. Each flow is sent in an OpenFlow version that says
        what it says (see `loading`). Raises OracleRefusedError with the messages of ovs-ofctl, or
        where no version says it; flows before the refused one may then be in.
        """
        for group in plan(text):
            common = [v for v in versions(group[0]) if all(v in versions(line) for line in group)]
            if len(group) > 1 and common:
                with contextlib.suppress(OracleRefusedError):
                    self._try_versions("add-flows", "\n".join(group), common)
                    continue
            for line in group:
                self._try_versions("add-flows", line, versions(line))

    def add_groups(self, text: str) -> None:
        """Add the groups of `text`, one a line, before the flows that name them."""
        self._try_versions("add-groups", text, _GROUP_VERSIONS)

    def add_meters(self, text: str) -> None:
        """Add the meters of `text`, one a line."""
        for line in filter(str.strip, text.splitlines()):
            self.ofctl("add-meter", line, "-O", "OpenFlow13")

    def add_tlv_map(self, text: str) -> None:
        """Map tunnel options, as `{class=0x102,type=0x80,len=4}->tun_metadata0`."""
        self._tlv_map = True
        self.ofctl("add-tlv-map", text)

    def dump_flows(self, version: str | None = None) -> str:
        """`ovs-ofctl dump-flows`, of OpenFlow 1.0 or of `version`, with up-to-date counters.

        The rules that `entry_port` made are left out.
        """
        self._switch.ctl.pipeline([_PURGE, *_FENCE])
        messages = flow_stats(self._socket, version or "OpenFlow10")
        dump = self._switch.printer.text(messages)
        if not self._entries_used:
            return dump
        kept = (line for line in dump.splitlines(True) if f"cookie={_ENTRY_COOKIE}," not in line)
        return "".join(kept)

    def send(self, port: int, frame: bytes) -> Outcome:
        """Let `frame` arrive on `port`, and return what the bridge emits for it.

        Raises OracleRefusedError for a frame shorter than an Ethernet header, which a port cannot
        receive at all.
        """
        name = self._port_name(port)
        if len(frame) < _MIN_FRAME:
            raise OracleRefusedError(f"a frame of {len(frame)} bytes has no Ethernet header")
        receive: Call = ("netdev-dummy/receive", (name, frame.hex()))
        try:
            answers = self._switch.ctl.pipeline([receive, *_FENCE, _DATAPATH_FLOWS, _PURGE])
        except UnixctlError as error:
            raise OracleRefusedError(str(error)) from error
        self._openflow.drain()
        left = {number: deque(frames) for number, frames in self.left().items()}
        counts = {self.ports[number]: len(frames) for number, frames in left.items()}
        order = self.order(answers[-2], counts)
        sequence = order if order is not None else tuple(Counter(counts).elements())
        numbers = [self._numbers[name] for name in sequence]
        emissions = tuple(Emission(number, left[number].popleft()) for number in numbers)
        return Outcome(emissions, order is not None, answers[-2])

    def left(self) -> dict[int, list[bytes]]:
        """The frames that left each port since the last time, of ports that any left."""
        found = {number: capture.read() for number, capture in sorted(self._captures.items())}
        return {number: frames for number, frames in found.items() if frames}

    def send_many(self, frames: Iterable[tuple[int, bytes]]) -> list[Outcome]:
        """`send` each (port, frame) in turn."""
        return [self.send(port, frame) for port, frame in frames]

    def trace(self, flow: str, frame: bytes | None = None, *options: str) -> str:
        """`ofproto/trace` on this bridge; with a `frame`, its headers override those of `flow`.

        A trace leaves no mark without a frame. With one it does what the packet would do to the
        tables (`learn`, MAC learning), but emits nothing.
        """
        packet = () if frame is None else (frame.hex(),)
        try:
            return self._switch.ctl.call("ofproto/trace", *options, self.name, flow, *packet)
        except UnixctlError as error:
            raise OracleRefusedError(str(error)) from error

    def warp(self, milliseconds: int) -> None:
        """Move the clock on; flows whose time is then over are gone, to the millisecond."""
        self._switch.ctl.call("time/warp", str(milliseconds))
        self._switch.keep_connected()
        self._switch.revalidate()
        self._switch.ctl.pipeline(_FENCE)

    def keep_connected(self) -> None:
        """Show the switch that its controller is there: it hangs up on one silent for long."""
        self._openflow.barrier()

    def packet_ins(self) -> list[PacketIn]:
        """What flows sent to CONTROLLER (id 0) since the last call or reset, oldest first."""
        return self._openflow.take_packet_ins()

    def conntrack(self, *options: str) -> str:
        """The tracked connections, as `dpctl/dump-conntrack` prints them."""
        return self._switch.ctl.call("dpctl/dump-conntrack", *options)

    def appctl(self, command: str, *arguments: str) -> str:
        """What a command of ``ovs-appctl`` prints."""
        return self._switch.ctl.call(command, *arguments)

    def flood_order(self) -> list[int]:
        """The order in which NORMAL floods to the ports, which Open vSwitch alone knows.

        Needs three ports; all have to be trunks, and none a patch port. A flow is left behind.
        """
        self.add_flows("actions=NORMAL")
        orders = []
        for source in list(self.ports)[:3]:
            trace = self.trace(f"in_port={source}", None, "--names")
            ports = trace.rpartition("Datapath actions: ")[2].strip().split(",")
            orders.append([self._numbers[port] for port in ports])

        def compare(one: int, other: int) -> int:
            """Two ports are told apart by a packet from a third."""
            order = next(order for order in orders if one in order and other in order)
            return order.index(one) - order.index(other)

        return sorted({*orders[0], *orders[1]}, key=cmp_to_key(compare))

    def fdb(self) -> str:
        """The MAC table of the NORMAL action, as `fdb/show` prints it."""
        return self._switch.ctl.call("fdb/show", self.name)

    def entry_port(self, in_port: int, fields: Mapping[str, int | str]) -> int:
        """A port to `send` on, whose frames enter table 0 as if on `in_port` with `fields` set.

        It gives packets what no frame carries: `tun_id`, `tun_src`, `metadata`, `reg0`… A rule of
        priority 65535 in table 0 does it, so the tables under test must not match all ports at
        that priority. It costs one level of resubmit depth, and a trace on this port shows it.
        The rule lasts until `reset`. The port itself emits nothing and does not take part in a
        flood.
        """
        if self._entries_used == len(self._entries):
            self._add_entry()
        number = _ENTRY_BASE + self._entries_used
        self._entries_used += 1
        loads = [f"set_field:{value}->{field}" for field, value in fields.items()]
        loads.append(f"load:{in_port}->NXM_OF_IN_PORT[]")
        flow = f"cookie={_ENTRY_COOKIE},table=0,priority=65535,in_port={number}"
        self.ofctl("add-flow", f"{flow},actions={','.join(loads)},resubmit(,0)")
        return number

    def _drop_fragments(self) -> None:
        for _ in range(_ATTEMPTS):
            if _NO_FRAGMENTS in self._switch.ctl.call(_FRAGMENTS):
                return
            self.warp(_FRAGMENTS_LAST)
        raise RuntimeError("Open vSwitch keeps fragments for good")

    def _clear_tlv_map(self) -> None:
        # A deleted flow lets go of its tunnel options when the last thread has stopped looking.
        for attempt in range(_ATTEMPTS, 0, -1):
            try:
                self._openflow.clear_tlv_map()
            except OpenFlowError:
                if attempt == 1:
                    raise
                self._switch.ctl.pipeline(_FENCE)
            else:
                break
        self._tlv_map = False

    def _add_entry(self) -> None:
        name, number = f"{self.name}-e{len(self._entries)}", _ENTRY_BASE + len(self._entries)
        self._switch.vsctl(
            "add-port", self.name, name, "--", "set", "interface", name,
            "type=dummy", f"ofport_request={number}", f"mtu_request={MTU}",
        )  # fmt: skip
        self.ofctl("mod-port", name, "no-flood")
        self.ofctl("mod-port", name, "no-forward")
        self.ports[number] = name
        self._entries.append(name)

    def _port_name(self, port: int) -> str:
        if port not in self.ports:
            raise ValueError(f"bridge {self.name} has no port {port}")
        return self.ports[port]

    def _try_versions(self, command: str, text: str, candidates: Iterable[str]) -> None:
        messages: list[str] = []
        for version in candidates:
            try:
                self.ofctl(command, "-", "-O", version, text=text)
            except OracleRefusedError as error:
                messages.append(f"{version}: {error}")
            else:
                return
        raise OracleRefusedError("\n".join(messages) or f"no OpenFlow version says: {text}")

    def order(
        self, dump: str, counts: Mapping[str, int], names: frozenset[str] | None = None
    ) -> Order | None:
        """The one order that agrees with the captures, or None if there is not one only.

        `counts` are the frames that left by each port, `dump` the datapath flows of the packet;
        `names` are ports that count, by default those of this bridge.
        """
        if len(counts) <= 1:
            return tuple(Counter(counts).elements())
        flows = [self._translated(flow) if flow.slow else flow for flow in parse_flows(dump)]
        try:
            possible = orders(flows, self._names if names is None else names)
        except UndecidedError:
            return None
        agreeing = [order for order in possible if Counter(order) == counts]
        return agreeing[0] if len(agreeing) == 1 else None

    def _translated(self, flow: DatapathFlow) -> DatapathFlow:
        """`flow` with the actions that userspace carries out in its stead, told by a trace."""
        # A key without Ethernet addresses (nothing looked at them) would read as one of a packet
        # that has no Ethernet header.
        ethernet = "packet_type(ns=0,id=0),"
        key = flow.key
        if f"{ethernet}eth(" not in key:
            key = key.replace(ethernet, f"{ethernet}eth(),")
        try:
            trace = self._switch.ctl.call("ofproto/trace", "--names", "dummy", key)
        except UnixctlError:
            return flow
        actions = [
            line.partition("Datapath actions: ")[2]
            for line in trace.splitlines()
            if line.startswith("Datapath actions: ")
        ]
        return replace(flow, actions=actions[0]) if len(actions) == 1 else flow
