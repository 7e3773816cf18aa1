"""Random conversations for connection tracking: mostly sound, sometimes not."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    IPv6,
)
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet, Raw

MACS = ("52:54:00:00:00:0a", "52:54:00:00:00:0b")
WORD = 1 << 32


@dataclass
class Side:
    """One end of a conversation."""

    address: str
    port: int
    sequence: int = 0


@dataclass
class Conversation:
    """Two ends that talk with one protocol; ``sides[0]`` began."""

    protocol: str
    sides: tuple[Side, Side]
    last: bytes = b""
    step: int = 0
    scale: tuple[int | None, int | None] = (None, None)
    sent: list[bytes] = field(default_factory=list)


class Traffic:
    """Makes one packet after the other: which end sends it (0 or 1), and its bytes.

    ``quoted`` are numbers of bytes that ICMP errors quote after the IP header.
    """

    def __init__(
        self,
        rng: random.Random,
        *,
        protocols: tuple[str, ...] = ("tcp", "udp", "icmp", "gre"),
        ipv6: bool = False,
        tagged: bool = False,
        oddities: float = 0.15,
        quoted: tuple[int, ...] = (8, 8, 20, 64, 4),
    ) -> None:
        self.rng = rng
        self._ipv6 = ipv6
        self._tagged = tagged
        self._oddities = oddities
        self._quoted = quoted
        self.conversations = [self._conversation(protocols) for _ in range(rng.randint(1, 4))]

    def _conversation(self, protocols: tuple[str, ...]) -> Conversation:
        rng = self.rng
        addresses = ("10.0.0.1", "10.0.0.2", "10.0.0.3")
        if self._ipv6:
            addresses = ("fd00::1", "fd00::2", "fd00::3")
        one, two = rng.sample(addresses, 2)
        sides = (
            Side(one, rng.choice((1000, 2000, 300)), rng.choice((0, 5, WORD - 700, 10**9))),
            Side(two, rng.choice((80, 443, 21)), rng.choice((0, 77, WORD - 3))),
        )
        scale = tuple(rng.choice((None, None, 0, 2, 7, 14)) for _ in range(2))
        return Conversation(rng.choice(protocols), sides, scale=(scale[0], scale[1]))

    def next(self) -> tuple[int, bytes]:
        """The next packet: the end that sends it, and its bytes."""
        talk = self.rng.choice(self.conversations)
        end, packet = self._packet(talk)
        frame = bytes(packet)
        if self.rng.random() < self._oddities * 0.3:
            frame = self._spoil(frame)
        talk.sent.append(frame)
        return end, frame

    def _ether(self, end: int) -> Packet:
        ether = Ether(src=MACS[end], dst=MACS[1 - end])
        return ether / Dot1Q(vlan=7) if self._tagged else ether

    def _ip(self, talk: Conversation, end: int, **fields: object) -> Packet:
        source, destination = talk.sides[end], talk.sides[1 - end]
        if self._ipv6:
            return IPv6(src=source.address, dst=destination.address, **fields)
        return IP(src=source.address, dst=destination.address, **fields)

    def _packet(self, talk: Conversation) -> tuple[int, Packet]:
        rng = self.rng
        if talk.sent and rng.random() < self._oddities:
            return self._error(talk)
        match talk.protocol:
            case "tcp":
                return self._tcp(talk)
            case "udp":
                end = 0 if not talk.step else rng.choice((0, 1))
                talk.step += 1
                ends = talk.sides[end], talk.sides[1 - end]
                ports = {"sport": ends[0].port, "dport": ends[1].port}
                udp = UDP(**ports)
                if not self._ipv6 and rng.random() < 0.1:
                    udp = UDP(**ports, chksum=0)
                return end, self._ether(end) / self._ip(talk, end) / udp / Raw(
                    b"x" * rng.randint(0, 9)
                )
            case "icmp":
                end = 0 if not talk.step else rng.choice((0, 1))
                talk.step += 1
                return end, self._ether(end) / self._ip(talk, end) / self._echo(talk, end)
        end = rng.choice((0, 1))
        name = "nh" if self._ipv6 else "proto"
        return end, self._ether(end) / self._ip(talk, end, **{name: 47}) / Raw(bytes(12))

    def _echo(self, talk: Conversation, end: int) -> Packet:
        identifier = talk.sides[0].port
        if self._ipv6:
            kind = ICMPv6EchoRequest if end == 0 else ICMPv6EchoReply
            return kind(id=identifier, seq=talk.step, data=b"ping")
        kinds = self.rng.choice(((8, 0), (8, 0), (13, 14)))
        return ICMP(type=kinds[end], id=identifier, seq=talk.step) / Raw(b"ping")

    def _tcp(self, talk: Conversation) -> tuple[int, Packet]:
        rng = self.rng
        payload = b""
        if rng.random() < self._oddities:
            end, flags = (
                rng.choice((0, 1)),
                rng.choice(("S", "SA", "A", "F", "FA", "R", "RA", "PA", "")),
            )
            talk.step += rng.choice((0, 0, 1))
        elif talk.step < 3:
            end, flags = ((0, "S"), (1, "SA"), (0, "A"))[talk.step]
            talk.step += 1
        else:
            end = rng.choice((0, 1))
            flags = rng.choice(
                ("A", "PA", "PA", "FA", "A", "R", "S") if talk.step > 6 else ("A", "PA")
            )
            talk.step += 1
            payload = b"d" * rng.choice((0, 1, 100, 1400)) if "P" in flags else b""
        source, destination = talk.sides[end], talk.sides[1 - end]
        jump = rng.choice((0,) * 12 + (1, -1, 70000, 10**6, -(10**5)))
        options = []
        if "S" in flags and talk.scale[end] is not None:
            options = [("MSS", 1460), ("NOP", None), ("WScale", talk.scale[end])]
        tcp = TCP(
            sport=source.port,
            dport=destination.port,
            flags=flags,
            seq=(source.sequence + jump) % WORD,
            ack=destination.sequence if "A" in flags else 0,
            window=rng.choice((0, 100, 8192, 65535)),
            options=options,
        )
        if not jump:
            source.sequence += len(payload) + ("S" in flags) + ("F" in flags)
            source.sequence %= WORD
        return end, self._ether(end) / self._ip(talk, end) / tcp / Raw(payload)

    def _error(self, talk: Conversation) -> tuple[int, Packet]:
        """An ICMP error about a packet that was sent, from its receiver or a router."""
        rng = self.rng
        quoted = Ether(rng.choice(talk.sent))
        layer = IPv6 if self._ipv6 else IP
        if layer not in quoted:
            return 1, self._ether(1) / self._ip(talk, 1) / Raw(b"?")
        inner = quoted[layer]
        end = 1 if quoted.src == MACS[0] else 0
        router = "fd00::99" if self._ipv6 else "10.9.9.9"
        source = rng.choice((inner.dst, inner.dst, router))
        data = bytes(inner)
        header = 40 if self._ipv6 else 20
        data = data[: header + rng.choice(self._quoted)]
        if self._ipv6:
            kind = rng.choice((ICMPv6DestUnreach, ICMPv6PacketTooBig))
            return end, self._ether(end) / IPv6(src=source, dst=inner.src) / kind() / Raw(data)
        icmp = ICMP(type=rng.choice((3, 11, 12, 5)), code=rng.choice((0, 1, 3)))
        return end, self._ether(end) / IP(src=source, dst=inner.src) / icmp / Raw(data)

    def _spoil(self, frame: bytes) -> bytes:
        """A frame with something wrong: a bit, the end, or some bytes too many."""
        rng = self.rng
        match rng.randrange(3):
            case 0:
                at = rng.randrange(14 + 4 * self._tagged + 10, len(frame))
                return frame[:at] + bytes([frame[at] ^ 1 << rng.randrange(8)]) + frame[at + 1 :]
            case 1:
                return frame[: rng.randrange(34, max(len(frame), 35))]
        return frame + bytes(rng.randint(1, 20))
