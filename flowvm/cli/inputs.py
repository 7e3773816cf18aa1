"""Reading what commands are given: flows, ports and maps of options."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from flowvm.bulk.read import BulkDump
    from flowvm.text.dump import Dump
    from flowvm.text.errors import FlowSyntaxError
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
