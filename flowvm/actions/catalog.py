"""All actions of ovs-actions(7) by the names they go by, and how to make one of its text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from flowvm.actions import (
    check,
    choose,
    conjunction,
    controller,
    ct,
    debug,
    encap,
    group,
    learn,
    meter,
    mod,
    mpls,
    nest,
    note,
    output,
    queue,
    resubmit,
    set_field,
    stack,
    timeout,
    ttl,
    vlan,
)
from flowvm.actions.base import Action, format_actions
from flowvm.flow import ReservedPort
from flowvm.text.errors import WordError, suggestion
from flowvm.text.tree import Item, Items, MakeActions
from flowvm.text.values import parse_port

__all__ = ["Action", "action_names", "format_actions", "make_action", "make_actions"]

_MAKERS: Mapping[str, Callable[[Item], Action]] = MappingProxyType(
    {
        "output": output.make_output,
        "controller": controller.make_controller,
        "enqueue": output.make_enqueue,
        "resubmit": resubmit.make_resubmit,
        "goto_table": resubmit.make_goto_table,
        "mod_vlan_vid": vlan.make_vlan_vid,
        "set_vlan_vid": vlan.make_vlan_vid,
        "mod_vlan_pcp": vlan.make_vlan_pcp,
        "set_vlan_pcp": vlan.make_vlan_pcp,
        "strip_vlan": vlan.make_strip_vlan,
        "pop_vlan": vlan.make_strip_vlan,
        "push_vlan": vlan.make_push_vlan,
        "push_mpls": mpls.make_push_mpls,
        "pop_mpls": mpls.make_pop_mpls,
        "set_mpls_label": mpls.make_set_mpls_label,
        "set_mpls_tc": mpls.make_set_mpls_tc,
        "set_mpls_ttl": mpls.make_set_mpls_ttl,
        "dec_mpls_ttl": mpls.make_dec_mpls_ttl,
        "load": set_field.make_load,
        "set_field": set_field.make_set_field,
        "move": set_field.make_move,
        "set_tunnel": set_field.make_set_tunnel,
        "set_tunnel64": set_field.make_set_tunnel,
        "write_metadata": set_field.make_write_metadata,
        "delete_field": set_field.make_delete_field,
        "mod_dl_src": mod.make_mod_field,
        "mod_dl_dst": mod.make_mod_field,
        "mod_nw_src": mod.make_mod_field,
        "mod_nw_dst": mod.make_mod_field,
        "mod_nw_tos": mod.make_mod_field,
        "mod_nw_ecn": mod.make_mod_field,
        "mod_nw_ttl": mod.make_mod_field,
        "set_nw_ttl": mod.make_mod_field,
        "mod_tp_src": mod.make_mod_field,
        "mod_tp_dst": mod.make_mod_field,
        "dec_ttl": ttl.make_dec_ttl,
        "dec_nsh_ttl": ttl.make_dec_nsh_ttl,
        "push": stack.make_push,
        "pop": stack.make_pop,
        "learn": learn.make_learn,
        "nat": ct.make_nat,
        "ct_clear": ct.make_ct_clear,
        "clear_actions": nest.make_clear_actions,
        "group": group.make_group,
        "meter": meter.make_meter,
        "conjunction": conjunction.make_conjunction,
        "note": note.make_note,
        "exit": note.make_exit,
        "set_queue": queue.make_set_queue,
        "pop_queue": queue.make_pop_queue,
        "fin_timeout": timeout.make_fin_timeout,
        "check_pkt_larger": check.make_check_pkt_larger,
        "debug_recirc": debug.make_debug_recirc,
        "debug_slow": debug.make_debug_slow,
        "unroll_xlate": debug.make_unroll_xlate,
        "bundle": choose.make_bundle,
        "bundle_load": choose.make_bundle,
        "multipath": choose.make_multipath,
        "sample": choose.make_sample,
        "encap": encap.make_encap,
        "decap": encap.make_decap,
    }
)

_NESTING: Mapping[str, Callable[[Item, MakeActions], Action]] = MappingProxyType(
    {
        "ct": ct.make_ct,
        "clone": nest.make_clone,
        "write_actions": nest.make_write_actions,
        "apply_actions": nest.make_apply_actions,
    }
)


def action_names() -> tuple[str, ...]:
    """Every word an action can begin with, but for ports' names and numbers."""
    ports = (name.lower() for name in ReservedPort.NUMBERS)
    return (*_MAKERS, *_NESTING, "drop", *ports)


def make_action(item: Item) -> Action:
    """The action that an item of a list says; WordError if there is none of that name."""
    name = item.key.lower()
    maker = _MAKERS.get(name)
    if maker is not None:
        return maker(item)
    nesting = _NESTING.get(name)
    if nesting is not None:
        return nesting(item, make_actions)
    port = parse_port(item.key)
    # A name alone is a port only in quotes: as a word it would hide every misspelt action.
    if isinstance(port, str) and item.key[0] != '"':
        hint = suggestion(name, action_names())
        raise WordError(item.key, f'unknown action "{item.key}"{hint}', "an action")
    item.no_argument()
    return output.to_port(port)


def make_actions(items: Items) -> tuple[Action, ...]:
    """The actions of a list; ``drop``, which must be alone, is no action at all."""
    present = [item for item in items if item is not None]
    for item in present:
        if item.key.lower() == "drop":
            if len(present) > 1:
                raise WordError(item.key, '"drop" must be the only action')
            return ()
    return tuple(make_action(item) for item in present)
