"""Long conversations, with time going by: flowvm against Open vSwitch, packet by packet.

FLOWVM_CONVERSATIONS sets how many of each kind there are, FLOWVM_CONVERSATION_STEPS their length.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.oracle import OpenVSwitch

from .cases import Case, parse_case
from .conversations import SCENES, Conversations
from .fuzz import Fuzzer
from .predicted import N_PORTS
from .seen import DifferenceError

pytestmark = pytest.mark.oracle

EXAMPLES = int(os.environ.get("FLOWVM_CONVERSATIONS", "6"))
STEPS = int(os.environ.get("FLOWVM_CONVERSATION_STEPS", "60"))


@pytest.fixture(scope="module")
def fuzzer() -> Iterator[Fuzzer]:
    """One whose Open vSwitch is its own: it is started again if it should end."""
    fuzzer = Fuzzer(OpenVSwitch(N_PORTS), owned=True)
    yield fuzzer
    fuzzer.switch.stop()


@pytest.mark.parametrize("scene", SCENES)
def test_conversations_go_as_in_open_vswitch(fuzzer: Fuzzer, scene: str) -> None:
    """Frames, packets to the controller, connections and flows; a failure is a script to replay."""

    class Machine(Conversations):
        pass

    Machine.fuzzer, Machine.scene = fuzzer, SCENES[scene]
    before = fuzzer.counts.copy()
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    made = fuzzer.counts - before
    assert made["compared"] >= EXAMPLES
    assert made["unsupported"] + made["refused"] + made["crashed"] == 0, fuzzer.refusals


class Suspicious:
    """In the place of a fuzzer: takes a late answer to a datagram for a difference."""

    def __init__(self) -> None:
        self.found: list[Case] = []

    def check(self, case: Case) -> None:
        asked: dict[bytes, int] = {}
        for packet in case.packets:
            is_udp, ends = packet.frame[23] == 17, packet.frame[26:38]
            if is_udp and packet.in_port == 1:
                asked[ends] = packet.time
            asker = ends[4:8] + ends[:4] + ends[10:] + ends[8:10]
            if is_udp and packet.time > asked.get(asker, packet.time):
                self.found.append(case)
                raise DifferenceError("too late")


def test_a_difference_comes_down_to_a_short_script() -> None:
    """Two packets and one pause, if that is what it takes; and the text of it can be read back."""
    suspicious = Suspicious()

    class Machine(Conversations):
        pass

    Machine.fuzzer, Machine.scene = suspicious, SCENES["firewall"]  # type: ignore[assignment]
    with pytest.raises(DifferenceError):
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=500, stateful_step_count=16, derandomize=True, database=None,
                deadline=None, suppress_health_check=list(HealthCheck),
            ),
        )  # fmt: skip
    case = suspicious.found[-1]
    assert [(packet.in_port, packet.time) for packet in case.packets] == [(1, 0), (2, 10**6)]
    assert parse_case(str(case)) == case
