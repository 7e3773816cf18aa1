"""What ovs-ofctl makes of a flow to send it, where messages lack words that the text has.

No version says a match on the ports that a connection began with unless its protocol is matched
too. From OpenFlow 1.2 on there is no match on all of the TCI, and no action that pushes a tag if
there is none: a flow that does not make sure of a tag pushes one (``nx_put_raw`` in lib/nx-match.c,
``encode_SET_VLAN_VID`` in lib/ofp-actions.c).
"""

from __future__ import annotations

from dataclasses import replace

from flowvm.actions.base import Action
from flowvm.actions.nest import Clone, WriteActions
from flowvm.actions.vlan import ModVlanPcp, ModVlanVid, PushVlan, StripVlan
from flowvm.flow import FieldMatch, Match, MatchTerm

_DOT1Q = 0x8100
_VID_AND_CFI = 0x1FFF
_PCP = 0xE000
_OF_CONNECTION = ("ct_nw_proto", "ct_tp_src", "ct_tp_dst")


def sent_match(match: Match, *, modern: bool) -> Match:
    """``match`` as it arrives; ``modern`` is OpenFlow 1.2 and later."""
    terms = match.terms
    if not any(row.name == "ct_nw_proto" and value for row, value, _ in match.constraints()):
        terms = tuple(term for term in terms if _name(term) not in _OF_CONNECTION)
    return Match(tuple(map(_modern_term, terms)) if modern else terms)


def _name(term: MatchTerm) -> str:
    return term.field.name if isinstance(term, FieldMatch) else ""


def _modern_term(term: MatchTerm) -> MatchTerm:
    if not isinstance(term, FieldMatch) or term.field.name != "vlan_tci":
        return term
    assert isinstance(term.value, int)
    mask = term.mask & _VID_AND_CFI
    if term.value & mask and term.mask & _PCP:
        mask |= _PCP
    return replace(term, value=term.value & mask, mask=mask)


def modern_actions(actions: tuple[Action, ...], tags: int) -> tuple[Action, ...]:
    """``actions`` with the tags pushed that may be lacking: a match makes sure of ``tags``."""
    found: list[Action] = []
    for action in actions:
        one = action
        match action:
            case PushVlan():
                tags += 1
            case StripVlan():
                tags = max(tags - 1, 0)
            case ModVlanVid(push_if_needed=needed) | ModVlanPcp(push_if_needed=needed):
                if needed and not tags:
                    found.append(PushVlan(_DOT1Q))
                tags = max(tags, 1)
            case Clone() | WriteActions():
                one = replace(action, actions=modern_actions(action.actions, tags))
        found.append(one)
    return tuple(found)
