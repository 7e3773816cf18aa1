"""Action lists that Open vSwitch accepts for the packets they are for."""

from __future__ import annotations

from dataclasses import replace

from flowvm.actions.base import Action, Subfield
from flowvm.actions.controller import Controller
from flowvm.actions.meter import Meter
from flowvm.actions.mod import ModField
from flowvm.actions.nest import ClearActions, Clone, WriteActions
from flowvm.actions.note import Exit, Note
from flowvm.actions.output import Output, OutputReg, OutputTrunc
from flowvm.actions.resubmit import GotoTable, Resubmit
from flowvm.actions.set_field import (
    ALL_64,
    DeleteField,
    Load,
    Move,
    SetField,
    SetTunnel,
    WriteMetadata,
)
from flowvm.actions.stack import Pop, Push
from flowvm.actions.ttl import DecNshTtl, DecTtl
from flowvm.actions.vlan import ModVlanPcp, ModVlanVid, PushVlan, StripVlan
from flowvm.fields import ETH_TYPE_NSH, Field
from flowvm.fields import field as field_named
from flowvm.flow import ReservedPort
from flowvm.testing.choices import Choices
from flowvm.testing.kinds import fields_of
from flowvm.testing.setting import Family, Setting, choose_rows, choose_subfield, subfield
from flowvm.testing.values import (
    FEW,
    IPV4S,
    MACS,
    READABLE,
    TLV_MAP,
    TRACKED,
    WRITABLE,
    mask_for,
    unplaced,
    value_of,
    value_width,
)
from flowvm.testing.wider import FAMILIES, Maker, choose_fin_timeout, choose_group

MAX_TAGS = 2
_DEEPEST = 2
_READABLE_TRACKED = tuple(row for row in TRACKED if row.prerequisite.name == "NONE")


# -- single actions ---------------------------------------------------------------------------


def _output(choose: Choices, setting: Setting) -> Action:
    return Output(choose.one(setting.ports))


def _special_output(choose: Choices, setting: Setting) -> Action:
    ports = [ReservedPort.IN_PORT, ReservedPort.LOCAL]
    if setting.floods:
        ports += [ReservedPort.ALL, ReservedPort.FLOOD]
        if Family.SWITCHING in setting.families:
            ports += [ReservedPort.NORMAL] * len(ports)
    return Output(choose.one(ports))


_PORTS_FROM = (
    *("reg0", "in_port", "reg1", "metadata", "xreg1", "vlan_tci", "tun_id", "xxreg0"),
    "in_port_oxm",
)


def _output_field(choose: Choices, setting: Setting) -> Action:  # noqa: ARG001
    row = field_named(choose.one(_PORTS_FROM))
    width = choose.one((row.width, min(16, row.width), min(8, row.width)))
    return OutputReg(subfield(row, 0, width))


def _truncated(choose: Choices, setting: Setting) -> Action:
    port = choose.one((*setting.ports, ReservedPort.IN_PORT, ReservedPort.LOCAL))
    return OutputTrunc(port, choose.one((14, 20, 60, 100, 1500)))


def _controller(choose: Choices, setting: Setting) -> Action:
    if not setting.controller:
        return _output(choose, setting)
    max_len = choose.one((0xFFFF, 20, 128, 0))
    if choose.percent(60):
        return Controller(max_len)
    reason = choose.one(("action", "no_match", "invalid_ttl"))
    userdata = choose.one((b"", b"\1\2\3"))
    meter = choose.one(setting.meters) if setting.meters and choose.percent(30) else None
    pause = choose.percent(10)
    return Controller(max_len, reason, choose.one((0, 0, 7)), userdata, pause, meter)


def _resubmit(choose: Choices, setting: Setting) -> Action:
    back = choose.percent(6)
    if not setting.later and not back:
        return _output(choose, setting)
    table = choose.one(setting.tables if back else setting.later)
    if setting.tracked and choose.percent(30):
        return Resubmit(None, table, ct=True)
    if choose.percent(75):
        return Resubmit(None, table)
    port = choose.one((*setting.ports, ReservedPort.LOCAL))
    # Without a table it is a lookup where the packet is: a way in circles, if not by another port.
    return Resubmit(port, None if back else table)


def _mod_vlan(choose: Choices, setting: Setting) -> Action:
    setting.kind = setting.kind.with_tags(max(1, setting.kind.tags))
    if choose.percent(50):
        return ModVlanVid(choose.one((1, 5, 0, 4095)))
    return ModVlanPcp(choose.one((1, 0, 7)))


def _strip_vlan(choose: Choices, setting: Setting) -> Action:
    if setting.modern and not setting.kind.tags:
        return _push_vlan(choose, setting)
    setting.kind = setting.kind.with_tags(max(0, setting.kind.tags - 1))
    return StripVlan(choose.one(("strip_vlan", "pop_vlan")))


def _push_vlan(choose: Choices, setting: Setting) -> Action:
    if not setting.modern or setting.kind.tags >= MAX_TAGS:
        return _mod_vlan(choose, setting)
    setting.kind = setting.kind.with_tags(setting.kind.tags + 1)
    return PushVlan(choose.one((0x8100, 0x88A8)))


def _set_tunnel(choose: Choices, setting: Setting) -> Action:  # noqa: ARG001
    if choose.percent(50):
        return SetTunnel(choose.one((1, 5, 0, 0xFFFFFFFF)))
    return SetTunnel(choose.one((1, 1 << 32, (1 << 64) - 1)), "set_tunnel64")


def _mod_ethernet(choose: Choices, setting: Setting) -> Action:  # noqa: ARG001
    return ModField(choose.one(("mod_dl_src", "mod_dl_dst")), choose.one(MACS))


def _mod_network(choose: Choices, setting: Setting) -> Action:
    kind = setting.kind
    names: list[str] = []
    if kind.eth_type == 0x0800 or not setting.modern:
        names += ["mod_nw_src", "mod_nw_dst"]
    if kind.is_ip or not setting.modern:
        names.append("mod_nw_tos")
    if kind.is_ip:
        names += ["mod_nw_ecn", "mod_nw_ecn", "mod_nw_ttl"]
    if not names:
        return _mod_ethernet(choose, setting)
    name = choose.one(names)
    pools = {"mod_nw_tos": (0, 32, 184, 252), "mod_nw_ecn": (0, 1, 2, 3)}
    pools |= {"mod_nw_ttl": (64, 1, 0, 255)}
    return ModField(name, choose.one(pools.get(name, IPV4S)))


def _mod_transport(choose: Choices, setting: Setting) -> Action:
    if setting.modern and not setting.kind.has_ports:
        return _mod_network(choose, setting)
    return ModField(choose.one(("mod_tp_src", "mod_tp_dst")), choose.one((1, 80, 0, 0xFFFF)))


def _dec_ttl(choose: Choices, setting: Setting) -> Action:
    if setting.modern and setting.kind.eth_type == ETH_TYPE_NSH:
        return DecNshTtl()
    if setting.modern and not setting.kind.is_ip:
        return _mod_ethernet(choose, setting)
    return DecTtl(choose.one(((0,), (7, 0)))) if choose.percent(20) else DecTtl()


def _load(choose: Choices, setting: Setting) -> Action:
    destination = choose_subfield(choose, choose_rows(choose, setting.kind, WRITABLE))
    assert destination is not None
    row, width = destination.field, destination.width
    if row.name in FEW:
        destination, width = subfield(row, 0, row.width), row.width
    if width == row.width and (row.name in FEW or choose.percent(60)):
        value = value_of(choose, row, setting.ports)
    else:
        value = choose.one((0, 1, (1 << width) - 1, choose.bits(min(width, 32))))
    return Load(_settled(setting, row, value & ((1 << width) - 1)), destination)


def _settled(setting: Setting, row: Field, value: int) -> int:
    """Note what a whole write of the TCI does to the tags."""
    if row.name == "vlan_tci":
        setting.kind = setting.kind.with_tags(value >> 12 & 1)
    return value


_LEGACY = ("eth_", "vlan_", "ip_", "nw_", "tcp_", "udp_", "sctp_")
"""Fields for which OpenFlow 1.0 has actions of its own, without masks."""


def _set_field(choose: Choices, setting: Setting) -> Action:
    rows = choose_rows(choose, setting.kind, WRITABLE)
    if not setting.modern:
        rows = [row for row in rows if row.name not in ("vlan_vid", "vlan_pcp")]
    if not rows:
        return _load(choose, setting)
    row = choose.one(rows)
    mask = mask_for(choose, row)
    if not setting.modern and row.name.startswith(_LEGACY):
        mask = row.full_mask
    value = value_of(choose, row, setting.ports) & mask
    if mask == row.full_mask:
        value &= (1 << value_width(row)) - 1
    _settled(setting, row, value)
    return SetField(unplaced(row), value, None if mask == row.full_mask else mask, row.name)


def _source(choose: Choices, setting: Setting) -> Subfield:
    """Bits of a field that an action reads."""
    rows = choose_rows(choose, setting.kind, READABLE)
    if Family.TRACKING in setting.families and choose.percent(25):
        rows = _READABLE_TRACKED
    source = choose_subfield(choose, rows)
    assert source is not None
    return source


def _move(choose: Choices, setting: Setting) -> Action:
    source = _source(choose, setting)
    destination = choose_subfield(choose, fields_of(setting.kind, WRITABLE), source.width)
    if destination is None:
        return _load(choose, setting)
    return Move(source, destination)


def _stack(choose: Choices, setting: Setting) -> Action:
    if (setting.pushed == 0 and not choose.percent(5)) or choose.percent(40):
        setting.pushed += 1
        return Push(_source(choose, setting))
    destination = choose_subfield(choose, choose_rows(choose, setting.kind, WRITABLE))
    assert destination is not None
    setting.pushed -= 1
    return Pop(destination)


def _delete_option(choose: Choices, setting: Setting) -> Action:  # noqa: ARG001
    name = choose.one(tuple(TLV_MAP.rows))
    return DeleteField(field_named(name), name)


def _note(choose: Choices, setting: Setting) -> Action:  # noqa: ARG001
    data = choose.octets(0, 8)
    return Note(data + bytes(-(len(data) + 10) % 8))


def _exit(choose: Choices, setting: Setting) -> Action:  # noqa: ARG001
    return Exit()


def _learn(choose: Choices, setting: Setting) -> Action:
    return _load(choose, setting) if setting.learn is None else setting.learn(choose, setting)


def _clone(choose: Choices, setting: Setting) -> Action:
    if setting.depth >= _DEEPEST:
        return _output(choose, setting)
    inside = replace(setting, depth=setting.depth + 1)
    count = choose.number(1, 3)
    actions = [choose.weighted(_makers(setting, _LISTED))(choose, inside) for _ in range(count)]
    setting.checks = inside.checks
    if choose.percent(70):
        actions.append(choose.weighted(_OUTPUTS)(choose, inside))
    return Clone(tuple(actions))


def _makers(
    setting: Setting, common: tuple[tuple[int, Maker], ...]
) -> tuple[tuple[int, Maker], ...]:
    """``common`` makers, and those of the families of the table."""
    found = common
    for family in sorted(setting.families & FAMILIES.keys(), key=lambda family: family.name):
        found += FAMILIES[family]
    return (*found, (4, _clone)) if Family.NESTING in setting.families else found


_OUTPUTS: tuple[tuple[int, Maker], ...] = (
    (8, _output),
    (3, _special_output),
    (2, _output_field),
    (1, _truncated),
    (2, _controller),
)
_CHANGES: tuple[tuple[int, Maker], ...] = (
    (2, _mod_ethernet),
    (3, _load),
    (4, _set_field),
    (3, _move),
    (2, _mod_vlan),
    (2, _strip_vlan),
    (2, _push_vlan),
    (2, _mod_network),
    (2, _mod_transport),
    (2, _dec_ttl),
    (1, _set_tunnel),
)
_OTHERS: tuple[tuple[int, Maker], ...] = (
    (3, _stack),
    (1, _note),
    (1, _exit),
    (1, choose_fin_timeout),
    (1, _delete_option),
)
_LISTED = (*_OUTPUTS, *_CHANGES, *_OTHERS, (10, _resubmit), (4, _learn))
_IN_A_SET = (*_CHANGES, (4, _output), (1, _special_output), (2, _resubmit))


def choose_actions(choose: Choices, setting: Setting, most: int = 5) -> tuple[Action, ...]:
    """An action list for packets of ``setting.kind``; at times empty (``drop``)."""
    actions: list[Action] = []
    if setting.modern and setting.meters and choose.percent(40):
        actions.append(Meter(choose.one(setting.meters)))
    makers = _makers(setting, _LISTED)
    for _ in range(choose.number(0, most)):
        actions.append(choose.weighted(makers)(choose, setting))
    if actions and choose.percent(50):
        actions.append(_resubmit(choose, setting))
    elif choose.percent(60):
        actions.append(choose.weighted(_OUTPUTS)(choose, setting))
    return (*actions, *_instructions(choose, setting))


def _instructions(choose: Choices, setting: Setting) -> list[Action]:
    """What OpenFlow 1.1 and later have after the list, in the order in which it stands there."""
    found: list[Action] = []
    if setting.modern and choose.percent(8):
        found.append(ClearActions())
    if setting.modern and choose.percent(18):
        count = choose.number(1, 4)
        kinds = (*_IN_A_SET, (4, choose_group)) if setting.groups else _IN_A_SET
        makers = [choose.weighted(kinds) for _ in range(count)]
        found.append(WriteActions(tuple(maker(choose, setting) for maker in makers)))
    if choose.percent(6):
        mask = choose.one((ALL_64, 0xFF, choose.bits(64) or 1))
        found.append(WriteMetadata(choose.one((1, 2, 0, choose.bits(64))) & mask, mask))
    if setting.modern and setting.later and choose.percent(25):
        found.append(GotoTable(choose.one(setting.later)))
    return found
