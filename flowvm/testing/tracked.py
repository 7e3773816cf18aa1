"""``ct`` actions, and matches on what they find."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from flowvm.actions.base import Action
from flowvm.actions.ct import Ct, CtClear, Nat
from flowvm.actions.set_field import Load, Move, SetField
from flowvm.fields import ETH_TYPE_IPV6, Field, field
from flowvm.flow import FieldMatch, Match, MatchTerm
from flowvm.protocols import TCP, UDP
from flowvm.testing.choices import Choices
from flowvm.testing.kinds import Kind
from flowvm.testing.setting import Setting, choose_subfield, subfield
from flowvm.testing.values import IPV4S, IPV6S, TLV_MAP, TRACKED, mask_for, value_of

NEW, EST, REL, RPL, INV, TRK, SNAT, DNAT = (1 << bit for bit in range(8))

_STATES = (
    *((TRK | NEW, TRK | NEW), (TRK, TRK | INV)) * 4,  # what first packets have
    (TRK, TRK),
    (0, TRK),
    (TRK | NEW, TRK | NEW),
    (TRK | EST, TRK | EST),
    (TRK | EST, TRK | EST | RPL),
    (TRK | EST | RPL, TRK | EST | RPL),
    (TRK | INV, TRK | INV),
    (TRK, TRK | INV),
    (TRK | REL, TRK | REL),
    (TRK | SNAT, TRK | SNAT),
    (TRK | DNAT, TRK | DNAT),
    (TRK, TRK | NEW),
)
"""Values and masks of ``ct_state``."""
_VALID = NEW | EST | REL | RPL | SNAT | DNAT
_CONNECTIONS = (field("ct_mark"), field("ct_label"))
_CT_STATE = field("ct_state").bits
_HELPERS: Mapping[int, int] = MappingProxyType({TCP: 21, UDP: 69})
"""The ports of FTP and TFTP, by what carries them."""
_READABLE = tuple(row for row in TRACKED if row.prerequisite.name == "NONE")


def choose_tracked_terms(choose: Choices, kind: Kind) -> list[MatchTerm]:
    """A match on the state of a connection, and at times on more of it."""
    value, mask = choose.one(_STATES)
    terms: list[MatchTerm] = [FieldMatch(field("ct_state"), value, mask, "ct_state")]
    rows = list(_READABLE[1:])
    if _is_valid(value, mask) and kind.is_ip and choose.percent(75):
        rows = []
        version = "ct_ipv6" if kind.eth_type == ETH_TYPE_IPV6 else "ct_nw"
        rows += [
            row
            for row in TRACKED
            if row.name.startswith((version, "ct_nw_proto"))
            or (kind.has_ports and row.name.startswith("ct_tp"))
        ]
    if choose.percent(70):
        for row in choose.some(rows, 1, 2):
            terms.append(_term(choose, row, kind))
    return terms


def _term(choose: Choices, row: Field, kind: Kind) -> FieldMatch:
    mask = mask_for(choose, row)
    value = value_of(choose, row, ())
    if row.name == "ct_nw_proto" and kind.nw_proto:
        value = kind.nw_proto
    if row.maskable and row.prerequisite.name == "CT" and choose.percent(80):
        # Wide, or hardly a packet that gets here would have it.
        mask = 0b11 << row.width - 2 if choose.percent(50) else 1
    return FieldMatch(row, value & mask, mask, row.name)


def is_invalid(match: Match) -> bool:
    """Whether a match asks for packets that are of no connection; those cannot be committed."""
    return bool(_state(match)[0] & INV)


def is_tracked(match: Match) -> bool:
    """Whether a match makes sure that a packet has a connection (lib/match, ``is_ct_valid``)."""
    return _is_valid(*_state(match))


def _is_valid(value: int, mask: int) -> bool:
    return bool(value & _VALID or (value & TRK and mask & INV and not value & INV))


def _state(match: Match) -> tuple[int, int]:
    """The value and mask of ``ct_state``."""
    assert _CT_STATE is not None
    value, mask = match.words({}, TLV_MAP).get(_CT_STATE.column, (0, 0))
    return value >> _CT_STATE.shift, mask >> _CT_STATE.shift


def choose_ct(choose: Choices, setting: Setting) -> Action:
    """A ``ct`` for packets of IP, else ``ct_clear``."""
    kind = setting.kind
    if not kind.is_ip or choose.percent(8):
        return CtClear()
    return _ct(choose, setting, kind)


def choose_ct_to(choose: Choices, setting: Setting, table: int) -> Action:
    """A ``ct`` that goes on in that table."""
    return replace(_ct(choose, setting, setting.kind), table=table)


def _ct(choose: Choices, setting: Setting, kind: Kind) -> Ct:
    commit = choose.percent(55) and not setting.invalid
    force = commit and choose.percent(10)
    table = choose.one(setting.later) if setting.later and choose.percent(70) else None
    zone = choose.weighted(((6, 0), (3, 1), (1, 0xFFFF)))
    zone_from = subfield(field(choose.one(("reg0", "reg1"))), choose.one((0, 16)), 16)
    actions: list[Action] = []
    if choose.percent(30):
        actions.append(_nat(choose, kind, commit))
    if commit:
        actions += [_change(choose) for _ in range(choose.weighted(((5, 0), (3, 1), (2, 2))))]
    alg = _HELPERS.get(kind.nw_proto, 0) if commit and choose.percent(15) else 0
    return Ct(commit, force, table, zone_from if choose.percent(10) else zone, tuple(actions), alg)


def _nat(choose: Choices, kind: Kind, commit: bool) -> Nat:
    if not commit or choose.percent(40):
        return Nat()
    version, pool = (6, IPV6S) if kind.eth_type == ETH_TYPE_IPV6 else (4, IPV4S)
    direction = choose.one(("src", "dst"))
    if choose.percent(15):
        return Nat(direction)
    address = choose.one(pool[:3])
    port = choose.one((80, 1024, 0xFFFF))
    ports = (port, port) if kind.has_ports and choose.percent(40) else None
    flags = {choose.one(("persistent", "hash", "random")): True} if choose.percent(10) else {}
    return Nat(direction, version, (address, address), ports, **flags)


def _change(choose: Choices) -> Action:
    row = choose.one(_CONNECTIONS)
    match choose.number(0, 2):
        case 0:
            mask = mask_for(choose, row)
            value = value_of(choose, row, ()) & mask
            return SetField(row, value, None if mask == row.full_mask else mask, row.name)
        case 1:
            width = choose.one((32, 16, 1))
            start = choose.one((0, row.width - width))
            return Load(choose.bits(width), subfield(row, start, width))
        case _:
            names = ("reg0", "reg1", "eth_src", "in_port")
            source = choose_subfield(choose, [field(choose.one(names))])
            assert source is not None
            destination = choose_subfield(choose, [row], source.width)
            if destination is None:
                return SetField(row, 1, None, row.name)
            return Move(source, destination)
