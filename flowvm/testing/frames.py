"""Strategies for frames and packets that a table's rules have something to say about."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from hypothesis import strategies as st

from flowvm.columns import VLAN_CFI
from flowvm.fields import (
    ETH_TYPE_ARP,
    ETH_TYPE_IP,
    ETH_TYPE_IPV6,
    ETH_TYPE_NSH,
    INNER_TCI,
    NW_FRAG_BITS,
    OUTER_TCI,
)
from flowvm.fields import field as field_named
from flowvm.flow import Flow
from flowvm.packet.frames import Frames
from flowvm.testing.aiming import Words, aim_at_some, read, targets_of
from flowvm.testing.choices import Choices
from flowvm.testing.headers import Headers, build
from flowvm.testing.tables import PORTS
from flowvm.testing.values import ETH_TYPES, IP_PROTOCOLS, value_of
from flowvm.tlv_map import NO_TLV_MAP, TlvMap

METADATA = ("tun_id", "tun_src", "tun_dst", "metadata", "pkt_mark", "reg0", "reg1")
"""The fields that a packet can bring along though no frame carries them."""


@dataclass(frozen=True)
class Packet:
    """A frame as it arrives.

    ``time`` is in nanoseconds since the dump was taken; ``fields`` what comes with the frame but is
    not in it, such as ``tun_id``.
    """

    frame: bytes
    in_port: int = 1
    time: int = 0
    fields: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        extra = "".join(f", {name}={value:#x}" for name, value in self.fields.items())
        when = f", time={self.time / 1e9:g}s" if self.time else ""
        return f"in_port={self.in_port}{extra}{when}, frame={self.frame.hex()}"


@dataclass(frozen=True)
class Source:
    """Where generated packets come from.

    ``aim`` says what one should have. ``ports`` are those that packets come in by, ``metadata`` the
    fields that they bring along if they should have them, tunnel options by ``tlv_map`` among them.
    With ``mutate`` some frames are cut short or have bytes changed; none is shorter than
    ``min_length`` bytes.
    """

    aim: Callable[[Choices], Words]
    ports: Sequence[int] = PORTS
    metadata: Sequence[str] = METADATA
    mutate: bool = True
    min_length: int = 14
    tlv_map: TlvMap = NO_TLV_MAP

    def frame(self, choose: Choices) -> bytes:
        """One frame."""
        return _frame(choose, self.aim(choose), self.mutate, self.min_length)

    def packet(self, choose: Choices, time: int = 0) -> Packet:
        """One packet that arrives at ``time``, in nanoseconds."""
        words = self.aim(choose)
        frame = _frame(choose, words, self.mutate, self.min_length)
        in_port = choose.one(self.ports)
        wanted = _wanted(words, "in_port")
        if wanted is not None and wanted[0] in self.ports and not choose.percent(15):
            in_port = wanted[0]
        extra: dict[str, int] = {}
        for name in self.metadata:
            found = _wanted(words, name)
            if found is not None and found[0]:
                extra[name] = found[0]
        for name, row in self.tlv_map.rows.items():
            assert row.bits is not None
            assert row.presence is not None
            if read(words, row.presence) is not None:
                extra[name] = (read(words, row.bits) or (0, 0))[0]
        return Packet(frame, in_port, time, extra)


def source_of(
    table: Iterable[Flow],
    ports: Sequence[int] = PORTS,
    metadata: bool = True,
    mutate: bool = True,
    min_length: int = 14,
) -> Source:
    """Where packets aimed at the rules of ``table`` come from, see :func:`packets`."""
    targets = targets_of(table)

    def aim(choose: Choices) -> Words:
        return aim_at_some(choose, targets, {})

    return Source(aim, ports, METADATA if metadata else (), mutate, min_length)


def frames(
    table: Iterable[Flow] = (), *, mutate: bool = True, min_length: int = 14
) -> st.SearchStrategy[bytes]:
    """Frames aimed at the rules of ``table``.

    Their headers have values that some of the rules match, often all of one, at times with one bit
    off; 0 to 2 tags; IPv4, IPv6, ARP, ICMP, TCP, UDP, SCTP, MPLS or something else; fragments, IP
    options, and checksums that are missing or wrong. With ``mutate`` some are cut short or have
    bytes changed. None is shorter than ``min_length`` bytes.
    """
    return _frames(source_of(table, mutate=mutate, min_length=min_length))


@st.composite
def _frames(draw: st.DrawFn, source: Source) -> bytes:
    return source.frame(Choices(draw))


def packets(
    table: Iterable[Flow] = (),
    *,
    ports: Sequence[int] = PORTS,
    metadata: bool = True,
    mutate: bool = True,
    min_length: int = 14,
) -> st.SearchStrategy[Packet]:
    """Packets aimed at the rules of ``table``: :func:`frames`, and where they come from.

    ``ports`` are those that packets come in by. With ``metadata`` they bring along the tunnel
    fields and registers that the rules match; else nothing but their frame.
    """
    return _packets(source_of(table, ports, metadata, mutate, min_length))


@st.composite
def _packets(draw: st.DrawFn, source: Source) -> Packet:
    return source.packet(Choices(draw))


def _wanted(words: Words, name: str) -> tuple[int, int] | None:
    """The value and mask that ``words`` give the field of that name, if any."""
    row = field_named(name)
    assert row.bits is not None
    return read(words, row.bits)


# -- building ---------------------------------------------------------------------------------


def _frame(choose: Choices, words: Words, mutate: bool, min_length: int) -> bytes:
    values = _values(choose, words)
    payload = choose.octets(0, 12)
    if values["eth_type"] == ETH_TYPE_NSH and choose.percent(80):
        payload = _BEHIND_NSH.get(values["nsh_np"], b"") + payload
    frame = build(
        Headers(
            values,
            _tags(choose, words),
            payload,
            _fragment(choose, words),
            choose.number(1, 3) if choose.percent(12) else 0,
            1 if choose.percent(8) else 0,
            choose.percent(15),
        )
    )
    if choose.percent(15):
        frame += bytes(choose.number(1, 30))
    if mutate and choose.percent(12):
        frame = frame[: choose.number(min(min_length, len(frame)), len(frame))]
    if mutate and frame and choose.percent(10):
        changed = bytearray(frame)
        for _ in range(choose.number(1, 3)):
            at = choose.number(0, len(frame) - 1)
            changed[at] = choose.one((changed[at] ^ 1, 0, 255, changed[at] ^ 0x80))
        frame = bytes(changed)
    return frame + bytes(max(0, min_length - len(frame)))


def _values(choose: Choices, words: Words) -> dict[str, int]:
    """A value for each header field: what is wanted where it is, else one that rules like."""
    values = {"eth_type": _value(choose, words, "eth_type", (*_USUAL, *ETH_TYPES))}
    kind = values["eth_type"]
    names = ["eth_src", "eth_dst"]
    if kind in (ETH_TYPE_IP, ETH_TYPE_IPV6):
        protocols = (6, 17, 1, 132, *IP_PROTOCOLS) if kind == ETH_TYPE_IP else (6, 17, 58, 132, 1)
        values["nw_proto"] = _value(choose, words, "nw_proto", protocols)
        names += ["nw_ttl", "nw_tos", "nw_ecn"]
        names += _NETWORK[kind] + _TRANSPORT.get(values["nw_proto"], [])
    elif kind in (0x0806, 0x8035):
        names += ["arp_op", "arp_spa", "arp_tpa", "arp_sha", "arp_tha"]
    elif kind in (0x8847, 0x8848):
        names += ["mpls_label", "mpls_tc", "mpls_bos", "mpls_ttl"]
    elif kind == ETH_TYPE_NSH:
        names += _NSH
    for name in names:
        values[name] = _value(choose, words, name, ())
    return values


_DATAGRAM = {"nw_proto": 17, "nw_ttl": 64, "udp_src": 53, "udp_dst": 80}
_BEHIND_NSH = {
    1: build(Headers({"eth_type": ETH_TYPE_IP, "ip_src": 0x0A00_0001, **_DATAGRAM}))[14:],
    2: build(Headers({"eth_type": ETH_TYPE_IPV6, "ipv6_src": 1, **_DATAGRAM}))[14:],
    3: build(Headers({"eth_type": ETH_TYPE_IP, "eth_src": 0x0200_0000_0001, **_DATAGRAM})),
    4: build(Headers({"eth_type": ETH_TYPE_NSH, "nsh_np": 3, "nsh_ttl": 2, "nsh_spi": 5}))[14:]
    + build(Headers({"eth_type": ETH_TYPE_ARP, "arp_op": 1})),
}
"""What is in a network service header, by its next protocol."""

_USUAL = (ETH_TYPE_IP, ETH_TYPE_IPV6, ETH_TYPE_IP, ETH_TYPE_ARP, ETH_TYPE_IPV6, ETH_TYPE_IP)
_NETWORK = {
    ETH_TYPE_IP: ["ip_src", "ip_dst"],
    ETH_TYPE_IPV6: ["ipv6_src", "ipv6_dst", "ipv6_label"],
}
_NSH = ["nsh_flags", "nsh_ttl", "nsh_np", "nsh_spi", "nsh_si"]
_NSH += ["nsh_c1", "nsh_c2", "nsh_c3", "nsh_c4"]
_TRANSPORT = {
    6: ["tcp_src", "tcp_dst", "tcp_flags"],
    17: ["udp_src", "udp_dst"],
    132: ["sctp_src", "sctp_dst"],
    1: ["icmp_type", "icmp_code"],
    58: ["icmpv6_type", "icmpv6_code", "nd_target", "nd_sll", "nd_tll", "nd_reserved"],
}


def _value(choose: Choices, words: Words, name: str, pool: Sequence[int]) -> int:
    row = field_named(name)
    wanted = _wanted(words, name)
    if wanted is not None and wanted[1] == row.full_mask:
        return wanted[0]
    value = choose.one(pool) if pool else value_of(choose, row, PORTS)
    return value if wanted is None else value & ~wanted[1] | wanted[0]


def _tags(choose: Choices, words: Words) -> tuple[tuple[int, int], ...]:
    outer, inner = read(words, OUTER_TCI), read(words, INNER_TCI)
    if outer is not None and (outer[1] & VLAN_CFI or outer[0]) and not choose.percent(10):
        # A value other than 0 takes a tag, even if the match does not ask for one.
        count = int(bool(outer[0]))
        count += count and choose.percent(25)
    else:
        count = choose.weighted(((6, 0), (3, 1), (2, 2), (1, 3)))
    tags = []
    for wanted in (outer, inner, None)[:count]:
        value, mask = wanted or (0, 0)
        tci = choose.one((1, 5, 0, 0xF005, 0x2001, 0xE000)) & ~mask & 0xFFFF | value
        tags.append((choose.one((0x8100, 0x88A8)), tci & ~VLAN_CFI & 0xFFFF))
    return tuple(tags)


def _fragment(choose: Choices, words: Words) -> int:
    wanted = read(words, NW_FRAG_BITS)
    if wanted is None:
        return choose.one((0x2000, 0x2001, 1, 0x4000)) if choose.percent(10) else 0
    value = wanted[0]
    return 0 if not value & 1 else choose.one((1, 0x2001)) if value & 2 else 0x2000


def frames_of(packets: Iterable[Packet]) -> Frames:
    """The frames of ``packets``, as the engine takes them."""
    return Frames.of(packet.frame for packet in packets)
