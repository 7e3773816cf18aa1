"""The table of connections by itself: states, zones, marks, NAT, time."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.packet import Packet, Raw

from flowvm.conntrack.extract import Datagram
from flowvm.conntrack.nat import DESTINATION, SOURCE, NatRequest, UnpredictableError
from flowvm.conntrack.request import (
    DESTINATION_NAT,
    ESTABLISHED,
    INVALID,
    NEW,
    RELATED,
    REPLY,
    SOURCE_NAT,
    TRACKED,
    Masked,
    Request,
    Tracking,
)
from flowvm.conntrack.table import ConnectionTable
from flowvm.conntrack.text import format_connection
from flowvm.conntrack.tracker import track
from flowvm.text.values import parse_ipv4

COMMIT = Request(commit=True)
LOOK = Request()
NAT_HERE = parse_ipv4("10.1.1.1")
NO_PORTS = (0, 0)
"""Only helpers go by them."""


def datagram(packet: Packet) -> Datagram:
    """An IPv4 packet as it lies behind an Ethernet header."""
    data = bytes(14) + bytes(packet)
    return Datagram(data, 0x800, 14, 14 + (data[14] & 0xF) * 4, len(data))


def request(payload: Packet) -> Datagram:
    return datagram(IP(src="10.0.0.1", dst="10.0.0.2") / payload)


def reply(payload: Packet, destination: str = "10.0.0.1") -> Datagram:
    return datagram(IP(src="10.0.0.2", dst=destination) / payload)


def state(table: ConnectionTable, packet: Datagram, asked: Request = LOOK, now: int = 0) -> int:
    """The flags of a packet after one ct action."""
    tracking = Tracking()
    track(table, packet, tracking, asked, now, NO_PORTS)
    return tracking.state


def dump(table: ConnectionTable, now: int = 0) -> list[str]:
    return [format_connection(connection) for connection in table.connections(now)]


ASK = UDP(sport=1000, dport=53) / b"?"
ANSWER = UDP(sport=53, dport=1000) / b"!"


def test_a_packet_is_new_until_its_connection_is_committed_and_answered() -> None:
    """Looking alone enters nothing; a reply makes both directions established."""
    table = ConnectionTable()
    assert state(table, request(ASK)) == NEW | TRACKED
    assert dump(table) == []
    assert state(table, request(ASK), COMMIT) == NEW | TRACKED
    assert state(table, request(ASK)) == NEW | TRACKED
    assert state(table, reply(ANSWER)) == ESTABLISHED | REPLY | TRACKED
    assert state(table, request(ASK)) == ESTABLISHED | TRACKED
    assert dump(table) == [
        "udp,orig=(src=10.0.0.1,dst=10.0.0.2,sport=1000,dport=53),"
        "reply=(src=10.0.0.2,dst=10.0.0.1,sport=53,dport=1000)"
    ]


def test_zones_are_tables_of_their_own() -> None:
    """A connection of one zone is none of another."""
    table = ConnectionTable()
    state(table, request(ASK), Request(zone=1, commit=True))
    assert state(table, reply(ANSWER), Request(zone=2)) == NEW | TRACKED
    assert state(table, reply(ANSWER), Request(zone=1)) == ESTABLISHED | REPLY | TRACKED


def test_mark_and_label_are_kept_and_set_bit_by_bit() -> None:
    """Bits outside the mask stay; a later packet sees them."""
    table = ConnectionTable()
    first = Request(commit=True, mark=Masked(0xAB, 0xFF), label=Masked(1 << 100, 1 << 100))
    state(table, request(ASK), first)
    state(table, request(ASK), Request(mark=Masked(0x10, 0xF0)))
    tracking = Tracking()
    track(table, reply(ANSWER), tracking, LOOK, 0, NO_PORTS)
    assert (tracking.mark, tracking.label) == (0x1B, 1 << 100)
    assert dump(table)[0].endswith(f",mark=27,labels={1 << 100:#x}")


@pytest.mark.parametrize(
    ("packet", "milliseconds"),
    [
        (ASK, 60_000),
        (ICMP(type=8, id=5), 60_000),
        (TCP(sport=1, dport=2, flags="S"), 30_000),
    ],
)
def test_a_connection_expires(packet: Packet, milliseconds: int) -> None:
    """Exactly when its time is over."""
    table = ConnectionTable()
    state(table, request(packet), COMMIT, now=7)
    assert len(dump(table, 7 + milliseconds - 1)) == 1
    assert dump(table, 7 + milliseconds) == []


def test_a_reply_shortens_the_life_of_udp() -> None:
    """Thirty seconds after the last packet of an exchange."""
    table = ConnectionTable()
    state(table, request(ASK), COMMIT)
    state(table, reply(ANSWER), now=1_000)
    assert len(dump(table, 30_999)) == 1
    assert dump(table, 31_000) == []


def test_force_ends_a_connection_that_began_at_the_other_end() -> None:
    """The packet's own direction becomes the original one."""
    table = ConnectionTable()
    state(table, request(ASK), COMMIT)
    assert state(table, reply(ANSWER), Request(commit=True, force=True)) == NEW | TRACKED
    assert dump(table)[0].startswith("udp,orig=(src=10.0.0.2,dst=10.0.0.1,sport=53,dport=1000)")


def test_an_icmp_error_is_related_to_what_it_quotes() -> None:
    """In the direction of a reply; unknown quotes are invalid."""
    error = ICMP(type=3, code=3) / IP(src="10.0.0.1", dst="10.0.0.2") / ASK
    table = ConnectionTable()
    assert state(table, reply(error)) == INVALID | TRACKED
    state(table, request(ASK), COMMIT)
    assert state(table, reply(error)) == RELATED | REPLY | TRACKED


def test_a_fragment_alone_is_invalid() -> None:
    """That is, one that is not held for the others."""
    assert state(ConnectionTable(), datagram(IP(flags="MF") / ASK)) == INVALID | TRACKED


def test_a_helper_follows_its_protocol_only() -> None:
    """Not the control connection of another, though any port will do for its own."""
    table = ConnectionTable()
    segment = request(TCP(sport=1, dport=2121, flags="S"))
    assert state(table, segment, Request(commit=True, helper="ftp")) == NEW | TRACKED
    asked = request(UDP(sport=1, dport=69) / b"?")
    assert state(table, asked, Request(commit=True, helper="ftp")) == NEW | TRACKED
    assert [line.rpartition(",")[2] for line in dump(table)] == ["dport=1)", "helper=ftp"]


def test_an_announced_connection_is_related() -> None:
    """It begins at the port that TFTP's request came from, as long as that is remembered."""
    table = ConnectionTable()
    asked = request(UDP(sport=1000, dport=69) / b"?")
    state(table, asked, Request(commit=True, helper="tftp"))
    answer = reply(UDP(sport=4000, dport=1000) / b"!")
    assert state(table, answer) == NEW | RELATED | TRACKED
    assert state(table.copy(), answer, COMMIT) == NEW | RELATED | TRACKED
    assert state(table, answer, now=60_001) == NEW | TRACKED


def nat(which: int, ports: tuple[int, int] | None = None, last: int = NAT_HERE) -> Request:
    asked = NatRequest(which, addresses=(NAT_HERE, last), ports=ports)
    return Request(commit=True, nat=asked)


def test_source_nat_translates_and_translates_back() -> None:
    """Address and port of the first packet; the reply to them gets the original ones."""
    table = ConnectionTable()
    tracking = Tracking()
    there = track(table, request(ASK), tracking, nat(SOURCE, (7, 7)), 0, NO_PORTS)
    assert there is not None
    assert (there.source, there.destination, there.ports) == (NAT_HERE, None, (7, 53))
    assert tracking.state == NEW | TRACKED | SOURCE_NAT
    answer = reply(UDP(sport=53, dport=7) / b"!", "10.1.1.1")
    back_again = Tracking()
    back = track(table, answer, back_again, Request(nat=NatRequest()), 0, NO_PORTS)
    assert back is not None
    assert (back.source, back.destination, back.ports) == (None, parse_ipv4("10.0.0.1"), (53, 1000))
    assert back_again.state == ESTABLISHED | REPLY | TRACKED | DESTINATION_NAT


def test_a_taken_port_gives_way_to_the_next() -> None:
    """Two clients with one port behind one address."""
    table = ConnectionTable()
    ports = []
    for client in ("10.0.0.1", "10.0.0.3", "10.0.0.4"):
        packet = datagram(IP(src=client, dst="10.0.0.2") / UDP(sport=65535, dport=53))
        translation = track(table, packet, Tracking(), nat(SOURCE), 0, NO_PORTS)
        assert translation is not None
        ports.append(translation.ports)
    assert ports == [(65535, 53), (1024, 53), (1025, 53)]


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        (nat(SOURCE, last=NAT_HERE + 1), "addresses"),
        (nat(DESTINATION, (80, 81)), "ports"),
    ],
)
def test_a_choice_by_a_random_number_is_refused(asked: Request, what: str) -> None:
    """Open vSwitch hashes with a secret; the answer would be a guess."""
    table = ConnectionTable()
    with pytest.raises(UnpredictableError, match=what):
        state(table, request(ASK), asked)
    assert dump(table) == []


def test_a_copy_goes_its_own_way() -> None:
    """Connections and their progress."""
    table = ConnectionTable()
    state(table, request(ASK), COMMIT)
    twin = table.copy()
    assert state(twin, reply(ANSWER)) == ESTABLISHED | REPLY | TRACKED
    assert state(table, request(ASK)) == NEW | TRACKED
    state(twin, request(UDP(sport=1, dport=1)), COMMIT)
    assert (len(dump(table)), len(dump(twin))) == (1, 2)


def test_a_tcp_connection_is_followed_by_its_sequence_numbers() -> None:
    """A segment beyond the window is invalid, and a SYN after the end begins anew."""
    table = ConnectionTable()

    def client(flags: str, seq: int, ack: int = 0, data: bytes = b"") -> int:
        segment = TCP(sport=1000, dport=80, flags=flags, seq=seq, ack=ack)
        return state(table, request(segment / Raw(data)), COMMIT)

    def server(flags: str, seq: int, ack: int, data: bytes = b"") -> int:
        segment = TCP(sport=80, dport=1000, flags=flags, seq=seq, ack=ack)
        return state(table, reply(segment / Raw(data)))

    assert client("S", 100) == NEW | TRACKED
    assert dump(table)[0].endswith("protoinfo=(state=SYN_SENT)")
    assert server("SA", 500, 101) == ESTABLISHED | REPLY | TRACKED
    assert client("A", 101, 501) == ESTABLISHED | TRACKED
    assert dump(table)[0].endswith("protoinfo=(state=ESTABLISHED)")
    assert server("PA", 501 + 100_000, 101, b"far") == INVALID | TRACKED
    assert client("R", 101) == ESTABLISHED | TRACKED
    assert dump(table)[0].endswith("protoinfo=(state=TIME_WAIT)")
    assert client("S", 5) == NEW | TRACKED
    assert dump(table)[0].endswith("protoinfo=(state=SYN_SENT)")
