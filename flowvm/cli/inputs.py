"""Reading what commands are given: flows and ports."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from flowvm.bulk.read import BulkDump
    from flowvm.switch import Switch
    from flowvm.text.dump import Dump
    from flowvm.text.errors import FlowSyntaxError
    from flowvm.text.meters import MeterConfig

STDIN = "-"


class InputError(Exception):
    """What the user gave cannot be used; ``str()`` is the whole message."""


def read_text(source: str) -> str:
    """The text of a file, of standard input for ``-``, or of a shipped example. Raises OSError."""
    from flowvm.examples import read_source
    from flowvm.text.blocks import read_blocks

    if source == STDIN:
        return b"".join(read_blocks(sys.stdin.buffer)).decode("utf-8", "replace")
    return read_source(source)


def opened(source: str) -> AbstractContextManager[BinaryIO]:
    """A file, standard input for ``-``, or a shipped example. Raises OSError."""
    from flowvm.examples import open_source

    return nullcontext(sys.stdin.buffer) if source == STDIN else open_source(source)


def read_dump(source: str, *, lenient: bool = False) -> Dump:
    """The flows of a dump; lenient, it tells of lines that cannot be read and leaves them out."""
    from flowvm.bulk.flows import read_flows
    from flowvm.text.blocks import read_blocks

    with syntax_errors(), opened(source) as file:
        dump = read_flows(read_blocks(file), file=label(source), lenient=lenient)
    tell(dump.errors)
    return dump


def tell(errors: Iterable[FlowSyntaxError]) -> None:
    """Say on standard error which lines could not be read."""
    for error in errors:
        print(error, file=sys.stderr)


def read_ports(source: str | None) -> Mapping[str, int] | None:
    """The ports that an ``ovs-ofctl show`` describes; ``None`` if there is none."""
    if source is None:
        return None
    from flowvm.text.show import parse_show

    text = read_text(source)
    with syntax_errors():
        return parse_show(text, file=label(source))


def read_switch(
    flows: str,
    ports: str | None,
    *,
    lenient: bool = False,
    groups: str | None = None,
    meters: str | None = None,
    connections: str | None = None,
) -> Switch:
    """The switch that a dump makes with what describes ports, groups, meters and connections."""
    from flowvm.switch import Switch

    if groups == STDIN and STDIN in (flows, ports):
        raise InputError("flowvm: groups and flows cannot both come from standard input")
    if meters == STDIN in (flows, ports, groups):
        raise InputError("flowvm: meters and flows cannot both come from standard input")
    if connections == STDIN in (flows, ports, groups, meters):
        raise InputError("flowvm: connections and flows cannot both come from standard input")
    program = read_compiled(flows, ports, lenient=lenient).program
    if groups is not None:
        from flowvm.pipeline.compile_groups import with_groups

        dump = read_dump(groups, lenient=lenient)
        program = with_groups(program, dump.groups, dump.group_stats)
    if meters is not None:
        program = replace(program, meters=read_meters(meters))
    switch = Switch.of(program)
    if connections is not None:
        text = read_text(connections)
        with syntax_errors():
            switch.track(text, file=label(connections))
    return switch


def read_meters(source: str) -> tuple[MeterConfig, ...]:
    """The meters that an ``ovs-ofctl dump-meters`` describes."""
    from flowvm.text.meters import parse_meters

    text = read_text(source)
    with syntax_errors():
        return parse_meters(text, file=label(source))


def read_compiled(flows: str, ports: str | None, *, lenient: bool = False) -> BulkDump:
    """A dump, compiled; lenient, it tells of lines that cannot be read and leaves them out."""
    from flowvm.bulk.files import read_file
    from flowvm.bulk.saved import SavedFileError

    if flows == STDIN == ports:
        raise InputError("flowvm: flows and ports cannot both come from standard input")
    numbers = read_ports(ports)
    try:
        with syntax_errors(), opened(flows) as file:
            dump = read_file(file, numbers, name=label(flows), lenient=lenient)
    except SavedFileError as error:
        raise InputError(f"flowvm: {error}") from None
    tell(dump.errors)
    return dump


@contextmanager
def syntax_errors(file: str | None = None) -> Iterator[None]:
    """Make errors of syntax the user's; ``file`` names what was read, unless the error does."""
    from flowvm.text.errors import FlowSyntaxError

    try:
        yield
    except FlowSyntaxError as error:
        located = error if error.file or file is None else error.at(error.line, file)
        raise InputError(str(located)) from None


def label(source: str) -> str:
    """What messages call a file."""
    return "<stdin>" if source == STDIN else source
