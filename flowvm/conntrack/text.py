"""Connections as ``ovs-appctl dpctl/dump-conntrack`` prints them, read and written.

Semantics: ovs-vswitchd(8), "dpctl/dump-conntrack"; the layout is that of lib/ct-dpif.c, with the
additions of its options ``-s`` (timeouts) and ``-m`` (both states of TCP).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from flowvm.conntrack import nat, timeouts
from flowvm.conntrack.extract import ICMP_REPLIES, ICMPV6_REPLIES
from flowvm.conntrack.key import Endpoint, Key
from flowvm.conntrack.protocol import IcmpProgress, OtherProgress, Progress
from flowvm.conntrack.table import Connection
from flowvm.conntrack.tcp import TcpProgress, TcpState
from flowvm.fields import ETH_TYPE_IP, ETH_TYPE_IPV6
from flowvm.protocols import ICMP, ICMPV6, TCP, UDP
from flowvm.text.errors import FlowSyntaxError, WordError
from flowvm.text.values import format_ipv4, format_ipv6, parse_ipv4, parse_ipv6, parse_number

PROTOCOLS: Mapping[str, int] = MappingProxyType(
    {
        "icmp": ICMP,
        "icmpv6": ICMPV6,
        "tcp": TCP,
        "udp": UDP,
        "sctp": 132,
        "udplite": 136,
        "dccp": 33,
        "igmp": 2,
    }
)
_NAMES = {number: name for name, number in PROTOCOLS.items()}

_LINE = re.compile(
    r"(?P<protocol>\w+),orig=\((?P<orig>[^()]*)\),reply=\((?P<reply>[^()]*)\)(?P<rest>.*)\Z"
)
_ATTRIBUTE = re.compile(r",(?P<name>\w+)=(?P<value>\([^()]*\)|[^,()]*)")
_EXPECTED = "PROTOCOL,orig=(src=...,dst=...,...),reply=(src=...,dst=...,...)"


def parse_connections(text: str, now: int = 0, *, file: str | None = None) -> list[Connection]:
    """The connections that ``text`` lists, as they are at ``now`` (milliseconds).

    A dump tells no sequence numbers: those of its TCP connections are not checked. Raises
    FlowSyntaxError for a line that cannot be read.
    """
    connections = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                connections.append(parse_connection(line.strip(), now))
            except WordError as error:
                raise FlowSyntaxError(
                    error.problem,
                    text=line,
                    column=max(line.find(error.word), 0) + 1,
                    expected=error.expected,
                    line=number,
                    file=file,
                ) from None
    return connections


def parse_connection(line: str, now: int = 0) -> Connection:
    """The connection that one line describes; raises WordError."""
    parts = _LINE.match(line)
    if parts is None:
        raise WordError(line, "this is not a connection", _EXPECTED)
    name = parts["protocol"]
    protocol = PROTOCOLS.get(name)
    if protocol is None:
        protocol = parse_number(name, 8, "a protocol")
    attributes = _attributes(parts["rest"])
    zone = parse_number(attributes.get("zone", "0"), 16, "a zone")
    key = _parse_tuple(parts["orig"], protocol, zone)
    reply = _parse_tuple(parts["reply"], protocol, zone)
    if protocol in (ICMP, ICMPV6):
        key, reply = _with_types(key), _with_types(reply)
    timeout = None
    if "timeout" in attributes:
        timeout = 1000 * parse_number(attributes["timeout"], 32, "a number of seconds")
    replied = _was_replied(attributes.get("status", ""), timeout)
    progress = _progress(protocol, attributes.get("protoinfo", ""), replied=replied)
    if timeout is None:
        timeout = progress.timeout
    translated = key.reversed() != reply
    which = 0
    if key.source.address != reply.destination.address or (
        key.source.port != reply.destination.port
    ):
        which |= nat.SOURCE
    if key.destination != reply.source:
        which |= nat.DESTINATION
    return Connection(
        key,
        reply,
        progress,
        now + timeout,
        mark=parse_number(attributes.get("mark", "0"), 32, "a mark"),
        label=parse_number(attributes.get("labels", "0"), 128, "a label"),
        nat=which if translated else 0,
        with_nat=translated,
        helper=attributes.get("helper", ""),
        is_from_dump=True,
    )


def _attributes(rest: str) -> dict[str, str]:
    found: dict[str, str] = {}
    at = 0
    while at < len(rest):
        part = _ATTRIBUTE.match(rest, at)
        if part is None:
            raise WordError(rest[at:], f'"{rest[at:]}" cannot be read here', ",NAME=VALUE")
        found[part["name"]] = part["value"].strip("()")
        at = part.end()
    return found


def _parse_tuple(text: str, protocol: int, zone: int) -> Key:
    words = dict(word.partition("=")[::2] for word in text.split(","))
    try:
        source, destination = words["src"], words["dst"]
    except KeyError:
        raise WordError(text, "a tuple has no addresses", "src=...,dst=...") from None
    is_ipv6 = ":" in source
    parse = parse_ipv6 if is_ipv6 else parse_ipv4
    if protocol in (ICMP, ICMPV6):
        identifier = parse_number(words.get("id", "0"), 16)
        kind, code = (
            parse_number(words.get("type", "0"), 8),
            parse_number(words.get("code", "0"), 8),
        )
        first = Endpoint(parse(source), identifier, kind, code)
        second = Endpoint(parse(destination), identifier)
    else:
        first = Endpoint(parse(source), parse_number(words.get("sport", "0"), 16))
        second = Endpoint(parse(destination), parse_number(words.get("dport", "0"), 16))
    return Key(first, second, ETH_TYPE_IPV6 if is_ipv6 else ETH_TYPE_IP, protocol, zone)


def _with_types(key: Key) -> Key:
    """The key of an ICMP connection, with the type of what answers at the other end."""
    replies = ICMP_REPLIES if key.eth_type == ETH_TYPE_IP else ICMPV6_REPLIES
    kind = key.source.icmp_type
    answer = key.destination._replace(icmp_type=replies.get(kind, kind))
    return key._replace(destination=answer)


def _was_replied(status: str, timeout: int | None) -> bool:
    """Whether the other end has sent anything, as far as the line lets one know.

    Linux says so; of the userspace datapath only a long life tells that there was no reply.
    """
    if status and status != "0":
        return "SEEN_REPLY" in status
    return timeout is None or timeout <= timeouts.OTHER_BIDIRECTIONAL


def _progress(protocol: int, info: str, *, replied: bool) -> Progress:
    if protocol == TCP:
        words = dict(word.partition("=")[::2] for word in info.split(",") if word)
        state = words.get("state", "ESTABLISHED")
        names = words.get("state_orig", state), words.get("state_reply", state)
        for name in names:
            if name not in TcpState.__members__:
                raise WordError(info, f'unknown state "{name}" of TCP', "such as ESTABLISHED")
        return TcpProgress.resumed((TcpState[names[0]], TcpState[names[1]]))
    if protocol in (ICMP, ICMPV6):
        return IcmpProgress(replied=replied)
    return OtherProgress(repeated=True, replied=replied)


def format_connection(connection: Connection, now: int | None = None) -> str:
    """The line for a connection; with ``now`` (ms) it tells how long it has to live."""
    key = connection.key
    parts = [
        _NAMES.get(key.protocol, str(key.protocol)),
        f"orig=({_format_tuple(key)})",
        f"reply=({_format_tuple(connection.reply_key)})",
    ]
    if key.zone:
        parts.append(f"zone={key.zone}")
    if now is not None:
        parts.append(f"timeout={max(connection.expiration - now, 0) // 1000}")
    if connection.mark:
        parts.append(f"mark={connection.mark}")
    if connection.label:
        parts.append(f"labels={connection.label:#x}")
    if isinstance(connection.progress, TcpProgress):
        parts.append(f"protoinfo=(state={_shown(connection.progress)})")
    if connection.helper:
        parts.append(f"helper={connection.helper}")
    return ",".join(parts)


def _shown(progress: TcpProgress) -> str:
    """The further of the two states, in the words that are those of Linux too."""
    state = max(peer.state for peer in progress.peers)
    alike = {
        TcpState.FIN_WAIT_2: TcpState.TIME_WAIT,
        TcpState.SYN_RECV: TcpState.ESTABLISHED,
    }
    return alike.get(state, state).name


def _format_tuple(key: Key) -> str:
    form = format_ipv4 if key.eth_type == ETH_TYPE_IP else format_ipv6
    source, destination = key.source, key.destination
    addresses = f"src={form(source.address)},dst={form(destination.address)}"
    if key.protocol in (ICMP, ICMPV6):
        return f"{addresses},id={source.port},type={source.icmp_type},code={source.icmp_code}"
    return f"{addresses},sport={source.port},dport={destination.port}"
