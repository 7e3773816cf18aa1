"""Replaying captures: packets from files through a switch, and what leaves into files.

The clock of a replay is the switch's: 0 is when the dump was taken. The first packet of all inputs
arrives at a time of the caller's choice, all others as much later as their captures say. What is
written keeps the times of the captures.

Memory is bounded whatever the size of the captures: a part of each input (:data:`INPUT_BYTES`
together), one batch of packets (:data:`BATCH_PACKETS`, :data:`BATCH_BYTES`) with what leaves of it,
a copy of a packet for each port it leaves by, and what the switch itself remembers: its flows, and
some tens of thousands of paths.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from flowvm.arrival import Seconds, is_metadata, nanoseconds
from flowvm.captures.outputs import CaptureOutputs
from flowvm.captures.tally import Count, Tally
from flowvm.clock import NEVER, SECOND
from flowvm.columns import Column
from flowvm.flow import Port
from flowvm.interrupts import held_interrupts
from flowvm.names import Names
from flowvm.packet.batch import PacketBatch, Room
from flowvm.packet.frames import TAIL, Frames
from flowvm.packet.pcap.classic import LONGEST
from flowvm.packet.pcap.merge import Merged, merge_captures, trimmed
from flowvm.packet.pcap.read import CaptureError, read_capture
from flowvm.packet.pcap.source import MICROSECOND, STDIN, BinaryFile, Records, standard_input
from flowvm.packet.words import SPAN, Index, copy_spans, ranges
from flowvm.pipeline.result import Verdict
from flowvm.switch import Switch
from flowvm.text.br_flow import parse_br_flow
from flowvm.text.errors import FlowSyntaxError

INPUT_BYTES = 1 << 22
"""So much of all inputs together is read ahead, at least :data:`LEAST_CHUNK` of each."""

LEAST_CHUNK = 1 << 18

BATCH_PACKETS = 1 << 15
"""Packets run at once."""

BATCH_BYTES = 1 << 24
"""Bytes of packets run at once, as long as they were on the wire."""

Progress = Callable[[int, int, int], None]
"""Is told, after each batch: bytes read of the captures, bytes they have, packets replayed.

Bytes are as they lie on disk; a pipe counts for nothing.
"""


class ReplayError(ValueError):
    """A replay that cannot begin: an unknown port, metadata that cannot be read, a wrong time."""


@dataclass(frozen=True)
class CaptureInput:
    """Packets that come in by one port.

    ``capture`` is a path, or ``-`` for standard input. ``metadata`` is what no frame carries and
    these packets have, in the syntax of ``ofproto/trace``: ``"tun_id=0x1,tun_src=192.0.2.1"``.
    """

    port: Port
    capture: str | os.PathLike[str]
    metadata: str = ""

    @property
    def name(self) -> str:
        """What messages call the capture."""
        return "<stdin>" if self.capture == STDIN else os.fspath(self.capture)


@dataclass(frozen=True)
class Replayed:
    """What a replay came to.

    ``summary`` is what summary.json says, see :func:`replay_captures`. ``errors`` are those of
    captures that could not be read to their end.
    """

    summary: Mapping[str, Any]
    errors: tuple[CaptureError, ...]


def replay_captures(
    switch: Switch,
    inputs: Sequence[CaptureInput],
    directory: str | os.PathLike[str],
    *,
    start: Seconds | None = None,
    until: Seconds | None = None,
    progress: Progress | None = None,
) -> Replayed:
    """Run the packets of captures through ``switch``, in the order of their times.

    ``start`` is when the first packet arrives, in seconds since the dump was taken, by default the
    switch's own time. Packets that arrive after ``until`` are left out; if it is given, the clock
    stands there at the end, whether or not packets last so long. Packets of the same time come in
    the order of ``inputs``; one that its capture dates before its predecessor arrives with that.
    A packet that the capture cut to its snap length is taken to be whole, with zeros for what is
    missing, and is cut again when it is written.

    ``directory`` is made if need be, and files in it are replaced:

    - ``<port>.pcap``: what left by each port, LOCAL and CONTROLLER included; under the port's name,
      if it has one. Times are those of the captures, in nanoseconds unless all inputs are in
      microseconds; original lengths too, but for what actions add or take;
    - ``drops.pcap``: packets that came to nothing, as they came in;
    - ``flows.txt``: the flows as ``dump-flows`` would print them at the end;
    - ``fdb.txt``: what NORMAL knows then, as ``fdb/show`` would; if the bridge's ports are known;
    - ``summary.json``: the counts. ``bytes`` are those on the wire; ``hits`` of tables count all
      matches, ``rules`` are the dump's flows that were hit.

    A capture that cannot be read on, damaged or cut off, ends there, and the others go on. Raises
    CaptureError at once where not even its first packet can be read; ReplayError for arguments that
    make no sense; OSError. Ctrl-C ends the replay between two batches: all files are then written,
    ``interrupted`` is true in the summary, and KeyboardInterrupt is raised.
    """
    begin = switch.now if start is None else _time("start", start)
    end = NEVER if until is None else _time("until", until)
    if begin < switch.now:
        raise ReplayError(f"start: {start} s is before the switch's time")
    if end < begin:
        raise ReplayError(f"until: {until} s is before the first packet arrives")
    arrivals = [_Arrival.of(source, switch.names) for source in inputs]
    errors: list[CaptureError] = []

    def failed(_: int, error: CaptureError) -> None:
        if error.packet == 1:
            raise error
        errors.append(error)

    with ExitStack() as stack:
        files = [_opened(source, stack) for source in inputs]
        chunk_bytes = max(LEAST_CHUNK, INPUT_BYTES // max(1, len(files)))
        captures = [read_capture(file, chunk_bytes=chunk_bytes) for file in files]
        merged = merge_captures(captures, failed)
        # Nothing is written before all captures have proved to be such.
        first = next(merged, None)
        resolution = MICROSECOND if first is None else first.resolution
        outputs = CaptureOutputs(Path(directory), switch.names, resolution, files)
        replay = _Replay(switch, arrivals, outputs)
        size = sum(map(_size, files))
        began = time.perf_counter()
        interrupted = False
        try:
            for batch in () if first is None else _batches(chain([first], merged), begin, end):
                with held_interrupts():
                    replay.run(batch)
                if progress is not None:
                    progress(sum(map(_position, files)), size, replay.tally.total.packets)
        except KeyboardInterrupt:
            interrupted = True
        elapsed = time.perf_counter() - began
    with held_interrupts():
        if until is not None and not interrupted:
            switch.advance(end)
        rate = round(replay.tally.total.packets / elapsed) if elapsed else 0
        summary = {
            "interrupted": interrupted,
            "errors": [str(error) for error in errors],
            "start": begin / SECOND,
            "end": switch.now / SECOND,
            "elapsed": round(elapsed, 6),
            "packets_per_second": rate,
            "inputs": [
                {"port": arrival.port, "capture": source.name, **count.object()}
                for source, arrival, count in zip(inputs, arrivals, replay.by_input, strict=True)
            ],
            "ports": outputs.ports(replay.tally.received, replay.tally.sent),
            **replay.tally.object(),
        }
        knows_ports = switch.state.macs is not None
        outputs.finish(switch.flows(), summary, switch.macs() if knows_ports else None)
    if interrupted:
        raise KeyboardInterrupt
    return Replayed(summary, tuple(errors))


@dataclass(frozen=True)
class _Arrival:
    """How packets of an input arrive: by which port, with which bits set in which columns."""

    port: int
    metadata: Mapping[Column, int]

    @classmethod
    def of(cls, source: CaptureInput, names: Names) -> _Arrival:
        try:
            port = names.port(source.port)
        except KeyError:
            raise ReplayError(f'there is no port "{source.port}"') from None
        if not source.metadata:
            return cls(port, {})
        try:
            headers = parse_br_flow(source.metadata, names.ports)
        except FlowSyntaxError as error:
            raise ReplayError(f"metadata of port {source.port}: {error}") from None
        for row, _, _ in headers.constraints():
            if not is_metadata(row):
                raise ReplayError(f'"{row.name}" is not a field that comes besides the frame')
        try:
            words = headers.words({}, names.tlv_map)
        except ValueError as error:
            raise ReplayError(f"metadata of port {source.port}: {error}") from None
        return cls(port, {column: value for column, (value, _) in words.items()})


@dataclass(frozen=True, eq=False)
class _Batch:
    """Packets to run: what the captures say of them, and when they arrive (``int64``, ns)."""

    packets: Merged
    times: Index

    @cached_property
    def wire_lengths(self) -> Index:
        """What the packets had on the wire, as far as that can be."""
        records = self.packets.records
        return np.maximum(np.minimum(records.original_lengths, LONGEST), records.frames.lengths)


def _batches(parts: Iterable[Merged], begin: int, end: int) -> Iterator[_Batch]:
    """Packets, the first of which arrives at ``begin``, up to those that arrive at ``end``."""
    origin: int | None = None
    for part in parts:
        if origin is None:
            origin = int(part.clock[0]) - begin
        whole = _Batch(part, part.clock - origin)
        count = int(np.searchsorted(whole.times, end, side="right"))
        bounds = np.cumsum(whole.wire_lengths)
        first = 0
        while first < count:
            before = int(bounds[first - 1]) if first else 0
            last = int(np.searchsorted(bounds, before + BATCH_BYTES, side="right"))
            last = min(max(last, first + 1), first + BATCH_PACKETS, count)
            yield _Batch(part.part(first, last), whole.times[first:last])
            first = last
        if count < len(whole.times):
            return


class _Replay:
    """A replay under way."""

    def __init__(
        self, switch: Switch, arrivals: Sequence[_Arrival], outputs: CaptureOutputs
    ) -> None:
        self.tally = Tally(switch.state)
        self.by_input = [Count() for _ in arrivals]
        self._switch = switch
        self._arrivals = arrivals
        self._outputs = outputs
        self._wanted = switch.program.wanted
        self._room = Room({*self._wanted, *chain(*(arrival.metadata for arrival in arrivals))})
        self._ports = np.array([arrival.port for arrival in arrivals], np.int64)

    def run(self, batch: _Batch) -> None:
        """Run a batch, write what becomes of it, and count."""
        records, inputs = batch.packets.records, batch.packets.inputs
        lengths = batch.wire_lengths
        # The engine copies buffers as wholes.
        frames = _whole(trimmed(records.frames), lengths)
        packets = PacketBatch.of(
            frames,
            self._ports[inputs],
            batch.times,
            wanted=self._wanted,
            room=self._room,
            tlv_map=self._switch.names.tlv_map,
        )
        for number, (arrival, count) in enumerate(zip(self._arrivals, self.by_input, strict=True)):
            mine = np.flatnonzero(inputs == number) if len(self._arrivals) > 1 else slice(None)
            count.add(len(inputs[mine]), int(lengths[mine].sum()))
            for column, value in arrival.metadata.items():
                packets.columns[column, mine] = value
        result = self._switch.run(packets)
        self.tally.add(result, self._ports[inputs], lengths)

        verdicts = result.verdicts
        lost = np.flatnonzero((verdicts == Verdict.DROP) | (verdicts == Verdict.ERROR))
        self._outputs.drop(records.take(lost))
        emissions = result.emissions
        for port, mine in _by_port(emissions.port):
            sources = emissions.packet[mine]
            left = emissions.frames if isinstance(mine, slice) else emissions.frames.take(mine)
            longer = left.lengths - lengths[sources]
            # What the capture had not kept of a packet is not there to be written.
            kept = np.clip(records.frames.lengths[sources] + longer, 0, left.lengths)
            sent = Records(
                Frames(left.buffer, left.offsets, kept),
                records.times[sources],
                records.original_lengths[sources] + longer,
                records.resolution,
            )
            self._outputs.send(port, sent)
            self.tally.add_sent(port, left.lengths)


def _by_port(ports: Index) -> Iterator[tuple[int, Index | slice]]:
    """Each of ``ports``, ascending, and where it stands there."""
    if len(ports) and (ports == ports[0]).all():
        yield int(ports[0]), slice(None)
        return
    order = np.argsort(ports, kind="stable")
    found, firsts = np.unique(ports[order], return_index=True)
    yield from zip(found.tolist(), np.split(order, firsts)[1:], strict=True)


def _whole(frames: Frames, lengths: Index) -> Frames:
    """Frames of ``lengths`` bytes, with zeros where ``frames`` have fewer."""
    if (frames.lengths == lengths).all():
        return frames
    whole = Frames.blank(lengths)
    copy_spans(frames.buffer, frames.offsets, whole.buffer, whole.offsets, frames.lengths)
    # Copying goes too far by less than a span, also over the tail.
    missing = np.minimum(lengths - frames.lengths, SPAN)
    whole.buffer[ranges(whole.offsets + frames.lengths, missing)] = 0
    whole.buffer[-TAIL:] = 0
    return whole


def _time(what: str, seconds: Seconds) -> int:
    try:
        return nanoseconds(seconds)
    except ValueError as error:
        raise ReplayError(f"{what}: {error}") from None


def _opened(source: CaptureInput, stack: ExitStack) -> BinaryFile:
    if source.capture == STDIN:
        return standard_input()
    return stack.enter_context(Path(source.capture).open("rb", buffering=0))


def _size(file: BinaryFile) -> int:
    """The bytes of a file, 0 of a pipe."""
    return os.fstat(file.fileno()).st_size if _has_place(file) else 0


def _position(file: BinaryFile) -> int:
    return file.tell() if _has_place(file) else 0


def _has_place(file: BinaryFile) -> bool:
    return isinstance(file, io.FileIO) and file.seekable()
