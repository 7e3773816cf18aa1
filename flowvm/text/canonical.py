"""The match that Open vSwitch prints for given words of a key, whatever text they came from.

Rules that ``learn`` makes have no text of their own; and a packet's headers are shown as a match on
all of them. The order of the terms, and which are shown as what, are facts of ``match_format`` in
Open vSwitch 3.1's lib/match.c.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache

from flowvm.columns import VLAN_CFI, VLAN_PCP_MASK, VLAN_VID_MASK, Column
from flowvm.fields import (
    ETH_TYPE_ARP,
    ETH_TYPE_IP,
    ETH_TYPE_IPV6,
    ETH_TYPE_MPLS,
    ETH_TYPE_MPLS_MCAST,
    ETH_TYPE_NSH,
    ETH_TYPE_RARP,
    INNER_TCI,
    N_REGS,
    OUTER_TCI,
    Bits,
    field,
    packet_field,
)
from flowvm.flow import FieldMatch, Match, MatchTerm, ProtocolMatch
from flowvm.protocols import ICMP, ICMPV6, TCP
from flowvm.text.terms import format_term
from flowvm.tlv_map import NO_TLV_MAP, TlvMap

Words = Mapping[Column, tuple[int, int]]
"""(value, mask) of each column; a column that is absent is not matched."""


_Skeleton = tuple[tuple[Column, int, int], ...]
"""Column, value and mask; values that do not decide which terms there are, are left out."""

_Outline = tuple[tuple[MatchTerm | str, Bits | None], ...]
"""Terms, and where the values are of those that are yet to be filled in."""


class _Matched(dict[Column, tuple[int, int]]):
    """Words, and in which columns they are."""

    def __init__(self, words: Words) -> None:
        super().__init__(words)
        self.columns = frozenset(words)


_PROTOCOLS = {
    (ETH_TYPE_IP, 1): "icmp",
    (ETH_TYPE_IP, 6): "tcp",
    (ETH_TYPE_IP, 17): "udp",
    (ETH_TYPE_IP, 132): "sctp",
    (ETH_TYPE_IPV6, 58): "icmp6",
    (ETH_TYPE_IPV6, 6): "tcp6",
    (ETH_TYPE_IPV6, 17): "udp6",
    (ETH_TYPE_IPV6, 132): "sctp6",
}
_NETWORKS = {
    ETH_TYPE_IP: "ip",
    ETH_TYPE_IPV6: "ipv6",
    ETH_TYPE_ARP: "arp",
    ETH_TYPE_RARP: "rarp",
    ETH_TYPE_MPLS: "mpls",
    ETH_TYPE_MPLS_MCAST: "mplsm",
}
_COLUMNS = tuple(Column)
_PLAIN = frozenset(
    (
        *(Column.IN_PORT, Column.METADATA, Column.TUN_ID, Column.ETH_SRC, Column.ETH_DST),
        *map(Column, range(Column.TUN_IPV4, Column.TUN_IPV6_DST_LOW + 1)),
        *map(Column, range(Column.CT_MARK, Column.CT_TP + 1)),
        *map(Column, range(Column.XREG0, Column.XREG7 + 1)),
        *map(Column, range(Column.IPV4, Column.IPV6_DST_LOW + 1)),
        *map(Column, range(Column.TP, Column.ND_TARGET_LOW + 1)),
    )
)
"""Columns whose values do not decide which terms there are."""

_REGS = tuple(f"reg{i}" for i in range(N_REGS))
_ARPS = (ETH_TYPE_ARP, ETH_TYPE_RARP)
_CT_STATE_MASK = 0xFF
_FRAG_MASK = 3
_DSCP_MASK = 0xFC
_NS_ETHERTYPE = 1


def canonical_match(words: Words, tlv_map: TlvMap = NO_TLV_MAP) -> Match:
    """The match on ``words``, in the terms and the order of Open vSwitch 3.1.

    ``tlv_map`` says where tunnel options are.

    What has no field to name it (an inner VLAN tag, MPLS labels below the first) is left out.
    """
    return Match(tuple(term for term in _terms(words, tlv_map) if not isinstance(term, str)))


def canonical_matches(
    columns: Sequence[Column], masks: Sequence[int], keys: Sequence[Sequence[int]]
) -> list[Match]:
    """The canonical match on each of ``keys``: the words of ``columns``, all under ``masks``."""
    place_of = {column: place for place, column in enumerate(columns)}
    deciding = [place for column, place in place_of.items() if column not in _PLAIN]
    alike: dict[tuple[int, ...], list[int]] = {}
    for number, key in enumerate(keys):
        alike.setdefault(tuple([key[place] for place in deciding]), []).append(number)
    found = [Match()] * len(keys)
    for numbers in alike.values():
        some = [keys[number] for number in numbers]
        words = dict(zip(columns, zip(some[0], masks, strict=True), strict=True))
        terms = [
            _filled_with(term, bits, place_of, some) if bits else [term] * len(some)
            for term, bits in _outline(_skeleton(words), NO_TLV_MAP)
            if not isinstance(term, str)
        ]
        for number, of_match in zip(numbers, zip(*terms, strict=True), strict=bool(terms)):
            found[number] = Match(of_match)
    return found


def format_words(words: Words, tlv_map: TlvMap = NO_TLV_MAP) -> str:
    """The text of the match on ``words``, as ``ofproto/trace`` shows a packet's flow.

    Other than a Match, it can show inner VLAN tags and MPLS labels.
    """
    return ",".join(
        _shown_with(term, _get(words, bits)[0]) if bits else str(term)
        for term, bits in _texts(_skeleton(words), tlv_map)
    )


def _shown(term: MatchTerm | str) -> str:
    if isinstance(term, FieldMatch) and term.spelling == "tun_tos":
        return f"tun_tos={term.value:x}"  # in hexadecimal, though nothing says so
    return term if isinstance(term, str) else format_term(term)


@lru_cache(1 << 12)
def _shown_with(term: MatchTerm | str, value: int) -> str:
    """The text of the term with that value. Headers of packets have much in common."""
    return _shown(_with_value(term, value))


def _get(words: Words, bits: Bits) -> tuple[int, int]:
    value = mask = 0
    for i in range(bits.n_columns):
        v, m = words.get(_COLUMNS[bits.column + i], (0, 0))
        value, mask = value << 64 | v, mask << 64 | m
    ones = (1 << bits.width) - 1
    return value >> bits.shift & ones, mask >> bits.shift & ones


@cache
def _bits_of(name: str) -> Bits:
    bits = packet_field(name).bits
    assert bits is not None
    return bits


def _named(words: Words, name: str) -> tuple[int, int]:
    return _get(words, _bits_of(name))


def _field(words: _Matched, *spellings: str) -> Iterator[FieldMatch]:
    """The terms of those of the fields that the words match, under these names."""
    for spelling in _placed(spellings, words.columns):
        value, mask = _named(words, spelling)
        if mask:
            yield FieldMatch(field(spelling), value & mask, mask, spelling)


@cache
def _placed(spellings: tuple[str, ...], columns: frozenset[Column]) -> tuple[str, ...]:
    """Those of the fields that are in ``columns``. Most flows match few fields, always the same."""
    return tuple(
        spelling
        for spelling in spellings
        if any(column in columns for column, _ in _bits_of(spelling).words(0))
    )


def _whole(words: _Matched, *spellings: str) -> Iterator[FieldMatch]:
    """The same for fields that are shown whole even if only a part is matched."""
    for term in _field(words, *spellings):
        yield FieldMatch(term.field, term.value, term.field.full_mask, term.spelling)


def _terms(words: Words, tlv_map: TlvMap) -> Iterator[MatchTerm | str]:
    """The terms of the match on ``words``. Flows that differ in values only have the same."""
    for term, bits in _outline(_skeleton(words), tlv_map):
        yield _with_value(term, _get(words, bits)[0]) if bits else term


def _skeleton(words: Words) -> _Skeleton:
    return tuple(
        (column, 0 if column in _PLAIN else value, mask) for column, (value, mask) in words.items()
    )


def _with_value(term: MatchTerm | str, value: int) -> FieldMatch:
    """The term with as much of ``value`` as is matched."""
    assert isinstance(term, FieldMatch)
    return FieldMatch(term.field, value & term.mask, term.mask, term.spelling)


def _filled_with(
    term: MatchTerm, bits: Bits, place_of: Mapping[Column, int], keys: Sequence[Sequence[int]]
) -> Sequence[FieldMatch]:
    """The same for each of ``keys``, in which the word of a column has its place."""
    assert isinstance(term, FieldMatch)
    row, mask, spelling, shift = term.field, term.mask, term.spelling, bits.shift
    placed = [0] * len(keys)
    for i in range(bits.n_columns):
        place = place_of.get(_COLUMNS[bits.column + i])
        words = [0] * len(keys) if place is None else [key[place] for key in keys]
        placed = [high << 64 | word for high, word in zip(placed, words, strict=True)]
    return [FieldMatch(row, value >> shift & mask, mask, spelling) for value in placed]


@lru_cache(1 << 10)
def _texts(words: _Skeleton, tlv_map: TlvMap) -> _Outline:
    """The same as :func:`_outline`, with the text of each term that is complete."""
    outline = _outline(words, tlv_map)
    return tuple((term if bits else _shown(term), bits) for term, bits in outline)


@lru_cache(1 << 10)
def _outline(words: _Skeleton, tlv_map: TlvMap) -> _Outline:
    """The terms for words of which those in ``_PLAIN`` are yet to be filled in.

    With each of these terms comes where its value is.
    """
    found = _Matched({column: (value, mask) for column, value, mask in words})
    return tuple((term, _plain_bits(term)) for term in _all_terms(found, tlv_map))


def _plain_bits(term: MatchTerm | str) -> Bits | None:
    bits = term.field.bits if isinstance(term, FieldMatch) else None
    return bits if bits is not None and bits.column in _PLAIN else None


def _all_terms(words: _Matched, tlv_map: TlvMap) -> Iterator[MatchTerm | str]:
    eth_type, eth_type_mask = _named(words, "eth_type")
    nw_proto, nw_proto_mask = _named(words, "nw_proto")
    yield from _field(words, "pkt_mark", "recirc_id", "dp_hash")
    yield from _whole(words, "conj_id", "skb_priority", "actset_output")
    yield from _connection_terms(words)
    for term in _whole(words, "packet_type"):
        if term.value:
            yield term
        elif _named(words, "recirc_id")[1]:
            # Only then Open vSwitch says that a packet is an Ethernet packet.
            yield ProtocolMatch("eth")
        assert isinstance(term.value, int)
        if term.value >> 16 == _NS_ETHERTYPE:
            eth_type = term.value & 0xFFFF

    network = _NETWORKS.get(eth_type) if eth_type_mask else None
    protocol = _PROTOCOLS.get((eth_type, nw_proto)) if eth_type_mask and nw_proto_mask else None
    if protocol or network:
        yield ProtocolMatch(protocol or network or "")
    yield from _field(words, *_REGS)
    yield from _tunnel_terms(words)
    yield from _option_terms(words, tlv_map)
    yield from _field(words, "metadata", "in_port")
    yield from _vlan_terms(words)
    yield from _field(words, "dl_src", "dl_dst")
    if not network:
        yield from _field(words, "dl_type")
    yield from _network_terms(words, eth_type, show_protocol=not protocol)
    for term in _field(words, "nw_frag"):
        assert isinstance(term.value, int)
        if term.mask & _FRAG_MASK:
            yield FieldMatch(term.field, term.value & _FRAG_MASK, term.mask & _FRAG_MASK, "nw_frag")
    yield from _transport_terms(words, eth_type, nw_proto)


def _connection_terms(words: _Matched) -> Iterator[MatchTerm]:
    for term in _field(words, "ct_state"):
        exact = term.mask & _CT_STATE_MASK == _CT_STATE_MASK
        mask = term.field.full_mask if exact else term.mask
        yield FieldMatch(term.field, term.value, mask, term.spelling)
    yield from _field(words, "ct_zone", "ct_mark", "ct_label")
    yield from _field(words, "ct_nw_src", "ct_ipv6_src", "ct_nw_dst", "ct_ipv6_dst")
    for term in _whole(words, "ct_nw_proto"):
        yield term
        yield from _field(words, "ct_tp_src", "ct_tp_dst")


def _tunnel_terms(words: _Matched) -> Iterator[MatchTerm]:
    yield from _field(words, "tun_id", "tun_src", "tun_dst", "tun_ipv6_src", "tun_ipv6_dst")
    yield from _field(words, "tun_gbp_id")
    yield from _whole(words, "tun_gbp_flags", "tun_tos", "tun_ttl", "tun_erspan_ver")
    erspan_version, _ = _named(words, "tun_erspan_ver")
    if erspan_version == 1:
        yield from _whole(words, "tun_erspan_idx")
    elif erspan_version == 2:
        yield from _whole(words, "tun_erspan_dir", "tun_erspan_hwid")
    yield from _whole(words, "gtpu_flags", "gtpu_msgtype")
    yield from _field(words, "tun_flags")


def _option_terms(words: Words, tlv_map: TlvMap) -> Iterator[MatchTerm]:
    for option in sorted(tlv_map.options, key=lambda option: option.index):
        row = tlv_map.rows[option.name]
        assert row.bits is not None
        assert row.presence is not None
        if _get(words, row.presence)[1]:
            yield FieldMatch(row, *_get(words, row.bits), option.name)


def _vlan_terms(words: _Matched) -> Iterator[MatchTerm | str]:
    for bits, suffix in ((OUTER_TCI, ""), (INNER_TCI, "1")):
        tci, mask = _get(words, bits)
        if not mask:
            return
        for name, value, value_mask in _vlan_parts(tci, mask):
            term = FieldMatch(field(name), value, value_mask, name + suffix)
            yield format_term(term) if suffix else term


def _vlan_parts(tci: int, mask: int) -> Iterator[tuple[str, int, int]]:
    vid_mask, pcp_mask = mask & VLAN_VID_MASK, mask & VLAN_PCP_MASK
    if (
        mask & tci & VLAN_CFI
        and vid_mask in (0, VLAN_VID_MASK)
        and pcp_mask in (0, VLAN_PCP_MASK)
        and (vid_mask or pcp_mask)
    ):
        if vid_mask:
            yield "dl_vlan", tci & VLAN_VID_MASK, field("dl_vlan").full_mask
        if pcp_mask:
            yield "dl_vlan_pcp", tci >> 13, field("dl_vlan_pcp").full_mask
    else:
        yield "vlan_tci", tci & mask, mask


def _network_terms(
    words: _Matched, eth_type: int, show_protocol: bool
) -> Iterator[MatchTerm | str]:
    if eth_type == ETH_TYPE_IPV6:
        yield from _field(words, "ipv6_src", "ipv6_dst", "ipv6_label")
    elif eth_type in _ARPS:
        yield from _field(words, "arp_spa", "arp_tpa")
    elif eth_type == ETH_TYPE_NSH:
        yield from _nsh_terms(words)
    else:
        yield from _field(words, "nw_src", "nw_dst")
    if show_protocol:
        yield from _whole(words, "arp_op" if eth_type in _ARPS else "nw_proto")
    if eth_type in _ARPS:
        yield from _field(words, "arp_sha", "arp_tha")
    tos, tos_mask = _named(words, "nw_tos")
    if tos_mask & _DSCP_MASK:
        yield FieldMatch.exact("nw_tos", tos & _DSCP_MASK)
    yield from _whole(words, "nw_ecn", "nw_ttl")
    yield from _whole(words, "mpls_label", "mpls_tc", "mpls_ttl", "mpls_bos")
    for i, bits in enumerate((Bits(Column.MPLS, 0, 32), Bits(Column.MPLS_2, 32, 32)), start=1):
        entry, entry_mask = _get(words, bits)
        if entry_mask == 0xFFFF_FFFF:
            yield f"mpls_lse{i}={entry}"
        elif entry_mask:
            yield f"mpls_lse{i}={entry:#010x}/{entry_mask:#010x}"


def _nsh_terms(words: _Matched) -> Iterator[MatchTerm]:
    yield from _field(words, "nsh_flags", "nsh_ttl", "nsh_mdtype", "nsh_np", "nsh_spi", "nsh_si")
    md_type, md_type_mask = _named(words, "nsh_mdtype")
    if md_type == 1 and md_type_mask:
        yield from _field(words, "nsh_c1", "nsh_c2", "nsh_c3", "nsh_c4")


def _transport_terms(words: _Matched, eth_type: int, nw_proto: int) -> Iterator[MatchTerm]:
    if (eth_type, nw_proto) == (ETH_TYPE_IP, ICMP):
        yield from _field(words, "icmp_type", "icmp_code")
    elif (eth_type, nw_proto) == (ETH_TYPE_IPV6, ICMPV6):
        yield from _field(words, "icmp_type", "icmp_code", "nd_target", "nd_sll", "nd_tll")
        yield from _field(words, "nd_reserved", "nd_options_type")
    else:
        yield from _field(words, "tp_src", "tp_dst")
    if eth_type in (ETH_TYPE_IP, ETH_TYPE_IPV6) and nw_proto == TCP:
        yield from _field(words, "tcp_flags")
