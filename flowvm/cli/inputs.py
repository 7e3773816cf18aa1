"""Reading what commands are given: flows and ports."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from flowvm.bulk.read import BulkDump
    from flowvm.names import Names
    from flowvm.port_settings import BridgeSettings, MacEntry
    from flowvm.switch import Switch
    from flowvm.text.dump import Dump
    from flowvm.text.errors import FlowSyntaxError
    from flowvm.text.meters import MeterConfig
    from flowvm.tlv_map import TlvMap

STDIN = "-"


class InputError(Exception):
    """What the user gave cannot be used; ``str()`` is the whole message."""


def refuse(form: str, **others: object) -> None:
    """Complain about options that do not go with ``form``, by the names of their variables."""
    for name, value in others.items():
        if value is not None:
            raise InputError(f"flowvm: --{name.replace('_', '-')} does not go with {form}")


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
    vsctl: str | None = None,
    fdb: str | None = None,
    tlv_map: str | None = None,
    nat_basis: str | None = None,
) -> Switch:
    """The switch that a dump makes with what describes all else of the bridge."""
    from flowvm.switch import Switch

    others = {"groups": groups, "meters": meters, "connections": connections}
    others |= {"VLANs": vsctl, "MAC addresses": fdb}
    read = [flows, ports, tlv_map]
    for what, source in others.items():
        if source == STDIN in read:
            raise InputError(f"flowvm: {what} and flows cannot both come from standard input")
        read.append(source)
    program = read_compiled(flows, ports, lenient=lenient, tlv_map=tlv_map).program
    if groups is not None:
        from flowvm.pipeline.compile_groups import with_groups

        dump = read_dump(groups, lenient=lenient)
        program = with_groups(program, dump.groups, dump.group_stats)
    if meters is not None:
        program = replace(program, meters=read_meters(meters))
    if vsctl is not None:
        from flowvm.pipeline.assemble import with_bridge

        program = with_bridge(program, read_bridge(vsctl, ports, program.names))
    switch = Switch.of(program)
    if fdb is not None:
        switch.load_macs(read_macs(fdb, vsctl, program.names))
    if connections is not None:
        text = read_text(connections)
        with syntax_errors():
            switch.track(text, file=label(connections))
    if nat_basis is not None:
        switch.nat_basis = _number(nat_basis, "--nat-basis")
    return switch


def _number(text: str, option: str) -> int:
    """A number of 32 bits that an option gives."""
    from flowvm.text.errors import WordError
    from flowvm.text.values import parse_number

    try:
        return parse_number(text, 32)
    except WordError as error:
        raise InputError(f"flowvm: {option}: {error.problem}") from None


def read_meters(source: str) -> tuple[MeterConfig, ...]:
    """The meters that an ``ovs-ofctl dump-meters`` describes."""
    from flowvm.text.meters import parse_meters

    text = read_text(source)
    with syntax_errors():
        return parse_meters(text, file=label(source))


def read_bridge(source: str, ports: str | None, names: Names) -> BridgeSettings:
    """What an ``ovs-vsctl show`` says of the bridge with the ports of ``names``."""
    from flowvm.flow import ReservedPort
    from flowvm.text.vsctl_show import parse_vsctl_show

    if ports is None:
        raise InputError("flowvm: --vsctl needs --ports, which tells the numbers of the ports")
    text = read_text(source)
    with syntax_errors():
        bridges = parse_vsctl_show(text, file=label(source))
    wanted = names.port_name(ReservedPort.LOCAL)
    for bridge in bridges:
        if bridge.name == wanted:
            return bridge.numbered(names.ports).settings
    known = ", ".join(bridge.name for bridge in bridges)
    raise InputError(
        f"flowvm: {label(source)} does not tell of the bridge that --ports describes: its local "
        f"port is {wanted}, the bridges are {known}"
    )


def read_macs(source: str, vsctl: str | None, names: Names) -> tuple[MacEntry, ...]:
    """The MAC table that a ``fdb/show`` printed."""
    from flowvm.text.fdb import parse_fdb

    if vsctl is None:
        raise InputError("flowvm: --fdb needs --vsctl: without it NORMAL is not executed")
    text = read_text(source)
    with syntax_errors():
        return parse_fdb(text, names.ports, file=label(source))


def read_tlv_map(source: str | None) -> TlvMap | None:
    """The map that an ``ovs-ofctl dump-tlv-map`` describes; ``None`` if there is none."""
    if source is None:
        return None
    from flowvm.text.tlv_map import parse_tlv_map

    text = read_text(source)
    with syntax_errors():
        return parse_tlv_map(text, file=label(source))


def read_compiled(
    flows: str, ports: str | None, *, lenient: bool = False, tlv_map: str | None = None
) -> BulkDump:
    """A dump, compiled; lenient, it tells of lines that cannot be read and leaves them out."""
    from flowvm.bulk.files import read_file
    from flowvm.bulk.saved import SavedFileError

    if flows == STDIN == ports:
        raise InputError("flowvm: flows and ports cannot both come from standard input")
    if tlv_map == STDIN in (flows, ports):
        raise InputError("flowvm: a TLV map and flows cannot both come from standard input")
    numbers, options = read_ports(ports), read_tlv_map(tlv_map)
    try:
        with syntax_errors(), opened(flows) as file:
            dump = read_file(file, numbers, name=label(flows), lenient=lenient, tlv_map=options)
    except SavedFileError as error:
        raise InputError(f"flowvm: {error}") from None
    tell(dump.errors)
    _tell_of_guesses(dump.program.names.tlv_map)
    return dump


def _tell_of_guesses(tlv_map: TlvMap) -> None:
    """Say on standard error of which tunnel options nothing tells the length."""
    from flowvm.tlv_map import LEAST

    if tlv_map.guessed:
        names = ", ".join(option.name for option in tlv_map.guessed)
        print(
            f"flowvm: nothing tells how long {names} is: taken for {LEAST} bytes "
            "(--tlv-map FILE tells)",
            file=sys.stderr,
        )


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
