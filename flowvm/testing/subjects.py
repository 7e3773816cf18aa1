"""What asserts are about: switches, made from whatever a user has flows in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flowvm.arrival import is_metadata
from flowvm.flow import Flow, Match, ReservedPort
from flowvm.names import Names
from flowvm.packet.batch import PacketBatch
from flowvm.pipeline.compile import flow_names, match_words, ports_of
from flowvm.switch import Switch, load
from flowvm.testing.aiming import Words
from flowvm.text.dump import parse_dump
from flowvm.text.parse import parse_match

Flows = Switch | str | Path | Iterable[Flow]
"""A switch, a dump's path or its text, or flows."""


@dataclass(frozen=True)
class Subject:
    """A switch and what to call it."""

    title: str
    switch: Switch


def subjects(
    given: Sequence[tuple[str, Flows]], ports: Mapping[str, int] | None
) -> tuple[Subject, ...]:
    """A subject for each pair of a title and flows; a path is a title of its own.

    Ports that the flows give by name alone have the same number in all of them. A switch is copied.
    Raises FlowSyntaxError for text that cannot be read, OSError for a file that cannot.
    """
    read = [(_title(title, flows), _read(flows)) for title, flows in given]
    everything = [flow for _, flows in read if not isinstance(flows, Switch) for flow in flows]
    common = flow_names(everything, ports)
    found = []
    for title, flows in read:
        if isinstance(flows, Switch):
            switch = flows.copy()
        else:
            switch = Switch(flows, _named(flows, ports, common))
        found.append(Subject(title, switch))
    return tuple(found)


def _named(flows: Sequence[Flow], ports: Mapping[str, int] | None, common: Names) -> Names:
    """The names of flows, of which ports and tunnel options are those of all."""
    names = flow_names(flows, ports)
    return replace(names, ports=common.ports, tlv_map=common.tlv_map)


def _read(flows: Flows) -> Switch | tuple[Flow, ...]:
    if isinstance(flows, Switch):
        return flows
    if isinstance(flows, str) and _is_text(flows):
        return parse_dump(flows).flows
    if isinstance(flows, str | Path):
        return tuple(load(flows).program.flows)
    return tuple(flows)


def _is_text(flows: str) -> bool:
    return "\n" in flows or "actions=" in flows or not flows.strip()


def _title(title: str, flows: Flows) -> str:
    is_path = isinstance(flows, Path) or (isinstance(flows, str) and not _is_text(flows))
    return f"{title} ({flows})" if is_path else title


def ports_about(switches: Iterable[Switch]) -> list[int]:
    """The ports that the switches' flows know, and one more that none of them mentions."""
    found: set[int] = set()
    for switch in switches:
        found |= {*switch.names.ports.values()}
        for flow in switch.program.flows:
            found |= {switch.port(port) for port in ports_of(flow)}
    found = {port for port in found if 0 < port < ReservedPort.MAX or port == ReservedPort.LOCAL}
    return sorted({*found, next(port for port in count(1) if port not in found)})


@dataclass(frozen=True)
class Demand:
    """What all packets of an assert have in common: ``words``, and the ``fields`` it names that no
    frame carries."""

    match: Match
    words: Words
    fields: tuple[str, ...]

    @classmethod
    def of(cls, packets: str | Match, switch: Switch) -> Demand:
        """The demand that a match makes; ``switch`` knows its ports.

        Raises FlowSyntaxError for one that cannot be read, ValueError for one that cannot be
        evaluated or that names a port which ``switch`` does not know.
        """
        match = parse_match(packets) if isinstance(packets, str) else packets
        try:
            words, missing = match_words(match, switch.names)
        except KeyError as error:
            raise ValueError(f'there is no port "{error.args[0]}"') from None
        if missing:
            raise ValueError(f"flowvm cannot match {', '.join(missing)}")
        names = dict.fromkeys(row.name for row, _, _ in match.constraints() if is_metadata(row))
        plain = {int(column): pair for column, pair in words.items()}
        return cls(match, plain, tuple(names))

    def met_by(self, batch: PacketBatch) -> NDArray[np.bool_]:
        """Which packets of ``batch`` have what is demanded."""
        met = np.ones(len(batch), bool)
        for column, (value, mask) in self.words.items():
            met &= batch.columns[column] & np.uint64(mask) == np.uint64(value)
        return met

    def __str__(self) -> str:
        return str(self.match) or "any packet"
