"""The helpers for FTP and TFTP against a running Open vSwitch."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from ..oracle import Bridge
from .ct_pair import Pair
from .ct_traffic import MACS

pytestmark = pytest.mark.oracle

FTP = """
table=0,priority=9,{ip} actions={before}ct(table=1,zone=5{nat})
table=1,priority=9,ct_state=+inv actions=output:7
table=1,priority=8,{ip},ct_state=+new+rel actions=ct(commit,zone=5{nat},table=2),output:6
table=1,priority=7,in_port=1,{upper},ct_state=+new \
 actions=ct(commit,zone=5,alg={alg},exec(load:7->NXM_NX_CT_MARK[],load:9->NXM_NX_CT_LABEL[]){to},\
table=2)
table=1,priority=6,in_port=1,ct_state=+est actions=output:2
table=1,priority=6,in_port=2,ct_state=+est actions=output:1
table=1,priority=5,ct_state=+new actions=output:8
table=2,priority=9,in_port=1,ct_mark=7 actions=output:2
table=2,priority=9,in_port=2,ct_mark=7 actions=output:1
table=2,priority=8 actions=output:5
"""
MAKE_ROOM = "mod_vlan_vid:5,output:4,strip_vlan,"
"""The datapath's buffer for the packet is as large as the packet, until a tag was pushed."""


def spacious(message: bytes, headers: int = 54) -> bytes:
    """The message, so long that Open vSwitch 3.1 can make its packet longer and survive.

    It does not look for room behind the packet, and has what malloc allots beyond what was asked.
    """
    text = message.removesuffix(b"\r\n")
    return text + b" " * ((9 - headers - len(message)) % 16) + b"\r\n"


def flows(ip: str = "ip", alg: str = "ftp", nat: str = "", to: str = "", before: str = "") -> str:
    upper = ("tcp" if alg == "ftp" else "udp") + ip.removeprefix("ip").removeprefix("v")
    return FTP.format(ip=ip, upper=upper, alg=alg, nat=nat, to=to, before=before)


@dataclass
class Dialogue:
    """A TCP connection between two ends, as each of them sees it."""

    pair: Pair
    ends: tuple[tuple[str, int], tuple[str, int]] = (("10.0.0.1", 1000), ("10.0.0.2", 21))
    seen: tuple[str, int] | None = None
    sequence: list[int] = field(default_factory=lambda: [100, 500])
    known: list[int] = field(default_factory=lambda: [0, 0])
    """What each end has received of the other."""

    def open(self) -> None:
        self.say(0, b"", "S")
        self.say(1, b"", "SA")
        self.say(0, b"", "A")

    def say(self, end: int, text: bytes, flags: str = "PA") -> list[int]:
        """One segment; the ports by which it leaves."""
        source, destination = self.ends[end], self.ends[1 - end]
        if end == 1 and self.seen is not None:
            destination = self.seen
        tcp = TCP(sport=source[1], dport=destination[1], flags=flags, seq=self.sequence[end])
        tcp.ack = self.known[end] if "A" in flags else 0
        ip = IPv6 if ":" in source[0] else IP
        layers = ip(src=source[0], dst=destination[0]) / tcp / Raw(text)
        sent = self.pair.send(1 + end, bytes(Ether(src=MACS[end], dst=MACS[1 - end]) / layers))
        self.sequence[end] += len(text) + ("S" in flags)
        left = [Ether(frame) for port, frame in sent if port in (1, 2)]
        if left:
            arrived = left[0][TCP]
            if end == 0 and left[0][ip].src != source[0]:
                self.seen = (left[0][ip].src, arrived.sport)
            payload = len(bytes(arrived.payload)) if Raw in left[0] else 0
            payload = min(payload, len(bytes(left[0][TCP].payload)))
            self.known[1 - end] = arrived.seq + len(text_of(left[0])) + ("S" in flags)
        return [port for port, _ in sent]


def text_of(frame: Ether) -> bytes:
    """The payload of a TCP segment, without padding."""
    return bytes(frame[TCP].payload.load) if Raw in frame[TCP] else b""


MESSAGES = [
    (0, b"PORT 10,0,0,1,7,208\r\n"),
    (0, b"port 10,0,0,1,7,208\r\n"),
    (0, b"PORT 10,0,0,1,0,0\r\n"),
    (0, b"PORT  x10,0,0,1,255,255 \r\n"),
    (0, b"PORT 10,0,0,1,256,1\r\n"),
    (0, b"PORT 10,0,0,1,1,256\r\n"),
    (0, b"PORT 10,0,0,1,0001,2\r\n"),
    (0, b"PORT 10,0,0,1,00001,2\r\n"),
    (0, b"PORT 10,0,0,1,1;2\r\n"),
    (0, b"PORT 10,0,0,1,1\r\n"),
    (0, b"PORT 10,0,0,1,1,\r\n"),
    (0, b"PORT 10,0,01,1,1,2\r\n"),
    (0, b"PORT 10,0,0,9,7,208\r\n"),
    (0, b"PORT 10,0,0\r\n"),
    (0, b"PORT\r\n"),
    (0, b"PORT x\r\n"),
    (0, b"PORT 10,0,0,1,7,2"),
    (0, b"PORT " + b"x" * 110 + b"10,0,0,1,7,208\r\n"),
    (0, b"USER me\r\n"),
    (1, b"227 Entering Passive Mode (10,0,0,2,7,208).\r\n"),
    (1, b"227 Entering Passive Mode (10,0,0,3,7,208).\r\n"),
    (1, b"227 (10,0,0,2,7,208)\r\n"),
    (1, b"227(10,0,0,2,7,208)\r\n"),
    (1, b"220 hello\r\n"),
    (1, b"PORT 10,0,0,2,7,208\r\n"),
]


@pytest.mark.parametrize(("end", "message"), MESSAGES)
def test_ftp_announces_connections(bridge: Bridge, end: int, message: bytes) -> None:
    """Those that come are related, with the mark, label and original addresses of the first."""
    pair = Pair(bridge, flows())
    control = Dialogue(pair)
    control.open()
    control.say(end, message)
    for begins, ends in (
        (1, (("10.0.0.2", 20), ("10.0.0.1", 2000))),
        (0, (("10.0.0.1", 3000), ("10.0.0.2", 2000))),
        (1, (("10.0.0.2", 20), ("10.0.0.1", 2001))),
    ):
        data = Dialogue(pair, ends if begins == 0 else (ends[1], ends[0]))
        data.say(begins, b"", "S")
        data.say(1 - begins, b"", "SA")
    control.say(0, b"QUIT\r\n")


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (0, b"EPRT |2|fd00::1|2000|\r\n"),
        (0, b"eprt |2|fd00::1|2000|\r\n"),
        (0, b"EPRT |1|10.0.0.1|2000|\r\n"),
        (0, b"EPRT |22|fd00::1|2000|\r\n"),
        (0, b"EPRT |2|fd00::9|2000|\r\n"),
        (0, b"EPRT |2|fd00:1|2000|\r\n"),
        (0, b"EPRT |2|fd00::1|65536|\r\n"),
        (0, b"EPRT |2|fd00::1||\r\n"),
        (1, b"229 Entering Extended Passive Mode (|||2000|)\r\n"),
        (1, b"229 EXTENDED PASSIVE 2000\r\n"),
        (1, b"229 extended passive (|||1234567|)\r\n"),
        (1, b"227 (10,0,0,2,7,208)\r\n"),
    ],
)
def test_ftp_over_ipv6_announces_connections(bridge: Bridge, end: int, message: bytes) -> None:
    """By the extended commands."""
    pair = Pair(bridge, flows("ipv6"))
    control = Dialogue(pair, (("fd00::1", 1000), ("fd00::2", 21)))
    control.open()
    control.say(end, message)
    Dialogue(pair, (("fd00::1", 2000), ("fd00::2", 20))).say(1, b"", "S")
    Dialogue(pair, (("fd00::1", 3000), ("fd00::2", 2000))).say(0, b"", "S")


@pytest.mark.parametrize("to", [",nat(src=10.1.1.1)", ",nat(src=10.111.111.111:5000)", ",nat"])
@pytest.mark.parametrize(
    ("end", "message"),
    [
        (0, b"PORT 10,0,0,1,7,208\r\n"),
        (0, b"PORT 10,1,1,1,7,208\r\n"),
        (1, b"227 Entering Passive Mode (10,0,0,2,7,208).\r\n"),
        (0, b"LIST\r\n"),
    ],
)
def test_ftp_with_source_nat(bridge: Bridge, to: str, end: int, message: bytes) -> None:
    """The address in the message changes, and with it all numbers of the segments after it."""
    pair = Pair(bridge, flows(nat=",nat", to=to, before=MAKE_ROOM))
    control = Dialogue(pair)
    control.open()
    control.say(end, spacious(message))
    for number in range(3):
        control.say(1, b"200 fine\r\n" * number)
        control.say(0, b"STOR a\r\n" * number)
    control.say(end, spacious(message))
    control.say(0, b"QUIT\r\n")
    server = control.seen or ("10.0.0.1", 0)
    data = Dialogue(pair, (("10.0.0.1", 2000), ("10.0.0.2", 20)), (server[0], 2000))
    data.say(1, b"", "S")
    data.say(0, b"", "SA")
    passive = Dialogue(pair, (("10.0.0.1", 3000), ("10.0.0.2", 2000)))
    passive.say(0, b"", "S")
    passive.say(1, b"", "SA")


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (0, b"PORT 10,0,0,1,7,208\r\n"),
        (1, b"227 Entering Passive Mode (10,0,0,99,7,208).\r\n"),
        (1, b"227 Entering Passive Mode (10,0,0,2,7,208).\r\n"),
    ],
)
def test_ftp_with_destination_nat(bridge: Bridge, end: int, message: bytes) -> None:
    """The server's address is another than the client knows."""
    pair = Pair(bridge, flows(nat=",nat", to=",nat(dst=10.0.0.99)", before=MAKE_ROOM))
    control = Dialogue(pair)
    control.open()
    control.ends = (control.ends[0], ("10.0.0.99", 21))
    control.say(1, b"220 hello\r\n")
    control.say(end, spacious(message))
    control.say(1, b"200 fine\r\n")
    control.ends = (control.ends[0], ("10.0.0.2", 21))
    control.say(0, b"QUIT\r\n")
    Dialogue(pair, (("10.0.0.1", 2000), ("10.0.0.99", 20))).say(1, b"", "S")
    Dialogue(pair, (("10.0.0.1", 3000), ("10.0.0.2", 2000))).say(0, b"", "S")


def test_ftp_over_ipv6_with_nat(bridge: Bridge) -> None:
    """The shortest form of the address comes in the place of the other."""
    to = ",nat(src=fd00::1234:5678)"
    pair = Pair(bridge, flows("ipv6", nat=",nat", to=to, before=MAKE_ROOM))
    control = Dialogue(pair, (("fd00::1", 1000), ("fd00::2", 21)))
    control.open()
    control.say(0, spacious(b"EPRT |2|fd00::1|2000|\r\n", 74))
    control.say(1, b"200 fine\r\n")
    control.say(0, b"QUIT\r\n")
    server = ("fd00::1234:5678", 2000)
    Dialogue(pair, (("fd00::1", 2000), ("fd00::2", 20)), server).say(1, b"", "S")


def test_tftp_announces_connections(bridge: Bridge) -> None:
    """From any port of the server to the port that asked; for as long as the first one lives."""
    pair = Pair(bridge, flows(alg="tftp"))

    def ask(end: int, sport: int, dport: int) -> list[int]:
        ends = ("10.0.0.1", "10.0.0.2")[:: -1 if end else 1]
        packet = IP(src=ends[0], dst=ends[1]) / UDP(sport=sport, dport=dport) / b"\0\1a\0"
        frame = bytes(Ether(src=MACS[end], dst=MACS[1 - end]) / packet)
        return [port for port, _ in pair.send(1 + end, frame)]

    assert ask(0, 1000, 69) == [2]
    assert ask(1, 4000, 1001) == [8]
    assert 6 in ask(1, 4000, 1000)
    assert ask(0, 1000, 4000) == [2]
    assert 6 in ask(1, 4001, 1000)
    assert ask(0, 1000, 69) == [2]
    for _ in range(2):
        pair.wait(29_500)
    assert 6 in ask(1, 4002, 1000)


@pytest.mark.parametrize("to", [",nat(src=10.1.1.1:7000)", ",nat(dst=10.0.0.9)"])
def test_tftp_with_nat(bridge: Bridge, to: str) -> None:
    """The answer comes from the server as it is, to the client as the server knows it."""
    pair = Pair(bridge, flows(alg="tftp", nat=",nat", to=to))
    for end, source, destination, ports in (
        (0, "10.0.0.1", "10.0.0.2", (1000, 69)),
        (1, "10.0.0.2", "10.1.1.1", (4000, 1000)),
        (1, "10.0.0.2", "10.1.1.1", (4000, 7000)),
        (1, "10.0.0.9", "10.0.0.1", (4000, 1000)),
        (0, "10.0.0.1", "10.0.0.2", (1000, 4000)),
    ):
        packet = IP(src=source, dst=destination) / UDP(sport=ports[0], dport=ports[1]) / b"\0\1"
        pair.send(1 + end, bytes(Ether(src=MACS[end], dst=MACS[1 - end]) / packet))
