"""Packets to the controller: ``controller``, and output to ``CONTROLLER``.

Semantics: ovs-actions(7), "The controller action".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowvm.actions.base import Action, Kept, Lowered, Operands, Operation, Packets, Resolver
from flowvm.pipeline.emission import PLAIN, PacketInOptions, Reason
from flowvm.text.errors import WordError
from flowvm.text.tree import Item
from flowvm.text.values import parse_number

if TYPE_CHECKING:
    from flowvm.pipeline.engine import Run

MAX_LEN_ALL = 0xFFFF
"""The ``max_len`` of a packet-in that says "the whole packet"."""

PACKET_IN_REASONS = ("no_match", "action", "invalid_ttl", "action_set", "group", "packet_out")


@dataclass(frozen=True)
class Controller(Action):
    """``CONTROLLER:BYTES`` or ``controller(KEY=VALUE,...)`` (ovs-actions(7), "controller")."""

    max_len: int = MAX_LEN_ALL
    reason: str = "action"
    controller_id: int = 0
    userdata: bytes = b""
    pause: bool = False
    meter_id: int | None = None

    def __str__(self) -> str:
        options = []
        if self.reason != "action":
            options.append(f"reason={self.reason}")
        if self.max_len != MAX_LEN_ALL:
            options.append(f"max_len={self.max_len}")
        if self.controller_id:
            options.append(f"id={self.controller_id}")
        if self.userdata:
            options.append(f"userdata={self.userdata.hex('.')}")
        if self.pause:
            options.append("pause")
        if self.meter_id is not None:
            options.append(f"meter_id={self.meter_id}")
        if not options or options == [f"max_len={self.max_len}"]:
            return f"CONTROLLER:{self.max_len}"
        return f"controller({','.join(options)})"

    def lower(self, resolver: Resolver) -> Lowered:  # noqa: ARG002
        options = PacketInOptions(self.controller_id, self.userdata, self.pause)
        reason = Reason[self.reason.upper()]
        if self.pause:
            return Lowered(Pause(reason, options))
        return Lowered(EmitToController(reason, options, self.meter_id))


@dataclass(frozen=True)
class EmitToController(Operation):
    """Send to the controller.

    All of it: a switch that buffers no packets, as those since 2.7, does not heed ``max_len``.
    """

    reason: Reason
    options: PacketInOptions = PLAIN
    meter_id: int | None = None

    @property
    def by_output(self) -> bool:
        """Whether it is an output to Open vSwitch: "CONTROLLER:BYTES" is, "controller(...)" not."""
        return self.reason is Reason.ACTION and self.options == PLAIN and self.meter_id is None

    @property
    def needs_headers(self) -> bool:
        return not self.by_output

    @property
    def needs_rule(self) -> bool:
        return True

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:  # noqa: ARG002
        run.to_controller(
            packets, self.reason, self.options, self.meter_id, by_output=self.by_output
        )
        return None


@dataclass(frozen=True)
class Pause(Operation):
    """Send to the controller, and wait for it to let the packet go on."""

    reason: Reason
    options: PacketInOptions

    @property
    def needs_rule(self) -> bool:
        return True

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:  # noqa: ARG002
        run.freezer.pause(packets, self.reason, self.options)
        return None


def make_controller(item: Item) -> Controller:
    if item.value is not None:
        return Controller(parse_number(item.value, 16, "a number of bytes"))
    changes: dict[str, int | str | bytes | bool] = {}
    parts = item.parts()
    if len(parts) == 1 and parts[0].value is None and parts[0].key.isdigit():
        return Controller(parse_number(parts[0].key, 16, "a number of bytes"))
    for part in parts:
        match part.name:
            case "reason":
                word = part.argument("a reason")
                if word not in PACKET_IN_REASONS:
                    raise WordError(
                        word, f'unknown reason "{word}"', f"one of {', '.join(PACKET_IN_REASONS)}"
                    )
                changes["reason"] = str(word)
            case "max_len":
                changes["max_len"] = parse_number(part.argument("a number of bytes"), 16)
            case "id":
                changes["controller_id"] = parse_number(part.argument("a controller ID"), 16)
            case "userdata":
                changes["userdata"] = parse_hex_bytes(part.argument("bytes in hexadecimal"))
            case "pause":
                changes["pause"] = True
            case "meter_id":
                changes["meter_id"] = parse_number(part.argument("a meter ID"), 32)
            case _:
                raise WordError(
                    part.key,
                    f'unknown key "{part.key}" in controller',
                    "reason, max_len, id, userdata, pause or meter_id",
                )
    return Controller(**changes)  # type: ignore[arg-type]


def parse_hex_bytes(word: str) -> bytes:
    """Pairs of hexadecimal digits, with or without periods between them."""
    try:
        return bytes.fromhex(word.replace(".", " "))
    except ValueError:
        raise WordError(
            word, "these are not bytes in hexadecimal", "pairs of digits such as 01.2f"
        ) from None
