"""A trace as text, in the layout of ``ofproto/trace``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flowvm.trace import Emission, Kind, Resumed, Step, Trace

_INDENT = 4
_RULE = "=" * 79
_DEFAULT_STATE = "ct_state=trk|new"

_LAYOUT = {
    Kind.TABLE: "{}",
    Kind.ACTION: "{}",
    Kind.BUCKET: "{}",
    Kind.DETAIL: " -> {}",
    Kind.WARNING: " >> {}",
    Kind.ERROR: " >>>> {} <<<<",
}


def format_trace(trace: Trace) -> str:
    """The whole trace: headers, steps, headers in the end, what leaves, and the verdict.

    Down to the last line "Final flow" it is what Open vSwitch 3.1 prints, its megaflows and
    datapath actions aside; then this tells the frames that leave, and the verdict in words.
    """
    return "\n".join(_lines(trace))


def _lines(trace: Trace) -> Iterator[str]:
    yield f"Flow: {trace.flow}"
    yield from _bridge(trace.bridge)
    yield from format_steps(trace.steps)
    yield ""
    yield f"Final flow: {trace.final_flow}"
    for copy in trace.resumed:
        yield from _resumed(copy, trace.bridge)
    yield "Outputs:" if trace.outputs else "Outputs: none"
    for output in trace.outputs:
        yield f"{'':{_INDENT}}{format_emission(output)}"
        yield f"{'':{2 * _INDENT}}{output.frame.hex()}"
    said = trace.reason.startswith(trace.verdict)
    yield f"Verdict: {trace.reason if said else f'{trace.verdict}: {trace.reason}'}"


def _bridge(name: str) -> Iterator[str]:
    header = f'bridge("{name}")'
    yield ""
    yield header
    yield "-" * len(header)


def _resumed(copy: Resumed, bridge: str) -> Iterator[str]:
    how = ""
    if copy.by_default:
        how = f" - resume conntrack with default {_DEFAULT_STATE} (use --ct-next to customize)"
    elif copy.ct_state is not None:
        how = f" - resume conntrack with ct_state={copy.ct_state}"
    yield ""
    yield _RULE
    yield f"recirc({copy.recirc_id:#x}){how}"
    if copy.nat is not None:
        yield "Replacing src/dst IP/ports to simulate NAT:"
        yield f" Initial flow: {copy.nat[0]}"
        yield f" Modified flow: {copy.nat[1]}"
    yield _RULE
    yield ""
    yield f"Flow: {copy.flow}"
    yield from _bridge(bridge)
    yield f"{'':{_INDENT}}thaw"
    yield f"{'':{2 * _INDENT}}Resuming from table {copy.table}"
    yield from format_steps(copy.steps)
    yield ""
    yield f"Final flow: {copy.final_flow}"


def format_steps(steps: Sequence[Step]) -> Iterator[str]:
    """The lines of the steps, indented as Open vSwitch does it.

    A lookup that is the last of its siblings is not indented further than what it belongs to: long
    chains of ``resubmit`` stay readable (``oftrace_node_print_details``).
    """
    indents = {0: 0}
    for step, last in zip(steps, _are_last(steps), strict=True):
        more = not (last and step.kind is Kind.TABLE)
        indent = indents[step.level] + more
        indents[step.level + 1] = indent + more
        yield " " * _INDENT * indent + _LAYOUT[step.kind].format(step.text)


def _are_last(steps: Sequence[Step]) -> list[bool]:
    """For each step, whether no sibling follows it."""
    last = []
    followed: set[int] = set()
    for step in reversed(steps):
        last.append(step.level not in followed)
        followed = {level for level in followed if level < step.level} | {step.level}
    return last[::-1]


def format_emission(output: Emission) -> str:
    """``2 (gre-1): 98 bytes, tun_id=0x1``, without the frame itself."""
    parts = [f"{len(output.frame)} bytes"]
    if output.reason:
        parts.append(f"reason={output.reason}")
    if output.paused:
        parts.append("paused")
    for name, value in output.tunnel.items():
        parts.append(f"geneve({value})" if name == "geneve" else f"{name}={value}")
    return f"{output}: {', '.join(parts)}"
