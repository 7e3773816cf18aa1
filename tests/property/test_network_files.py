"""Whatever stands in the files of a node, reading them ends well or with an error of ours."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from flowvm.examples import PREFIX, example_nodes, node_source
from flowvm.network.commands import recognise
from flowvm.network.model import Node
from flowvm.network.read import NodeError, read_node
from flowvm.text.errors import FlowSyntaxError
from tests.unit.network_files import write


def _files(name: str) -> Mapping[str, bytes]:
    return {entry.name: entry.read_bytes() for entry in node_source(PREFIX + name).iterdir()}


NODES = {name: _files(name) for name in example_nodes()}


@st.composite
def damaged(draw: st.DrawFn) -> Mapping[str, bytes]:
    """An example with some bytes of one file replaced, left out or doubled."""
    files = dict(NODES[draw(st.sampled_from(sorted(NODES)))])
    name = draw(st.sampled_from(sorted(files)))
    text = files[name]
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 20)))
        inserted = draw(
            st.one_of(
                st.binary(max_size=4),
                st.just(text[start:end] * 2),
                st.sampled_from([b"\n", b"[", b"}", b'"', b",", b"\x00", b"4096", b"-1", b"\t"]),
            )
        )
        text = text[:start] + inserted + text[end:]
    files[name] = text
    return files


@settings(max_examples=300, deadline=None)
@given(damaged())
def test_damaged_files_are_told_of(files: Mapping[str, bytes]) -> None:
    """Strictly by an error that names the file; leniently never but for a node that is none."""
    with tempfile.TemporaryDirectory() as place:
        directory = write(Path(place), files)
        lenient = attempted(directory, lenient=True)
        strict = attempted(directory, lenient=False)
        if isinstance(strict, FlowSyntaxError):
            assert str(strict.file).startswith(place)
            assert isinstance(lenient, Node)
            assert str(strict) in map(str, lenient.errors)


def attempted(directory: Path, *, lenient: bool) -> Node | Exception:
    try:
        return read_node(directory, lenient=lenient)
    except (FlowSyntaxError, NodeError) as error:
        return error


@given(st.text())
def test_any_name_is_a_command_or_not(name: str) -> None:
    """No name of a file is too strange to ask."""
    found = recognise(name)
    assert found is None or found.subject is not None
