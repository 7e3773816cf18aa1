"""NORMAL in flowvm and in Open vSwitch: random bridges, random sequences of packets.

Ports are of all VLAN modes, with what else the database knows of them; packets come with tags and
without, again and again from the same addresses, with seconds between some. The same frames have to
leave the same ports in the same order, and `fdb/show` has to print the same in the end.

FLOWVM_NORMAL_LAYOUTS sets how many bridges there are, of ``SEQUENCES`` sequences each.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from flowvm.port_settings import MacEntry

from ..oracle import OpenVSwitch
from .normal_cases import (
    Arrival,
    Layout,
    NormalPair,
    arrivals,
    crowded,
    plain_layout,
    static_entries,
)

pytestmark = pytest.mark.oracle

LAYOUTS = int(os.environ.get("FLOWVM_NORMAL_LAYOUTS", "20"))
SEQUENCES = 52


@pytest.fixture(scope="module")
def pair(ovs: OpenVSwitch) -> Iterator[NormalPair]:
    """A bridge of its own beside the session's."""
    pair = NormalPair(ovs)
    yield pair
    print(f"{pair.sent} packets")
    pair.close()


def many(sequences: int) -> settings:
    """So many sequences, the same ones in every run."""
    return settings(
        max_examples=sequences,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.parametrize("layout", range(LAYOUTS))
def test_normal_does_as_in_open_vswitch(pair: NormalPair, layout: int) -> None:
    """Frames, ports, their order, and the MAC table with its ages."""
    chosen = Layout.of(layout)

    @seed(layout)
    @many(SEQUENCES)
    @given(st.lists(arrivals(), min_size=3, max_size=24), st.integers(0, 24), static_entries())
    def check(some: list[Arrival], at: int, static: list[MacEntry]) -> None:
        pair.arrange(chosen)
        pair.play(some, at, static)

    check()


@pytest.mark.parametrize("number", range(12))
def test_a_full_table_makes_room_as_in_open_vswitch(pair: NormalPair, number: int) -> None:
    """Which entries go, those of ports with equally many too, and in which order they stand."""
    pair.arrange(plain_layout(mac_table_size=10))
    pair.play(crowded(Random(number), 100), 50)


@pytest.mark.parametrize("layout", range(100, 106))
def test_normal_is_told_as_by_open_vswitch(pair: NormalPair, layout: int) -> None:
    """A trace says what was learned, where it goes or why not, in the words of ofproto/trace."""
    chosen = Layout.of(layout)

    @seed(layout)
    @many(20)
    @given(st.lists(arrivals(), min_size=3, max_size=9))
    def check(some: list[Arrival]) -> None:
        pair.arrange(chosen)
        pair.tell(some)

    check()
