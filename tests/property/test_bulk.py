"""The law of bulk reading: what it makes of a dump is what reading line by line makes of it."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bench.dumps import ovn_like_text
from flowvm.bulk import read
from flowvm.bulk.flows import read_flows
from flowvm.bulk.read import read_bulk
from flowvm.pipeline.compile import compile_flows, flow_names
from flowvm.pipeline.compile_groups import with_groups
from flowvm.text.dump import parse_dump
from flowvm.text.errors import FlowSyntaxError
from tests.programs import assert_same_program
from tests.property.test_round_trip import dumps

LINES = (
    Path(__file__).parents[1].joinpath("fixtures/bulk_lines.txt").read_text("utf-8").splitlines()
)
"""One line of each kind; their literals are exchanged for others."""

EDGES = [
    "0",
    "0x0",
    "1",
    "9",
    "65535",
    "65536",
    "0xffff",
    "0x10000",
    "4095",
    "4096",
    "65279",
    "65280",
    "65528",
    "255",
    "256",
    "0xffffffff",
    "4294967296",
    "18446744073709551615",
    "18446744073709551616",
    "0xffffffffffffffff",
    "0x10000000000000000",
    "012",
    "0X1F",
    "00",
    "0x",
    "1e5",
    "12345678",
    "123456789",
    "1234567890123456",
    "12345678901234567",
    "0x12345678",
    "0x123456789",
    "00:00:00:00:00:01",
    "a:b:c:d:e:f",
    "fa:16:3e:00:00:01",
    "1:2:3:4:5:6:7:8",
    "20:01:0d:b8:00:00:00:01",
    "10.0.0.1",
    "256.1.1.1",
    "1.2.3",
    "1.2.3.4.5",
    "010.0.0.1",
    "fe80::1",
    "::",
    "::1",
    "1::2::3",
    "::ffff:1.2.3.4",
    "12.345s",
    "12s",
    "0.000s",
    "99999999.999s",
    "1.23s",
    "7s",
    "?",
    "-1",
    "reg0",
    "NXM_NX_REG0[]",
    "eth0",
    "LOCAL",
    "in_port",
    "abc",
    "fa",
    '"tap0"',
    '"a,b"',
    '"a(b"',
    '"tap\\"q"',
    '"ü"',
    "é",
]

LITERAL = re.compile(r'(?<![\w.])[0-9][\w.:]*|"[^"]*"|(?<==)[a-z0-9-]+')

literals = st.one_of(
    st.sampled_from(EDGES),
    st.integers(0, 2**33).map(str),
    st.integers(0, 2**65).map(hex),
    st.ip_addresses().map(str),
)


@st.composite
def lines(draw: st.DrawFn) -> list[str]:
    """A line, and the same with other literals: shapes that come more than once."""
    line = draw(st.sampled_from(LINES))
    found = [line] * draw(st.integers(1, 2))
    for _ in range(draw(st.integers(0, 4))):
        other = line
        for _ in range(draw(st.integers(1, 3))):
            places = [found.span() for found in LITERAL.finditer(other)]
            start, end = draw(st.sampled_from(places or [(0, 0)]))
            other = other[:start] + draw(literals) + other[end:]
        found.append(other)
    return found


def assert_same(text: str, size: int = 1 << 19) -> None:
    """Bulk reading gives the program, groups and errors that reading line by line gives."""
    data = text.encode()
    dump = parse_dump(text, lenient=True)
    blocks = [data[at : at + size] for at in range(0, len(data), size)]
    flows = read_flows(blocks, lenient=True)
    assert list(map(str, flows.errors)) == list(map(str, dump.errors))
    assert replace(flows, errors=()) == replace(dump, errors=())
    bulk = read_bulk(blocks, lenient=True)
    assert list(map(str, bulk.errors)) == list(map(str, dump.errors))
    assert bulk.groups == dump.groups
    assert [line + 1 for line in bulk.group_lines] == list(dump.group_lines)
    program = compile_flows(dump.flows, flow_names(dump.flows, None))
    if dump.groups:
        program = with_groups(program, dump.groups, dump.group_stats)
    assert_same_program(bulk.program, program)


@pytest.mark.captures
@pytest.mark.parametrize("few", [1, 2])
def test_captures(captures: Path, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real dumps, each line of a shape of its own also made into a template."""
    monkeypatch.setattr(read, "FEW", few)
    for path in dumps(captures):
        assert_same(path.read_text(encoding="utf-8"))


def test_large_synthetic_dumps() -> None:
    """Dumps of the kind that bulk reading is for, cut in awkward places."""
    assert_same(ovn_like_text(1500), size=10_007)


@pytest.mark.parametrize("line", LINES)
def test_every_literal_of_every_line(line: str) -> None:
    """Each exchanged for each of the values at which something changes, the others as they are."""
    text = [line, line]
    for place in LITERAL.finditer(line):
        text += [line[: place.start()] + edge + line[place.end() :] for edge in EDGES]
    assert_same("\n".join(text))


@settings(deadline=None)
@given(groups=st.lists(lines(), max_size=4), seed=st.integers(0, 99), size=st.integers(40, 400))
@example(groups=[["table=1,actions=drop"] * 2], seed=0, size=400)
@example(
    groups=[[f" table=1,dl_vlan={n},actions=drop" for n in ("0xffff", "0x5", "0x6")]],
    seed=0,
    size=400,
)
@example(groups=[['in_port="a"b",actions=drop', 'in_port="a"b"c",actions=drop']], seed=0, size=99)
def test_any_lines(groups: list[list[str]], seed: int, size: int) -> None:
    """Whatever the literals are, good or bad, and in whatever order lines come."""
    every = [line for group in groups for line in group]
    random.Random(seed).shuffle(every)
    assert_same("\n".join(every), size)


@settings(deadline=None)
@given(lines(), st.integers(0, 200), st.sampled_from(',= :()"/\\\t\x01\x0e\r[]#->'))
def test_any_garbling(found: list[str], at: int, character: str) -> None:
    """Lines with a stray character somewhere are read, or refused, all the same."""
    garbled = [line[:at] + character + line[at:] for line in found]
    assert_same("\n".join([*found, *garbled]))


@given(st.lists(lines(), min_size=1, max_size=4))
@settings(deadline=None, max_examples=50)
def test_the_first_error_is_the_one_that_is_told(groups: list[list[str]]) -> None:
    """Without lenience the error is that of the first bad line, with line, column and caret."""
    text = "\n".join(line for group in groups for line in group)
    try:
        parse_dump(text, file="x")
        wanted = None
    except FlowSyntaxError as error:
        wanted = str(error)
    for reading in (read_bulk, read_flows):
        try:
            reading([text.encode()], file="x")
            told = None
        except FlowSyntaxError as error:
            told = str(error)
        assert told == wanted
