"""Tunnel ports: what their options say, what they put around a packet, which one takes it out.

Semantics: ovs-vswitchd.conf.db(5), "Tunnel Options", and Open vSwitch 3.1's ofproto/tunnel.c
(``tnl_port_send``, ``tnl_find``) and lib/netdev-vport.c (``set_tunnel_config``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_address

import numpy as np
from numpy.typing import NDArray

from flowvm.columns import Column
from flowvm.fields import ETH_TYPE_BITS, ETH_TYPE_IP, ETH_TYPE_IPV6, NW_TOS_BITS, NW_TTL_BITS
from flowvm.network.model import Interface
from flowvm.text.values import TUN_FLAGS
from flowvm.tlv_map import NO_TLV_MAP, TlvMap, TlvOption

Address = IPv4Address | IPv6Address

TUNNEL_TYPES = ("gre", "vxlan", "geneve")
OTHER_TUNNEL_TYPES = ("erspan", "gtpu", "bareudp", "lisp", "stt", "gre64", "ip6gre", "ip6erspan")
"""Tunnels that are known for such, but not executed."""

TUNNEL_COLUMNS = tuple(Column(number) for number in range(Column.TUN_ID, Column.MARK))

_DST_PORTS: Mapping[str, int] = {"gre": 0, "vxlan": 4789, "geneve": 6081}
_KEY_BITS: Mapping[str, int] = {"gre": 32, "vxlan": 24, "geneve": 24}
_DEFAULT_TTL = 64
_NOT_EXECUTED = ("exts", "packet_type", "payload_type", "egress_pkt_mark", "seq")
_CRITICAL = 0x80
_CE, _ECT_0, _ECN, _DSCP = 3, 2, 3, 0xFC


class Varying(Enum):
    """An option whose value is not fixed."""

    FLOW = "flow"
    """The flow that outputs to the port sets it."""

    INHERIT = "inherit"
    """It is that of the packet inside."""


@dataclass(frozen=True, slots=True)
class Tunnel:
    """The options of a tunnel port.

    ``local`` is ``None`` where any address of the node will do. A key is ``None`` where packets
    have none (which of VXLAN and Geneve means 0).
    """

    kind: str
    remote: Address | Varying
    local: Address | Varying | None
    in_key: int | Varying | None
    out_key: int | Varying | None
    dst_port: int
    tos: int | Varying = 0
    ttl: int | Varying = _DEFAULT_TTL
    dont_fragment: bool = True
    csum: bool = False
    unsupported: str | None = None
    """An option that is not executed; ``None`` if all are."""

    @classmethod
    def of(cls, interface: Interface) -> Tunnel:
        """The tunnel that ``interface`` is. Raises ValueError for options that make no sense."""
        options, kind = interface.options, interface.type
        tos, ttl = options.get("tos", "0"), options.get("ttl", "0")
        return cls(
            kind,
            _address(interface, "remote_ip"),
            _address(interface, "local_ip") if "local_ip" in options else None,
            _key(interface, "in_key"),
            _key(interface, "out_key"),
            _number(interface, "dst_port", options.get("dst_port", str(_DST_PORTS[kind]))),
            Varying.INHERIT if tos == "inherit" else _number(interface, "tos", tos) & _DSCP,
            Varying.INHERIT
            if ttl == "inherit"
            else _number(interface, "ttl", ttl) & 0xFF or _DEFAULT_TTL,
            options.get("df_default") != "false",
            options.get("csum") == "true",
            next((f"{name}={options[name]}" for name in _NOT_EXECUTED if name in options), None),
        )


@dataclass(frozen=True, slots=True)
class CarriedOption:
    """An option that a packet has in a Geneve tunnel.

    ``index`` is the field of the sender, which stands for class and type where no TLV map of the
    sender tells them.
    """

    index: int
    kind: tuple[int, int] | None
    data: bytes

    @property
    def is_critical(self) -> bool:
        """Whether who does not know the option must drop the packet."""
        return self.kind is not None and bool(self.kind[1] & _CRITICAL)


@dataclass(frozen=True, slots=True)
class Outer:
    """What a tunnel puts around a packet; ``key`` is ``None`` for GRE without one.

    ``oam`` and ``options`` only Geneve has.
    """

    kind: str
    src: Address
    dst: Address
    key: int | None
    tos: int
    ttl: int
    dont_fragment: bool
    csum: bool
    dst_port: int
    oam: bool = False
    options: tuple[CarriedOption, ...] = ()

    def __str__(self) -> str:
        key = "" if self.key is None else f", key {self.key:#x}"
        options = f", {len(self.options)} options" if self.options else ""
        return f"{self.kind} {self.src} > {self.dst}{key}{options}"


def _address(interface: Interface, option: str) -> Address | Varying:
    word = interface.options.get(option)
    if word is None:
        raise ValueError(f"{interface.name}: a {interface.type} tunnel without {option}")
    if word == "flow":
        return Varying.FLOW
    try:
        return ip_address(word.strip("[]"))
    except ValueError:
        raise ValueError(
            f"{interface.name}: options:{option}={word} is not an IP address"
        ) from None


def _key(interface: Interface, option: str) -> int | Varying | None:
    word = interface.options.get(option, interface.options.get("key"))
    if word is None:
        return None
    return Varying.FLOW if word == "flow" else _number(interface, option, word)


def _number(interface: Interface, option: str, word: str) -> int:
    try:
        return int(word, 0)
    except ValueError:
        raise ValueError(f"{interface.name}: options:{option}={word} is not a number") from None


# -- sending ----------------------------------------------------------------------------------


def destination(tunnel: Tunnel, columns: NDArray[np.uint64]) -> Address | None:
    """Where a packet with the headers ``columns`` is sent; ``None`` if its flow says nowhere."""
    if not isinstance(tunnel.remote, Varying):
        return tunnel.remote
    return tunnel_destination(columns)


def tunnel_destination(columns: NDArray[np.uint64]) -> Address | None:
    """The ``tun_dst`` or ``tun_ipv6_dst`` of a packet, if it has one."""
    return _tunnel_address(columns, Column.TUN_IPV4, 0, Column.TUN_IPV6_DST)


def source(tunnel: Tunnel, columns: NDArray[np.uint64]) -> Address | None:
    """The local address that the port or the flow says; ``None`` if that is left to routing."""
    if isinstance(tunnel.local, Varying):
        return _tunnel_address(columns, Column.TUN_IPV4, 32, Column.TUN_IPV6_SRC)
    return tunnel.local


def wrap(
    tunnel: Tunnel,
    columns: NDArray[np.uint64],
    src: Address,
    dst: Address,
    tlv_map: TlvMap = NO_TLV_MAP,
) -> Outer:
    """What the port puts around a packet with the headers ``columns``.

    ``tlv_map`` is that of the bridge.
    """
    key = tunnel.out_key
    if isinstance(key, Varying):
        key = int(columns[Column.TUN_ID])
    if key is None and tunnel.kind != "gre":
        key = 0
    inner_tos, inner_ttl = (
        int(columns[bits.column]) >> bits.shift & 0xFF for bits in (NW_TOS_BITS, NW_TTL_BITS)
    )
    is_ip = int(columns[ETH_TYPE_BITS.column]) >> ETH_TYPE_BITS.shift in (
        ETH_TYPE_IP,
        ETH_TYPE_IPV6,
    )
    tos = tunnel.tos if isinstance(tunnel.tos, int) else inner_tos & _DSCP if is_ip else 0
    if is_ip:
        # The congestion experienced inside is not told outside, that it can be told is.
        tos |= _ECT_0 if inner_tos & _ECN == _CE else inner_tos & _ECN
    ttl = tunnel.ttl
    if isinstance(ttl, Varying):
        # What is not IP has no TTL to inherit: the port's is then 0, which is the default.
        ttl = inner_ttl if is_ip else _DEFAULT_TTL
    return Outer(
        tunnel.kind,
        src,
        dst,
        None if key is None else key & (1 << _KEY_BITS[tunnel.kind]) - 1,
        tos,
        ttl,
        tunnel.dont_fragment,
        tunnel.csum,
        tunnel.dst_port,
        tunnel.kind == "geneve" and bool(int(columns[Column.TUN]) >> 48 & TUN_FLAGS["oam"]),
        tuple(_options(columns, tlv_map)) if tunnel.kind == "geneve" else (),
    )


def _options(columns: NDArray[np.uint64], tlv_map: TlvMap) -> Iterator[CarriedOption]:
    for option, value in tlv_map.present(columns.tolist()):
        kind = None
        if option.option_class is not None and option.option_type is not None:
            kind = option.option_class, option.option_type
        yield CarriedOption(option.index, kind, value.to_bytes(option.length, "big"))


def _tunnel_address(
    columns: NDArray[np.uint64], ipv4: Column, shift: int, ipv6: Column
) -> Address | None:
    word = int(columns[ipv4]) >> shift & 0xFFFF_FFFF
    if word:
        return IPv4Address(word)
    words = int(columns[ipv6]) << 64 | int(columns[ipv6 + 1])
    return IPv6Address(words) if words else None


# -- receiving --------------------------------------------------------------------------------


def receiver(tunnels: Iterable[Tunnel], outer: Outer) -> int | None:
    """Which of the tunnel ports of a node takes a packet out of ``outer``; ``None`` if none does.

    The most specific one: a fixed key before a key in the flow, then a fixed remote address, then
    a fixed local one.
    """
    best: tuple[tuple[bool, bool, int], int] | None = None
    for number, tunnel in enumerate(tunnels):
        if (tunnel.kind, tunnel.dst_port) != (outer.kind, outer.dst_port):
            continue
        by_key = isinstance(tunnel.in_key, Varying)
        if not by_key and (tunnel.in_key or 0) != (outer.key or 0):
            continue
        by_remote = isinstance(tunnel.remote, Varying)
        if not by_remote and tunnel.remote != outer.src:
            continue
        if tunnel.local is None:
            local = 1
        elif isinstance(tunnel.local, Varying):
            local = 2
        elif tunnel.local == outer.dst:
            local = 0
        else:
            continue
        rank = (by_key, by_remote, local)
        if best is None or rank < best[0]:
            best = rank, number
    return None if best is None else best[1]


def unwrap(outer: Outer, columns: NDArray[np.uint64], tlv_map: TlvMap = NO_TLV_MAP) -> str | None:
    """Let ``columns`` have the tunnel fields of a packet that came in ``outer``.

    ``tlv_map`` is that of the bridge; returns why the packet is dropped, if it is.
    """
    for column in TUNNEL_COLUMNS:
        columns[column] = 0
    columns[Column.TUN_ID] = outer.key or 0
    if isinstance(outer.src, IPv4Address):
        columns[Column.TUN_IPV4] = int(outer.src) << 32 | int(outer.dst)
    else:
        for column, address in (
            (Column.TUN_IPV6_SRC, int(outer.src)),
            (Column.TUN_IPV6_DST, int(outer.dst)),
        ):
            columns[column] = address >> 64
            columns[column + 1] = address & (1 << 64) - 1
    flags = 0 if outer.key is None else TUN_FLAGS["key"]
    flags |= TUN_FLAGS["csum"] if outer.csum else 0
    flags |= TUN_FLAGS["oam"] if outer.oam else 0
    columns[Column.TUN] = flags << 48 | outer.tos << 40 | outer.ttl << 32
    for carried in outer.options:
        option = _mapped(carried, tlv_map)
        if option is None:
            if carried.is_critical:
                return f"no tun_metadata for the critical option {_shown(carried)}"
            continue
        if option.length != len(carried.data):
            return f"{option} for {len(carried.data)} bytes of option {_shown(carried)}"
        row = tlv_map.rows[option.name]
        value = int.from_bytes(carried.data, "big")
        for column, word, _ in row.match_words(value, row.full_mask):
            columns[column] |= np.uint64(word)
    return None


def _mapped(carried: CarriedOption, tlv_map: TlvMap) -> TlvOption | None:
    """The field of the receiver for an option; the sender's, where not both have a TLV map."""
    for option in tlv_map.options:
        known = None not in (option.option_class, option.option_type)
        if carried.kind is None or not known:
            if option.index == carried.index:
                return option
        elif (option.option_class, option.option_type) == carried.kind:
            return option
    return None


def _shown(carried: CarriedOption) -> str:
    if carried.kind is None:
        return f"of tun_metadata{carried.index}"
    return f"class={carried.kind[0]:#x},type={carried.kind[1]:#x}"
