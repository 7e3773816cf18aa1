"""``flowvm replay --in``: packets from captures."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flowvm.cli.inputs import STDIN, InputError

if TYPE_CHECKING:
    from flowvm.captures.replay import CaptureInput, Progress
    from flowvm.flow import Port
    from flowvm.switch import Switch


def replay_captures(
    switch: Switch,
    captures: Sequence[str],
    tunnels: Sequence[str],
    out: str,
    start: str | None,
    until: str | None,
    *,
    as_json: bool,
) -> None:
    """Replay ``PORT=FILE`` captures, with metadata from ``PORT:FIELDS``; print what came of it."""
    from flowvm.captures.replay import ReplayError
    from flowvm.captures.replay import replay_captures as run
    from flowvm.packet.pcap.read import CaptureError

    inputs = _inputs(captures, tunnels)
    try:
        with _progress_bar() as progress:
            replayed = run(switch, inputs, out, start=start or 0, until=until, progress=progress)
    except ReplayError as error:
        raise InputError(f"flowvm: {error}") from None
    except CaptureError as error:
        raise InputError(str(error)) from None
    except KeyboardInterrupt:
        print(f"flowvm: interrupted; {out} has what came before", file=sys.stderr)
        raise
    if as_json:
        print(json.dumps(replayed.summary, indent=2, ensure_ascii=False))
    else:
        from flowvm.report.replay import format_summary

        print(format_summary(replayed.summary), end="")
    if replayed.errors:
        raise InputError("\n".join(map(str, replayed.errors)))


def _inputs(captures: Sequence[str], tunnels: Sequence[str]) -> list[CaptureInput]:
    from flowvm.captures.replay import CaptureInput

    metadata: dict[Port, str] = {}
    for tunnel in tunnels:
        port, fields = _split("--tunnel", tunnel, ":", "PORT:tun_id=0x1,tun_src=192.0.2.1")
        if port in metadata:
            raise InputError(f"flowvm: --tunnel: port {port} is there twice")
        metadata[port] = fields
    split = [_split("--in", capture, "=", "PORT=FILE") for capture in captures]
    if sum(file == STDIN for _, file in split) > 1:
        raise InputError("flowvm: --in: only one capture can come from standard input")
    if strangers := metadata.keys() - {port for port, _ in split}:
        raise InputError(f"flowvm: --tunnel: there is no --in for port {min(map(str, strangers))}")
    return [CaptureInput(port, file, metadata.get(port, "")) for port, file in split]


def _split(option: str, text: str, sign: str, form: str) -> tuple[Port, str]:
    from flowvm.text.errors import WordError
    from flowvm.text.values import parse_port

    port, _, rest = text.partition(sign)
    if not (port and rest):
        raise InputError(f'flowvm: {option}: "{text}" is not {form}')
    try:
        return parse_port(port), rest
    except WordError as error:
        raise InputError(f"flowvm: {option}: {error.problem}") from None


@contextmanager
def _progress_bar() -> Iterator[Progress | None]:
    """A bar on standard error that tells how far the captures are read; none in a pipe."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[packets]:,} packets"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, packets=0)

        def advance(done: int, size: int, packets: int) -> None:
            bar.update(task, completed=done, total=size or None, packets=packets)

        yield advance
