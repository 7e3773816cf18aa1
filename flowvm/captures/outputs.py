"""The files that a replay of captures writes."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Mapping
from io import FileIO
from pathlib import Path
from typing import Any

from flowvm.captures.tally import Count
from flowvm.flow import Flow
from flowvm.names import Names
from flowvm.packet.pcap.source import BinaryFile, Records
from flowvm.packet.pcap.write import CaptureWriter
from flowvm.port_settings import MacEntry
from flowvm.text.fdb import format_fdb
from flowvm.text.format import format_flows
from flowvm.trace import known_name, port_label

DROPS = "drops"


class CaptureOutputs:
    """Files in ``directory``, which is made if need be: a capture for each port that packets leave
    by, drops.pcap, flows.txt and summary.json.

    Files that are there are replaced, but none of ``inputs``: that is a FileExistsError.
    """

    def __init__(
        self, directory: Path, names: Names, resolution: int, inputs: Iterable[BinaryFile]
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._names = names
        self._resolution = resolution
        self._inputs = [os.fstat(file.fileno()) for file in inputs if isinstance(file, FileIO)]
        self._taken: set[str] = set()
        self._files: dict[int, str] = {}
        self._writers: dict[int, CaptureWriter] = {}
        self._drops = self._create(DROPS, "")[1]

    def drop(self, records: Records) -> None:
        """Note packets that came to nothing."""
        if len(records):
            self._drops.write(records.frames, records.times, records.original_lengths)

    def send(self, port: int, records: Records) -> None:
        """Note packets that left by ``port``."""
        if port not in self._writers:
            name = self._names.port_name(port) or str(port)
            self._files[port], self._writers[port] = self._create(name, f"-{port}")
        self._writers[port].write(records.frames, records.times, records.original_lengths)

    def _create(self, name: str, otherwise: str) -> tuple[str, CaptureWriter]:
        """A capture called ``name``; if that is taken, ``otherwise`` is added."""
        name = name.replace("/", "_").replace("\0", "_")
        if name.casefold() in self._taken:
            name += otherwise
        self._taken.add(name.casefold())
        file = f"{name}.pcap"
        path = self._directory / file
        if path.exists() and any(os.path.samestat(path.stat(), entry) for entry in self._inputs):
            problem = "is an input, and would be replaced by what leaves"
            raise FileExistsError(errno.EEXIST, problem, str(path))
        return file, CaptureWriter(path, self._resolution)

    def ports(
        self, received: Mapping[int, Count], sent: Mapping[int, Count]
    ) -> list[dict[str, Any]]:
        """What came in and left by each port, in types that JSON has."""
        return [
            {
                "port": port_label(port),
                "name": known_name(port, self._names),
                "received": received.get(port, Count()).object(),
                "sent": sent.get(port, Count()).object(),
                "file": self._files.get(port),
            }
            for port in sorted({*received, *sent})
        ]

    def finish(
        self,
        flows: Iterable[Flow],
        summary: Mapping[str, Any],
        macs: Iterable[MacEntry] | None = None,
    ) -> None:
        """Write flows.txt and summary.json; with ``macs``, fdb.txt too."""
        self._replace("flows.txt", (f"{line}\n" for line in format_flows(flows)))
        if macs is not None:
            self._replace("fdb.txt", (format_fdb(macs),))
        self._replace("summary.json", (json.dumps(summary, indent=2, ensure_ascii=False), "\n"))

    def _replace(self, name: str, parts: Iterable[str]) -> None:
        """Write a file that is there as a whole or not at all."""
        path = self._directory / name
        unfinished = path.with_name(f".{name}.unfinished")
        with unfinished.open("w", encoding="utf-8") as file:
            file.writelines(parts)
        unfinished.replace(path)
