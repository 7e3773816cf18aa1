"""The application-level gateways: what a control connection of FTP or TFTP leads to.

The rules are those of ``handle_ftp_ctl``, ``handle_tftp_ctl`` and ``expectation_create`` in Open
vSwitch 3.1's lib/conntrack.c. Times are milliseconds.
"""

from __future__ import annotations

from dataclasses import replace

from flowvm.conntrack.extract import Datagram, Facts
from flowvm.conntrack.ftp import (
    Announcement,
    address_text,
    is_announcement,
    message_of,
    parse_announcement,
)
from flowvm.conntrack.key import Endpoint, Key
from flowvm.conntrack.nat import DESTINATION, SOURCE, ControlEdit, UnpredictableError
from flowvm.conntrack.request import INVALID, REPLY, TRACKED, Request, Tracking
from flowvm.conntrack.table import Connection, ConnectionTable, Expectation
from flowvm.fields import ETH_TYPE_IP
from flowvm.protocols import TCP, UDP

FTP, TFTP = "ftp", "tftp"
_FTP_PORT, _TFTP_PORT = 21, 69
_WORD = 0xFFFF_FFFF
_MOST_BEHIND = 255
"""What stands behind an address that is replaced, Open vSwitch counts in 8 bits."""


Ports = tuple[int, int]


def protocol_of(datagram: Datagram, helper: str, ports: Ports) -> str:
    """The ALG whose control connection the packet belongs to (``get_alg_ctl_type``), or ``""``.

    With a helper given, the control port is that of ``ports`` (source and destination), which the
    packet had when the datapath took it up.
    """
    frame, l3, l4 = datagram.frame, datagram.l3, datagram.l4
    if l3 < 0 or l4 < 0 or l4 + 4 > len(frame):
        return ""
    protocol = frame[l3 + 9] if datagram.eth_type == ETH_TYPE_IP else frame[l3 + 6]
    source = int.from_bytes(frame[l4 : l4 + 2], "big")
    destination = int.from_bytes(frame[l4 + 2 : l4 + 4], "big")
    came_from, came_to = ports
    if protocol == UDP and destination == (came_to if helper == TFTP and came_to else _TFTP_PORT):
        return TFTP
    from_port = came_from if helper == FTP and came_from and not came_to else _FTP_PORT
    to_port = came_to if helper == FTP and came_to else _FTP_PORT
    if protocol == TCP and (source == from_port or destination == to_port):
        return FTP
    return ""


class ControlPacket:
    """A packet to or from a control port, if ``protocol`` is FTP or TFTP; ``""`` for any other.

    ``edit`` is what becomes of its numbers and of the address that it names.
    """

    def __init__(
        self, protocol: str, datagram: Datagram, tracking: Tracking, request: Request
    ) -> None:
        self.protocol = protocol
        self.edit = ControlEdit()
        self._datagram = datagram
        self._tracking = tracking
        self._request = request

    def is_announcement(self) -> bool:
        """Whether a segment of FTP's tells of a data connection, rightly or not."""
        return is_announcement(message_of(self._datagram), self._datagram.eth_type)

    def adjust(self, connection: Connection, facts: Facts, *, reply: bool) -> Facts:
        """Let the numbers of a segment be what they are to the receiver.

        The result is what the connection's state is to be judged by.
        """
        segment = facts.segment
        if self._request.nat is None or segment is None:
            return facts
        if connection.is_from_dump:
            raise UnpredictableError("FTP with nat on a connection from a dump")
        skew = connection.skew
        if reply == connection.skew_in_reply:
            self.edit = replace(self.edit, sequence=skew)
            return facts
        self.edit = replace(self.edit, acknowledgement=-skew)
        moved = segment.acknowledgement - skew & _WORD
        return replace(facts, segment=segment._replace(acknowledgement=moved))

    def announce(
        self, table: ConnectionTable, connection: Connection, facts: Facts, *, reply: bool, now: int
    ) -> None:
        """Expect the connection that a packet of a control connection announces."""
        tracking, eth_type = self._tracking, self._datagram.eth_type
        in_reply = bool(tracking.state & REPLY)
        if self.protocol == TFTP:
            port = connection.key.source.port
            table.expect(_expectation(connection, port, in_reply=in_reply), now)
            return
        if not self.is_announcement():
            return
        told = parse_announcement(message_of(self._datagram), eth_type)
        if told is None or not _may_announce(connection, told):
            tracking.state |= TRACKED | INVALID
            return
        table.expect(_expectation(connection, told.port, in_reply=in_reply), now)
        self.adjust(connection, facts, reply=reply)
        if self._request.nat is None or told.address is None:
            return
        if len(self._datagram.frame) - self._datagram.l4 - told.at > _MOST_BEHIND:
            raise UnpredictableError("FTP with nat in a long message")
        end = connection.key if told.is_passive else connection.reply_key
        text = address_text(end.destination.address, eth_type)
        self.edit = replace(self.edit, at=told.at, size=told.size, text=text)
        if len(text) != told.size:
            connection.skew += len(text) - told.size
            connection.skew_in_reply = reply


def expected_reply(reply: Key, expectation: Expectation) -> tuple[Key, int]:
    """What replies to an announced connection look like, and what of it is translated."""
    if expectation.to_destination:
        end = reply.destination._replace(address=expectation.address)
        return reply._replace(destination=end), SOURCE
    return reply._replace(source=reply.source._replace(address=expectation.address)), DESTINATION


def _may_announce(connection: Connection, told: Announcement) -> bool:
    """Whether the address that is named is one of the end that names it."""
    key, reply = connection.key, connection.reply_key
    if told.address is None:
        return True
    if told.is_passive:
        return told.address in (key.destination.address, reply.source.address)
    return told.address in (key.source.address, reply.destination.address)


def _expectation(parent: Connection, port: int, *, in_reply: bool) -> Expectation:
    """Of a connection to ``port`` of the other end than that which is the sender."""
    key, reply = parent.key, parent.reply_key
    translates_destination = bool(parent.nat & DESTINATION)
    if in_reply:
        source, destination = key.source.address, key.destination.address
        address = reply.destination.address
        if translates_destination:
            address = reply.source.address
    else:
        source, destination = reply.source.address, reply.destination.address
        address = key.source.address
        if translates_destination:
            address = key.destination.address
    expected = key._replace(source=Endpoint(source), destination=Endpoint(destination, port))
    to_destination = in_reply != translates_destination
    return Expectation(expected, parent, parent.mark, parent.label, address, to_destination)
