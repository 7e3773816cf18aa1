"""Packets as they arrive at a switch, from what a user gives: text, bytes, or both.

``ofproto/trace`` has the same two ways (ovs-vswitchd(8), "ofproto/trace"): headers alone, from
which a frame is made up; or a frame, and with it what no frame carries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flowvm.clock import NEVER, SECOND
from flowvm.columns import N_COLUMNS, Column
from flowvm.fields import (
    ETH_TYPE_BITS,
    ETH_TYPE_IP,
    ETH_TYPE_IPV6,
    ETH_TYPE_VLAN,
    NW_TTL_BITS,
    OUTER_TCI,
    OUTER_TPID,
    PACKET_TYPE_BITS,
    Field,
)
from flowvm.flow import Match, Port, ReservedPort
from flowvm.names import Names
from flowvm.packet.batch import PacketBatch
from flowvm.packet.frames import Frames
from flowvm.pipeline.state import State
from flowvm.text.br_flow import parse_br_flow
from flowvm.text.errors import suggestion
from flowvm.text.values import CT_STATE_FLAGS

if TYPE_CHECKING:
    from scapy.packet import Packet

DEFAULT_TTL = 64

Seconds = int | float | Decimal | str
"""A time in seconds; kept to the nanosecond."""


class PacketError(ValueError):
    """A packet that cannot arrive: from an unknown port, in the past, with impossible headers."""


_FRAME_DIGITS = frozenset("0123456789abcdefABCDEF: \t\n\r\v\f")

_LATEST = NEVER // SECOND - (1 << 17)
"""The last second a packet can arrive at: the longest timeout still ends after it."""

_NOT_CARRIED = (Column.IN_PORT, Column.PACKET_TYPE, Column.ACTSET_OUTPUT)


def nanoseconds(seconds: Seconds) -> int:
    """Whole nanoseconds; a float counts as the decimal number it is printed as.

    Raises ValueError for what is not a number.
    """
    try:
        # Through its text, 0.1 is a tenth and not the binary fraction nearest to it.
        exact = seconds if isinstance(seconds, Decimal) else Decimal(str(seconds).strip())
    except InvalidOperation:
        exact = Decimal("NaN")
    if not exact.is_finite():
        raise ValueError(f'"{seconds}" is not a number of seconds')
    if exact.copy_abs() > _LATEST:
        raise ValueError(f"{seconds} s is further away than a clock of 64 bits can tell")
    return int((exact * SECOND).to_integral_value())


def parse_frame(digits: str) -> bytes:
    """The bytes of a frame written in hexadecimal; blanks and colons between bytes do not count.

    Raises ValueError, which says what is wrong.
    """
    try:
        return bytes.fromhex(digits.replace(":", " "))
    except ValueError:
        for position, character in enumerate(digits, start=1):
            if character not in _FRAME_DIGITS:
                what = f'"{character}", character {position}, is no hexadecimal digit'
                raise ValueError(what) from None
        raise ValueError("half a byte: hexadecimal digits come in pairs") from None


def parse_ct_states(texts: Sequence[str]) -> list[int]:
    """The ``ct_state`` that each of ``texts`` names: flags with commas between them.

    The conditions are those of ovs-fields(7), "ct_state". Raises PacketError.
    """
    return [_parse_ct_state(text) for text in texts]


def _parse_ct_state(text: str) -> int:
    state = 0
    for word in text.replace(",", " ").split():
        if word not in CT_STATE_FLAGS:
            raise PacketError(
                f'unknown flag "{word}" of ct_state{suggestion(word, CT_STATE_FLAGS)}'
            )
        state |= CT_STATE_FLAGS[word]
    names = {name for name, flag in CT_STATE_FLAGS.items() if state & flag}
    if names and "trk" not in names:
        raise PacketError(f'ct_state {text}: no flag is set without "trk"')
    if "inv" in names and names != {"inv", "trk"}:
        raise PacketError(f'ct_state {text}: "inv" goes with "trk" only')
    for other in ("est", "rpl"):
        if {"new", other} <= names:
            raise PacketError(f'ct_state {text}: "new" does not go with "{other}"')
    return state


def is_metadata(row: Field) -> bool:
    """Whether a packet has the field besides its frame and port: tunnel, registers, marks."""
    if row.bits is None:
        return True  # an option of a tunnel
    return row.bits.column < Column.ETH_SRC and row.bits.column not in _NOT_CARRIED


def arrive(
    state: State,
    packet: str | bytes | Packet,
    br_flow: str,
    in_port: Port | None,
    at: Seconds | None,
) -> PacketBatch:
    """The batch of one that arguments of :meth:`flowvm.switch.Switch.trace` stand for.

    Raises FlowSyntaxError and PacketError.
    """
    names = state.program.names
    if isinstance(packet, str) and br_flow:
        raise PacketError("br_flow goes with a frame; these headers are one already")
    text = packet if isinstance(packet, str) else br_flow
    headers = parse_br_flow(text, names.ports) if text else Match()
    try:
        time = state.now if at is None else nanoseconds(at)
        if time < state.now:
            raise PacketError(
                f"{at} s is before the switch's time, {Decimal(state.now) / SECOND} s"
            )
        port = _in_port(headers, names, in_port)
        if isinstance(packet, str):
            return from_headers(headers, names, port, time)
        return from_frame(_bytes_of(packet), headers, names, port, time)
    except ValueError as error:
        raise PacketError(str(error)) from error


def _in_port(headers: Match, names: Names, in_port: Port | None) -> int:
    """The port that a packet comes in by; none, as for ``ofproto/trace``, if it is not said."""
    said = in_port_of(headers, names.ports)
    if in_port is None:
        return said or ReservedPort.NONE
    try:
        port = names.port(in_port)
    except KeyError:
        raise PacketError(f'there is no port "{in_port}"') from None
    if said not in (None, port):
        raise PacketError(f"two ports to come in by are given: {said} and {in_port}")
    return port


def _bytes_of(packet: bytes | Packet) -> bytes:
    if isinstance(packet, bytes | bytearray | memoryview):
        return bytes(packet)
    from flowvm.packet.scapy_edge import frame_bytes

    return frame_bytes(packet)


def in_port_of(match: Match, ports: Mapping[str, int]) -> int | None:
    """The port that ``match`` names, if it does; KeyError for a name that ``ports`` lacks."""
    for row, value, _ in match.constraints():
        if row.name.startswith("in_port"):
            return ports[value] if isinstance(value, str) else value
    return None


def from_headers(headers: Match, names: Names, in_port: int, time: int) -> PacketBatch:
    """A packet with ``headers``, the rest of them zero, but for a TTL of 64; ``time`` is in ns.

    Raises KeyError for a port name that ``names`` lacks, ValueError for a tunnel option that has no
    place there and for headers that no frame can have.
    """
    from flowvm.packet.compose import compose

    words = headers.words(names.ports, names.tlv_map)
    columns = _columns(words)
    columns[Column.IN_PORT] = in_port
    packet_type = int(columns[PACKET_TYPE_BITS.column, 0]) >> PACKET_TYPE_BITS.shift
    if packet_type:
        columns[ETH_TYPE_BITS.column] |= np.uint64((packet_type & 0xFFFF) << ETH_TYPE_BITS.shift)
    if not words.get(Column.NW, (0, 0))[1] & 0xFF << NW_TTL_BITS.shift:
        eth_type = columns[Column.NW] >> np.uint64(ETH_TYPE_BITS.shift)
        if eth_type[0] in (ETH_TYPE_IP, ETH_TYPE_IPV6):
            columns[Column.NW] |= np.uint64(DEFAULT_TTL << NW_TTL_BITS.shift)
    vlan = int(columns[Column.VLAN, 0])
    if vlan >> OUTER_TCI.shift & 0xFFFF and not vlan >> OUTER_TPID.shift:
        columns[Column.VLAN] |= np.uint64(ETH_TYPE_VLAN << OUTER_TPID.shift)
    return PacketBatch(compose(columns), columns, np.array([time], np.int64), names.tlv_map)


def from_frame(frame: bytes, metadata: Match, names: Names, in_port: int, time: int) -> PacketBatch:
    """A packet with the bytes ``frame`` and those of ``metadata`` that no frame carries.

    As with ``ofproto/trace``, header fields of ``metadata`` give way to the frame's. ``time`` is in
    ns. Raises KeyError and ValueError as :func:`from_headers` does.
    """
    batch = PacketBatch.of(Frames.of([frame]), in_port, time, tlv_map=names.tlv_map)
    for column, (value, _) in metadata.words(names.ports, names.tlv_map).items():
        if column < Column.ETH_SRC and column not in _NOT_CARRIED:
            batch.columns[column] = value
    return batch


def _columns(words: Mapping[Column, tuple[int, int]]) -> NDArray[np.uint64]:
    columns = np.zeros((N_COLUMNS, 1), np.uint64)
    columns[Column.IN_PORT] = ReservedPort.NONE
    columns[Column.ACTSET_OUTPUT] = ReservedPort.UNSET
    for column, (value, _) in words.items():
        columns[column] = value
    return columns
