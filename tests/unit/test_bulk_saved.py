"""Compiled dumps in files."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from bench.dumps import ovn_like_text
from flowvm.actions.base import Lowered
from flowvm.actions.note import Nothing
from flowvm.actions.set_field import Load
from flowvm.bulk.files import read_file
from flowvm.bulk.read import BulkDump, read_bulk
from flowvm.bulk.saved import SavedFileError, reopen, save
from flowvm.names import Configuration, FragmentHandling, Ports
from flowvm.pipeline.compile import compile_flows, flow_names
from flowvm.text.parse import parse_flow
from tests.programs import assert_same_program

TEXT = (
    ovn_like_text(200)
    + """\
# a word about it
group_id=5,type=all,bucket=actions=output:1
 duration=9186.310s, table=0, in_port="tap-1" actions=output:eth5
 duration=9186.310s, table=0, in_port="tap-2" actions=output:eth5
table=10, priority=1 actions=learn(table=20,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[])
"""
)


@pytest.fixture
def dump() -> BulkDump:
    return read_bulk([TEXT.encode()])


def written(dump: BulkDump) -> bytes:
    file = io.BytesIO()
    save(dump, file)
    return file.getvalue()


def rewritten(data: bytes, name: str, content: bytes) -> io.BytesIO:
    """The same file with one member exchanged, without a trace in the zip itself."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for member in old.namelist():
            new.writestr(member, content if member == name else old.read(member))
    out.seek(0)
    return out


def test_what_is_saved_comes_back(dump: BulkDump) -> None:
    """The program, the groups, and the names of ports, which had no numbers."""
    again = reopen(io.BytesIO(written(dump)))
    assert_same_program(again.program, dump.program)
    assert (again.groups, again.group_lines, again.skipped) == (dump.groups, (201,), 1)
    assert again.program.names.ports.keys() == {"tap-1", "tap-2", "eth5"}


def test_equal_dumps_make_equal_files(dump: BulkDump) -> None:
    """Nothing of time or place is in the file; and what was reopened is saved as it was."""
    data = written(dump)
    assert written(read_bulk([TEXT.encode()])) == data
    assert written(reopen(io.BytesIO(data))) == data


def test_flows_without_a_text_are_saved_too() -> None:
    """A program made of flows gets the text that dump-flows would print."""
    flows = [parse_flow(f"table=1,priority={n},in_port={n},actions=output:2") for n in (1, 2)]
    program = compile_flows(flows, flow_names(flows, None))
    again = reopen(io.BytesIO(written(BulkDump(program))))
    assert_same_program(again.program, program)


def test_other_ports_compile_the_text_again(dump: BulkDump) -> None:
    """Ports' numbers are in the compiled rules: those of another description need others."""
    closed = Configuration(no_recv=frozenset({1}), fragments=FragmentHandling.DROP)
    ports = Ports({"tap-1": 1, "tap-2": 2, "eth5": 5}, config=closed)
    again = reopen(io.BytesIO(written(dump)), ports)
    assert_same_program(again.program, read_bulk([TEXT.encode()], ports).program)
    assert_same_program(reopen(io.BytesIO(written(again)), ports).program, again.program)
    assert reopen(io.BytesIO(written(again))).program.names.config == closed


def test_every_flipped_bit_is_noticed(dump: BulkDump) -> None:
    """No damage goes unseen, wherever it is."""
    data = written(dump)
    for at in range(0, len(data), len(data) // 60):
        damaged = bytearray(data)
        damaged[at] ^= 0x10
        try:
            again = reopen(io.BytesIO(bytes(damaged)))
        except SavedFileError:
            continue
        # Some bits of a zip say nothing: when a member was made.
        assert_same_program(again.program, dump.program)


def test_contents_are_hashed(dump: BulkDump) -> None:
    """An exchanged array is noticed even where the zip itself is sound."""
    array = io.BytesIO()
    np.save(array, np.zeros(len(dump.program.flows), np.int32))
    bad = rewritten(written(dump), "rules/priority.npy", array.getvalue())
    with pytest.raises(SavedFileError, match="not what was written"):
        reopen(bad, name="x.flows")


def test_nothing_is_unpickled(dump: BulkDump) -> None:
    """An array of objects is refused before anything in it comes to life."""
    array = io.BytesIO()
    np.save(array, np.array([Path()], object), allow_pickle=True)
    with pytest.raises(SavedFileError, match=r"^x\.flows is not a compiled dump"):
        reopen(rewritten(written(dump), "rules/priority.npy", array.getvalue()), name="x.flows")


def test_another_format_is_named(dump: BulkDump) -> None:
    """A file of a later flowvm says so."""
    data = written(dump)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        header = json.loads(archive.read("flowvm.json"))
    later = json.dumps(header | {"format": 99, "flowvm": "9.9"}).encode()
    with pytest.raises(SavedFileError, match=r"has format 99 of flowvm 9\.9; this is flowvm"):
        reopen(rewritten(data, "flowvm.json", later))


def test_what_is_lowered_otherwise_now_is_compiled_again(
    dump: BulkDump, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If actions have become other operations since, the text says what to do."""
    data = written(dump)
    monkeypatch.setattr(Load, "lower", lambda *_: Lowered(Nothing()))
    program = reopen(io.BytesIO(data)).program
    assert_same_program(program, read_bulk([TEXT.encode()]).program)
    assert any(Nothing() in shape.operations for shape in program.shapes)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"table=0,actions=drop\n"])
def test_other_files_are_refused(data: bytes) -> None:
    """What is no zip of ours is said to be none."""
    with pytest.raises(SavedFileError):
        reopen(io.BytesIO(data))


def test_files_of_both_kinds_are_told_apart(dump: BulkDump) -> None:
    """By their first bytes."""
    for data in (written(dump), TEXT.encode()):
        assert_same_program(read_file(io.BytesIO(data)).program, dump.program)
