"""The tests, sorted by what they are for."""

import pytest

# What helpers assert is told in full, as if it stood in the test.
pytest.register_assert_rewrite(
    *(f"{__name__}.{part}" for part in ("cli", "conformance", "property", "quality", "unit")),
    *(f"{__name__}.{module}" for module in ("networks", "packet_keys", "programs")),
)
