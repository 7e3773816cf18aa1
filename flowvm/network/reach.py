"""Does any packet get from one port of a network to another: a search for one that does.

Packets are made up from what the rules on the way ask for. One is tried; where it came to, some
rule of a table in which it was looked up is chosen, and the next packet differs from it in what
that rule asks for, as far as nothing on the way had written it. Packets that came to rules which
none had come to before are gone on from. Finding one is proof; finding none is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_interface

import numpy as np
from numpy.typing import NDArray

from flowvm.arrival import from_headers
from flowvm.columns import N_COLUMNS, Column
from flowvm.fields import (
    ETH_TYPE_ARP,
    ETH_TYPE_BITS,
    ETH_TYPE_IP,
    NW_PROTO_BITS,
    NW_TTL_BITS,
    TP_DST_BITS,
    TP_SRC_BITS,
)
from flowvm.flow import Match
from flowvm.names import Names
from flowvm.network.journey import Fate, Journey
from flowvm.network.running import Network
from flowvm.network.tunnels import TUNNEL_COLUMNS
from flowvm.network.wiring import Place, Spot
from flowvm.packet.batch import PacketBatch
from flowvm.pipeline.result import Result
from flowvm.protocols import ICMP, TCP, UDP
from flowvm.report.headers import format_packet
from flowvm.text.br_flow import parse_br_flow
from flowvm.text.errors import FlowSyntaxError
from flowvm.text.values import parse_mac
from flowvm.traffic.demands import Demands
from flowvm.traffic.headers import arriving, siblings

TRIES = 1000
"""So many packets are tried unless told."""

_FRESH = 32
"""After so many packets what they taught the bridges is forgotten."""

_VARIED = 0.25
"""Of so many packets the addresses vary too."""

_BROADCAST = (1 << 48) - 1
_LOCAL_MAC = 0x0200_0000_0001
_ARP_REQUEST, _ECHO_REQUEST, _TTL = 1, 8, 64

Columns = NDArray[np.uint64]
_Words = Mapping[Column, tuple[int, int]]


@dataclass(frozen=True, eq=False, slots=True)
class Reached:
    """A packet that gets there: as headers in the syntax of ``ofproto/trace`` if those do it too,
    and as a frame; and its way, with traces."""

    br_flow: str | None
    frame: bytes
    journey: Journey


@dataclass(frozen=True, eq=False, slots=True)
class Search:
    """What a search came to: so many packets were tried, and ``found`` is one that got there."""

    tries: int
    found: Reached | None


def search(
    network: Network,
    source: Place,
    target: Place,
    constraints: Match | None = None,
    *,
    tries: int = TRIES,
    seed: int = 0,
) -> Search:
    """Look for a packet with ``constraints`` that comes in by ``source`` and leaves by ``target``.

    Each packet comes to the network as it is now; ``network`` stays as it is. The same arguments
    give the same answer. Raises ValueError for constraints that no frame meets, and KeyError for
    names of ports that the bridge lacks.
    """
    state = network.state(source.spot)
    names = Names() if state is None else state.program.names
    words = (constraints or Match()).words(names.ports, names.tlv_map)
    explorer = _Explorer(network, source, target, words, seed)
    for number in range(tries):
        packet = explorer.next()
        if explorer.reaches(packet):
            return Search(number + 1, explorer.witness(packet))
    return Search(tries, None)


@dataclass(frozen=True, eq=False, slots=True)
class _Sight:
    """A packet at one bridge: as it came in there, and in which tables it was looked up."""

    spot: Spot
    columns: Columns
    tables: tuple[int, ...]


@dataclass(frozen=True, eq=False, slots=True)
class _Parent:
    """A packet that got somewhere new: as it came, and where it was seen."""

    columns: Columns
    sights: tuple[_Sight, ...]


class _Explorer:
    """Makes packets, tries them, and remembers how far they came."""

    def __init__(
        self, network: Network, source: Place, target: Place, words: _Words, seed: int
    ) -> None:
        self._network = network
        self._source = source
        self._target = target
        self._words = words
        self._random = np.random.default_rng(seed)
        packets = list(_first_packets(network, source, target))
        fitting = [columns for columns in packets if self._is_of_kind(columns)]
        self._first = iter(fitting or packets)
        self._parents: list[_Parent] = []
        self._demands: dict[Spot, Demands] = {}
        self._hit: set[tuple[Spot, int]] = set()
        self._met: set[tuple[Spot, int]] = set()
        """The rules that the last packet hit."""
        self._sights: list[_Sight] = []
        self._scratch = network.copy()
        self._n_tried = 0

    def next(self) -> PacketBatch:
        """The next packet to try."""
        columns = next(self._first, None)
        if columns is None:
            columns = self._mutated()
        columns = columns.copy()
        columns[Column.IN_PORT] = self._source.port
        for column, (value, mask) in self._words.items():
            columns[column] = int(columns[column]) & ~mask | value
        return arriving(columns[:, None])

    def reaches(self, packet: PacketBatch) -> bool:
        """Whether ``packet`` leaves by the target; what is new about its way is remembered."""
        self._n_tried += 1
        if self._n_tried % _FRESH == 0:
            self._scratch = self._network.copy()
        journey = self._send(self._scratch, packet)
        if self._is_there(journey):
            return self._is_there(self._send(self._network.copy(), packet))
        return False

    def witness(self, packet: PacketBatch) -> Reached:
        """How ``packet`` gets there, and its headers as text, if a packet with those does too."""
        columns = [int(word) for word in packet.columns[:, 0]]
        text = format_packet(columns)
        try:
            state = self._network.state(self._source.spot)
            names = Names() if state is None else state.program.names
            headers = parse_br_flow(text, names.ports)
            told = from_headers(headers, names, self._source.port, self._network.now)
            journey = self._network.copy().send(self._source, told, record=True)
            if self._is_there(journey):
                return Reached(text, told.frames[0], journey)
        except (FlowSyntaxError, ValueError):
            # Not everything that a frame has can be said of it.
            pass
        journey = self._network.copy().send(self._source, _at(packet, self._network), record=True)
        return Reached(None, packet.frames[0], journey)

    def _send(self, network: Network, packet: PacketBatch) -> Journey:
        self._sights, self._met = [], set()
        journey = network.send(self._source, _at(packet, network), observe=self._observe)
        if not self._parents or not self._met <= self._hit:
            self._parents.append(_Parent(packet.columns[:, 0], tuple(self._sights)))
        self._hit |= self._met
        return journey

    def _observe(self, spot: Spot, result: Result) -> None:
        (stretch,) = result.stretches
        paths = stretch.legs[1]
        rules = stretch.paths.hits["rule"][stretch.paths.hits.of_owners(paths)[0]]
        state = self._network.state(spot)
        assert state is not None
        known = rules[rules < len(state.program.rules)]
        tables = {*state.program.rules.table[known].tolist(), int(result.last_table[0])}
        self._sights.append(_Sight(spot, result.batch.columns[:, 0].copy(), tuple(sorted(tables))))
        self._met |= {(spot, rule) for rule in known.tolist()}

    def _is_there(self, journey: Journey) -> bool:
        return any(
            exit is not None and exit.place == self._target and exit.fate is not Fate.DROPPED
            for _, exit in journey.first.ways()
        )

    def _is_of_kind(self, columns: Columns) -> bool:
        """Whether a packet has the EtherType and protocol that are asked for, if any."""
        value, mask = self._words.get(Column.NW, (0, 0))
        kind = (0xFFFF << ETH_TYPE_BITS.shift | 0xFF << NW_PROTO_BITS.shift) & mask
        return not (int(columns[Column.NW]) ^ value) & kind

    # -- making packets ---------------------------------------------------------------------------

    def _mutated(self) -> Columns:
        """A packet that differs from one that got somewhere in what a rule there asks for."""
        parent = self._parents[int(self._random.integers(len(self._parents)))]
        came = parent.columns.copy()
        pinned = np.zeros_like(came)
        for _ in range(1 + int(self._random.integers(2))):
            self._aim(parent, came, pinned)
        if self._random.random() < _VARIED:
            return siblings(self._random, came[:, None], pinned[:, None])[:, 0]
        return came

    def _aim(self, parent: _Parent, came: Columns, pinned: Columns) -> None:
        sight = parent.sights[int(self._random.integers(len(parent.sights)))]
        state = self._network.state(sight.spot)
        assert state is not None
        demands = self._demands.setdefault(sight.spot, Demands(state.program))
        table = sight.tables[int(self._random.integers(len(sight.tables)))]
        targets = demands.targets(table)
        if not len(targets):
            return
        values, masks = demands.of(self._random.choice(targets, 1))
        for row, column in enumerate(state.program.key.columns):
            if column < Column.ETH_SRC and column not in TUNNEL_COLUMNS:
                continue
            mask, value = int(masks[row, 0]), int(values[row, 0])
            # What was written on the way is not for the sender to say.
            mask &= ~(int(parent.columns[column]) ^ int(sight.columns[column]))
            came[column] = int(came[column]) & ~mask | value & mask
            pinned[column] = int(pinned[column]) | mask


def _at(packet: PacketBatch, network: Network) -> PacketBatch:
    return PacketBatch(packet.frames, packet.columns, np.array([network.now], np.int64))


def _first_packets(network: Network, source: Place, target: Place) -> Iterator[Columns]:
    """Packets of common kinds between what is known of the two ends, and to everyone."""
    senders = [*_macs(network, source), _LOCAL_MAC]
    receivers = [*_macs(network, target), _BROADCAST]
    from_ip = next(_addresses(network, source), 0x0A00_0001)
    to_ip = next(_addresses(network, target), 0x0A00_0002)
    for receiver in dict.fromkeys(receivers):
        for sender in dict.fromkeys(senders):
            for eth_type, protocol, ports in (
                (ETH_TYPE_IP, UDP, (68, 67)),
                (ETH_TYPE_ARP, _ARP_REQUEST, (0, 0)),
                (ETH_TYPE_IP, ICMP, (_ECHO_REQUEST, 0)),
                (ETH_TYPE_IP, TCP, (1024, 80)),
            ):
                columns = np.zeros(N_COLUMNS, np.uint64)
                columns[Column.ETH_SRC], columns[Column.ETH_DST] = sender, receiver
                columns[Column.NW] = (
                    eth_type << ETH_TYPE_BITS.shift
                    | protocol << NW_PROTO_BITS.shift
                    | (_TTL if eth_type == ETH_TYPE_IP else 0) << NW_TTL_BITS.shift
                )
                columns[Column.IPV4] = from_ip << 32 | to_ip
                columns[Column.TP] = ports[0] << TP_SRC_BITS.shift | ports[1] << TP_DST_BITS.shift
                if eth_type == ETH_TYPE_ARP:
                    columns[Column.ARP_SHA] = sender
                yield columns


def _macs(network: Network, place: Place) -> Iterator[int]:
    """The Ethernet addresses that may be behind a port."""
    interface = network.wiring.interface(place)
    if interface is None:
        return
    attached = interface.external_ids.get("attached-mac")
    if attached is not None:
        yield parse_mac(attached)
    if interface.mac is not None:
        yield interface.mac


def _addresses(network: Network, place: Place) -> Iterator[int]:
    """The IPv4 addresses behind a port."""
    endpoint = network.wiring.endpoint(place)
    for text in () if endpoint is None else endpoint.addresses:
        address = ip_interface(text).ip
        if isinstance(address, IPv4Address):
            yield int(address)
