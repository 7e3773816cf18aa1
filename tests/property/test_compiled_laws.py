"""The laws of the engine again, with compiled loops: those that many packets go through."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flowvm import kernels
from tests.property.test_expiry import test_batches_of_any_size_agree
from tests.property.test_laws import (
    test_a_batch_is_its_packets_one_by_one,
    test_many_packets_of_a_kind_are_each_counted,
    test_the_size_of_chunks_makes_no_difference,
)

__all__ = [
    "test_a_batch_is_its_packets_one_by_one",
    "test_batches_of_any_size_agree",
    "test_many_packets_of_a_kind_are_each_counted",
    "test_the_size_of_chunks_makes_no_difference",
]


@pytest.fixture(autouse=True, scope="module")
def _compiled() -> Iterator[None]:
    assert kernels.load() is not None
    yield
    kernels.unload()
