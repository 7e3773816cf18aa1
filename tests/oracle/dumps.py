"""`ovs-ofctl dump-flows` without a process for each dump.

The request for the statistics of flows goes to the bridge as ovs-ofctl sends it; what comes back
is printed by one ovs-ofctl that stays, so the text is still its own.
"""

from __future__ import annotations

import socket
import struct
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from .openflow import (
    ANY,
    BARRIER_REPLY,
    ERROR,
    EXPERIMENTER,
    HELLO,
    NICIRA,
    message,
    whole_messages,
)

_STATS_REQUEST_10, _STATS_REPLY_10 = 16, 17
_MULTIPART_REQUEST, _MULTIPART_REPLY = 18, 19
_MORE = 1

_NXT_SET_FLOW_FORMAT, _NXM = 12, 2
_VENDOR, _NXST_FLOW = 0xFFFF, 0

_ALL_FLOWS = struct.pack("!B3xII4xQQHH4x", 0xFF, ANY, ANY, 0, 0, 1, 4)
_FLOWS = 1
_NUMBERS = {f"OpenFlow1{minor}": minor + 1 for minor in range(6)}
"""What the versions are called on the wire."""

_XID = 4
_MARK = message(BARRIER_REPLY, xid=_XID, version=4)
_MARK_LINE = f"OFPT_BARRIER_REPLY (OF1.3) (xid={_XID:#x}):\n"
"""How what follows each message is printed, so that the end of a text is known."""


class DumpError(RuntimeError):
    """The switch did not answer a request for its flows with flows."""


class Printer:
    """One ovs-ofctl that prints OpenFlow messages for as long as it is kept open."""

    def __init__(self, program: str, environment: Mapping[str, str]) -> None:
        process = subprocess.Popen(
            ["stdbuf", "-oL", program, "ofp-parse", "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # it warns of what the text says as well
            env=environment,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        self._process, self._input, self._output = process, process.stdin, process.stdout

    def close(self) -> None:
        self._process.communicate()

    def text(self, messages: Iterable[bytes]) -> str:
        """What `ovs-ofctl` prints for ``messages``."""
        # One at a time: what is written must not wait for somebody to read what is printed.
        return "".join(line for one in messages for line in self._lines(one))

    def _lines(self, one: bytes) -> Iterator[str]:
        self._input.write(one + _MARK)
        self._input.flush()
        while (line := self._output.readline().decode()) != _MARK_LINE:
            if not line:
                raise DumpError("ovs-ofctl has ended")
            yield line


def flow_stats(path: Path, version: str, timeout: float = 30.0) -> list[bytes]:
    """The messages that tell all flows of the bridge whose management socket is at ``path``."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        connection.connect(str(path))
        connection.sendall(b"".join(_requests(version)))
        replies = []
        for kind, reply in _received(connection):
            if kind == ERROR:
                raise DumpError(f"OpenFlow error {reply[8:12].hex()}")
            if kind in (_STATS_REPLY_10, _MULTIPART_REPLY):
                replies.append(reply)
                if not int.from_bytes(reply[10:12], "big") & _MORE:
                    break
        return replies


def _requests(version: str) -> list[bytes]:
    number = _NUMBERS[version]
    if version != "OpenFlow10":
        request = struct.pack("!HH4x", _FLOWS, 0) + _ALL_FLOWS
        return [
            message(HELLO, version=number),
            message(_MULTIPART_REQUEST, request, _XID, number),
        ]
    set_format = struct.pack("!III", NICIRA, _NXT_SET_FLOW_FORMAT, _NXM)
    request = struct.pack("!HHII4xHHB3x", _VENDOR, 0, NICIRA, _NXST_FLOW, 0xFFFF, 0, 0xFF)
    return [
        message(HELLO, version=number),
        message(EXPERIMENTER, set_format, _XID, number),
        message(_STATS_REQUEST_10, request, _XID, number),
    ]


def _received(connection: socket.socket) -> Iterator[tuple[int, bytes]]:
    """The kind of each message that comes in, and the whole of it."""
    buffer = bytearray()
    while True:
        for whole in whole_messages(buffer):
            yield whole[1], whole
        data = connection.recv(1 << 18)
        if not data:
            raise DumpError("the switch closed the connection")
        buffer += data
