"""Which actions and fields a case exercises: what its packets hit and executed, not what it says.

A field is exercised if a packet hits a rule that matches it, or executes an action that names it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from types import MappingProxyType

from flowvm.actions.base import Action
from flowvm.actions.controller import Controller
from flowvm.actions.output import Output
from flowvm.fields import FIELDS, Bits, Field
from flowvm.flow import Flow, Match, MatchTerm, ReservedPort
from flowvm.pipeline.legs import Leg
from flowvm.pipeline.state import State
from flowvm.recorder import StepRecorder
from flowvm.testing.kinds import Kind

_OUTPUTS = {
    ReservedPort.IN_PORT: "in_port",
    ReservedPort.NORMAL: "normal",
    ReservedPort.FLOOD: "flood",
    ReservedPort.ALL: "all",
    ReservedPort.LOCAL: "local",
}
_NUMBERED = re.compile(r"(x{0,2}reg|tun_metadata)\d+")
_SET_BY: Mapping[str, str] = MappingProxyType(
    {
        "mod_dl_src": "eth_src",
        "mod_dl_dst": "eth_dst",
        "mod_nw_src": "ip_src",
        "mod_nw_dst": "ip_dst",
        "mod_nw_tos": "nw_tos",
        "mod_nw_ecn": "nw_ecn",
        "mod_nw_ttl": "nw_ttl",
        "set_tunnel": "tun_id",
        "set_tunnel64": "tun_id",
        "write_metadata": "metadata",
        "set_mpls_label": "mpls_label",
        "set_mpls_tc": "mpls_tc",
        "set_mpls_ttl": "mpls_ttl",
        "dec_mpls_ttl": "mpls_ttl",
        "dec_nsh_ttl": "nsh_ttl",
        "set_queue": "skb_priority",
        "enqueue": "skb_priority",
        "mod_vlan_vid": "vlan_tci",
        "mod_vlan_pcp": "vlan_tci",
        "dec_ttl": "nw_ttl",
    }
)
"""Fields that actions set without naming them."""


def row_of(row: Field) -> str:
    """The row of ovs-fields(7) that a field is in: ``reg0`` stands for all registers."""
    return _NUMBERED.sub(r"\g<1>0", row.name)


class Exercised:
    """Names of actions and rows of fields."""

    def __init__(self) -> None:
        self.actions: set[str] = set()
        self.fields: set[str] = set()

    def hit(self, flow: Flow) -> None:
        """A packet has hit ``flow``."""
        rows = list(_matched(flow.match))
        self.fields.update(map(row_of, rows))
        if any(row.name == "conj_id" for row in rows):
            # Nobody executes a clause; it is what has led here.
            self.actions.add("conjunction")

    def executed(self, action: Action) -> None:
        """A packet has executed ``action``; what is nested in it is told separately."""
        name = action_name(action)
        self.actions.add(name)
        if isinstance(action, Output) and action.port in _OUTPUTS:
            self.actions.add(_OUTPUTS[action.port])
        if name in _SET_BY:
            self.fields.add(_SET_BY[name])
        self.fields.update(map(row_of, _named(action)))

    def rows(self) -> Iterator[str]:
        """``action NAME`` and ``field NAME``, each once."""
        yield from (f"action {name}" for name in self.actions)
        yield from (f"field {name}" for name in self.fields)


def action_name(action: Action) -> str:
    """What ovs-actions(7) calls the action."""
    if isinstance(action, Controller):
        return "controller"
    name = re.match(r"[a-z0-9_]*", str(action))
    assert name is not None
    return name[0] if name[0] and not name[0].isdigit() else "output"


def _named(part: object) -> Iterator[Field]:
    """The fields that a part of an action names; actions in it are left out."""
    if isinstance(part, Field):
        yield part
    elif isinstance(part, tuple):
        for item in part:
            yield from () if isinstance(item, Action) else _named(item)
    elif is_dataclass(part):
        for member in fields(part):
            value = getattr(part, member.name)
            yield from () if isinstance(value, Action) else _named(value)


def _places() -> Mapping[Bits, tuple[Field, ...]]:
    found: dict[Bits, tuple[Field, ...]] = {}
    for row in FIELDS:
        if row.bits is not None:
            found[row.bits] = (*found.get(row.bits, ()), row)
    return MappingProxyType(found)


_PLACES = _places()


def _matched(match: Match) -> Iterator[Field]:
    """The fields of a match, under the names that they have in packets of its protocols.

    ovs-ofctl prints ``tp_src`` for a port of any protocol, and ``icmp_type`` for ICMPv6 too.
    """
    kind = Kind.of(Match(tuple(term for term in match.terms if _has_place(term))))
    for row, _, _ in match.constraints():
        others = _PLACES.get(row.bits, ()) if row.bits is not None and not kind.has(row) else ()
        yield next((other for other in others if kind.has(other)), row)


def _has_place(term: MatchTerm) -> bool:
    return all(row.bits is not None for row, _, _ in term.constraints())


class Recorder(StepRecorder):
    """Notes what a packet exercises besides what happens to it."""

    def __init__(self, state: State, exercised: Exercised, recirc_id: int = 0) -> None:
        super().__init__(state, recirc_id)
        self._exercised = exercised

    def resume(self, leg: Leg) -> StepRecorder:
        twin = Recorder(self._state, self._exercised, len(self.resumed) + 1)
        twin.resumed, twin.frozen = self.resumed, self.frozen
        self.resumed.append((leg, twin))
        return twin

    def table(self, table: int, rule: int) -> None:
        super().table(table, rule)
        if rule >= 0:
            self._exercised.hit(self._flow(rule))

    def action(self, rule: int, position: int) -> None:
        super().action(rule, position)
        if self._current is not None:
            self._exercised.executed(self._current)
