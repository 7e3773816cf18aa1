"""The text of every action: read, typed, and written back."""

from __future__ import annotations

import pytest

from flowvm.actions.base import Action, Subfield, format_actions
from flowvm.actions.catalog import action_names
from flowvm.actions.choose import Bundle, Multipath, Sample
from flowvm.actions.controller import Controller
from flowvm.actions.ct import Ct, CtClear, Nat
from flowvm.actions.encap import Decap, Encap, NshTlv
from flowvm.actions.learn import (
    Learn,
    LoadField,
    LoadValue,
    MatchField,
    MatchValue,
    OutputField,
)
from flowvm.actions.mod import ModField
from flowvm.actions.nest import Clone, WriteActions
from flowvm.actions.note import Note
from flowvm.actions.output import Enqueue, Output, OutputReg, OutputTrunc
from flowvm.actions.resubmit import GotoTable, Resubmit
from flowvm.actions.set_field import Load, Move, SetField, SetTunnel, WriteMetadata
from flowvm.actions.ttl import DecTtl
from flowvm.actions.vlan import ModVlanVid, PushVlan, StripVlan
from flowvm.fields import field
from flowvm.text.errors import FlowSyntaxError
from flowvm.text.parse import parse_actions

from ..action_texts import KEPT, PRINTED


@pytest.mark.parametrize("text", PRINTED + KEPT)
def test_an_action_comes_back(text: str) -> None:
    """What ovs-ofctl prints is what str() gives, and so are words of the user's own choice."""
    (action,) = parse_actions(text)
    assert str(action) == text


def test_every_action_is_among_those_that_come_back() -> None:
    """The lists leave out no action that is read."""
    seen = {text.partition(":")[0].partition("(")[0].lower() for text in PRINTED + KEPT}
    not_written = {"nat", "set_nw_ttl", "apply_actions", "drop", "unset", "any", "none"}
    assert set(action_names()) - seen == not_written


def whole(name: str) -> Subfield:
    row = field(name)
    return Subfield(row, 0, row.width - 1, name)


TYPED: list[tuple[str, Action]] = [
    ("output:3", Output(3)),
    ("3", Output(3)),
    ("local", Output(65534)),
    ('"eth0"', Output("eth0")),
    ("output:reg0[0..15]", OutputReg(Subfield(field("reg0"), 0, 15, "reg0"))),
    ("output:in_port", Output(0xFFF8)),
    ("output:CONTROLLER", Controller()),
    ("controller", Controller()),
    ("controller(max_len=128)", Controller(128)),
    ("controller(userdata=0102ff,pause)", Controller(userdata=b"\x01\x02\xff", pause=True)),
    ("output(max_len=100,port=3)", OutputTrunc(3, 100)),
    ("enqueue(4,5)", Enqueue(4, 5)),
    ("enqueue:4q5", Enqueue(4, 5)),
    ("resubmit(3)", Resubmit(3)),
    ("resubmit(3,)", Resubmit(3)),
    ("resubmit(in_port,4)", Resubmit(None, 4)),
    ("resubmit(5,255)", Resubmit(5)),
    ("resubmit(,4,ct)", Resubmit(None, 4, ct=True)),
    ("goto_table:0x10", GotoTable(16)),
    ("Mod_VLAN_vid=0x10", ModVlanVid(16)),
    ("set_vlan_vid:16", ModVlanVid(16, push_if_needed=False)),
    ("pop_vlan", StripVlan("pop_vlan")),
    ("push_vlan:33024", PushVlan(0x8100)),
    ("set_nw_ttl:5", ModField("mod_nw_ttl", 5)),
    ("mod_dl_src:0:1:2:3:4:5", ModField("mod_dl_src", 0x000102030405)),
    ("dec_ttl(1)", DecTtl((1,))),
    ("load:017->reg1", Load(15, whole("reg1"))),
    (
        "load:0x1ffffffffffffffffffffffffffffffffffff->tun_metadata5",
        Load((1 << 145) - 1, whole("tun_metadata5")),
    ),
    ("move:reg0->reg1", Move(whole("reg0"), whole("reg1"))),
    ("set_field:1.2.3.4/8->nw_src", SetField(field("ip_src"), 1 << 24, 0xFF000000, "nw_src")),
    ("set_field:1->vlan_pcp", SetField(field("vlan_pcp"), 1, None, "vlan_pcp")),
    ("set_field:1/0x7->vlan_pcp", SetField(field("vlan_pcp"), 1, 7, "vlan_pcp")),
    ("set_field:0/0x1->nw_tos", SetField(field("nw_tos"), 0, 1, "nw_tos")),
    ("set_field:2/0xfffe->arp_op", SetField(field("arp_op"), 2, 0xFFFE, "arp_op")),
    ("set_field:1/0x1ff->in_port", SetField(field("in_port"), 1, 0x1FF, "in_port")),
    ("set_field:2/0xffff->arp_op", SetField(field("arp_op"), 2, None, "arp_op")),
    ("set_tunnel:0x123456789", SetTunnel(0x123456789, "set_tunnel64")),
    ("write_metadata:5/7", WriteMetadata(5, 7)),
    ("note:01.0203", Note(b"\x01\x02\x03\0\0\0")),
    ("note:01020304050607", Note(b"\1\2\3\4\5\6\7" + bytes(7))),
    ("ct_clear", CtClear()),
    ("ct(zone=reg0[0..15],table=5)", Ct(table=5, zone=Subfield(field("reg0"), 0, 15, "reg0"))),
    (
        "ct(commit,nat(src=10.0.0.1:0),exec(load:1->ct_mark))",
        Ct(
            commit=True,
            actions=(Nat("src", 4, (0x0A000001, 0x0A000001)), Load(1, whole("ct_mark"))),
        ),
    ),
    ("clone(drop)", Clone(())),
    ("write_actions(output:3,2)", WriteActions((Output(3), Output(2)))),
    ("encap(nsh(tlv(0x10,1,0x0a)))", Encap("nsh", None, (NshTlv(16, 1, b"\x0a"),))),
    ("decap", Decap()),
    ("bundle(eth_src, 0, HRW, ofport, members:4, 8)", Bundle("eth_src", 0, "hrw", (4, 8))),
    (
        "multipath(nw_dst,50,iter_hash,3,5,reg0)",
        Multipath("nw_dst", 50, "iter_hash", 3, 5, whole("reg0")),
    ),
    ("sample(probability=5,ingress)", Sample(5, direction="ingress")),
    (
        "learn(hard_timeout=0x10,eth_dst=eth_src,reg0[0..3]=5,dl_type=0x800,in_port=LOCAL,"
        "load:3->reg1,load:reg2->reg3,output:in_port)",
        Learn(
            hard_timeout=16,
            specs=(
                MatchField(whole("eth_dst"), whole("eth_src")),
                MatchValue(Subfield(field("reg0"), 0, 3, "reg0"), 5),
                MatchValue(whole("dl_type"), 0x800),
                MatchValue(whole("in_port"), 65534),
                LoadValue(3, whole("reg1")),
                LoadField(whole("reg2"), whole("reg3")),
                OutputField(whole("in_port")),
            ),
        ),
    ),
]


@pytest.mark.parametrize(("text", "action"), TYPED, ids=[text for text, _ in TYPED])
def test_an_action_is_typed(text: str, action: Action) -> None:
    """What is read has numbers, ports, subfields and nested actions, not strings."""
    assert parse_actions(text) == (action,)


def test_a_list_of_actions_keeps_its_order() -> None:
    """Actions stand in the order of the text; an empty list is "drop"."""
    actions = parse_actions("strip_vlan, set_tunnel:0x1 ,output:2")
    assert format_actions(actions) == "strip_vlan,set_tunnel:0x1,output:2"
    assert parse_actions("") == parse_actions("drop") == ()
    assert format_actions(()) == "drop"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("outptu:3", 'unknown action "outptu"; did you mean "output"'),
        ("br-int", "unknown action"),
        ("drop,1", "only action"),
        ("resubmit(,)", "needs a port or a table"),
        ("resubmit(,1,tc)", "unknown parameter"),
        ("resubmit(1,2,ct,3)", "too many"),
        ("output", "needs an argument"),
        ("output(port=1,max_len=13)", "less than 14"),
        ("output(port=NORMAL,max_len=100)", "cannot be truncated"),
        ("controller(reason=because)", "unknown reason"),
        ("controller(userdata=0g)", "not bytes"),
        ("enqueue:3", "lacks"),
        ("mod_vlan_vid:4096", "12 bits"),
        ("mod_nw_tos:3", "not a DSCP"),
        ("mod_nw_src:10.0.0.0/8", "no mask"),
        ("push_vlan:0x800", "not the type of a VLAN tag"),
        ("push_mpls:0x800", "not an MPLS Ethernet type"),
        ("load:16->reg0[0..3]", "does not fit"),
        ("load:1", "no destination"),
        ("load:1->nw_proto", "read-only"),
        ("set_field:1->rge0", 'did you mean "reg0"'),
        ("move:reg0->xreg0", "32 bits, but"),
        ("delete_field:reg0", "cannot be deleted"),
        ("dec_ttl()", "no controllers"),
        ("pop:nw_proto", "read-only"),
        ("check_pkt_larger(1500)->reg0", "single bit"),
        ("conjunction(1,4/3)", "no clause 4"),
        ("conjunction(1)", "ID and a clause"),
        ("ct(force)", "requires"),
        ("ct(alg=irc)", "unknown helper"),
        ("ct(table=255)", "table 255"),
        ("ct(nat(src,dst))", "only one of src and dst"),
        ("ct(nat(random))", "need src or dst"),
        ("ct(nat(src,hash,random))", "only one of hash and random"),
        ("ct(nat(src=10.0.0.9-10.0.0.1))", "ends before it begins"),
        ("ct(nat(src=ten))", "not a range"),
        ("clone", "needs actions"),
        ("learn(table=255)", "table 255"),
        ("learn(tabel=1)", 'did you mean "table"'),
        ("learn(result_dst=reg0)", "single bit"),
        ("learn(reg0=reg1[0..3])", "bits"),
        ("learn(nw_src=10.0.0.0/8)", "mask"),
        ("learn(load:reg0->reg1[0..3])", "bits"),
        ("bundle(eth_src,0,hrw,ofport)", "lacks arguments"),
        ("bundle(eth_scr,0,hrw,ofport,members:1)", "unknown fields"),
        ("multipath(eth_src,0,hrw,0,0,reg0)", "not a number of links"),
        ("sample(collector_set_id=1)", "probability"),
        ("encap(vlan)", "unknown header"),
        ("decap(reg0=1)", "packet type"),
        ("note:012", "not bytes"),
        ("exit(1)", "no argument"),
        ("strip_vlan:1", "no argument"),
    ],
)
def test_a_bad_action_says_what_is_wrong(text: str, complaint: str) -> None:
    """Each misuse of ovs-actions(7) has a message of its own."""
    with pytest.raises(FlowSyntaxError, match=complaint):
        parse_actions(text)
