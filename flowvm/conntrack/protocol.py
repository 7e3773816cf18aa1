"""What the connections of all protocols have in common, and those of UDP, ICMP and others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum, auto
from typing import Self

from flowvm.conntrack import timeouts
from flowvm.conntrack.extract import Facts


class Update(Enum):
    """What a packet is to the connection that it belongs to (``enum ct_update_res``)."""

    INVALID = auto()
    VALID = auto()
    """Part of an established connection."""
    NEW = auto()
    """The first packet of another connection in the place of the old one."""
    VALID_NEW = auto()
    """Part of a connection that is not established yet."""


class Progress(ABC):
    """How far a connection has got."""

    @property
    @abstractmethod
    def timeout(self) -> int:
        """How many milliseconds the connection lives after the last packet that renewed it."""

    @abstractmethod
    def update(self, facts: Facts, *, reply: bool) -> tuple[Update, bool]:
        """Take one more packet; the second result tells whether it renews the connection."""

    @abstractmethod
    def copy(self) -> Self:
        """The same, to go its own way."""


class IcmpProgress(Progress):
    """An ICMP request that was or was not replied to (lib/conntrack-icmp.c)."""

    def __init__(self, *, replied: bool = False) -> None:
        self._replied = replied

    @property
    def timeout(self) -> int:
        return timeouts.ICMP_REPLY if self._replied else timeouts.ICMP_FIRST

    def update(self, facts: Facts, *, reply: bool) -> tuple[Update, bool]:  # noqa: ARG002
        self._replied |= reply
        return Update.VALID if self._replied else Update.VALID_NEW, True

    def copy(self) -> Self:
        return type(self)(replied=self._replied)


class OtherProgress(Progress):
    """UDP and what has no state of its own (lib/conntrack-other.c)."""

    def __init__(self, *, repeated: bool = False, replied: bool = False) -> None:
        self._repeated = repeated
        self._replied = replied

    @property
    def timeout(self) -> int:
        if self._replied:
            return timeouts.OTHER_BIDIRECTIONAL
        return timeouts.OTHER_MULTIPLE if self._repeated else timeouts.OTHER_FIRST

    def update(self, facts: Facts, *, reply: bool) -> tuple[Update, bool]:  # noqa: ARG002
        self._replied |= reply
        self._repeated = True
        return Update.VALID if self._replied else Update.VALID_NEW, True

    def copy(self) -> Self:
        return type(self)(repeated=self._repeated, replied=self._replied)
