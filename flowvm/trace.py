"""A trace: what happens to one packet, and why.

A trace is a batch of one, run by the same :class:`~flowvm.pipeline.machine.Machine` as any other,
with a recorder on it. It runs on a copy of the state, so that asking changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as attribute
from itertools import chain

from flowvm.columns import Column
from flowvm.fields import field
from flowvm.flow import Flow, ReservedPort
from flowvm.names import Names
from flowvm.packet.batch import PacketBatch
from flowvm.pipeline.emission import Reason
from flowvm.pipeline.entry import Entry
from flowvm.pipeline.legs import Leg
from flowvm.pipeline.machine import Machine
from flowvm.pipeline.recirculation import RECIRC_ID_BITS
from flowvm.pipeline.result import Result, Verdict
from flowvm.pipeline.state import State
from flowvm.recorder import Kind, Step, StepRecorder
from flowvm.report.headers import format_addresses
from flowvm.report.tunnel import tunnel_fields
from flowvm.text.format import format_actions, format_match
from flowvm.text.values import format_ipv4, format_table, format_value

__all__ = [
    "Emission",
    "Kind",
    "Resumed",
    "Step",
    "Trace",
    "describe_flow",
    "port_label",
    "trace_packet",
]

_CT_STATE = field("ct_state")

DEFAULT_BRIDGE = "br0"
"""What a bridge is called whose ports, LOCAL among them, are not known."""


@dataclass(frozen=True, slots=True)
class Emission:
    """One frame that leaves the switch.

    ``port`` is an OpenFlow port number, ``"LOCAL"`` or ``"CONTROLLER"``; ``name`` is the port's
    name where it is known. ``tun_id``, ``tun_src`` and ``tun_dst`` are tunnel metadata that the
    frame leaves with, zero where nothing set them; ``tunnel`` is all of it that is not zero, by
    field, in ovs-ofctl's words, and the options of Geneve under ``"geneve"``. ``reason`` says why a
    frame goes to the controller ("action", "invalid_ttl", ...); one that is ``paused`` waits there
    until the controller lets it go on.
    """

    port: int | str
    name: str | None
    frame: bytes
    tun_id: int = 0
    tun_src: str = "0.0.0.0"
    tun_dst: str = "0.0.0.0"
    reason: str | None = None
    paused: bool = False
    tunnel: Mapping[str, str] = attribute(default_factory=dict, hash=False)

    def __str__(self) -> str:
        return str(self.port) if self.name is None else f"{self.port} ({self.name})"


@dataclass(frozen=True, slots=True)
class Resumed:
    """What happens to a copy of the packet that goes on in ``table`` after recirculation.

    ``ct_state`` are its flags after ``ct`` ("est|trk"), ``by_default`` if nobody said so. ``nat``
    are addresses and ports before and after, where a translation was pretended. The rest is as in
    a trace.
    """

    recirc_id: int
    table: int
    ct_state: str | None
    by_default: bool
    nat: tuple[str, str] | None
    flow: str
    steps: tuple[Step, ...]
    final_flow: str


@dataclass(frozen=True, slots=True)
class Trace:
    """What happens to one packet.

    ``flow`` are its headers and ``final_flow`` what they are when the pipeline is through
    ("unchanged" if they are the same); ``steps`` the lookups and actions in the order in which they
    happen; ``resumed`` what copies of it do that go on after connection tracking; ``learned`` the
    flows that ``learn`` made or made again; ``outputs`` what leaves, in order; ``verdict`` one of
    "output", "drop", "controller", "held", "unsupported" and "error"; ``reason`` says in words why.
    ``str()`` prints it in the layout of ``ofproto/trace``.
    """

    bridge: str
    flow: str
    steps: tuple[Step, ...]
    final_flow: str
    resumed: tuple[Resumed, ...]
    learned: tuple[Flow, ...]
    outputs: tuple[Emission, ...]
    verdict: str
    reason: str

    def all_steps(self) -> Iterator[Step]:
        """The steps of the packet and of its copies that were resumed, in order."""
        return chain(self.steps, *(copy.steps for copy in self.resumed))

    def lookups(self) -> Iterator[Step]:
        """The steps that look the packet, or a copy of it, up in a table, in order."""
        return (step for step in self.all_steps() if step.table is not None)

    @property
    def ports(self) -> tuple[int | str, ...]:
        """The ports that the packet leaves by, in order."""
        return tuple(output.port for output in self.outputs)

    @property
    def tables(self) -> tuple[int, ...]:
        """The tables that the packet is looked up in, in order."""
        return tuple(step.table for step in self.lookups() if step.table is not None)

    def __str__(self) -> str:
        from flowvm.report.text import format_trace

        return format_trace(self)


def trace_packet(state: State, packet: PacketBatch, ct_next: Sequence[int] | None = None) -> Trace:
    """What happens to ``packet``, a batch of one, in ``state``, which stays as it is.

    ``ct_next`` is as for :meth:`~flowvm.pipeline.machine.Machine.run`.
    Raises ValueError if the packet comes before the state's clock.
    """
    local = state.program.names.port_name(ReservedPort.LOCAL)
    bridge = DEFAULT_BRIDGE if local in (None, "LOCAL") else local
    return trace_on(Machine(state.copy()), packet, bridge, ct_next, settles=False)[0]


def trace_on(
    machine: Machine,
    packet: PacketBatch,
    bridge: str,
    ct_next: Sequence[int] | None = None,
    entry: Entry | None = None,
    *,
    settles: bool = True,
) -> tuple[Trace, Result]:
    """What happens to ``packet``, a batch of one, which ``machine`` runs, and what comes of it.

    ``bridge`` is what the bridge is called, the rest as for ``machine``'s
    :meth:`~flowvm.pipeline.machine.Machine.run`.
    """
    state = machine.state
    recorder = StepRecorder(state)
    result = machine.run(packet, recorder, ct_next, entry, settles=settles)
    outputs = tuple(_emissions(result, state.program.names))
    verdict = result.verdict(0)
    resumed = tuple(_resumed(leg, twin, state) for leg, twin in recorder.resumed)
    steps = (*recorder.steps(), *chain(*(copy.steps for copy in resumed)))
    trace = Trace(
        bridge,
        recorder.initial_flow(packet),
        recorder.steps(),
        recorder.final_flow(),
        resumed,
        tuple(flow for _, flow in result.learned_flows(state)),
        outputs,
        str(verdict),
        _reason(result, verdict, steps, outputs),
    )
    return trace, result


def _resumed(leg: Leg, recorder: StepRecorder, state: State) -> Resumed:
    resumption = leg.resumed
    assert resumption is not None
    ct_state = resumption.state
    frozen = int(leg.columns[Column.RECIRC]) >> RECIRC_ID_BITS.shift
    nat = None
    if resumption.nat is not None:
        assert resumption.before is not None
        assert resumption.after is not None
        version = resumption.nat.ip_version if resumption.nat.addresses is not None else None
        nat = (
            format_addresses(resumption.before.tolist(), version),
            format_addresses(resumption.after.tolist(), version),
        )
    return Resumed(
        recorder.recirc_id,
        state.frozen[frozen].table,
        None if ct_state is None else format_value(_CT_STATE, ct_state, _CT_STATE.full_mask),
        resumption.by_default,
        nat,
        recorder.format(leg.columns.tolist()),
        recorder.steps(),
        recorder.final_flow(),
    )


def _emissions(result: Result, names: Names) -> Iterator[Emission]:
    emissions = result.emissions
    tunnel = emissions.tunnel()
    for i, frame in enumerate(emissions.frames):
        port = int(emissions.port[i])
        why = Reason(int(emissions.reason[i]))
        yield Emission(
            port_label(port),
            known_name(port, names),
            frame,
            int(emissions.tun_id[i]),
            format_ipv4(int(emissions.tun_src[i])),
            format_ipv4(int(emissions.tun_dst[i])),
            None if why is Reason.NONE else why.name.lower(),
            result.packet_in(i).is_paused,
            tunnel_fields(tunnel, i, names.tlv_map),
        )


def port_label(port: int) -> int | str:
    """A port's number, or the name of a reserved one that a frame can leave by."""
    if port in (ReservedPort.LOCAL, ReservedPort.CONTROLLER):
        return ReservedPort.NAMES[port]
    return port


def known_name(port: int, names: Names) -> str | None:
    """The name of a port, unless it is known by nothing but what every bridge calls it."""
    name = names.port_name(port)
    return None if name == port_label(port) else name


def describe_flow(flow: Flow) -> str:
    """``table=2, priority=0 actions=drop``: enough of a flow to find it in its dump."""
    match = format_match(flow.match)
    where = f"table={format_table(flow.table or 0)}, priority={flow.priority}"
    return f"{where}{',' if match else ''}{match} actions={format_actions(flow.actions)}"


def _reason(
    result: Result, verdict: Verdict, steps: tuple[Step, ...], outputs: tuple[Emission, ...]
) -> str:
    problems = [step.text for step in steps if step.kind is Kind.ERROR]
    match verdict:
        case Verdict.UNSUPPORTED | Verdict.HELD:
            return result.reason(0)
        case Verdict.ERROR:
            return problems[-1] if problems else result.reason(0)
        case Verdict.OUTPUT | Verdict.CONTROLLER:
            verb = "output" if verdict is Verdict.OUTPUT else "sent"
            return f"{verb} to {', '.join(dict.fromkeys(_destination(o) for o in outputs))}"
    if result.batch.is_cut(0):
        return result.reason(0)
    last = [step for step in steps if step.table is not None][-1]
    if last.flow is None:
        return result.reason(0)
    where = describe_flow(last.flow)
    if not last.flow.actions:
        return f"dropped by {where}"
    problems += [step.text for step in steps if step.kind is Kind.WARNING]
    return f"{problems[-1]}: {where}" if problems else f"no output by {where}"


def _destination(output: Emission) -> str:
    return f"{output} ({output.reason})" if output.reason else str(output)
