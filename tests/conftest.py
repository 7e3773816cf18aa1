"""What the tests share: a running Open vSwitch, and captured dumps of real deployments.

Both may be absent on a developer's machine; then the tests that need them are skipped. Where they
must be present (CI), FLOWVM_REQUIRE_ORACLE=1 and FLOWVM_REQUIRE_CAPTURES=1 make the same tests
fail, so that a broken installation cannot pass for a green run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.conformance.matrix_guard import MatrixGuard
from tests.oracle import Bridge, OpenVSwitch, UnixctlError, why_unavailable

# How long an example takes tells of the machine, not of flowvm.
settings.register_profile("flowvm", deadline=None)
settings.load_profile("flowvm")


def _captures() -> Path:
    beside = Path(__file__).resolve().parents[2] / "shared" / "captures"
    return Path(os.environ.get("FLOWVM_CAPTURES") or beside)


def _lacking(what: str, variable: str) -> None:
    """End the test that needs `what`: failed where `variable` requires it, else skipped."""
    if os.environ.get(variable) == "1":
        pytest.fail(f"{what} (and {variable}=1)", pytrace=False)
    pytest.skip(what)


def _need_oracle() -> None:
    missing = why_unavailable()
    if missing is not None:
        _lacking(f"Open vSwitch cannot run: {missing}", "FLOWVM_REQUIRE_ORACLE")


def _need_captures() -> None:
    if not _captures().is_dir():
        _lacking("no directory of captured dumps", "FLOWVM_REQUIRE_CAPTURES")


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(MatrixGuard())


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("oracle"):
        _need_oracle()
    if item.get_closest_marker("captures"):
        _need_captures()


@pytest.fixture(scope="session")
def ovs() -> Iterator[OpenVSwitch]:
    """One Open vSwitch for the whole session (one per worker); `ovs.bridge.reset()` before use."""
    _need_oracle()
    with OpenVSwitch() as switch:
        yield switch


@pytest.fixture
def bridge(ovs: OpenVSwitch) -> Bridge:
    """The session's bridge, empty."""
    try:
        ovs.bridge.reset()
    except (UnixctlError, OSError):
        # An earlier test ended Open vSwitch, and has failed for it.
        ovs.restart()
    return ovs.bridge


@pytest.fixture(scope="session")
def captures() -> Path:
    """The directory of captured dumps: FLOWVM_CAPTURES, or the one beside the checkout."""
    _need_captures()
    return _captures()
