"""NORMAL in flowvm and in Open vSwitch: random bridges, random sequences of packets.

Ports are of all VLAN modes, with what else the database knows of them; packets come with tags and
without, again and again from the same addresses, with seconds between some. The same frames have to
leave the same ports in the same order, and `fdb/show` has to print the same in the end.

FLOWVM_NORMAL_LAYOUTS sets how many bridges there are, of ``SEQUENCES`` sequences each.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from ..oracle import OpenVSwitch
from .normal_cases import Layout, NormalPair, arrivals, static_entries

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


@pytest.mark.parametrize("layout", range(LAYOUTS))
def test_normal_does_as_in_open_vswitch(pair: NormalPair, layout: int) -> None:
    """Frames, ports, their order, and the MAC table with its ages."""
    chosen = Layout.of(layout)

    @seed(layout)
    @settings(
        max_examples=SEQUENCES,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(arrivals(), min_size=3, max_size=24), st.integers(0, 24), static_entries())
    def check(some: list, at: int, static: list) -> None:  # type: ignore[type-arg]
        pair.arrange(chosen)
        pair.play(some, at, static)

    check()
