"""Edits to FTP's control connection, where translation changes the addresses that it names."""

from __future__ import annotations

from flowvm.conntrack.headers import IPV4_HEADER, checksum_of, number, updated
from flowvm.conntrack.nat import ControlEdit
from flowvm.packet.decode import DEFAULT_VLAN_LIMIT, find_layout
from flowvm.packet.frames import Frames
from flowvm.protocols import TCP

_IPV4 = 4
_CHECKSUM, _SEQUENCE, _ACKNOWLEDGEMENT, _TCP_CHECKSUM = 10, 4, 8, 16
_WORD = 0xFFFF_FFFF


def edit_control(frame: bytes, edit: ControlEdit) -> bytes:
    """The frame after ``edit``: its lengths and numbers follow, the checksum is made anew."""
    layout = find_layout(Frames.of([frame]), DEFAULT_VLAN_LIMIT)
    l3, l4, pad = int(layout.l3[0]), int(layout.l4[0]), int(layout.l2_pad[0])
    at = l4 + (frame[l4 + 12] >> 4) * 4 + edit.at
    changed = bytearray(frame[:at] + edit.text + frame[at + edit.size :])
    is_ipv4 = frame[l3] >> 4 == _IPV4
    length_at = l3 + (2 if is_ipv4 else 4)
    before = number(frame, length_at, 2)
    length = before + len(edit.text) - edit.size
    changed[length_at : length_at + 2] = length.to_bytes(2, "big")
    if is_ipv4:
        where = slice(l3 + _CHECKSUM, l3 + _CHECKSUM + 2)
        checksum = updated(int.from_bytes(changed[where], "big"), before, length, 2)
        changed[where] = checksum.to_bytes(2, "big")
    for place, by in ((_SEQUENCE, edit.sequence), (_ACKNOWLEDGEMENT, edit.acknowledgement)):
        where = slice(l4 + place, l4 + place + 4)
        moved = int.from_bytes(changed[where], "big") + by & _WORD
        changed[where] = moved.to_bytes(4, "big")
    where = slice(l4 + _TCP_CHECKSUM, l4 + _TCP_CHECKSUM + 2)
    changed[where] = bytes(2)
    body = bytes(changed[l4 : len(changed) - pad])
    first = l3 + (IPV4_HEADER - 8 if is_ipv4 else 8)
    addresses = bytes(changed[first : first + (8 if is_ipv4 else 32)])
    pseudo = addresses + TCP.to_bytes(2, "big") + len(body).to_bytes(4, "big")
    changed[where] = checksum_of(pseudo + body).to_bytes(2, "big")
    return bytes(changed)
