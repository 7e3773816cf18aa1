"""What several parts of connection tracking read in headers, and the sums that cover those."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

IPV4_HEADER, IPV6_HEADER, FRAGMENT_HEADER = 20, 40, 8
FRAGMENT = 44
_HOP_BY_HOP, _ROUTING, _AUTHENTICATION, _DESTINATION = 0, 43, 51, 60
_EXTENSIONS = frozenset({_HOP_BY_HOP, _ROUTING, FRAGMENT, _AUTHENTICATION, _DESTINATION})


class MalformedError(Exception):
    """A header does not fit into the packet."""


class Extension(NamedTuple):
    """An IPv6 header after the first: its protocol, and where it begins."""

    protocol: int
    at: int


def follow_ipv6(frame: bytes, at: int, end: int) -> Iterator[Extension]:
    """The headers after the IPv6 header at ``at``, the last of which is no extension header.

    A later fragment ends with its fragment header. Raises MalformedError.
    """
    protocol = frame[at + 6]
    at += IPV6_HEADER
    while protocol in _EXTENSIONS:
        if end - at < 8:
            raise MalformedError
        yield Extension(protocol, at)
        following = frame[at]
        if protocol == FRAGMENT:
            if number(frame, at + 2, 2) & 0xFFF8:
                return
            at += FRAGMENT_HEADER
        elif protocol == _AUTHENTICATION:
            at += (frame[at + 1] + 2) * 4
        else:
            at += (frame[at + 1] + 1) * 8
        if at > end:
            raise MalformedError
        protocol = following
    yield Extension(protocol, at)


def number(frame: bytes, at: int, size: int) -> int:
    """The unsigned number of ``size`` bytes at ``at``."""
    return int.from_bytes(frame[at : at + size], "big")


def sums_up(data: bytes) -> bool:
    """Whether the one's complement sum of ``data``, which includes its checksum, is right."""
    if len(data) % 2:
        data += b"\0"
    # The order of bytes makes no difference to whether a sum is all ones.
    total = sum(memoryview(data).cast("H"))
    return total > 0 and total % 0xFFFF == 0


def updated(checksum: int, old: int, new: int, size: int) -> int:
    """The checksum after a number of ``size`` bytes that it covers changed (RFC 1624)."""
    for shift in range(8 * size - 16, -1, -16):
        total = (checksum ^ 0xFFFF) + (old >> shift & 0xFFFF ^ 0xFFFF) + (new >> shift & 0xFFFF)
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        checksum = total ^ 0xFFFF
    return checksum


def checksum_of(data: bytes) -> int:
    """The checksum of ``data``, in which its place is filled with zeroes."""
    if len(data) % 2:
        data += b"\0"
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF
