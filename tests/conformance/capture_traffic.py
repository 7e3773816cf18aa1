"""Packets that hit the rules of a captured dump: found by running them, most of them stateful.

A rule deep in a pipeline asks for registers, connection states and learned rows that no frame
carries. So packets are tried on a copy of the switch as the packets kept so far have left it, and
one is kept if it hits a rule that too few have hit. Those tried are aimed along a way through the
tables, changed from a packet that came to the rule's table before, or answer what a kept packet
made the switch emit.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from flowvm.columns import VLAN_VID_MASK
from flowvm.fields import ETH_TYPE_IP, ETH_TYPE_IPV6, OUTER_TCI
from flowvm.fields import field as field_named
from flowvm.flow import Flow, ReservedPort
from flowvm.pipeline.result import Result, Verdict
from flowvm.switch import Switch
from flowvm.testing import Packet, batch_of
from flowvm.testing.aiming import Routes, Target, Words, read, targets_of
from flowvm.testing.frames import Source
from flowvm.testing.headers import ones_sum

from .capture_reach import reachable_rules
from .random_choices import RandomChoices

_AT_ONCE = 120
_PATIENCE = 15  # rounds in a row that bring nothing
_ROUNDS = 160
_HITS = 2  # so many of the kept packets are to hit each rule
_HOPELESS = 20  # unsupported packets, after which a rule is not aimed at any more
_RECENT = 20
_REMEMBERED = 40  # packets seen at a table
_KINDS = (
    ("eth_src", "eth_dst", "arp_sha", "nd_sll", "nd_tll"),
    ("ip_src", "ip_dst", "arp_spa", "arp_tpa"),
    ("ipv6_src", "ipv6_dst", "nd_target"),
)
"""Fields with addresses of a kind; those of senders and receivers of packets first."""

_ALL = (1 << 64) - 1
_TCP_FLAGS = (0x02, 0x12, 0x10, 0x18, 0x11, 0x04)


@dataclass
class Found:
    """The packets kept, and how many of them hit each rule of the program."""

    packets: list[Packet] = field(default_factory=list)
    hits: dict[int, int] = field(default_factory=dict)
    reachable: frozenset[int] = frozenset()
    unsupported: dict[str, int] = field(default_factory=dict)


def aimed_packets(
    switch: Switch, brought: Mapping[int, Sequence[Mapping[str, int]]], seed: int = 1
) -> Found:
    """Packets, all at time 0, that between them hit the rules of ``switch``, each ``_HITS`` times.

    They come in by the ports of ``brought``, each with one of the sets of fields that it has for
    the port: what no frame carries. The switch moves on with them. Found by chance, the same for
    the same seed.
    """
    search = _Search(switch, brought, Random(seed))
    idle = 0
    for _ in range(_ROUNDS):
        idle = 0 if search.round() else idle + 1
        if idle == _PATIENCE or not search.missing(_HITS):
            break
    return search.found


@dataclass(frozen=True)
class _Seen:
    """A packet, and its columns as it came."""

    packet: Packet
    columns: Sequence[int]


class _Search:
    def __init__(
        self,
        switch: Switch,
        brought: Mapping[int, Sequence[Mapping[str, int]]],
        random: Random,
    ) -> None:
        self._switch = switch
        # Most of what comes in by a tunnel is another packet with other fields.
        self._ports = tuple(port for port, fields in brought.items() for _ in fields)
        self._brought = brought
        self._choose = RandomChoices(random)
        self._targets = targets_of(switch.program.flows, switch.names)
        self._routes = Routes(self._targets)
        self._wanted = sorted(reachable_rules(switch.program.flows, switch.names))
        self._aimed: dict[int, int] = {}
        self._stopped: dict[int, int] = {}
        """How many packets were aimed at a rule, and how many were unsupported that hit it."""
        self.found = Found(reachable=frozenset(self._wanted))
        self._tags = _tags(self._targets)
        self._addresses = [_addresses(switch.program.flows, names) for names in _KINDS]
        self._at: dict[int, list[_Seen]] = {}
        self._seen: list[_Seen] = []
        """The packets kept."""
        self._emitted: list[tuple[int, bytes]] = []

    def missing(self, enough: int) -> list[int]:
        """The rules that fewer packets than ``enough`` hit, but for those that seem hopeless."""
        return [
            rule
            for rule in self._wanted
            if self.found.hits.get(rule, 0) < enough and self._stopped.get(rule, 0) < _HOPELESS
        ]

    def round(self) -> bool:
        """Try some packets; returns whether one was kept."""
        tried = [self._candidate() for _ in range(_AT_ONCE)]
        result = self._switch.copy().run(batch_of(tried, self._switch.names.tlv_map))
        hits = rules_hit(result, len(self._targets))
        columns = result.batch.columns.T.tolist()
        promised = dict(self.found.hits)
        kept = []
        for number, packet in enumerate(tried):
            self._remember(_Seen(packet, columns[number]), hits[number])
            if result.verdict(number) is Verdict.UNSUPPORTED:
                reason = result.reason(number)
                self.found.unsupported[reason] = self.found.unsupported.get(reason, 0) + 1
                for rule in hits[number]:
                    self._stopped[rule] = self._stopped.get(rule, 0) + 1
                continue
            if any(promised.get(rule, 0) < _HITS for rule in hits[number]):
                kept.append(packet)
                self._seen.append(_Seen(packet, columns[number]))
                for rule in hits[number]:
                    promised[rule] = promised.get(rule, 0) + 1
        if not kept:
            return False
        self._keep(kept)
        return True

    def _keep(self, kept: list[Packet]) -> None:
        result = self._switch.run(batch_of(kept, self._switch.names.tlv_map))
        for rules in rules_hit(result, len(self._targets)):
            for rule in rules:
                self.found.hits[rule] = self.found.hits.get(rule, 0) + 1
        self.found.packets += kept
        emissions = result.emissions
        for port, frame in zip(emissions.port.tolist(), emissions.frames, strict=True):
            if port != ReservedPort.CONTROLLER and len(frame) >= 14:
                self._emitted.append((port, frame))

    def _remember(self, packet: _Seen, rules: Iterable[int]) -> None:
        for rule in rules:
            seen = self._at.setdefault(self._targets[rule].table, [])
            seen.append(packet)
            if len(seen) > _REMEMBERED:
                del seen[self._choose.number(0, _REMEMBERED - 1)]

    # -- making packets -----------------------------------------------------------------------

    def _candidate(self) -> Packet:
        choose = self._choose
        if self._emitted and choose.percent(40):
            return self._conversing()
        goal = self._goal()
        if self._seen and choose.percent(15):
            return self._likeness(choose.one(self._seen), goal)
        if goal.table in self._at and choose.percent(65):
            return self._likeness(choose.one(self._at[goal.table]), goal)
        return self._made(self._routes.aim(choose, [goal], {}))

    def _conversing(self) -> Packet:
        """A packet of a connection there may be: what came or left before, or an answer to it."""
        choose = self._choose
        if choose.percent(30):
            packet = choose.one(self.found.packets)
            frame, port, fields = packet.frame, packet.in_port, packet.fields
        else:
            recent = self._emitted[-_RECENT:] if choose.percent(50) else self._emitted
            port, frame = choose.one(recent)
            fields = {}
            if choose.percent(20):
                frame = unreachable(frame) or frame
            elif choose.percent(85):
                frame = reply_to(frame)
        if choose.percent(25):
            frame = with_tcp_flags(frame, choose.one(_TCP_FLAGS))
        if self._tags and choose.percent(35):
            frame = with_tag(frame, choose.one(self._tags))
        if self._addresses[0] and choose.percent(20):
            address = choose.one(self._addresses[0]).to_bytes(6, "big")
            frame = address + frame[6:] if choose.percent(60) else frame[:6] + address + frame[12:]
        if port in self._brought and choose.percent(70):
            return Packet(frame, port, 0, fields or choose.one(self._brought[port]))
        return self._arriving(frame, choose.one(self._ports))

    def _likeness(self, model: _Seen, goal: Target) -> Packet:
        """A packet like ``model`` but for what ``goal`` compares."""
        words = {column: (word, _ALL) for column, word in enumerate(model.columns)}
        for column, (value, mask) in goal.words.items():
            words[column] = model.columns[column] & ~mask | value, _ALL
        packet = self._made(words)
        if packet.in_port != model.packet.in_port:
            return packet
        return replace(packet, fields=model.packet.fields)

    def _goal(self) -> Target:
        """A rule to aim at: mostly of those that too few packets hit one that was tried least."""
        choose = self._choose
        if choose.percent(20):
            return choose.one(self._targets)
        aimed = self._aimed
        for enough in range(1, _HITS + 1):
            missing = self.missing(enough)
            if missing:
                rule = min((choose.one(missing) for _ in range(3)), key=lambda r: aimed.get(r, 0))
                aimed[rule] = aimed.get(rule, 0) + 1
                return self._targets[rule]
        return choose.one(self._targets)

    def _made(self, words: Words) -> Packet:
        choose = self._choose
        known = dict(words)
        for names, addresses in zip(_KINDS, self._addresses, strict=True):
            for row in map(field_named, names[:2]):
                assert row.bits is not None
                if addresses and read(words, row.bits) is None and choose.percent(60):
                    for column, value, mask in row.match_words(
                        choose.one(addresses), row.full_mask
                    ):
                        had, of = known.get(column, (0, 0))
                        known[column] = had & ~mask | value, of | mask
        packet = Source(lambda _: known, self._ports, (), mutate=False).packet(choose)
        return self._arriving(packet.frame, packet.in_port)

    def _arriving(self, frame: bytes, port: int) -> Packet:
        return Packet(frame, port, 0, self._choose.one(self._brought[port]))


def _addresses(flows: Iterable[Flow], names: Sequence[str]) -> list[int]:
    """What ``flows`` compare with the fields of those names, if they compare all their bits."""
    return sorted(
        {
            value
            for flow in flows
            for row, value, mask in flow.match.constraints()
            if row.name in names and mask == row.full_mask and isinstance(value, int)
        }
    )


def _tags(targets: Iterable[Target]) -> list[int]:
    """The VLAN IDs that rules compare."""
    found = (read(target.words, OUTER_TCI) for target in targets)
    return sorted({tci[0] & VLAN_VID_MASK for tci in found if tci is not None and tci[0]})


def rules_hit(result: Result, most: int) -> list[list[int]]:
    """The rules below number ``most`` that each packet of ``result`` hit, on all its legs."""
    found: list[list[int]] = [[] for _ in range(len(result))]
    for part in result.stretches:
        owners, paths = part.legs
        entries, places = part.paths.hits.of_owners(paths)
        rules = part.paths.hits["rule"][entries]
        for owner, rule in zip(owners[places].tolist(), rules.tolist(), strict=True):
            if rule < most:
                found[part.first + owner].append(rule)
    return found


# -- answers ----------------------------------------------------------------------------------


def _layers(frame: bytes) -> tuple[int, int] | None:
    """The EtherType and where its header begins, behind any tags."""
    at = 12
    while len(frame) >= at + 4 and frame[at : at + 2] in (b"\x81\0", b"\x88\xa8"):
        at += 4
    if len(frame) < at + 2:
        return None
    return int.from_bytes(frame[at : at + 2], "big"), at + 2


def _transport(frame: bytes) -> tuple[int, int, int] | None:
    """The EtherType, protocol and place of the transport header of a plain IP packet."""
    layers = _layers(frame)
    if layers is None:
        return None
    kind, at = layers
    if kind == ETH_TYPE_IP and len(frame) >= at + 20:
        return kind, frame[at + 9], at + 4 * (frame[at] & 15)
    if kind == ETH_TYPE_IPV6 and len(frame) >= at + 40:
        return kind, frame[at + 6], at + 40
    return None


def reply_to(frame: bytes) -> bytes:
    """``frame`` with addresses and ports swapped; an echo request becomes its reply."""
    found = bytearray(frame)
    found[0:6], found[6:12] = frame[6:12], frame[0:6]
    layers, transport = _layers(frame), _transport(frame)
    if layers is None or transport is None:
        return bytes(found)
    at = layers[1]
    first, size = (at + 12, 4) if transport[0] == ETH_TYPE_IP else (at + 8, 16)
    middle, last = first + size, first + 2 * size
    found[first:middle], found[middle:last] = frame[middle:last], frame[first:middle]
    _, protocol, l4 = transport
    if len(frame) >= l4 + 4 and protocol in (6, 17, 132):
        found[l4 : l4 + 2], found[l4 + 2 : l4 + 4] = frame[l4 + 2 : l4 + 4], frame[l4 : l4 + 2]
    elif len(frame) >= l4 + 4 and (protocol, frame[l4]) in ((1, 8), (58, 128)):
        kind = 0 if protocol == 1 else 129
        _change_word(found, l4, l4 + 2, kind << 8 | frame[l4 + 1])
    return bytes(found)


def with_tag(frame: bytes, vid: int) -> bytes:
    """``frame`` with that VLAN ID, in the tag that it has or in one more."""
    tag = struct.pack("!HH", 0x8100, vid)
    return frame[:12] + tag + frame[16 if frame[12:14] == tag[:2] else 12 :]


def with_tcp_flags(frame: bytes, flags: int) -> bytes:
    """``frame`` with other TCP flags, if it is of TCP; the checksum stays as right as it was."""
    transport = _transport(frame)
    if transport is None or transport[1] != 6 or len(frame) < transport[2] + 20:
        return frame
    found = bytearray(frame)
    at = transport[2] + 12
    _change_word(found, at, transport[2] + 16, frame[at] << 8 | flags)
    return bytes(found)


def _change_word(frame: bytearray, at: int, checksum: int, word: int) -> None:
    (old,) = struct.unpack_from("!H", frame, at)
    (summed,) = struct.unpack_from("!H", frame, checksum)
    struct.pack_into("!H", frame, at, word)
    # RFC 1624, equation 3.
    total = (summed ^ 0xFFFF) + (old ^ 0xFFFF) + word
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    struct.pack_into("!H", frame, checksum, total ^ 0xFFFF)


def unreachable(frame: bytes) -> bytes | None:
    """An ICMP error about an IPv4 or IPv6 packet, from its receiver to its sender."""
    layers, transport = _layers(frame), _transport(frame)
    if layers is None or transport is None:
        return None
    at = layers[1]
    quoted = frame[at : at + 64]
    ethernet = frame[6:12] + frame[0:6] + frame[12:at]
    if transport[0] == ETH_TYPE_IP:
        source, destination = frame[at + 16 : at + 20], frame[at + 12 : at + 16]
        icmp = _summed(b"\x03\x01\0\0\0\0\0\0" + quoted, b"")
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(icmp), 0, 0, 64, 1, 0)
        head += source + destination
        return ethernet + head[:10] + struct.pack("!H", ones_sum(head)) + head[12:] + icmp
    source, destination = frame[at + 24 : at + 40], frame[at + 8 : at + 24]
    body = b"\x01\x03\0\0\0\0\0\0" + quoted
    pseudo = source + destination + struct.pack("!II", len(body), 58)
    head = struct.pack("!IHBB", 6 << 28, len(body), 58, 64) + source + destination
    return ethernet + head + _summed(body, pseudo)


def _summed(body: bytes, pseudo: bytes) -> bytes:
    return body[:2] + struct.pack("!H", ones_sum(pseudo + body)) + body[4:]
