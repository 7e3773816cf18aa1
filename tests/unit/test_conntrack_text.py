"""Connections as ``dpctl/dump-conntrack`` prints them."""

from __future__ import annotations

import pytest

from flowvm.conntrack.text import format_connection, parse_connections
from flowvm.text.errors import FlowSyntaxError

LINES = (
    "udp,orig=(src=10.0.0.1,dst=10.0.0.2,sport=1000,dport=53),"
    "reply=(src=10.0.0.2,dst=10.0.0.1,sport=53,dport=1000)",
    "tcp,orig=(src=10.0.0.1,dst=10.0.0.2,sport=1000,dport=80),"
    "reply=(src=10.0.0.9,dst=10.0.0.1,sport=8080,dport=1000),zone=5,mark=7,"
    "labels=0x5000000000000000000000001,protoinfo=(state=ESTABLISHED)",
    "icmp,orig=(src=10.0.0.1,dst=10.0.0.2,id=7,type=8,code=0),"
    "reply=(src=10.0.0.2,dst=10.0.0.1,id=7,type=0,code=0),zone=1",
    "icmpv6,orig=(src=fd00::1,dst=fd00::2,id=7,type=128,code=0),"
    "reply=(src=fd00::2,dst=fd00::1,id=7,type=129,code=0)",
    "47,orig=(src=10.0.0.1,dst=10.0.0.2,sport=0,dport=0),"
    "reply=(src=10.0.0.2,dst=10.0.0.1,sport=0,dport=0)",
    "tcp,orig=(src=10.0.0.1,dst=10.0.0.2,sport=1,dport=21),"
    "reply=(src=10.0.0.2,dst=10.0.0.1,sport=21,dport=1),"
    "protoinfo=(state=SYN_SENT),helper=ftp",
)


@pytest.mark.parametrize("line", LINES)
def test_a_line_is_written_as_it_was_read(line: str) -> None:
    """Byte for byte."""
    (connection,) = parse_connections(line)
    assert format_connection(connection) == line


def test_a_timeout_says_how_long_a_connection_lives() -> None:
    """Of a dump with -s; without it the connection has just seen a packet."""
    with_timeout = LINES[0] + ",timeout=12"
    timed, untimed = parse_connections(f"{with_timeout}\n{LINES[0]}\n", now=1_000)
    assert timed.expiration == 13_000
    assert untimed.expiration == 31_000
    assert format_connection(timed, 1_000) == with_timeout


def test_what_linux_prints_besides_is_passed_over() -> None:
    """Identifiers, status flags, both states of TCP (dump-conntrack -m)."""
    line = (
        "tcp,orig=(src=10.0.0.1,dst=10.0.0.2,sport=1,dport=2,packets=3,bytes=99),"
        "reply=(src=10.0.0.2,dst=10.0.0.1,sport=2,dport=1,packets=1,bytes=40),"
        "start=2026-01-01T00:00:00.000,id=77,zone=3,status=SEEN_REPLY|CONFIRMED,timeout=5,"
        "protoinfo=(state_orig=FIN_WAIT_2,state_reply=FIN_WAIT_2,wscale_orig=7,wscale_reply=7,"
        "flags_orig=WINDOW_SCALE|SACK_PERM,flags_reply=WINDOW_SCALE)"
    )
    (connection,) = parse_connections(line)
    assert (connection.key.zone, connection.expiration) == (3, 5_000)
    assert format_connection(connection).endswith("protoinfo=(state=TIME_WAIT)")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("what is this", "c:2:1: this is not a connection"),
        ("udp,orig=(src=1.2.3.4,dport=1),reply=(src=1.2.3.4,dst=1.2.3.4)", "has no addresses"),
        (LINES[0] + ",zone=70000", 'c:2:117: "70000" does not fit into 16 bits'),
        (LINES[0] + " oops", "cannot be read here"),
        (LINES[1].replace("ESTABLISHED", "HALF"), 'unknown state "HALF" of TCP'),
    ],
)
def test_a_line_that_cannot_be_read_is_told(line: str, problem: str) -> None:
    """With its place and the line itself."""
    with pytest.raises(FlowSyntaxError) as caught:
        parse_connections(f"{LINES[0]}\n{line}\n", file="c")
    assert problem in str(caught.value)
    assert f"  {line}\n" in str(caught.value)
