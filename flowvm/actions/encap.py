"""Encapsulation: ``encap`` and ``decap``.

Semantics: ovs-actions(7), "encap" and "decap".
"""

from __future__ import annotations

from dataclasses import dataclass

from flowvm.actions.base import Action, Lowered, Resolver
from flowvm.actions.layers import DecapHeader, EncapEthernet, EncapMpls, EncapNsh
from flowvm.fields import ETH_TYPE_MPLS, ETH_TYPE_MPLS_MCAST
from flowvm.text.errors import WordError
from flowvm.text.tree import Item
from flowvm.text.values import format_hex, parse_number

MAX_NSH_CONTEXT = 244
USE_NEXT_PROTOCOL = 0xFFFE
"""The packet type that stands for what the header says comes next."""

HEADERS = ("ethernet", "nsh", "mpls", "mpls_mc")


@dataclass(frozen=True)
class NshTlv:
    """``tlv(CLASS,TYPE,VALUE)`` of NSH metadata type 2."""

    tlv_class: int
    tlv_type: int
    value: bytes

    def __str__(self) -> str:
        value = format_hex(int.from_bytes(self.value, "big"))
        return f"tlv({self.tlv_class:#06x},{self.tlv_type},{value})"

    def encoded(self) -> bytes:
        """Its bytes in a header, whole words."""
        front = self.tlv_class.to_bytes(2, "big") + bytes((self.tlv_type, len(self.value)))
        return front + self.value + bytes(-len(self.value) % 4)


@dataclass(frozen=True)
class Encap(Action):
    """``encap(HEADER)`` or ``encap(nsh(PROPERTY,...))``."""

    header: str
    md_type: int | None = None
    tlvs: tuple[NshTlv, ...] = ()

    def __str__(self) -> str:
        properties = [] if self.md_type is None else [f"md_type={self.md_type}"]
        properties += map(str, self.tlvs)
        inner = f"({','.join(properties)})" if properties else ""
        return f"encap({self.header}{inner})"

    def lower(self, resolver: Resolver) -> Lowered:
        match self.header:
            case "ethernet":
                return Lowered(EncapEthernet())
            case "mpls":
                return Lowered(EncapMpls(ETH_TYPE_MPLS))
            case "mpls_mc":
                return Lowered(EncapMpls(ETH_TYPE_MPLS_MCAST))
        if self.md_type != 2:
            return Lowered(EncapNsh(1))
        context = b"".join(tlv.encoded() for tlv in self.tlvs)
        if len(context) == MAX_NSH_CONTEXT:
            # Open vSwitch 3.1 ends there.
            return super().lower(resolver)
        return Lowered(EncapNsh(2, context if len(context) < MAX_NSH_CONTEXT else b""))


@dataclass(frozen=True)
class Decap(Action):
    """``decap()`` or ``decap(packet_type(ns=NS,type=TYPE))``: the inner packet's type."""

    packet_type: tuple[int, int] | None = None

    def __str__(self) -> str:
        if self.packet_type is None:
            return "decap()"
        namespace, kind = self.packet_type
        return f"decap(packet_type(ns={namespace},type={format_hex(kind)}))"

    def lower(self, resolver: Resolver) -> Lowered:  # noqa: ARG002
        if self.packet_type is None:
            return Lowered(DecapHeader(USE_NEXT_PROTOCOL))
        namespace, kind = self.packet_type
        return Lowered(DecapHeader(namespace << 16 | kind))


def make_encap(item: Item) -> Encap:
    parts = item.parts()
    if len(parts) != 1:
        raise WordError(item.last, "encap takes one header", " or ".join(HEADERS))
    header = parts[0]
    if header.key not in HEADERS:
        raise WordError(
            header.key, f'unknown header "{header.key}"', f"one of {', '.join(HEADERS)}"
        )
    md_type: int | None = None
    tlvs = []
    for part in header.parts():
        if part.key == "md_type" and header.key == "nsh":
            word = part.argument("1 or 2")
            md_type = parse_number(word, 8)
            if md_type not in (1, 2):
                raise WordError(word, f"there is no metadata type {md_type}", "1 or 2")
        elif part.key == "tlv" and header.key == "nsh":
            tlvs.append(_make_tlv(part))
        else:
            raise WordError(
                part.key, f'unknown property "{part.key}" of {header.key}', "md_type= or tlv()"
            )
    return Encap(str(header.key), md_type, tuple(tlvs))


def _make_tlv(item: Item) -> NshTlv:
    words = [part.key for part in item.parts()]
    if len(words) != 3:
        raise WordError(item.key, "tlv takes three arguments", "tlv(CLASS,TYPE,VALUE)")
    tlv_class, tlv_type, value = words
    digits = value[2:]
    if value[:2].lower() != "0x":
        raise WordError(value, f"{value} is not a value", "0x and digits")
    number = parse_number(value, 8 * 128)
    # Open vSwitch prints no leading zero, which half a byte then tells of.
    return NshTlv(
        parse_number(tlv_class, 16),
        parse_number(tlv_type, 8),
        number.to_bytes((len(digits) + 1) // 2, "big"),
    )


def make_decap(item: Item) -> Decap:
    parts = item.parts()
    if not parts:
        return Decap()
    (only, *rest) = parts
    if rest or only.key != "packet_type" or {part.key for part in only.parts()} != {"ns", "type"}:
        raise WordError(only.key, "decap takes a packet type", "packet_type(ns=NS,type=TYPE)")
    kinds = {part.key: part.argument("a number") for part in only.parts()}
    return Decap((parse_number(kinds["ns"], 16), parse_number(kinds["type"], 16)))
