"""Values as OVS writes and reads them: numbers, addresses, flags, ports, subfields.

Semantics: ovs-fields(7), the "Format" rows; ovs-actions(7), "Field Specifications", "Port
Specifications"; ovs-ofctl(8), "Flow Syntax".
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Mapping
from types import MappingProxyType

from flowvm.actions.base import Subfield
from flowvm.fields import Field, Format, field, field_names
from flowvm.flow import Port, ReservedPort, Table
from flowvm.port_numbers import openflow10
from flowvm.text.errors import WordError, suggestion

TABLE_NONE = 0xFF
"""The table number that stands for "no table"."""

CT_STATE_FLAGS: Mapping[str, int] = MappingProxyType(
    {
        name: 1 << i
        for i, name in enumerate(("new", "est", "rel", "rpl", "inv", "trk", "snat", "dnat"))
    }
)
TCP_FLAGS: Mapping[str, int] = MappingProxyType(
    {
        name: 1 << i
        for i, name in enumerate(
            (
                *("fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns"),
                *("[200]", "[400]", "[800]"),
            )
        )
    }
)
TUN_FLAGS: Mapping[str, int] = MappingProxyType({"oam": 1, "df": 2, "csum": 4, "key": 8})
TUN_FLAGS_PUBLIC = 1
"""The tunnel flags that OpenFlow can match: ``oam``."""

_PUBLIC_TUN_FLAGS: Mapping[str, int] = MappingProxyType(
    {name: flag for name, flag in TUN_FLAGS.items() if flag & TUN_FLAGS_PUBLIC}
)

_FLAGS: Mapping[Format, Mapping[str, int]] = MappingProxyType(
    {Format.CT_STATE: CT_STATE_FLAGS, Format.TCP_FLAGS: TCP_FLAGS, Format.TUN_FLAGS: TUN_FLAGS}
)

FRAG_WORDS: Mapping[tuple[int, int], str] = MappingProxyType(
    {
        (0, 3): "no",
        (1, 3): "first",
        (3, 3): "later",
        (0, 1): "no",
        (1, 1): "yes",
        (0, 2): "not_later",
        (2, 2): "later",
    }
)
"""(value, mask) of ``ip_frag`` and its word; of a word, the first row is what it means."""

_NUMBER = re.compile(r"(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)\Z")
_PLAIN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*\Z")
_SUBFIELD = re.compile(r"([^\[]+)(?:\[(?:(\d+)(?:\.\.(\d+))?)?\])?\Z")


def parse_number(word: str, bits: int = 64, what: str = "a number") -> int:
    """A number in hexadecimal (``0x``), octal (``0``) or decimal that fits into ``bits`` bits."""
    if not _NUMBER.match(word):
        raise WordError(word, f'"{word}" is not {what}', what)
    if word[0] == "0" and len(word) > 1 and word[1] not in "xX":
        number = int(word, 8)
    else:
        number = int(word, 0)
    if number >> bits:
        raise WordError(word, f'"{word}" does not fit into {bits} bits', what)
    return number


def format_hex(number: int) -> str:
    """``0x1f``; zero is ``0``, as C's ``%#x`` writes it."""
    return hex(number) if number else "0"


def parse_mac(word: str) -> int:
    parts = word.split(":")
    if len(parts) != 6 or not all(re.fullmatch("[0-9a-fA-F]{1,2}", part) for part in parts):
        raise WordError(word, f'"{word}" is not an Ethernet address', "xx:xx:xx:xx:xx:xx")
    return int("".join(part.zfill(2) for part in parts), 16)


def format_mac(value: int) -> str:
    return value.to_bytes(6, "big").hex(":")


def parse_ipv4(word: str) -> int:
    parts = word.split(".")
    if len(parts) != 4 or not all(re.fullmatch(r"\d{1,3}", p) and int(p) < 256 for p in parts):
        raise WordError(word, f'"{word}" is not an IPv4 address', "an IPv4 address")
    return int.from_bytes(bytes(int(part) for part in parts), "big")


def format_ipv4(value: int) -> str:
    return ".".join(str(byte) for byte in value.to_bytes(4, "big"))


def parse_ipv6(word: str) -> int:
    try:
        return int.from_bytes(socket.inet_pton(socket.AF_INET6, word), "big")
    except (OSError, ValueError):
        raise WordError(word, f'"{word}" is not an IPv6 address', "an IPv6 address") from None


def format_ipv6(value: int) -> str:
    return socket.inet_ntop(socket.AF_INET6, value.to_bytes(16, "big"))


def unquote(word: str) -> str | None:
    """The name in a quoted word; None if the word is not quoted (ovs-ofctl(8), "--names")."""
    if word[:1] != '"':
        return None
    try:
        name = json.loads(word)
    except ValueError:
        raise WordError(word, f"{word} is not a quoted name", "a name in double quotes") from None
    return str(name)


def format_name(name: str) -> str:
    """A port's or table's name, in double quotes unless it is all letters and digits."""
    return name if _PLAIN_NAME.match(name) else json.dumps(name, ensure_ascii=False)


def parse_port(word: str) -> Port:
    """A port: a number, a reserved port's name in any case, or some other name.

    OpenFlow 1.1+ numbers of reserved ports become 1.0's (ovs-ofctl(8), "Port Syntax").
    """
    if word.isascii() and word.isdigit():
        number = int(word)
        if number <= ReservedPort.NONE:
            return number
        port = openflow10(number)
        if port is not None:
            return port
        raise WordError(word, f"port {word} is out of range", "a port from 0 to 65535, or its name")
    name = unquote(word)
    if name is not None:
        return name
    if not word:
        raise WordError(word, "a port is missing", "a port's number or name")
    # A token of the parser's is not equal to one of another kind, whatever they say.
    return ReservedPort.NUMBERS.get(word.upper(), str(word))


def format_port(port: Port) -> str:
    if isinstance(port, str):
        return format_name(port)
    return ReservedPort.NAMES.get(port) or str(port)


def parse_table(word: str) -> Table:
    """A table: a number in any base, or a name."""
    if _NUMBER.match(word):
        return parse_number(word, 8, "a table from 0 to 254")
    name = unquote(word)
    if name is not None:
        return name
    if not word:
        raise WordError(word, "a table is missing", "a table's number or name")
    return str(word)


def format_table(table: Table) -> str:
    return format_name(table) if isinstance(table, str) else str(table)


def find_field(name: str, word: str | None = None) -> Field:
    """The field of that name; WordError (about ``word``) with a suggestion if there is none."""
    try:
        return field(name)
    except KeyError:
        hint = suggestion(name, field_names())
        raise WordError(
            name if word is None else word, f'unknown field "{name}"{hint}', "a field's name"
        ) from None


def parse_subfield(word: str) -> Subfield:
    """``FIELD``, ``FIELD[]``, ``FIELD[bit]`` or ``FIELD[start..end]``."""
    parts = _SUBFIELD.match(word)
    if parts is None:
        raise WordError(
            word, f'"{word}" is not a field or subfield', "FIELD[], FIELD[bit] or FIELD[start..end]"
        )
    name, first, last = parts.groups()
    row = find_field(name, word)
    start = 0 if first is None else int(first)
    end = row.width - 1 if first is None else start if last is None else int(last)
    if start > end:
        raise WordError(word, f"starting bit {start} is after ending bit {end}")
    if end >= row.width:
        raise WordError(word, f"there is no bit {end}: {row.name} has {row.width} bits")
    return Subfield(row, start, end, name)


def nxm_name(row: Field) -> str:
    """The name by which OVS writes a field in a subfield: NXM if there is one, else OXM."""
    return row.nxm or row.oxm or row.name


def parse_value(row: Field, word: str, *, any_mask: bool = False) -> tuple[int | str, int]:
    """``value`` or ``value/mask`` in the field's own format; gives the value and the mask.

    The mask of a value without one is the field's full mask; bits of the value outside of its mask
    become 0. A value is a ``str`` only for a port given by name. With ``any_mask`` a field that
    matches cannot mask may have one, and it is kept as it is written.
    """
    if word == "*":
        return 0, 0
    value, mask = _parse_unmasked(row, word, any_mask=any_mask)
    if mask != row.full_mask and not isinstance(value, str):
        value &= mask
    return value, mask


def _parse_unmasked(row: Field, word: str, *, any_mask: bool) -> tuple[int | str, int]:
    full = row.full_mask
    match row.format:
        case Format.PORT if not (any_mask and "/" in word):
            return parse_port(word), full
        case Format.FRAG:
            return _parse_frag(word)
        case Format.CT_STATE | Format.TCP_FLAGS | Format.TUN_FLAGS:
            return _parse_flags(row, word)
        case Format.ETHERNET:
            text, slash, mask = word.partition("/")
            value = _inside(word, parse_mac, text)
            return value, _inside(word, parse_mac, mask) if slash else full
        case Format.IPV4:
            text, slash, mask = word.partition("/")
            value = _inside(word, parse_ipv4, text)
            return value, _parse_prefix(word, mask, 32, parse_ipv4) if slash else full
        case Format.IPV6:
            text, slash, mask = word.partition("/")
            value = _inside(word, parse_ipv6, text)
            return value, _parse_prefix(word, mask, 128, parse_ipv6) if slash else full
        case _:
            return _parse_integer(row, word, any_mask=any_mask)


def _inside(word: str, parse: Callable[[str], int], text: str) -> int:
    """Parse a part of a word, blaming the whole word, whose place is known."""
    try:
        return parse(text)
    except WordError as error:
        raise WordError(word, error.problem, error.expected) from None


def _parse_prefix(word: str, mask: str, width: int, parse: Callable[[str], int]) -> int:
    if not mask.isdigit():
        return _inside(word, parse, mask)
    bits = int(mask)
    if bits > width:
        raise WordError(word, f"a prefix of {bits} bits is too long", f"/0 to /{width}")
    return (1 << width) - (1 << (width - bits))


def number_limit(row: Field) -> int:
    """What a number without a mask must be less than to be a value of the field.

    There are two exceptions: 0xffff for "no VLAN", and OpenFlow 1.1+ numbers of reserved ports.
    """
    if row.format is Format.PORT:
        return ReservedPort.NONE + 1
    return min(row.full_mask + 1, 1 << _number_bits(row))


def _number_bits(row: Field) -> int:
    """A number may use the whole bytes of the field, as in dl_vlan=0xffff ("no VLAN")."""
    return -(-row.width // 8) * 8


def _parse_integer(row: Field, word: str, *, any_mask: bool) -> tuple[int, int]:
    full = row.full_mask
    bits = _number_bits(row)
    text, slash, mask_text = word.partition("/")
    what = f"a number for {row.name}"
    try:
        value = parse_number(text, bits, what)
        mask = parse_number(mask_text, bits, what) if slash else full
    except WordError as error:
        raise WordError(word, error.problem, error.expected) from None
    if mask & full != full:
        if mask and not row.maskable and not any_mask:
            raise WordError(word, f"{row.name} cannot be masked", "a value without a mask")
        return value, mask if any_mask else mask & full
    if value > full and (row.name, value) not in (("dl_vlan", 0xFFFF), ("vlan_vid", 0xFFFF)):
        raise WordError(word, f"{text} does not fit into {row.name}", f"at most {full}")
    return value, mask if any_mask else full


def _parse_frag(word: str) -> tuple[int, int]:
    for (value, mask), name in FRAG_WORDS.items():
        if name == word.lower():
            return value, mask
    words = ", ".join(dict.fromkeys(FRAG_WORDS.values()))
    raise WordError(word, f'"{word}" is not a kind of fragment', f"one of {words}")


def parse_tunnel_flags(row: Field, word: str) -> int:
    """The ``tun_flags`` of a packet: other than a match it has those that are not public too."""
    value, _ = _parse_flags(row, word, TUN_FLAGS)
    return value


def _parse_flags(row: Field, word: str, names: Mapping[str, int] | None = None) -> tuple[int, int]:
    """``+est-rel``, ``est|trk``, ``0x21``, ``0x21/0x23`` (ovs-fields(7), "ct_state")."""
    if names is None:
        names = _PUBLIC_TUN_FLAGS if row.format is Format.TUN_FLAGS else _FLAGS[row.format]
    allowed = sum(names.values())
    expected = "flags such as " + "".join(f"+{name}" for name in list(names)[:2])
    text, slash, mask_text = word.partition("/")
    if slash:
        value = _inside(word, parse_number, text)
        mask = _inside(word, parse_number, mask_text)
        if (value | mask) & ~allowed:
            raise WordError(word, f'"{word}" has unknown flags', expected)
        return value, mask
    if word[:1] in ("+", "-"):
        value = mask = 0
        for sign, name in re.findall(r"([+-])([^+-]*)", word):
            bit = names.get(name, 0)
            if not bit & allowed:
                raise WordError(word, f'unknown flag "{name}"{suggestion(name, names)}', expected)
            if mask & bit:
                raise WordError(word, f'flag "{name}" is given twice')
            mask |= bit
            value |= bit if sign == "+" else 0
        return value, mask
    value = 0
    for name in word.split("|"):
        number = _NUMBER.match(name)
        bits = _inside(word, parse_number, name) if number else names.get(name, 0)
        if bits & ~allowed or not (bits or number):
            raise WordError(word, f'unknown flag "{name}"{suggestion(name, names)}', expected)
        value |= bits
    return value, TUN_FLAGS_PUBLIC if row.format is Format.TUN_FLAGS else row.full_mask


def format_flags(row: Field, value: int, mask: int) -> str:
    names = {bit: name for name, bit in _FLAGS[row.format].items()}
    if mask == row.full_mask:
        if not value:
            return "0"
        known = [name for bit, name in names.items() if value & bit]
        rest = value & ~sum(names)
        return "|".join([*known, hex(rest)] if rest else known)
    return format_signed_flags(row, value, mask)


def format_signed_flags(row: Field, value: int, mask: int) -> str:
    """Flags that are masked, ``+est-rel``."""
    names = {bit: name for name, bit in _FLAGS[row.format].items()}
    if not mask:
        return "0/0"
    return "".join(
        ("+" if value & 1 << i else "-") + names.get(1 << i, "[Unknown]")
        for i in range(mask.bit_length())
        if mask & 1 << i
    )


def format_prefix(mask: int, width: int) -> str | None:
    """The length of a mask that is a prefix; None if it is not one."""
    inverse = ~mask & ((1 << width) - 1)
    return None if inverse & (inverse + 1) else str(width - inverse.bit_length())


def format_packet_type(value: int) -> str:
    """``(1,0x800)``: numbers above 9 in hexadecimal."""
    parts = (value >> 16, value & 0xFFFF)
    return "(" + ",".join(hex(part) if part > 9 else str(part) for part in parts) + ")"


def format_value(row: Field, value: int | str, mask: int) -> str:
    """A value as ``set_field`` and ``learn`` write it; a match differs here and there."""
    if isinstance(value, str):
        return format_name(value)
    exact = mask == row.full_mask
    if not mask:
        return "ANY"
    match row.format:
        case Format.PORT if exact:
            # What an action has written there may be no port at all.
            port = openflow10(value) if row.is_wide_port else value
            return format_port(value if port is None else port)
        case Format.ETHERNET:
            return format_mac(value) if exact else f"{format_mac(value)}/{format_mac(mask)}"
        case Format.IPV4 | Format.IPV6:
            write = format_ipv4 if row.format is Format.IPV4 else format_ipv6
            if exact:
                return write(value)
            return f"{write(value)}/{format_prefix(mask, row.width) or write(mask)}"
        case Format.FRAG:
            return FRAG_WORDS.get((value & 3, mask & 3), "<error>")
        case Format.CT_STATE | Format.TCP_FLAGS:
            return format_flags(row, value, mask)
        case Format.TUN_FLAGS:
            # OpenFlow knows one of them only, which is never masked.
            return format_flags(row, value, row.full_mask)
        case Format.PACKET_TYPE:
            return format_packet_type(value)
    number = str(value) if row.format in (Format.DECIMAL, Format.PORT) else format_hex(value)
    return number if exact else f"{number}/{format_hex(mask)}"
