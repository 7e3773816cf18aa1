"""Bridges with ports of all VLAN modes, and sequences of packets for NORMAL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from hypothesis import strategies as st

from flowvm.clock import SECOND
from flowvm.names import Ports
from flowvm.packet.batch import PacketBatch
from flowvm.packet.frames import Frames
from flowvm.pipeline.result import Verdict
from flowvm.port_settings import BridgeSettings, MacEntry, PortSettings, VlanMode
from flowvm.switch import Switch
from flowvm.text.dump import parse_dump
from flowvm.text.fdb import format_fdb
from flowvm.text.groups import parse_group
from flowvm.text.values import format_mac

from ..oracle import OpenVSwitch
from .test_trace_text import common_part

N_PORTS = 9
LOCAL = 0xFFFE
BRIDGE = "brn"
VLANS = (10, 20, 30)

GROUPS = (
    "group_id=1,type=all,bucket=actions=output:NORMAL,"
    "bucket=actions=set_field:4116->vlan_vid,output:NORMAL"
)

ACTIONS = (
    *("NORMAL",) * 12,
    "mod_vlan_vid:20,NORMAL",
    "mod_vlan_pcp:3,NORMAL,output:1",
    "strip_vlan,NORMAL,output:2",
    "push_vlan:0x88a8,NORMAL,pop_vlan,output:1",
    "push_vlan:0x8100,set_field:4116->vlan_vid,NORMAL",
    "load:2->NXM_OF_IN_PORT[],NORMAL",
    "load:0xfffa->NXM_NX_REG0[],output:NXM_NX_REG0[]",
    "NORMAL,resubmit(,1),NORMAL",
    "group:1",
    "resubmit(,1),write_actions(NORMAL)",
    "clone(mod_vlan_vid:30,NORMAL),NORMAL",
    "learn(table=1,priority=9,cookie=0x5,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[]),NORMAL",
    "move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],NORMAL",
    "bundle(eth_src,0,active_backup,ofport,members:65530)",
)
"""What a table does with the packets of a port; most of the time nothing but NORMAL."""

TRACKING = "ct(table=1),NORMAL"

TABLE_1 = "table=1,priority=1 actions=mod_vlan_vid:10,NORMAL"


@dataclass(frozen=True)
class Layout:
    """A bridge: its settings, ports that are not flooded to, and what it does with packets."""

    settings: BridgeSettings
    no_flood: frozenset[int]
    flows: str

    @classmethod
    def of(cls, seed: int) -> Layout:
        """The layout of that number."""
        random = Random(seed)
        ports = [_port(random, number) for number in range(1, N_PORTS + 1)]
        ports.append(replace(_port(random, LOCAL), name=BRIDGE))
        settings = BridgeSettings(
            tuple(ports),
            frozenset(random.sample(VLANS, random.choice((0, 0, 1)))),
            random.choice((15, 20, 300)),
            random.choice((10, 10, 8192)),
            forward_bpdu=random.random() < 0.3,
        )
        flows = [TABLE_1, "priority=0 actions=NORMAL"]
        flows += [f"in_port={n} actions={random.choice(ACTIONS)}" for n in range(1, N_PORTS + 1)]
        flows.append(f"priority=40000,in_port={random.randint(1, N_PORTS)},ip actions={TRACKING}")
        no_flood = frozenset(n for n in range(1, N_PORTS + 1) if random.random() < 0.1)
        return cls(settings, no_flood, "\n".join(flows))


def _port(random: Random, number: int) -> PortSettings:
    mode = random.choice(list(VlanMode))
    some = frozenset(random.sample((0, *VLANS), random.randint(1, 3)))
    return PortSettings(
        f"n{number}",
        (number,),
        mode,
        0 if mode is VlanMode.TRUNK else random.choice((0, *VLANS, *VLANS)),
        some if random.random() < 0.5 else frozenset(),
        some if mode is VlanMode.DOT1Q_TUNNEL and random.random() < 0.5 else frozenset(),
        random.choice((0x88A8, 0x8100)),
        random.choice(("no", "no", "if-nonzero", "always")),
        protected=random.random() < 0.25,
    )


@dataclass(frozen=True)
class Arrival:
    """A frame that comes in on a port, some seconds after the one before."""

    wait: int
    port: int
    frame: bytes

    def __str__(self) -> str:
        return f"after {self.wait} s on {self.port}: {self.frame.hex()}"


HOSTS = tuple(0x0A0000000001 + i for i in range(6))
CROWD = tuple(0x0A0000000100 + i for i in range(14))
GROUP_ADDRESSES = (0xFFFFFFFFFFFF, 0x01005E000001, 0x0180C200000E, 0x00E02B000004, 0x01000CCCCCC1)

_hosts = st.sampled_from(HOSTS)
_sources = st.one_of(_hosts, _hosts, _hosts, st.sampled_from((*CROWD, 0x01005E000009)))
_destinations = st.one_of(_hosts, _hosts, st.sampled_from((*GROUP_ADDRESSES, *CROWD)))
_tags = st.tuples(
    st.sampled_from((0x8100, 0x8100, 0x8100, 0x88A8)),
    st.sampled_from((0, *VLANS, *VLANS, 40)),
    st.sampled_from((0, 0, 0, 5)),
)


_IP = bytes.fromhex("0800 4500001c000000004011 66cf 0a000001 0a000002 00010002 0008 0000") + bytes(
    18
)


@st.composite
def arrivals(draw: st.DrawFn) -> Arrival:
    """A packet: tagged once, twice or not at all, and whole or not."""
    addresses = draw(_destinations).to_bytes(6, "big") + draw(_sources).to_bytes(6, "big")
    tags = b"".join(
        tpid.to_bytes(2, "big") + (pcp << 13 | vlan).to_bytes(2, "big")
        for tpid, vlan, pcp in draw(
            st.one_of(
                st.just([]), st.lists(_tags, min_size=1, max_size=1), st.lists(_tags, max_size=2)
            )
        )
    )
    body = draw(st.sampled_from(("plain", "plain", "ip", "arp", "partial")))
    if body == "plain":
        rest = bytes.fromhex("9999") + bytes(46)
    elif body == "ip":
        rest = _IP
    elif body == "partial":
        rest = bytes.fromhex("8100") + bytes(draw(st.sampled_from((0, 2))))
    else:
        rest = draw(_arps)
    wait = draw(st.sampled_from((*(0,) * 18, 1, 3, 16)))
    port = draw(st.sampled_from((*range(1, N_PORTS + 1), LOCAL)))
    return Arrival(wait, port, addresses + tags + rest)


_arps = st.builds(
    lambda operation, target: arp(operation, 1, target),
    st.sampled_from((1, 1, 2, 3, 257)),
    st.sampled_from((1, 2)),
)


def arp(operation: int, sender: int, target: int) -> bytes:
    """What comes after the addresses of an ARP packet between two of 10.0.0.0/24."""
    return (
        bytes.fromhex("0806 0001 0800 06 04")
        + operation.to_bytes(2, "big")
        + bytes.fromhex("0a0000000001")
        + bytes((10, 0, 0, sender))
        + bytes(6)
        + bytes((10, 0, 0, target))
        + bytes(18)
    )


def plain_layout(mac_table_size: int = 8192) -> Layout:
    """Trunks that carry all VLANs, and no other flow than NORMAL."""
    ports = [PortSettings(f"n{number}", (number,)) for number in range(1, N_PORTS + 1)]
    ports.append(PortSettings(BRIDGE, (LOCAL,)))
    settings = BridgeSettings(tuple(ports), mac_table_size=mac_table_size)
    return Layout(settings, frozenset(), "actions=NORMAL")


def crowded(random: Random, n: int) -> list[Arrival]:
    """Packets among more hosts than a small table holds, many of which say where they are."""
    some = []
    for _ in range(n):
        source, destination = random.choice(CROWD), random.choice(CROWD)
        kind = random.random()
        if kind < 0.3:
            destination, body = GROUP_ADDRESSES[0], arp(random.choice((1, 2)), 1, 1)
        elif kind < 0.4:
            destination, body = GROUP_ADDRESSES[0], arp(1, 1, 2)
        else:
            body = bytes.fromhex("9999") + bytes(46)
        frame = destination.to_bytes(6, "big") + source.to_bytes(6, "big") + body
        port = random.choice((1, 1, 2, 2, 3, 4))
        some.append(Arrival(random.choice((0,) * 15 + (1,)), port, frame))
    return some


class NormalPair:
    """A bridge of the real switch and flowvm, in one layout after the other."""

    def __init__(self, ovs: OpenVSwitch) -> None:
        self._ovs = ovs
        self.bridge = ovs.add_bridge(BRIDGE, {f"n{n}": n for n in range(1, N_PORTS + 1)})
        self._order = self.bridge.flood_order()
        self._layout: Layout | None = None
        self._switch: Switch | None = None
        self.sent = 0

    def close(self) -> None:
        self._ovs.remove_bridge(BRIDGE)

    def arrange(self, layout: Layout) -> None:
        """Let both be of this layout."""
        if layout == self._layout:
            return
        settings = layout.settings
        command = ["set", "bridge", BRIDGE, f"flood_vlans={_listed(settings.flood_vlans)}"]
        command.append(f"other_config:mac-aging-time={settings.mac_aging_time}")
        command.append(f"other_config:mac-table-size={settings.mac_table_size}")
        command.append(f"other_config:forward-bpdu={str(settings.forward_bpdu).lower()}")
        for port in settings.ports:
            command += ["--", "set", "port", port.name, f"vlan_mode={port.vlan_mode.value}"]
            command += [f"tag={port.tag if port.vlan_mode is not VlanMode.TRUNK else '[]'}"]
            command += [f"trunks={_listed(port.trunks)}", f"cvlans={_listed(port.cvlans)}"]
            qinq = "802.1q" if port.qinq_ethtype == 0x8100 else "802.1ad"
            command += [f"other_config:qinq-ethtype={qinq}"]
            command += [f"other_config:priority-tags={port.priority_tags}"]
            command += [f"protected={str(port.protected).lower()}"]
        self._ovs.vsctl(*command)
        for number in range(1, N_PORTS + 1):
            flag = "no-flood" if number in layout.no_flood else "flood"
            self.bridge.ofctl("mod-port", str(number), flag)
        self.bridge.reset()
        self.bridge.add_groups(GROUPS)
        self.bridge.add_flows(layout.flows)
        by_number = {port.interfaces[0]: port for port in settings.ports}
        ordered = replace(settings, ports=tuple(by_number[number] for number in self._order))
        names = {name: number for number, name in self.bridge.ports.items()}
        self._switch = Switch(
            parse_dump(layout.flows).flows,
            Ports(names, layout.no_flood),
            [parse_group(GROUPS)],
            bridge=ordered,
        )
        self._layout = layout

    def play(self, some: Sequence[Arrival], at: int, static: Sequence[MacEntry] = ()) -> None:
        """Let both have these packets, flowvm in two batches of which the first has ``at``.

        What leaves has to be the same, and so the MAC table in the end.
        """
        assert self._switch is not None
        assert self._layout is not None
        # In a VLAN that is flooded anyway, fdb/del would not find its entry again.
        flooded = self._layout.settings.flood_vlans
        static = [entry for entry in static if entry.vlan not in flooded]
        self._forget(static)
        switch = self._switch.copy()
        switch.load_macs(static)
        times = [0]
        for arrival in some:
            times.append(times[-1] + arrival.wait)
        ours = [
            emitted
            for part in (slice(None, at), slice(at, None))
            for emitted in _run(switch, some[part], times[1:][part])
        ]
        for number, arrival in enumerate(some):
            if arrival.wait:
                self.bridge.warp(1000 * arrival.wait)
            outcome = self.bridge.send(arrival.port, arrival.frame)
            self.bridge.packet_ins()
            left = [(emission.port, emission.frame.hex()) for emission in outcome]
            mine = ours[number] if outcome.ordered else sorted(ours[number])
            assert mine == (left if outcome.ordered else sorted(left)), self._story(
                f"packet {number} leaves as\n{_lines(mine)}\ninstead of\n{_lines(left)}", some
            )
        self.sent += len(some)
        table, real = format_fdb(switch.macs()), self.bridge.fdb()
        assert table == real, self._story(f"{table}\ninstead of\n{real}", some)

    def tell(self, some: Sequence[Arrival]) -> None:
        """Let both trace these packets one after the other, and learn from them.

        They have to tell the same, down to the headers in the end.
        """
        assert self._switch is not None
        self._forget(())
        switch = self._switch.copy()
        for number, arrival in enumerate(some):
            ours = str(switch.trace(arrival.frame, in_port=arrival.port))
            _run(switch, [arrival], [0])
            theirs = self.bridge.trace(f"in_port={arrival.port}", arrival.frame)
            assert common_part(ours) == common_part(theirs), self._story(
                f"packet {number}: {ours}\n\n{theirs}", some
            )

    def _forget(self, static: Sequence[MacEntry]) -> None:
        """Let Open vSwitch know nothing but these addresses."""
        assert self._layout is not None
        ctl = self._ovs.ctl
        for line in self.bridge.fdb().splitlines():
            if line.endswith("static"):
                ctl.call("fdb/del", BRIDGE, *line.split()[1:3])
        ctl.call("fdb/flush", BRIDGE)
        for entry in static:
            name = self.bridge.ports[entry.port]
            ctl.call("fdb/add", BRIDGE, name, str(entry.vlan), format_mac(entry.mac))
        if "learn(" in self._layout.flows:
            self.bridge.ofctl("del-flows", "cookie=0x5/-1")

    def _story(self, what: str, some: Sequence[Arrival]) -> str:
        return "\n".join([what, str(self._layout), *map(str, some)])


def _run(
    switch: Switch, some: Sequence[Arrival], seconds: Sequence[int]
) -> list[list[tuple[int, str]]]:
    """What leaves for each of these packets."""
    if not some:
        return []
    frames = Frames.of([arrival.frame for arrival in some])
    times = [second * SECOND for second in seconds]
    result = switch.run(PacketBatch.of(frames, [arrival.port for arrival in some], times))
    left: list[list[tuple[int, str]]] = [[] for _ in some]
    for number in range(len(some)):
        assert result.verdict(number) is not Verdict.UNSUPPORTED, result.reason(number)
    emissions = result.emissions
    for packet, port, frame in zip(
        emissions.packet.tolist(), emissions.port.tolist(), emissions.frames, strict=True
    ):
        left[packet].append((port, frame.hex()))
    return left


def _listed(numbers: frozenset[int]) -> str:
    return f"[{','.join(map(str, sorted(numbers)))}]"


def _lines(emitted: Sequence[tuple[int, str]]) -> str:
    return "\n".join(f"  {port} {frame}" for port, frame in emitted)


def static_entries() -> st.SearchStrategy[list[MacEntry]]:
    """What ``fdb/add`` may have added: mostly nothing."""
    entry = st.builds(
        MacEntry,
        st.sampled_from((*range(1, N_PORTS + 1), LOCAL)),
        st.sampled_from((0, *VLANS)),
        _hosts,
        st.none(),
    )
    few = st.lists(entry, min_size=1, max_size=3, unique_by=lambda e: (e.vlan, e.mac))
    return st.one_of(st.just([]), st.just([]), st.just([]), few)
