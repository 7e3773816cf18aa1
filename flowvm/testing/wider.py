"""Makers of the actions that only some tables have: a family at a time, see :class:`Family`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from flowvm.actions.base import Action
from flowvm.actions.check import CheckPktLarger
from flowvm.actions.choose import (
    BUNDLE_ALGORITHMS,
    HASH_FIELDS,
    MULTIPATH_ALGORITHMS,
    Bundle,
    Multipath,
    Sample,
)
from flowvm.actions.group import Group
from flowvm.actions.mpls import (
    DecMplsTtl,
    PopMpls,
    PushMpls,
    SetMplsLabel,
    SetMplsTc,
    SetMplsTtl,
)
from flowvm.actions.output import Enqueue
from flowvm.actions.queue import PopQueue, SetQueue
from flowvm.actions.set_field import SetTunnel
from flowvm.actions.timeout import FinTimeout
from flowvm.fields import ETH_TYPE_MPLS, ETH_TYPE_MPLS_MCAST, field
from flowvm.flow import ReservedPort
from flowvm.testing.choices import Choices
from flowvm.testing.kinds import Kind
from flowvm.testing.setting import Family, Setting, choose_rows, choose_subfield, subfield
from flowvm.testing.tracked import choose_ct
from flowvm.testing.values import WRITABLE, standard

_DESTINATIONS = standard(WRITABLE)
_MOST_CHECKS = 2
_LABELLED = (ETH_TYPE_MPLS, ETH_TYPE_MPLS_MCAST)

Maker = Callable[[Choices, Setting], Action]


def choose_queue(choose: Choices, setting: Setting) -> Action:
    """``set_queue``, ``pop_queue``, or in OpenFlow 1.0 ``enqueue``."""
    match choose.number(0, 2):
        case 0:
            return SetQueue(choose.one((1, 5, 0)))
        case 1 if not setting.modern:
            ports = (*setting.ports, ReservedPort.IN_PORT)
            return Enqueue(choose.one(ports), choose.one((1, 5, 0)))
        case _:
            return PopQueue()


def choose_group(choose: Choices, setting: Setting) -> Action:
    """``group`` of one of the groups that there are."""
    return Group(choose.one(setting.groups)) if setting.groups else choose_queue(choose, setting)


def _check_length(choose: Choices, setting: Setting) -> Action:
    # What follows is done for both answers: too many in a row and nothing ends.
    if setting.checks >= _MOST_CHECKS:
        return Sample(0xFFFF, 1)
    setting.checks += 1
    row = field(choose.one(("reg0", "reg1", "xreg1", "xxreg0", "metadata")))
    return CheckPktLarger(
        choose.one((60, 20, 46, 80, 100, 1500)), subfield(row, choose.number(0, 31), 1)
    )


def _sample(choose: Choices, setting: Setting) -> Action:
    return Sample(
        choose.one((0xFFFF, 1, 0x8000)),
        choose.one((1, 0)),
        choose.one((0, 7)),
        choose.one((0, 9)),
        choose.one(setting.ports) if choose.percent(20) else None,
    )


def _multipath(choose: Choices, setting: Setting) -> Action:
    rows = choose_rows(choose, setting.kind, _DESTINATIONS)
    destination = choose_subfield(choose, [row for row in rows if row.width >= 16], 16)
    if destination is None:
        destination = subfield(field("reg0"), 0, 16)
    links = choose.one((1, 2, 3, 5, 64, 100, 65536))
    argument = choose.number(0, 2 * links) if choose.percent(50) else 0
    return Multipath(
        choose.one(HASH_FIELDS),
        choose.one((0, 1, 0xFFFF)),
        choose.one(MULTIPATH_ALGORITHMS),
        links,
        min(argument, 0xFFFF),
        destination,
    )


def _bundle(choose: Choices, setting: Setting) -> Action:
    ports = (*setting.ports, 99, ReservedPort.IN_PORT)
    members = tuple(choose.one(ports) for _ in range(choose.number(0, 4)))
    destination = None
    if choose.percent(50):
        rows = [row for row in choose_rows(choose, setting.kind, _DESTINATIONS) if row.width >= 16]
        destination = choose_subfield(choose, rows, 16)
    return Bundle(
        choose.one(HASH_FIELDS),
        choose.one((0, 1, 0xFFFF)),
        choose.one(BUNDLE_ALGORITHMS),
        members,
        destination,
    )


def _push_mpls(choose: Choices, setting: Setting) -> Action:
    ethertype = choose.one(_LABELLED)
    setting.kind = Kind(ethertype, tags=setting.kind.tags)
    return PushMpls(ethertype)


def _pop_mpls(choose: Choices, setting: Setting) -> Action:
    if setting.kind.eth_type not in _LABELLED:
        return _push_mpls(choose, setting)
    ethertype = choose.one((0x0800, 0x8847, 0x86DD, 0x0806, 0x1234))
    setting.kind = Kind(ethertype, tags=setting.kind.tags)
    return PopMpls(ethertype)


def _change_label(choose: Choices, setting: Setting) -> Action:
    if setting.kind.eth_type not in _LABELLED:
        return _push_mpls(choose, setting)
    match choose.number(0, 3):
        case 0:
            return SetMplsLabel(choose.one((3, 77, 0, 0xFFFFF)))
        case 1:
            return SetMplsTc(choose.number(0, 7))
        case 2:
            return SetMplsTtl(choose.one((1, 64, 0, 255)))
        case _:
            return DecMplsTtl()


def choose_fin_timeout(choose: Choices, setting: Setting) -> Action:
    """``fin_timeout`` for TCP, else an action for any packet."""
    if setting.kind.nw_proto != 6 or not setting.kind.has_ports:
        return SetTunnel(choose.one((1, 5)))
    return FinTimeout(choose.one((0, 1, 3)), choose.one((0, 1, 5)))


FAMILIES: Mapping[Family, tuple[tuple[int, Maker], ...]] = MappingProxyType(
    {
        Family.TRACKING: ((16, choose_ct),),
        Family.LABELS: ((6, _push_mpls), (5, _pop_mpls), (12, _change_label)),
        Family.CHOICES: ((5, _multipath), (7, _bundle)),
        Family.NESTING: ((3, _check_length), (2, _sample)),
        Family.QUEUES: ((8, choose_queue),),
        Family.GROUPS: ((14, choose_group),),
    }
)
"""Makers of the actions of each family, and how often each is called."""
