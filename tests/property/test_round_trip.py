"""The law of the text: what Open vSwitch printed, formatting gives back byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flowvm.fields import FIELDS, Field, Format
from flowvm.flow import FieldMatch, Flow, Match
from flowvm.text.br_flow import parse_br_flow
from flowvm.text.canonical import canonical_match
from flowvm.text.dump import Dump, parse_dump
from flowvm.text.errors import FlowSyntaxError
from flowvm.text.groups import parse_group
from flowvm.text.parse import parse_actions, parse_flow, parse_match
from flowvm.text.values import TUN_FLAGS_PUBLIC

# Written by hand, in add-flow's style: these have a normal form instead.
HAND_WRITTEN = "openshift-sdn-br0-addflow-style-baseline.txt"


def dumps(captures: Path) -> list[Path]:
    return [path for path in sorted(captures.glob("*.txt")) if ".show." not in path.name]


@pytest.mark.captures
def test_every_captured_line_comes_back(captures: Path) -> None:
    """Every flow of a real dump is read, and written as it stood, its leading space restored."""
    for path in dumps(captures):
        lines = path.read_text(encoding="utf-8").splitlines()
        dump = parse_dump("\n".join(lines), file=path.name)
        assert len(dump.flows) == sum("actions=" in line for line in lines), path.name
        if path.name == HAND_WRITTEN:
            continue
        for flow, number in zip(dump.flows, dump.flow_lines, strict=True):
            assert str(flow) == " " + lines[number - 1].lstrip(), path.name


@pytest.mark.captures
def test_a_normal_form_is_its_own_normal_form(captures: Path) -> None:
    """What formatting gives is read as the same flows, and formatted the same again."""
    for path in dumps(captures):
        dump = parse_dump(path.read_text(encoding="utf-8"))
        again = parse_dump(str(dump))
        assert again.flows == dump.flows, path.name
        assert str(again) == str(dump)


@pytest.mark.captures
def test_the_canonical_match_means_the_same(captures: Path) -> None:
    """The match that OVS 3.1 would print for a captured one compares the same words."""
    for path in dumps(captures):
        ports = {f"port{i}": i for i in range(1)}
        for flow in parse_dump(path.read_text(encoding="utf-8")).flows:
            named = {v: 1 for _, v, _ in flow.match.constraints() if isinstance(v, str)}
            if any(row.bits is None for row, _, _ in flow.match.constraints()):
                continue
            words = flow.match.words(ports | named)
            assert canonical_match(words).words({}) == words, str(flow)


def values(row: Field) -> st.SearchStrategy[tuple[int, int]]:
    """(value, mask) pairs that a match on the field can have."""
    full = row.full_mask
    # Some are stored wider than they are written (icmp_type), or narrower (arp_op).
    width = min(full.bit_length(), -(-row.width // 8) * 8)
    if row.format is Format.FRAG:
        return st.sampled_from([(0, 3), (1, 3), (3, 3), (1, 1), (0, 2)])
    if row.format is Format.TUN_FLAGS:
        return st.tuples(st.integers(0, TUN_FLAGS_PUBLIC), st.just(TUN_FLAGS_PUBLIC))
    if row.format is Format.CT_STATE:
        width = 8
    if row.format is Format.PORT:
        width = 16
    exact = st.tuples(st.integers(0, (1 << width) - 1), st.just(full))
    if not row.maskable:
        return exact
    masked = st.tuples(st.integers(0, (1 << width) - 1), st.integers(1, (1 << width) - 1))
    return exact | masked.map(lambda pair: (pair[0] & pair[1], pair[1]))


@st.composite
def terms(draw: st.DrawFn) -> FieldMatch:
    row = draw(st.sampled_from(FIELDS))
    value, mask = draw(values(row))
    spelling = draw(st.sampled_from([row.name, *row.aliases]))
    return FieldMatch(row, value, mask, spelling)


@given(st.lists(terms(), max_size=4).map(lambda some: Match(tuple(some))))
def test_any_match_is_read_as_it_was_written(match: Match) -> None:
    """Every field's values and masks, of whatever numbers, survive the text."""
    assert parse_match(str(match)) == match


@given(
    st.builds(
        Flow,
        match=st.lists(terms(), max_size=2).map(lambda some: Match(tuple(some))),
        priority=st.integers(0, 0xFFFF),
        table=st.none() | st.integers(0, 254),
        cookie=st.none() | st.integers(0, (1 << 64) - 1),
        duration=st.none() | st.decimals(0, 10**9, places=3) | st.decimals(0, 1, places=9),
        n_packets=st.none() | st.integers(0, (1 << 64) - 1),
        n_bytes=st.none() | st.integers(0, (1 << 64) - 1),
        idle_timeout=st.integers(0, 0xFFFF),
        hard_timeout=st.integers(0, 0xFFFF),
        importance=st.integers(0, 0xFFFF),
        flags=st.sampled_from([(), ("reset_counts",), ("send_flow_rem", "no_byte_counts")]),
        idle_age=st.none() | st.integers(0, 1 << 31),
        hard_age=st.none() | st.integers(0, 1 << 31),
    )
)
def test_any_flow_is_read_as_it_was_written(flow: Flow) -> None:
    """Statistics, flags and priority survive the text, absent ones included."""
    assert parse_flow(str(flow)) == flow


@given(st.text(st.sampled_from(' ,:=()[]"->/+|.0x1aregtcploadnatctwcliz\\\té*')))
@example("actions=ct(zone=)")
@example("actions=load:->x")
@example("actions=output:")
@example('actions="')
@example("fields=,group_id=1,bucket=")
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text whatever brings anything but a result or a FlowSyntaxError that can be shown."""
    errors = []
    for read in (parse_flow, parse_match, parse_actions, parse_group, parse_br_flow):
        try:
            str(read(text))
        except FlowSyntaxError as error:
            errors.append(error)
    for found in errors:
        assert 1 <= found.column <= len(text) + 1
        assert "^" in str(found)


@pytest.mark.captures
@given(data=st.data())
def test_a_damaged_line_is_read_or_refused(captures: Path, data: st.DataObject) -> None:
    """A real line with characters lost, doubled or strewn in is no worse."""
    path = data.draw(st.sampled_from(dumps(captures)))
    lines = path.read_text(encoding="utf-8").splitlines()
    line = data.draw(st.sampled_from(lines))
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(line))] * 2)))
    junk = data.draw(
        st.text(st.sampled_from(' ,:=()[]"->0x1a'), max_size=3) | st.just(line[start:])
    )
    dump = parse_dump(line[:start] + junk + line[end:], lenient=True)
    assert isinstance(dump, Dump)
    for error in dump.errors:
        assert "^" in str(error)
