"""A persistent client of the unixctl socket of an Open vSwitch daemon.

`ovs-appctl` forks and connects for every command. This client keeps one connection, and may send
many commands in one write, which the daemon answers in order.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import TypeAlias

Call: TypeAlias = "tuple[str, tuple[str, ...]]"


class UnixctlError(RuntimeError):
    """The daemon answered a command with an error; the message is the daemon's own."""


class Unixctl:
    """One connection to a daemon's unixctl socket."""

    def __init__(self, path: Path, timeout: float = 30.0) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        self._socket.connect(str(path))
        self._decoder = json.JSONDecoder()
        self._buffer = ""
        self._next_id = 0

    def __enter__(self) -> Unixctl:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def call(self, method: str, *arguments: str) -> str:
        """Run one command and return its output. Raises as :meth:`pipeline` does."""
        return self.pipeline([(method, arguments)])[0]

    def pipeline(self, calls: Iterable[Call]) -> list[str]:
        """Send all `calls` in one write and return their outputs in order.

        Every answer is read before a UnixctlError is raised, so the connection stays usable. It is
        an OSError if the daemon has ended.
        """
        first = self._next_id
        requests: list[bytes] = []
        for method, arguments in calls:
            request = {"id": self._next_id, "method": method, "params": list(arguments)}
            requests.append(json.dumps(request).encode())
            self._next_id += 1
        self._socket.sendall(b"".join(requests))

        outputs: list[str] = []
        failure: str | None = None
        for number in range(first, self._next_id):
            reply = self._read_reply()
            if reply.get("id") != number:
                raise UnixctlError(f"answer {reply.get('id')} where {number} was due")
            if reply.get("error") is not None and failure is None:
                failure = str(reply["error"]).rstrip("\n")
            outputs.append(str(reply.get("result") or ""))
        if failure is not None:
            raise UnixctlError(failure)
        return outputs

    def _read_reply(self) -> dict[str, object]:
        while True:
            # A reply is one JSON object with nothing after it, so a buffer that does not hold a
            # closing brace cannot be complete: do not parse a long dump once per segment.
            if "}" in self._buffer:
                try:
                    reply, end = self._decoder.raw_decode(self._buffer)
                except ValueError:
                    pass
                else:
                    self._buffer = self._buffer[end:].lstrip()
                    return dict(reply)
            data = self._socket.recv(1 << 20)
            if not data:
                raise ConnectionResetError("the daemon closed the connection")
            # OVS escapes what is not ASCII, so a segment may end anywhere.
            self._buffer += data.decode("ascii", "replace")
