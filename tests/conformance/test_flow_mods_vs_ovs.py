"""Flow mods change the tables as Open vSwitch does: the same dump afterwards."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from flowvm.flow import Flow
from flowvm.flow_mod import Command
from flowvm.packet.batch import PacketBatch
from flowvm.packet.frames import Frames
from flowvm.pipeline.modify import FlowModError
from flowvm.switch import Switch
from flowvm.text.dump import parse_dump
from flowvm.text.flow_mods import parse_flow_mods
from tests.oracle import Bridge, OracleRefusedError

from .flow_mod_fuzz import OPTIONS

pytestmark = pytest.mark.oracle

BASE = """\
cookie=0x5,table=0,priority=10,in_port=1,idle_timeout=100,hard_timeout=200,actions=output:2
cookie=0x6,table=0,priority=20,in_port=1,dl_vlan=5,actions=output:3
cookie=0x15,table=0,priority=20,in_port=2,actions=resubmit(,1)
cookie=0x7,table=1,priority=10,in_port=1,actions=drop
cookie=0x17,table=1,priority=10,in_port=2,actions=output:3,output:4
"""
FRAME = bytes.fromhex("ffffffffffff52540000000188b5") + bytes(50)
ATTEMPTS = 12


def identity(flow: Flow) -> tuple[object, ...]:
    """Which flow it is, however its match is spelled."""
    return flow.table or 0, flow.priority, sorted(flow.match.words({}).items())


def in_old_dumps(flow: Flow) -> tuple[object, ...]:
    """What a dump in OpenFlow 1.0 says of a flow."""
    return (
        *identity(flow),
        tuple(map(str, flow.actions)),
        flow.cookie,
        flow.duration,
        flow.n_packets,
        flow.n_bytes,
        flow.idle_timeout,
        flow.hard_timeout,
        flow.idle_age,
        flow.hard_age,
    )


def in_new_dumps(flow: Flow) -> tuple[object, ...]:
    """What only a dump in OpenFlow 1.4 says of it."""
    return *identity(flow), flow.importance, flow.flags


class Both:
    """A real switch and one of ours with the same flows, the same packets, the same clock."""

    def __init__(self, bridge: Bridge, flows: str = BASE) -> None:
        self.bridge = bridge
        bridge.ofctl("add-flows", "-", text=flows)
        self.switch = Switch([])
        self.switch.apply(parse_flow_mods(flows))
        self._milliseconds = 0

    def send(self, *ports: int) -> None:
        for port in ports:
            self.bridge.send(port, FRAME)
            batch = PacketBatch.of(Frames.of([FRAME]), port, [self._milliseconds * 10**6])
            self.switch.run(batch)

    def wait(self, seconds: int) -> None:
        self.bridge.warp(1000 * seconds)
        self._milliseconds += 1000 * seconds
        self.switch.advance(self._milliseconds * 10**6)

    def apply(self, text: str, command: Command, openflow: str, *, bundle: bool = False) -> bool:
        """Do ``text`` to both; whether they took it, which must be the same of both."""
        name, *strict = OPTIONS[command]
        options = ["--bundle"] if bundle else ["-O", openflow]
        try:
            self.bridge.ofctl(name, "-", *strict, *options, text=text)
        except OracleRefusedError:
            with pytest.raises(FlowModError):
                self._apply(text, command, openflow, bundle)
            return False
        self._apply(text, command, openflow, bundle)
        return True

    def _apply(self, text: str, command: Command, openflow: str, bundle: bool) -> None:
        # A file for add-flows may say other things, as its lines begin.
        mods = parse_flow_mods(text, None if command is Command.ADD else command)
        self.switch.apply(mods, openflow=openflow, bundle=bundle)

    def agree(self) -> None:
        ours = self.switch.flows()
        for version, said in ((None, in_old_dumps), ("OpenFlow14", in_new_dumps)):
            theirs = parse_dump(self.bridge.dump_flows(version)).flows
            assert sorted(map(said, ours)) == sorted(map(said, theirs))


@pytest.fixture
def both(bridge: Bridge) -> Both:
    pair = Both(bridge)
    pair.wait(3)
    pair.send(1, 2, 1)
    pair.wait(4)
    pair.agree()
    return pair


VERSIONS = ("OpenFlow10", "OpenFlow13", "OpenFlow14")


@pytest.mark.parametrize("openflow", VERSIONS)
@pytest.mark.parametrize(
    ("command", "text"),
    [
        (Command.MODIFY, "table=0,actions=output:4"),
        (Command.MODIFY, "in_port=1,actions=output:4"),
        (Command.MODIFY, "actions=output:4"),
        (Command.MODIFY, "table=3,idle_timeout=7,in_port=1,actions=output:4"),
        (Command.MODIFY, "table=0,cookie=9,in_port=1,actions=output:4"),
        (Command.MODIFY, "cookie=5/-1,actions=output:4"),
        (Command.MODIFY, "table=0,cookie=0x10/0x10,cookie=0x99,actions=output:4"),
        (Command.MODIFY, "cookie=0x1000/-1,table=2,actions=output:4"),
        (Command.MODIFY, "table=0,cookie=0xffffffffffffffff,in_port=5,actions=output:4"),
        (Command.MODIFY_STRICT, "priority=10,in_port=1,actions=output:4"),
        (Command.MODIFY_STRICT, "table=1,priority=10,in_port=1,actions=resubmit(,2)"),
        (Command.MODIFY_STRICT, "table=1,in_port=1,actions=resubmit(,2)"),
        (Command.DELETE, ""),
        (Command.DELETE, "table=1"),
        (Command.DELETE, "in_port=1"),
        (Command.DELETE, "dl_vlan=5"),
        (Command.DELETE, "out_port=3"),
        (Command.DELETE, "table=1,out_port=4"),
        (Command.DELETE, "cookie=0x4/0x4"),
        (Command.DELETE, "cookie=0x17/-1"),
        (Command.DELETE_STRICT, "priority=10,in_port=1"),
        (Command.DELETE_STRICT, "table=0,priority=20,in_port=2"),
        (Command.DELETE_STRICT, "table=0,in_port=2"),
        (Command.ADD, "table=0,priority=10,in_port=1,actions=output:4"),
        (Command.ADD, "table=0,priority=10,in_port=1,hard_timeout=9,send_flow_rem,actions=drop"),
        (Command.ADD, "table=0,priority=10,in_port=1,cookie=0xffffffffffffffff,actions=drop"),
        (Command.ADD, "priority=10,actions=output:4"),
        (Command.ADD, "table=255,priority=10,actions=output:4"),
        (Command.ADD, "check_overlap,priority=10,in_port=1,dl_type=0x88b5,actions=output:4"),
        (Command.ADD, "check_overlap,priority=10,in_port=1,actions=output:4"),
        (Command.ADD, "check_overlap,priority=11,dl_type=0x88b5,actions=output:4"),
        (Command.ADD, "del table=1\nmod table=0,actions=output:9\na table=7,actions=drop"),
        (
            Command.ADD,
            "modify_strict priority=10,in_port=1,actions=output:4 # why\n\ndelete,table=1",
        ),
        (Command.ADD, "table=2,importance=5,actions=output:1"),
    ],
)
def test_one_change(both: Both, openflow: str, command: Command, text: str) -> None:
    """Each command, with and without table, cookie, mask and port, in each kind of protocol."""
    both.apply(
        text + "\n" if text else "\n" if command is Command.ADD else " \n", command, openflow
    )
    both.send(1, 2, 1)
    both.wait(3)
    both.agree()


@pytest.mark.parametrize(
    "text",
    [
        "table=5,priority=10,in_port=1,actions=output:4\n"
        "check_overlap,table=0,priority=10,in_port=1,dl_type=0x88b5,actions=drop\n",
        "table=5,in_port=1,actions=output:4\ndelete table=0\ntable=0,actions=output:4\n",
        "table=0,priority=10,in_port=1,actions=output:4\nmodify table=1,actions=output:2\n",
    ],
)
def test_a_bundle_is_done_whole_or_not_at_all(both: Both, text: str) -> None:
    """One change that is refused undoes those before it."""
    both.apply(text, Command.ADD, "OpenFlow10", bundle=True)
    both.send(1, 2)
    both.wait(3)
    both.agree()


def test_what_is_learned_goes_with_its_teacher(bridge: Bridge) -> None:
    """Deleting, replacing or modifying the last flow that learns takes what it learned along."""
    teacher = (
        "table=0,priority=1,actions=learn(table=5,cookie=0x77,delete_learned,"
        "NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[])\n"
    )
    for change, command in (
        ("table=0", Command.DELETE),
        ("table=0,actions=drop", Command.MODIFY),
        ("table=0,priority=1,actions=output:3", Command.ADD),
    ):
        bridge.reset()
        both = Both(bridge, teacher)
        both.send(1, 2)
        assert len(both.switch.flows()) == 2
        both.agree()
        both.apply(f"{change}\n", command, "OpenFlow10")
        both.wait(2)
        both.agree()


CLAUSES = """\
cookie=0x1,priority=5,in_port=1,actions=conjunction(7,1/2)
cookie=0x2,priority=5,dl_type=0x88b5,actions=conjunction(7,2/2)
cookie=0x3,conj_id=7,actions=output:3
"""


@pytest.mark.parametrize("openflow", VERSIONS)
def test_clauses_come_and_go(bridge: Bridge, openflow: str) -> None:
    """Flows that become clauses of a conjunctive match, are clauses, and are none any more."""
    both = Both(bridge, "priority=5,in_port=2,actions=output:4\npriority=1,actions=output:5\n")
    for command, text in (
        (Command.ADD, CLAUSES),
        (Command.MODIFY_STRICT, "priority=5,in_port=2,actions=conjunction(7,1/2)\n"),
        (Command.ADD, "priority=5,in_port=1,actions=conjunction(7,1/2)\n"),
        (Command.MODIFY_STRICT, "priority=5,in_port=1,actions=output:2\n"),
        (Command.DELETE_STRICT, "priority=5,dl_type=0x88b5\n"),
        (Command.MODIFY, "actions=conjunction(7,1/2)\n"),
    ):
        assert both.apply(text, command, openflow)
        both.send(1, 2, 3)
        both.wait(1)
        both.agree()


# Each with its priority: what flows of equal priority do that overlap, nobody says.
PRIORITIES = {
    "in_port=1": 10,
    "in_port=2": 20,
    "in_port=1,dl_vlan=5": 20,
    "dl_type=0x88b5": 30,
    "dl_vlan=5": 40,
    "": 5,
}


def _random_changes(dice: random.Random) -> Iterator[tuple[str, Command, str]]:
    actions = ("drop", "output:3", "output:4,output:2", "resubmit(,1)", "load:5->NXM_NX_REG3[0..7]")
    for _ in range(ATTEMPTS):
        command = dice.choice(tuple(Command))
        match = dice.choice(tuple(PRIORITIES))
        parts = [match]
        parts += dice.sample(["table=0", "table=1", "table=2"], dice.random() < 0.7)
        if command is not Command.DELETE:
            parts.append(f"priority={PRIORITIES[match]}")
        if not command.deletes:
            parts += dice.sample([f"cookie={dice.randrange(32):#x}"], dice.random() < 0.4)
        if command is not Command.ADD:
            parts += dice.sample([f"cookie={dice.randrange(32):#x}/0x11"], dice.random() < 0.2)
        if command.deletes:
            parts += dice.sample(["out_port=3", "out_port=2"], dice.random() < 0.3)
        else:
            parts.append(f"actions={dice.choice(actions)}")
        if command is Command.ADD:
            parts.insert(0, "check_overlap" if dice.random() < 0.2 else "idle_timeout=60")
        text = ",".join(part for part in parts if part)
        yield f"{text}\n" if text else " \n", command, dice.choice(VERSIONS)


@pytest.mark.parametrize("seed", range(12))
def test_many_changes(both: Both, seed: int) -> None:
    """Changes on top of changes, with packets and time between them."""
    dice = random.Random(seed)
    for text, command, openflow in _random_changes(dice):
        print(command, openflow, text, end="")
        both.apply(text, command, openflow)
        both.send(*dice.choices((1, 2, 3), k=2))
        both.wait(2)
        both.agree()
