"""Changes of a flow table, as a controller or ``ovs-ofctl`` asks for them: frozen, without I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from flowvm.actions.base import Action
from flowvm.flow import DEFAULT_PRIORITY, Match, Port, Table


class Command(Enum):
    """What a flow mod does (ovs-ofctl(8), "add-flows").

    A strict one concerns the flow with just this match and priority; the others, all flows with
    this match or a narrower one.
    """

    ADD = "add"
    MODIFY = "modify"
    MODIFY_STRICT = "modify_strict"
    DELETE = "delete"
    DELETE_STRICT = "delete_strict"

    @property
    def is_strict(self) -> bool:
        return self in (Command.MODIFY_STRICT, Command.DELETE_STRICT)

    @property
    def deletes(self) -> bool:
        return self in (Command.DELETE, Command.DELETE_STRICT)


@dataclass(frozen=True, slots=True)
class FlowMod:
    """One change.

    ``table`` of ``None`` is what the command makes of no table: all of them, or table 0. ``cookie``
    is what the flows get; ``None`` leaves theirs alone, where the protocol can say that.
    ``with_cookie`` is (value, mask) of the cookies that flows must have to be concerned, and
    ``out_port`` and ``out_group`` are where they must output to. Timeouts (seconds), importance and
    flags are those of new flows.
    """

    command: Command
    match: Match = field(default_factory=Match)
    actions: tuple[Action, ...] = ()
    priority: int = DEFAULT_PRIORITY
    table: Table | None = None
    cookie: int | None = None
    with_cookie: tuple[int, int] | None = None
    idle_timeout: int = 0
    hard_timeout: int = 0
    importance: int = 0
    flags: tuple[str, ...] = ()
    out_port: Port | None = None
    out_group: int | None = None
