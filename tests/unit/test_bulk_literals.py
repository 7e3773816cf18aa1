"""Literals decoded by column."""

from __future__ import annotations

import ipaddress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowvm.bulk.literals import Decoder, Kind

MARGIN = " " * 32


def decode(*words: str) -> list[tuple[Kind, int]]:
    """What each of ``words`` is, and its value."""
    text = MARGIN + ",".join(words) + "\n"
    starts = np.cumsum([len(MARGIN)] + [len(word) + 1 for word in words])[:-1]
    ends = starts + [len(word) for word in words]
    found = Decoder(text.encode()).decode(starts, ends)
    wide = np.flatnonzero(found.kinds == Kind.IPV6).tolist()
    high = dict(zip(wide, found.high.tolist(), strict=True))
    return [
        (Kind(kind), value | high.get(number, 0) << 64)
        for number, (kind, value) in enumerate(
            zip(found.kinds.tolist(), found.values.tolist(), strict=True)
        )
    ]


@given(st.lists(st.integers(0, 10**16 - 1), min_size=1))
def test_decimal_numbers(numbers: list[int]) -> None:
    """Up to sixteen digits."""
    assert decode(*map(str, numbers)) == [(Kind.DECIMAL, number) for number in numbers]


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1), st.sampled_from("xX"))
def test_hexadecimal_numbers(numbers: list[int], mark: str) -> None:
    """Up to sixteen digits, large or small, with zeros before them or not."""
    words = [f"0{mark}{number:x}" for number in numbers]
    words += [f"0{mark}{number:016X}" for number in numbers]
    assert decode(*words) == [(Kind.HEXADECIMAL, number) for number in (*numbers, *numbers)]


@given(st.lists(st.integers(0, 2**48 - 1), min_size=1))
def test_ethernet_addresses(addresses: list[int]) -> None:
    """Six pairs."""
    words = [address.to_bytes(6, "big").hex(":") for address in addresses]
    assert decode(*words) == [(Kind.ETHERNET, address) for address in addresses]


@given(st.lists(st.ip_addresses(), min_size=1))
def test_ip_addresses(addresses: list[ipaddress.IPv4Address | ipaddress.IPv6Address]) -> None:
    """Of both versions."""
    kinds = {4: Kind.IPV4, 6: Kind.IPV6}
    wanted = [(kinds[address.version], int(address)) for address in addresses]
    assert decode(*map(str, addresses)) == wanted


@given(st.lists(st.integers(0, 10**8 - 1), min_size=1), st.integers(0, 999), st.data())
def test_durations(seconds: list[int], milliseconds: int, data: st.DataObject) -> None:
    """Whole seconds, or three or nine decimal places: the three ways ovs-ofctl writes them."""
    nanoseconds = data.draw(st.integers(0, 10**9 - 1))
    words, values = [], []
    for second in seconds:
        words += [f"{second}s", f"{second}.{milliseconds:03d}s", f"{second}.{nanoseconds:09d}s"]
        values += [(second, 0), (second, milliseconds * 10**6), (second, nanoseconds)]
    wanted = [(Kind.DURATION, second * 10**9 + rest) for second, rest in values]
    assert decode(*words) == wanted


@pytest.mark.parametrize(
    "word",
    [
        *("012", "00", "12a", "1_2", "12345678901234567", "1e5", "7x"),
        *("0x", "0xg", "0x1g", "0x10000000000000000", "0x1_2", "1x1"),
        *("s", "1.s", "1.-23s", "1.5s", "1.2345s", ".123s", "123456789.123s", "1.x23s"),
        *("00:00:00:00:00:0g", "00-00:00:00:00:00", "0:11:22:33:44:55", "00:11:22:33:44"),
        *(
            "1.2.3",
            "1.2.3.4.5",
            "256.1.1.1",
            "1.2.3.256",
            "1..2.3",
            "1.2.3.",
            "1.2.3.4x",
            "1234.1.1",
        ),
        *("1::2::3", "1:2:3:4:5:6:7:8:9", "12345::", "fe80::1%1", "::g"),
    ],
)
def test_anything_else_is_left_alone(word: str) -> None:
    """What has another meaning, or none, is not taken for a number."""
    assert decode("5", word, "0x5") == [(Kind.DECIMAL, 5), (Kind.OTHER, 0), (Kind.HEXADECIMAL, 5)]


def test_names_in_quotes() -> None:
    """They have no value."""
    assert decode('"a"', '"tap-1"') == [(Kind.QUOTED, 0)] * 2
