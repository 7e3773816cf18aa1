"""What an FTP control connection says of the data connection to come.

The rules are those of ``process_ftp_ctl_v4`` and ``process_ftp_ctl_v6`` in Open vSwitch 3.1's
lib/conntrack.c: the PORT and EPRT commands of a client, and a server's replies to PASV and EPSV.
"""

from __future__ import annotations

import socket
from typing import NamedTuple

from flowvm.conntrack.extract import Datagram
from flowvm.fields import ETH_TYPE_IP

_MOST = 128
_DIGITS = b"0123456789"
_IPV6_DIGITS = b"0123456789abcdefABCDEF:."
_PORT, _PASSIVE = b"PORT", b"227"
_EXTENDED_PORT, _EXTENDED_PASSIVE = b"EPRT", b"EXTENDED PASSIVE"
_LARGEST_BYTE, _LARGEST_PORT = 255, 65535


class Announcement(NamedTuple):
    """The port of a data connection to come, and the address as far as one is named.

    It stands in ``size`` bytes from ``at`` of the message. ``is_passive`` if the server listens.
    """

    port: int
    address: int | None
    at: int
    size: int
    is_passive: bool


class _UnclearError(Exception):
    """The message is malformed."""


def message_of(datagram: Datagram) -> bytes:
    """As much of the payload of a TCP segment as is looked at."""
    at = datagram.l4
    first = at + (datagram.frame[at + 12] >> 4) * 4
    size = min(datagram.end - first, _MOST)
    text = datagram.frame[first : first + max(size - 1, 0)]
    return text.partition(b"\0")[0]


def is_announcement(message: bytes, eth_type: int) -> bool:
    """Whether a message tells of a data connection, rightly or not."""
    upper = message.upper()
    if eth_type == ETH_TYPE_IP:
        return upper.startswith(_PORT) or message.startswith(_PASSIVE)
    return upper.startswith(_EXTENDED_PORT) or _EXTENDED_PASSIVE in upper


def parse_announcement(message: bytes, eth_type: int) -> Announcement | None:
    """What a message that :func:`is_announcement` tells; ``None`` if it is malformed."""
    try:
        return _parse_ipv4(message) if eth_type == ETH_TYPE_IP else _parse_ipv6(message)
    except _UnclearError:
        return None


def _parse_ipv4(message: bytes) -> Announcement:
    is_passive = not message.upper().startswith(_PORT)
    space = message.find(b" ", len(_PASSIVE if is_passive else _PORT))
    if space < 0:
        raise _UnclearError
    at = _skip_to_digit(message, space)
    parts = message[at:].split(b",", 4)
    if at == len(message) or len(parts) < 5:
        raise _UnclearError
    text = b".".join(parts[:4])
    rest = parts[4]
    # A digit too many is part of the number, but another one than that is not.
    high = _leading_digits(rest)[:4]
    rest = rest[len(high) + 1 :]
    port = _number(high, _LARGEST_BYTE) << 8 | _number(_leading_digits(rest), _LARGEST_BYTE)
    return Announcement(port, _address(socket.AF_INET, text), at, len(text), is_passive)


def _parse_ipv6(message: bytes) -> Announcement:
    if not message.upper().startswith(_EXTENDED_PORT):
        bracket = message.find(b"(")
        at = _skip_to_digit(message, bracket if bracket >= 0 else len(message))
        return Announcement(_extended_port(message[at:]), None, 0, 0, True)
    at = _skip_to_digit(message, len(_EXTENDED_PORT))
    if message[at : at + 1] != b"2" or message[at + 1 : at + 2].isdigit():
        raise _UnclearError
    at += 2
    size = len(message[at:]) - len(message[at:].lstrip(_IPV6_DIGITS))
    address = _address(socket.AF_INET6, message[at : at + size])
    return Announcement(_extended_port(message[at + size + 1 :]), address, at, size, False)


def _extended_port(text: bytes) -> int:
    return _number(_leading_digits(text)[:6], _LARGEST_PORT)


def _skip_to_digit(message: bytes, at: int) -> int:
    while at < len(message) and message[at] not in _DIGITS:
        at += 1
    return at


def _leading_digits(text: bytes) -> bytes:
    return text[: len(text) - len(text.lstrip(_DIGITS))]


def _number(digits: bytes, largest: int) -> int:
    if not digits or int(digits) > largest:
        raise _UnclearError
    return int(digits)


def _address(family: int, text: bytes) -> int:
    try:
        return int.from_bytes(socket.inet_pton(family, text.decode("ascii", "replace")), "big")
    except (OSError, ValueError):
        raise _UnclearError from None


def address_text(address: int, eth_type: int) -> bytes:
    """An address as it stands in a message."""
    if eth_type == ETH_TYPE_IP:
        text = socket.inet_ntop(socket.AF_INET, address.to_bytes(4, "big")).replace(".", ",")
    else:
        text = socket.inet_ntop(socket.AF_INET6, address.to_bytes(16, "big"))
    return text.encode()
