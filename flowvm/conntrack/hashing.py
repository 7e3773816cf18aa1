"""The hash by which Open vSwitch picks addresses and ports of a range (``nat_range_hash``).

It is MurmurHash3, as in lib/hash.h on x86-64 without SSE 4.2, over the range and the connection.
"""

from __future__ import annotations

from collections.abc import Iterator

from flowvm.conntrack.key import Endpoint, Key
from flowvm.fields import ETH_TYPE_IP

_WORD = 0xFFFF_FFFF
_ADDRESS = 16


def range_hash(key: Key, addresses: tuple[int, int], ports: tuple[int, int], basis: int) -> int:
    """The hash of a new connection ``key`` that is translated to these ranges, with a basis."""
    hashed = basis
    for word in _words(key, addresses, ports):
        mixed = _rotated(word * 0xCC9E2D51 & _WORD, 15) * 0x1B873593 & _WORD
        hashed = (_rotated(hashed ^ mixed, 13) * 5 + 0xE6546B64) & _WORD
    hashed = (hashed ^ hashed >> 16) * 0x85EBCA6B & _WORD
    hashed = (hashed ^ hashed >> 13) * 0xC2B2AE35 & _WORD
    return hashed ^ hashed >> 16


def _words(key: Key, addresses: tuple[int, int], ports: tuple[int, int]) -> Iterator[int]:
    is_ipv4 = key.eth_type == ETH_TYPE_IP
    for address in addresses:
        yield from _little(_address(address, is_ipv4))
    yield ports[1] << 16 | ports[0]
    for end in (key.source, key.destination):
        yield from _little(_address(end.address, is_ipv4) + _port(end))
    yield from _little(key.eth_type.to_bytes(2, "big") + bytes(2))
    yield key.protocol
    yield key.zone


def _address(address: int, is_ipv4: bool) -> bytes:
    return address.to_bytes(4 if is_ipv4 else 16, "big").ljust(_ADDRESS, b"\0")


def _port(end: Endpoint) -> bytes:
    return end.port.to_bytes(2, "big") + bytes([end.icmp_type, end.icmp_code])


def _little(data: bytes) -> Iterator[int]:
    for at in range(0, len(data), 4):
        yield int.from_bytes(data[at : at + 4], "little")


def _rotated(word: int, by: int) -> int:
    return (word << by | word >> 32 - by) & _WORD
