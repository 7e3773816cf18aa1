"""Reading what describes a bridge besides its flows."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from flowvm.cli.inputs import (
    STDIN,
    InputError,
    label,
    read_compiled,
    read_dump,
    read_text,
    refuse,
    syntax_errors,
)

if TYPE_CHECKING:
    from flowvm.names import Names
    from flowvm.port_settings import BridgeSettings, MacEntry
    from flowvm.switch import Switch
    from flowvm.text.meters import MeterConfig


@dataclass(frozen=True)
class BridgeOptions:
    """The options that describe a bridge, by their names: what was given for each, if anything."""

    ports: str | None = None
    tlv_map: str | None = None
    groups: str | None = None
    meters: str | None = None
    conntrack: str | None = None
    vsctl: str | None = None
    fdb: str | None = None
    nat_basis: str | None = None

    def refuse(self, form: str) -> None:
        """Complain about any that is given: it does not go with ``form``."""
        refuse(form, **asdict(self))

    def read_stdin(self) -> bool:
        """Whether any of them is to come from standard input."""
        return STDIN in asdict(self).values()

    def switch(self, flows: str, *, lenient: bool = False) -> Switch:
        """The switch that a dump makes with what describes all else of the bridge."""
        from flowvm.switch import Switch

        self._check_stdin(flows)
        program = read_compiled(flows, self.ports, lenient=lenient, tlv_map=self.tlv_map).program
        if self.groups is not None:
            from flowvm.pipeline.compile_groups import with_groups

            dump = read_dump(self.groups, lenient=lenient)
            program = with_groups(program, dump.groups, dump.group_stats)
        if self.meters is not None:
            program = replace(program, meters=_read_meters(self.meters))
        if self.vsctl is not None:
            from flowvm.pipeline.assemble import with_bridge

            program = with_bridge(program, _read_bridge(self.vsctl, self.ports, program.names))
        switch = Switch.of(program)
        if self.fdb is not None:
            switch.load_macs(_read_macs(self.fdb, self.vsctl, program.names))
        if self.conntrack is not None:
            text = read_text(self.conntrack)
            with syntax_errors():
                switch.track(text, file=label(self.conntrack))
        if self.nat_basis is not None:
            switch.nat_basis = _number(self.nat_basis, "--nat-basis")
        return switch

    def _check_stdin(self, flows: str) -> None:
        others = {"groups": self.groups, "meters": self.meters, "connections": self.conntrack}
        others |= {"VLANs": self.vsctl, "MAC addresses": self.fdb}
        read = [flows, self.ports, self.tlv_map]
        for what, source in others.items():
            if source == STDIN in read:
                raise InputError(f"flowvm: {what} and flows cannot both come from standard input")
            read.append(source)


def _read_meters(source: str) -> tuple[MeterConfig, ...]:
    """The meters that an ``ovs-ofctl dump-meters`` describes."""
    from flowvm.text.meters import parse_meters

    text = read_text(source)
    with syntax_errors():
        return parse_meters(text, file=label(source))


def _read_bridge(source: str, ports: str | None, names: Names) -> BridgeSettings:
    """What an ``ovs-vsctl show`` says of the bridge with the ports of ``names``."""
    from flowvm.flow import ReservedPort
    from flowvm.text.vsctl_show import parse_vsctl_show

    if ports is None:
        raise InputError("flowvm: --vsctl needs --ports, which tells the numbers of the ports")
    text = read_text(source)
    with syntax_errors():
        bridges = parse_vsctl_show(text, file=label(source))
    wanted = names.port_name(ReservedPort.LOCAL)
    for bridge in bridges:
        if bridge.name == wanted:
            return bridge.numbered(names.ports).settings
    known = ", ".join(bridge.name for bridge in bridges)
    raise InputError(
        f"flowvm: {label(source)} does not tell of the bridge that --ports describes: its local "
        f"port is {wanted}, the bridges are {known}"
    )


def _read_macs(source: str, vsctl: str | None, names: Names) -> tuple[MacEntry, ...]:
    """The MAC table that a ``fdb/show`` printed."""
    from flowvm.text.fdb import parse_fdb

    if vsctl is None:
        raise InputError("flowvm: --fdb needs --vsctl: without it NORMAL is not executed")
    text = read_text(source)
    with syntax_errors():
        return parse_fdb(text, names.ports, file=label(source))


def _number(text: str, option: str) -> int:
    """A number of 32 bits that an option gives."""
    from flowvm.text.errors import WordError
    from flowvm.text.values import parse_number

    try:
        return parse_number(text, 32)
    except WordError as error:
        raise InputError(f"flowvm: {option}: {error.problem}") from None
