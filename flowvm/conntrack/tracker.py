"""What a ``ct`` action does with a packet.

The rules are those of ``conntrack_execute`` in Open vSwitch 3.1's lib/conntrack.c. Times are
milliseconds.
"""

from __future__ import annotations

from dataclasses import replace

from flowvm.conntrack import nat
from flowvm.conntrack.alg import FTP, ControlPacket, Ports, expected_reply, protocol_of
from flowvm.conntrack.extract import (
    ECHO_REQUEST,
    ECHO_REQUEST6,
    ICMP_REPLIES,
    ICMPV6_REPLIES,
    INFORMATION,
    TIMESTAMP,
    Datagram,
    Facts,
    extract,
)
from flowvm.conntrack.key import Endpoint, Key, OriginalTuple
from flowvm.conntrack.nat import (
    ControlEdit,
    Translation,
    UnpredictableError,
)
from flowvm.conntrack.protocol import IcmpProgress, OtherProgress, Progress, Update
from flowvm.conntrack.request import (
    DESTINATION_NAT,
    ESTABLISHED,
    INVALID,
    NEW,
    NO_ORIGINAL,
    RELATED,
    REPLY,
    SOURCE_NAT,
    TRACKED,
    Request,
    Tracking,
)
from flowvm.conntrack.table import Connection, ConnectionTable, Expectation
from flowvm.conntrack.tcp import TcpProgress, may_begin
from flowvm.fields import ETH_TYPE_IP
from flowvm.protocols import ICMP, ICMPV6

_NATTED = SOURCE_NAT | DESTINATION_NAT
_ICMP_REQUESTS = frozenset({ECHO_REQUEST, TIMESTAMP, INFORMATION})


def track(
    table: ConnectionTable,
    datagram: Datagram,
    tracking: Tracking,
    request: Request,
    now: int,
    ports: Ports,
) -> Translation | None:
    """Send a packet through; ``tracking`` changes, and the result is what NAT makes of it.

    ``ports`` are those with which the datapath took it up, 0 if it found none.

    Raises UnpredictableError where Open vSwitch's answer cannot be told; the table has not changed
    then.
    """
    if tracking.state == INVALID:
        # That is what reassembly found a fragment to be.
        _describe(tracking, request.zone, None, None)
        return None
    known = tracking.connection
    protocol = protocol_of(datagram, request.helper, ports)
    if known is not None and known.key.zone == request.zone and not request.force and not protocol:
        return _track_known(known, tracking, request)
    facts = extract(datagram, request.zone)
    if facts is None:
        tracking.state = INVALID
        _describe(tracking, request.zone, None, None)
        return None
    control = ControlPacket(protocol, datagram, tracking, request)
    return _Tracker(table, facts, control, tracking, request, now).run()


class _OrphanError(Exception):
    """A connection is over while its translated replies are still known."""


class _Tracker:
    """One packet on its way through the table (``process_one``)."""

    def __init__(
        self,
        table: ConnectionTable,
        facts: Facts,
        control: ControlPacket,
        tracking: Tracking,
        request: Request,
        now: int,
    ) -> None:
        self._table = table
        self._facts = facts
        self._key = facts.key
        self._tracking = tracking
        self._request = request
        self._now = now
        self._control = control
        self._reply = False

    def run(self) -> Translation | None:
        tracking, request = self._tracking, self._request
        if tracking.zone != request.zone:
            tracking.state = 0
        try:
            connection = self._look_up()
        except _OrphanError:
            tracking.state |= INVALID
            _describe(tracking, request.zone, None, None)
            return None
        translation = expectation = None
        if connection is None:
            connection = self._by_original_tuple()
            replaced = connection is not None and self._update(connection)
            create = replaced or (connection is None and not self._facts.related)
            if connection is None and not create:
                tracking.state = INVALID
        else:
            create = self._update_control(connection)
            if request.nat is not None and not create:
                translation = _translate(
                    connection, tracking, request.zone, self._reply, self._facts.related
                )
        if create:
            expectation = self._table.expected(self._key, self._now)
            if not self._table.is_taken(self._key, self._now):
                connection, translation = self._begin(expectation)
        _describe(tracking, request.zone, connection, self._key, expectation)
        if connection is not None:
            _set(tracking, connection, request)
            if self._control.protocol and connection.helper:
                self._control.announce(
                    self._table, connection, self._facts, reply=self._reply, now=self._now
                )
        tracking.connection = None
        if request.nat is None:
            tracking.connection = connection
            tracking.reply, tracking.related = self._reply, self._facts.related
        if self._control.edit == ControlEdit():
            return translation
        kept = translation or Translation(None, None, None, self._key.protocol)
        return replace(kept, control=self._control.edit)

    def _look_up(self) -> Connection | None:
        """The connection that the packet belongs to; finds out ``_reply`` and ``_key`` too."""
        table, now, bucket = self._table, self._now, self._key.bucket
        # A packet that was translated before looks like a reply's opposite.
        natted = bool(self._tracking.state & _NATTED)
        found = table.entry(self._key.reversed() if natted else self._key, bucket, now)
        if found is None:
            return None
        entry, self._reply = found
        if natted:
            self._reply = not self._reply
            self._key = entry.reverse if self._reply else entry.key
        if self._request.force and self._reply:
            if not entry.for_replies:
                entry.connection.ended = now
            return None
        if not entry.for_replies:
            return entry.connection
        self._reply = True
        found = table.entry(self._key, entry.reverse.bucket, now)
        if found is None:
            raise _OrphanError
        entry, self._reply = found
        if entry.for_replies:
            raise UnpredictableError(
                "nat to a connection's own addresses after its end, which Open vSwitch 3.1 does "
                "not survive,"
            )
        return entry.connection

    def _by_original_tuple(self) -> Connection | None:
        """The connection whose translated packet this was when it was tracked before."""
        original, own = self._tracking.original, self._key
        if (
            not self._tracking.state & _NATTED
            or not original.protocol
            or original.eth_type != own.eth_type
            or self._request.nat is not None
        ):
            return None
        is_ipv4 = own.eth_type == ETH_TYPE_IP
        source = Endpoint(original.source, original.source_port)
        destination = Endpoint(original.destination, original.destination_port)
        if own.protocol == (ICMP if is_ipv4 else ICMPV6):
            kind = original.source_port & 0xFF
            replies = ICMP_REPLIES if is_ipv4 else ICMPV6_REPLIES
            source = Endpoint(original.source, own.source.port, kind)
            destination = Endpoint(
                original.destination, own.destination.port, replies.get(kind, kind)
            )
        key = Key(source, destination, own.eth_type, original.protocol, self._tracking.zone)
        found = self._table.find(key, self._now)
        return None if found is None else found[0]

    def _update(self, connection: Connection) -> bool:
        """Let the packet be a part of ``connection``; whether it begins another one instead."""
        tracking = self._tracking
        reply = REPLY if self._reply else 0
        if self._facts.related:
            tracking.state |= RELATED | reply
            return False
        update, renewed = connection.progress.update(self._facts, reply=self._reply)
        if renewed:
            connection.expiration = self._now + connection.progress.timeout
        match update:
            case Update.VALID:
                tracking.state = tracking.state & ~NEW | ESTABLISHED | reply
            case Update.VALID_NEW:
                tracking.state |= NEW
            case Update.INVALID:
                tracking.state = INVALID
            case Update.NEW:
                connection.ended = self._now
                return True
        return False

    def _update_control(self, connection: Connection) -> bool:
        """As :meth:`_update`, for a packet that may be one of an FTP control connection."""
        if self._control.protocol != FTP:
            return self._update(connection)
        if self._reply != connection.skew_in_reply:
            self._adjust(connection)
            return self._update(connection)
        create = self._update(connection)
        if not create:
            self._adjust(connection)
        return create

    def _adjust(self, connection: Connection) -> None:
        """Adjust what announces nothing: an announcement is, once it is known to be a good one."""
        if not self._control.is_announcement():
            self._facts = self._control.adjust(connection, self._facts, reply=self._reply)

    def _begin(
        self, expectation: Expectation | None
    ) -> tuple[Connection | None, Translation | None]:
        """Let the packet be the first of a connection, which is entered if it is committed."""
        tracking, request = self._tracking, self._request
        progress = _first_progress(self._facts)
        if progress is None:
            tracking.state = INVALID
            return None, None
        reply: Key | None = self._key.reversed()
        which = request.nat.which if request.nat is not None else 0
        if expectation is not None:
            if request.nat is not None:
                reply, which = expected_reply(self._key.reversed(), expectation)
        elif request.commit and request.nat is not None:
            reply = nat.reply_key(
                self._key,
                request.nat,
                lambda key: self._table.is_taken(key, self._now),
                self._table.nat_basis,
            )
        tracking.state = NEW if expectation is None else NEW | RELATED
        if not request.commit or reply is None:
            return None, None
        connection = Connection(
            self._key,
            reply,
            progress,
            self._now + progress.timeout,
            nat=which,
            with_nat=request.nat is not None,
            helper=request.helper if self._control.protocol in ("", request.helper) else "",
        )
        if expectation is not None:
            connection.mark, connection.label = expectation.mark, expectation.label
            connection.parent = expectation.parent.key
        translation = None
        if request.nat is not None:
            translation = _translate(connection, tracking, request.zone, False, False)
        self._table.add(connection, self._now)
        return connection, translation


def _first_progress(facts: Facts) -> Progress | None:
    """What a connection that begins with such a packet is; ``None`` if none can."""
    match facts.key.protocol:
        case 6:
            assert facts.segment is not None
            return TcpProgress.begun_by(facts.segment) if may_begin(facts.segment) else None
        case 1:
            return IcmpProgress() if facts.icmp_type in _ICMP_REQUESTS else None
        case 58:
            return IcmpProgress() if facts.icmp_type == ECHO_REQUEST6 else None
    return OtherProgress()


def _track_known(
    connection: Connection, tracking: Tracking, request: Request
) -> Translation | None:
    """What is done with a packet whose connection was found before (``process_one_fast``)."""
    translation = None
    if request.nat is not None:
        translation = _translate(
            connection, tracking, request.zone, tracking.reply, tracking.related
        )
        tracking.connection = None
    tracking.zone = request.zone
    tracking.mark, tracking.label = connection.mark, connection.label
    _set(tracking, connection, request)
    return translation


def _translate(
    connection: Connection, tracking: Tracking, zone: int, reply: bool, related: bool
) -> Translation | None:
    """What NAT makes of a packet, unless that was done in this zone before."""
    if not connection.nat or (tracking.state & _NATTED and zone == tracking.zone):
        return None
    translation = nat.translation(
        connection.key, connection.reply_key, connection.nat, is_reply=reply, related=related
    )
    if translation is not None:
        flag = SOURCE_NAT if translation.source is not None else DESTINATION_NAT
        tracking.state = tracking.state & ~_NATTED | flag
    return translation


def _describe(
    tracking: Tracking,
    zone: int,
    connection: Connection | None,
    key: Key | None,
    expectation: Expectation | None = None,
) -> None:
    """Note what is known of the packet now (``write_ct_md``)."""
    tracking.state |= TRACKED
    tracking.zone = zone
    tracking.mark = connection.mark if connection is not None else 0
    tracking.label = connection.label if connection is not None else 0
    if connection is not None:
        key = connection.parent or connection.key
    elif expectation is not None:
        tracking.mark, tracking.label = expectation.mark, expectation.label
        key = expectation.parent.key
    tracking.original = NO_ORIGINAL if key is None else original_tuple(key)


def original_tuple(key: Key) -> OriginalTuple:
    """The addresses of a connection that ``key`` opened, as the ct fields have them."""
    source, destination = key.source, key.destination
    ports = source.port, destination.port
    if key.protocol == (ICMP if key.eth_type == ETH_TYPE_IP else ICMPV6):
        ports = source.icmp_type, source.icmp_code
    return OriginalTuple(key.eth_type, source.address, destination.address, key.protocol, *ports)


def _set(tracking: Tracking, connection: Connection, request: Request) -> None:
    """Write the mark and the label that the action sets."""
    if request.mark is not None:
        connection.mark = tracking.mark = request.mark.applied(tracking.mark)
    if request.label is not None:
        connection.label = tracking.label = request.label.applied(tracking.label)
