"""Names of ports, tables and tunnel options, and what they stand for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from types import MappingProxyType

from flowvm.flow import Port, ReservedPort, Table
from flowvm.tlv_map import NO_TLV_MAP, TlvMap

_WORD = 0xFFFFFFFF


def _rotate(word: int, by: int) -> int:
    return (word << by | word >> (32 - by)) & _WORD


def hash_port(port: int) -> int:
    """OVS's ``hash_ofp_port``: MurmurHash3 of the port number and a zero word."""
    # Adding a zero word only turns the hash; see hash_2words and mhash_add in lib/hash.h.
    hashed = port
    for _ in range(2):
        hashed = (_rotate(hashed, 13) * 5 + 0xE6546B64) & _WORD
    hashed ^= 8
    hashed = (hashed ^ hashed >> 16) * 0x85EBCA6B & _WORD
    hashed = (hashed ^ hashed >> 13) * 0xC2B2AE35 & _WORD
    return hashed ^ hashed >> 16


FIRST_UNKNOWN_PORT = 0xF000
"""Ports known by name alone are numbered from here down; OVS gives such numbers to none."""


class FragmentHandling(Enum):
    """What a bridge does about fragments of IP datagrams (ovs-ofctl(8), "set-frags").

    They have no transport ports, are dropped, or have those that the first one tells.
    """

    NORMAL = "normal"
    DROP = "drop"
    NX_MATCH = "nx-match"


@dataclass(frozen=True)
class Configuration:
    """How ``ovs-ofctl mod-port`` and ``set-frags`` have configured a bridge.

    The ports, by number, that drop what they receive (STP frames: ``no_recv_stp``) and those that
    nothing is sent to.
    """

    no_recv: frozenset[int] = frozenset()
    no_recv_stp: frozenset[int] = frozenset()
    no_fwd: frozenset[int] = frozenset()
    fragments: FragmentHandling = FragmentHandling.NORMAL


@dataclass(frozen=True, eq=False)
class Ports(Mapping[str, int]):
    """The ports of a bridge: their numbers by name, which FLOOD leaves out, and which are down.

    ``macs`` are their Ethernet addresses, by number. ``datapath_id`` is that of the bridge, if it
    was told; ``config`` what else is configured.
    """

    numbers: Mapping[str, int]
    no_flood: frozenset[int] = frozenset()
    down: frozenset[int] = frozenset()
    macs: Mapping[int, int] = field(default_factory=lambda: MappingProxyType({}))
    datapath_id: int | None = None
    config: Configuration = Configuration()

    def __getitem__(self, name: str) -> int:
        return self.numbers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.numbers)

    def __len__(self) -> int:
        return len(self.numbers)


@dataclass(frozen=True)
class Names:
    """Resolves the names that a ``--names`` dump uses.

    ``known_ports`` tells whether ``ports`` are all ports of the bridge (from ``ovs-ofctl show``);
    if not, an output to any number is taken for one to an existing port.
    """

    ports: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    tables: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    known_ports: bool = False
    no_flood: frozenset[int] = frozenset()
    """Ports that FLOOD leaves out (``NO_FLOOD`` in their configuration)."""

    down: frozenset[int] = frozenset()
    """Ports without a link (``LINK_DOWN``, or ``PORT_DOWN`` in their configuration)."""

    tlv_map: TlvMap = NO_TLV_MAP
    """What ``tun_metadata`` fields stand for."""

    config: Configuration = Configuration()

    def port(self, port: Port) -> int:
        """The number of ``port``; KeyError for a name that nothing defines."""
        if isinstance(port, int):
            return port
        if port in self.ports:
            return self.ports[port]
        return ReservedPort.NUMBERS[port.upper()]

    def table(self, table: Table) -> int:
        """The number of ``table``; KeyError for a name that nothing defines."""
        return table if isinstance(table, int) else self.tables[table]

    def port_name(self, number: int) -> str | None:
        """The name of the port of that number, if it has one."""
        for name, port in self.ports.items():
            if port == number:
                return name
        return ReservedPort.NAMES.get(number)

    def is_live(self, port: int) -> bool:
        """Whether a packet can leave by ``port``: it exists and has a link.

        Of a bridge whose ports are not known each is taken to be live.
        """
        if not self.known_ports:
            return True
        exists = port == ReservedPort.LOCAL or port in self.ports.values()
        return exists and port not in self.down

    def flood_order(self) -> list[int]:
        """The ports of the bridge in the order in which OVS floods to them.

        That is the order of a hash table of at least as many buckets as ports (``hmap``) under
        ``hash_ofp_port``. Where two ports share a bucket OVS's order depends on history; here the
        lower number comes first.
        """
        ports = sorted({*self.ports.values(), ReservedPort.LOCAL})
        buckets = max(4, 1 << (len(ports) // 2).bit_length())
        return sorted(ports, key=lambda port: (hash_port(port) % buckets, port))

    def extended(self, port_names: Iterable[str]) -> Names:
        """These names, and numbers that no bridge uses for those of ``port_names`` it lacks."""
        missing = [
            name
            for name in dict.fromkeys(port_names)
            if name not in self.ports and name.upper() not in ReservedPort.NUMBERS
        ]
        taken = set(self.ports.values())
        free = (n for n in range(FIRST_UNKNOWN_PORT, 0, -1) if n not in taken)
        numbers = {**self.ports, **dict(zip(missing, free, strict=False))}
        return replace(self, ports=MappingProxyType(numbers))

    @classmethod
    def of(
        cls,
        ports: Mapping[str, int] | None,
        port_names: Iterable[str],
        port_numbers: Iterable[int],
        table_names: Iterable[str],
        table_numbers: Iterable[int],
        tlv_map: TlvMap = NO_TLV_MAP,
    ) -> Names:
        """Names for a dump: those of ``ports`` (``ovs-ofctl show``), and numbers for the rest.

        Where ``ports`` are :class:`Ports`, FLOOD leaves out what they say, and those are down that
        they say.

        A dump that gives ports by name and comes without their numbers is still a complete
        description of what happens between them, so such ports get numbers that no bridge uses.
        Named tables are numbered in the order of ``table_names``: OVS dumps tables in ascending
        order, so that the first is the one where packets start.
        """
        numbers = dict(ports or {})
        taken = set(numbers.values()) | set(port_numbers)
        free = (n for n in range(FIRST_UNKNOWN_PORT, 0, -1) if n not in taken)
        for name in port_names:
            if name not in numbers and name.upper() not in ReservedPort.NUMBERS:
                numbers[name] = next(free)
        tables: dict[str, int] = {}
        used = set(table_numbers)
        unused = (n for n in range(255) if n not in used)
        for name in table_names:
            if name not in tables:
                tables[name] = next(unused)
        told = ports if isinstance(ports, Ports) else Ports({})
        return cls(
            MappingProxyType(numbers),
            MappingProxyType(tables),
            ports is not None,
            told.no_flood,
            told.down,
            tlv_map,
            told.config,
        )
