"""A minimal OpenFlow 1.4 connection: empty a bridge's tables, and collect packets-in.

It exists for speed (emptying a bridge costs no fork) and because only a controller is sent the
packets that flows output to CONTROLLER. It knows the few messages those two jobs need.
"""

from __future__ import annotations

import enum
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_VERSION = 0x05  # 1.4: the first to tell apart all the reasons for a packet-in
NICIRA = 0x00002320

HELLO, ERROR, _ECHO_REQUEST, _ECHO_REPLY, EXPERIMENTER = 0, 1, 2, 3, 4
_SET_CONFIG, _FLOW_MOD, _GROUP_MOD = 9, 14, 15
_BARRIER_REQUEST, BARRIER_REPLY, _SET_ASYNC, _METER_MOD = 20, 21, 28, 29

_NXT_SET_PACKET_IN_FORMAT, _NXT_TLV_TABLE_MOD, _NXT_PACKET_IN2 = 16, 24, 30

ANY = 0xFFFFFFFF
_ALL = 0xFFFFFFFC
_METER_ALL = 0xFFFFFFFF
_IN_PORT_HEADER = bytes.fromhex("80000004")


class OpenFlowError(RuntimeError):
    """The switch refused a message of this connection."""


class Reason(enum.IntEnum):
    """Why the switch sent a packet to the controller."""

    NO_MATCH = 0
    ACTION = 1
    INVALID_TTL = 2
    ACTION_SET = 3
    GROUP = 4
    PACKET_OUT = 5


@dataclass(frozen=True)
class PacketIn:
    """One packet a flow sent to CONTROLLER.

    `frame` is cut to the `max_len` the action asked for; `total_len` is the length before. A
    packet-in of no flow (a table miss) has the cookie 2**64 - 1. `metadata` holds the pipeline
    fields as OXM entries; `in_port` is read from it. A packet that waits to be resumed has a
    `continuation`.
    """

    reason: Reason
    frame: bytes
    total_len: int
    table_id: int
    cookie: int
    in_port: int | None
    userdata: bytes
    metadata: bytes
    continuation: bytes


class OpenFlow:
    """A service controller connected to a bridge's management socket."""

    def __init__(self, path: Path, timeout: float = 30.0) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        self._socket.connect(str(path))
        self._buffer = bytearray()
        self._xid = 0
        self._packet_ins: list[PacketIn] = []
        self._send(message(HELLO, b""))
        # A service connection is sent nothing of its own accord until it sets a miss length.
        self._send(message(_SET_CONFIG, struct.pack("!HH", 0, 0xFFFF)))
        self._send(_nicira(_NXT_SET_PACKET_IN_FORMAT, struct.pack("!I", 2)))
        every_reason = sum(1 << reason for reason in Reason)
        self._send(
            message(
                _SET_ASYNC,
                b"".join(
                    struct.pack("!HHI", kind, 8, mask)
                    for kind, mask in ((1, every_reason), (3, 0), (5, 0))
                ),
            )
        )
        self.barrier()

    def close(self) -> None:
        self._socket.close()

    def barrier(self) -> None:
        """Return when the switch has handled all that was sent; keep the packets-in it sent."""
        self._xid += 1
        self._send(message(_BARRIER_REQUEST, b"", self._xid))
        refused: str | None = None
        while True:
            for kind, xid, body in self._messages():
                if kind == BARRIER_REPLY and xid == self._xid:
                    if refused is not None:
                        raise OpenFlowError(refused)
                    return
                if kind == ERROR:
                    refused = "OpenFlow error type {} code {}".format(
                        *struct.unpack("!HH", body[:4])
                    )
            self._receive()

    def clear(self) -> None:
        """Delete every flow, group and meter."""
        flow_mod = struct.pack(
            "!QQBBHHHIIIHH", 0, 0, 0xFF, 3, 0, 0, 0, ANY, ANY, ANY, 0, 0
        ) + struct.pack("!HH4x", 1, 4)
        self._send(message(_FLOW_MOD, flow_mod))
        self._send(message(_GROUP_MOD, struct.pack("!HBxI", 2, 0, _ALL)))
        self._send(message(_METER_MOD, struct.pack("!HHI", 2, 0, _METER_ALL)))
        self.barrier()

    def clear_tlv_map(self) -> None:
        """Forget which tunnel options are mapped to fields; refused while a flow uses one."""
        self._send(_nicira(_NXT_TLV_TABLE_MOD, struct.pack("!H6x", 2)))
        self.barrier()

    def drain(self) -> None:
        """Take in what has arrived, without waiting: the switch drops packets-in when 100 queue."""
        timeout = self._socket.gettimeout()
        self._socket.settimeout(0)
        try:
            while True:
                self._receive()
        except BlockingIOError:
            pass
        finally:
            self._socket.settimeout(timeout)
        for _ in self._messages():
            pass

    def take_packet_ins(self) -> list[PacketIn]:
        """The packets-in since the last call, oldest first."""
        self.barrier()
        taken, self._packet_ins = self._packet_ins, []
        return taken

    def _send(self, message: bytes) -> None:
        self._socket.sendall(message)

    def _receive(self) -> None:
        data = self._socket.recv(1 << 18)
        if not data:
            raise OpenFlowError("the switch closed the connection")
        self._buffer += data

    def _messages(self) -> Iterator[tuple[int, int, bytes]]:
        """Yield the whole messages of the buffer that are not handled here."""
        for whole in whole_messages(self._buffer):
            _, kind, _, xid = struct.unpack_from("!BBHI", whole)
            body = whole[8:]
            if kind == _ECHO_REQUEST:
                self._send(message(_ECHO_REPLY, body, xid))
            elif kind == EXPERIMENTER and struct.unpack_from("!II", body) == (
                NICIRA,
                _NXT_PACKET_IN2,
            ):
                self._packet_ins.append(_parse_packet_in(body[8:]))
            else:
                yield kind, xid, body


def message(kind: int, body: bytes = b"", xid: int = 0, version: int = _VERSION) -> bytes:
    """A message with its header; ``version`` is the number of the protocol on the wire."""
    return struct.pack("!BBHI", version, kind, 8 + len(body), xid) + body


def whole_messages(buffer: bytearray) -> Iterator[bytes]:
    """Take the messages out of ``buffer`` that are there as a whole."""
    while len(buffer) >= 8 and len(buffer) >= (length := int.from_bytes(buffer[2:4], "big")):
        whole = bytes(buffer[:length])
        del buffer[:length]
        yield whole


def _nicira(subtype: int, body: bytes) -> bytes:
    return message(EXPERIMENTER, struct.pack("!II", NICIRA, subtype) + body)


def _parse_packet_in(body: bytes) -> PacketIn:
    properties: dict[int, bytes] = {}
    offset = 0
    while offset + 4 <= len(body):
        kind, length = struct.unpack_from("!HH", body, offset)
        if length < 4:
            raise OpenFlowError("a property of a packet-in is shorter than its header")
        properties[kind] = body[offset + 4 : offset + length]
        offset += (length + 7) // 8 * 8
    frame = properties.get(0, b"")
    metadata = properties.get(6, b"")
    at = metadata.find(_IN_PORT_HEADER)
    return PacketIn(
        reason=Reason(properties.get(5, b"\1")[-1]),
        frame=frame,
        total_len=int.from_bytes(properties[1], "big") if 1 in properties else len(frame),
        table_id=properties.get(3, b"\0")[0],
        # A property of 8 bytes is aligned to 8, so four bytes of padding stand before it.
        cookie=int.from_bytes(properties.get(4, b"\xff" * 8)[-8:], "big"),
        in_port=int.from_bytes(metadata[at + 4 : at + 8], "big") if at >= 0 else None,
        userdata=properties.get(7, b""),
        metadata=metadata,
        continuation=properties.get(8, b""),
    )
