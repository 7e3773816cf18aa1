"""The numbers of actions that can be taken by column."""

from __future__ import annotations

import pytest

from flowvm.names import Names
from flowvm.text.parse import parse_actions

NAMES = Names()


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("output:{}", 0xFF00),
        ("load:{:#x}->NXM_NX_REG0[]", 1 << 32),
        ("load:{}->NXM_NX_REG0[3..7]", 32),
        ("load:{:#x}->NXM_NX_XXREG0[]", 1 << 128),
        ("set_field:{}->reg0", 1 << 32),
        ("set_field:{}->icmp_type", 256),
        ("set_field:{}->dl_vlan", 4096),
        ("set_field:{}->vlan_pcp", 8),
        ("set_field:{}->in_port", 1 << 16),
        ("mod_tp_dst:{}", 1 << 16),
        ("mod_nw_ecn:{}", 4),
        ("mod_vlan_vid:{}", 4096),
        ("set_tunnel:{:#x}", 1 << 64),
        ("resubmit:{}", 0xFF00),
        ("resubmit({},5)", 0xFF00),
    ],
)
def test_any_number_below_the_limit_is_the_first_operand(text: str, limit: int) -> None:
    """The operation is the same for all, and any further operand 0."""
    (action,) = parse_actions(text.format(1))
    assert action.operand_limit == limit
    operation = action.lower(NAMES).operation
    limit = min(limit, 1 << 64)
    for number in {0, 1, 2, limit // 2, limit - 1}:
        (other,) = parse_actions(text.format(number))
        lowered = other.lower(NAMES)
        assert lowered.operation == operation
        assert (lowered.operands[0], any(lowered.operands[1:])) == (number, False)


@pytest.mark.parametrize(
    "text",
    [
        "mod_vlan_pcp:3",  # the operand is the bits in their place
        "mod_nw_tos:16",
        "set_field:0x1/0xf->reg0",
        "set_field:1->tun_flags",  # not every number is flags
        "output(port=1,max_len=64)",
        'resubmit("a",5)',
        "resubmit(,5)",
        "strip_vlan",
        "note:01",
    ],
)
def test_other_actions_have_none(text: str) -> None:
    """Their texts are read one by one."""
    (action,) = parse_actions(text)
    assert action.operand_limit == 0
