"""Compiled dumps in files: written once, opened in a fraction of the time.

The file is a zip of ``.npy`` arrays, which are never unpickled, and a header in JSON. It holds the
whole text of the dump besides, so that nothing is lost; and since operations are code and not data,
the operations of each shape are made from the text of one of its flows. Where that does not
give what the file says, because another version of flowvm wrote it, the text is compiled anew.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import astuple, fields, replace
from types import MappingProxyType
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from flowvm import __version__
from flowvm.bulk.lines import LazyFlows, StoredText
from flowvm.bulk.read import BulkDump, read_bulk
from flowvm.names import Configuration, FragmentHandling, Names
from flowvm.pipeline.assemble import make_program
from flowvm.pipeline.compile_groups import with_groups
from flowvm.pipeline.program import Program, Rules, Shape, Statistics, Subtable
from flowvm.pipeline.subtable import KeyIndex, Mask
from flowvm.text.blocks import COMPILED_TEXT
from flowvm.text.group_stats import parse_group_stats
from flowvm.text.groups import parse_group
from flowvm.tlv_map import TlvMap, TlvOption

FORMAT = 2
_HEADER = "flowvm.json"
_EARLIEST = (1980, 1, 1, 0, 0, 0)  # of all times a zip can tell; equal dumps make equal files

Arrays = dict[str, NDArray[Any]]


class SavedFileError(ValueError):
    """A file that is not a compiled dump, or a damaged one."""


def save(dump: BulkDump, file: BinaryIO) -> None:
    """Write ``dump`` to ``file``, which must be able to seek. Raises OSError."""
    program = dump.program
    text, lines = _text_of(program)
    arrays: Arrays = {
        "lines": lines,
        "group_lines": np.array(dump.group_lines, np.int64),
    }
    for part, name in ((program.rules, "rules"), (program.statistics, "statistics")):
        for field in fields(part):
            value = getattr(part, field.name)
            if isinstance(value, np.ndarray):
                arrays[f"{name}/{field.name}"] = value
    tables: list[tuple[int, tuple[int, ...], tuple[int, ...], int]] = []
    for table, subtables in program.tables.items():
        for subtable in subtables:
            number = len(tables)
            arrays[f"subtables/{number}/keys"] = subtable.index.keys
            arrays[f"subtables/{number}/heads"] = subtable.heads
            mask = subtable.mask
            tables.append((table, mask.columns, mask.masks, subtable.max_priority))
    for number, shape in enumerate(program.shapes):
        arrays[f"shapes/{number}"] = np.concatenate(
            [np.zeros((0, _rows(shape)), np.uint64), *shape.operands]
        )
    names = program.names
    header = {
        "format": FORMAT,
        "flowvm": __version__,
        "ports": dict(names.ports),
        "tables": dict(names.tables),
        "known_ports": names.known_ports,
        "no_flood": sorted(names.no_flood),
        "down": sorted(names.down),
        "tlv_map": [astuple(option) for option in names.tlv_map.options],
        "tlv_map_inferred": names.tlv_map.inferred,
        "config": _config_object(names.config),
        "skipped": dump.skipped,
        "group_stats": [str(stats) for stats in dump.group_stats],
        "with_ages": program.statistics.with_ages,
        "subtables": tables,
        "operands": [[len(o) for o in shape.operands] for shape in program.shapes],
    }
    _write(file, header, b"".join(text.blocks), arrays)


def _config_object(config: Configuration) -> dict[str, Any]:
    return {
        "no_recv": sorted(config.no_recv),
        "no_recv_stp": sorted(config.no_recv_stp),
        "no_fwd": sorted(config.no_fwd),
        "fragments": config.fragments.value,
    }


def _config(stored: Mapping[str, Any]) -> Configuration:
    return Configuration(
        frozenset(stored.get("no_recv", ())),
        frozenset(stored.get("no_recv_stp", ())),
        frozenset(stored.get("no_fwd", ())),
        FragmentHandling(stored.get("fragments", "normal")),
    )


def reopen(
    file: BinaryIO,
    ports: Mapping[str, int] | Names | None = None,
    *,
    name: str | None = None,
    tlv_map: TlvMap | None = None,
) -> BulkDump:
    """The dump that :func:`save` wrote.

    ``ports`` and ``tlv_map`` as for :func:`~flowvm.bulk.read.read_bulk`, by default those that it
    was compiled with. Raises SavedFileError for a file that is none of ours, is damaged, or is of a
    format that is not known; ``name`` is what that calls it.
    """
    label = name or "the file"
    try:
        header, data, arrays = _read(file)
    except OSError:
        raise
    except Exception as error:
        # There is no list of what zipfile and numpy raise for damaged data.
        raise SavedFileError(f"{label} is not a compiled dump, or damaged: {error}") from None
    if header["format"] != FORMAT:
        raise SavedFileError(
            f"{label} has format {header['format']} of flowvm {header.get('flowvm')}; "
            f"this is flowvm {__version__}, which reads format {FORMAT}"
        )
    names = Names(
        MappingProxyType(header["ports"]),
        MappingProxyType(header["tables"]),
        header["known_ports"],
        frozenset(header["no_flood"]),
        frozenset(header.get("down", ())),
        TlvMap(
            tuple(TlvOption(*option) for option in header["tlv_map"]), header["tlv_map_inferred"]
        ),
        _config(header.get("config", {})),
    )
    text = _stored(data)
    if ports in (None, names) and tlv_map in (None, names.tlv_map):
        program = _program(header, arrays, text, names)
        if program is not None:
            lines = arrays["group_lines"].tolist()
            groups = tuple(parse_group(text.line(line)) for line in lines)
            stats = tuple(map(parse_group_stats, header.get("group_stats", ())))
            if groups:
                program = with_groups(program, groups, stats)
            skipped = header["skipped"]
            return BulkDump(program, groups, tuple(lines), skipped, group_stats=stats)
    if tlv_map is None and not names.tlv_map.inferred:
        tlv_map = names.tlv_map
    if ports is None:
        ports = replace(names, tlv_map=tlv_map or names.tlv_map)
    return read_bulk(text.blocks, ports, file=name, lenient=True, tlv_map=tlv_map)


def _program(
    header: Mapping[str, Any], arrays: Arrays, text: StoredText, names: Names
) -> Program | None:
    """What the arrays hold; None if the shapes do not do here what they did where it was saved."""
    flows = LazyFlows(text, arrays["lines"])
    rules = Rules(*(arrays[f"rules/{field.name}"] for field in fields(Rules)))
    # Shapes are numbered in the order of their first rules, and so they are of those rules alone.
    firsts = np.unique(rules.shape, return_index=True)[1]
    examples = b"\n".join(map(text.raw, flows.numbers[firsts].tolist()))
    made = read_bulk([examples], names, lenient=True).program.shapes
    shapes = []
    counted = zip(made, firsts.tolist(), header["operands"], strict=False)
    for number, (shape, rule, counts) in enumerate(counted):
        operands = arrays[f"shapes/{number}"]
        ends = np.cumsum(counts, dtype=np.int64).tolist()
        parts = tuple(operands[end - n : end] for end, n in zip(ends, counts, strict=True))
        wanted = [part[:, rules.row[rule]].tolist() for part in parts]
        if [part[:, 0].tolist() for part in shape.operands] != wanted:
            return None
        shapes.append(Shape(shape.operations, parts))
    if len(shapes) != len(header["operands"]):
        return None
    tables: dict[int, list[Subtable]] = {}
    for number, (table, columns, masks, top) in enumerate(header["subtables"]):
        keys = arrays[f"subtables/{number}/keys"]
        index = KeyIndex(len(columns), max(8, keys.shape[1]))
        index.add(keys)
        heads = arrays[f"subtables/{number}/heads"]
        mask = Mask(tuple(columns), tuple(masks))
        tables.setdefault(table, []).append(Subtable(mask, index, heads, top))
    columns_of = {
        field.name: arrays[f"statistics/{field.name}"]
        for field in fields(Statistics)
        if field.name != "with_ages"
    }
    statistics = Statistics(**columns_of, with_ages=header["with_ages"])
    return make_program(flows, rules, tuple(shapes), tables, names, statistics)


def _rows(shape: Shape) -> int:
    return shape.operands[0].shape[1] if shape.operands else 0


def _text_of(program: Program) -> tuple[StoredText, NDArray[np.int64]]:
    """The text that a program was read from, and the lines its flows are on."""
    flows = program.flows
    if isinstance(flows, LazyFlows):
        return flows.text, flows.numbers
    text = "".join(f"{flow}\n" for flow in flows).encode()
    return _stored(text), np.arange(len(flows))


def _stored(text: bytes) -> StoredText:
    ends = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n"))
    starts = np.concatenate([[0], ends + 1])[: len(ends)]
    return StoredText([text], [starts.astype(np.uint32)])


# -- the file -----------------------------------------------------------------------------------


def _write(file: BinaryIO, header: dict[str, Any], text: bytes, arrays: Arrays) -> None:
    digest = hashlib.blake2b(text)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        with _member(archive, COMPILED_TEXT) as member:
            member.write(text)
        for name, array in arrays.items():
            array = np.ascontiguousarray(array)
            with _member(archive, f"{name}.npy") as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
            _add(digest, name, array)
        digest.update(json.dumps(header, sort_keys=True).encode())
        signed = header | {"digest": digest.hexdigest()}
        with _member(archive, _HEADER) as member:
            member.write(json.dumps(signed).encode())


def _member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    return archive.open(zipfile.ZipInfo(name, _EARLIEST), "w", force_zip64=True)


def _add(digest: hashlib.blake2b, name: str, array: NDArray[Any]) -> None:
    digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
    digest.update(array.data)


def _read(file: BinaryIO) -> tuple[dict[str, Any], bytes, Arrays]:
    arrays: Arrays = {}
    with zipfile.ZipFile(file) as archive:
        header: dict[str, Any] = json.loads(archive.read(_HEADER))
        if header["format"] != FORMAT:
            return header, b"", {}
        text = archive.read(COMPILED_TEXT)
        digest = hashlib.blake2b(text)
        for member in archive.namelist():
            if member.endswith(".npy"):
                name = member.removesuffix(".npy")
                with archive.open(member) as data:
                    arrays[name] = array = np.lib.format.read_array(data, allow_pickle=False)
                _add(digest, name, array)
    wanted = header.pop("digest")
    digest.update(json.dumps(header, sort_keys=True).encode())
    if digest.hexdigest() != wanted:
        raise SavedFileError("its contents are not what was written")
    return header, text, arrays
