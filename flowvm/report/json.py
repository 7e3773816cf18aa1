"""A trace as a JSON object, for programs to read."""

from __future__ import annotations

import json
from typing import Any

from flowvm.flow import Flow
from flowvm.report.tunnel import further_tunnel
from flowvm.text.format import format_actions, format_flow
from flowvm.trace import Emission, Resumed, Step, Trace


def trace_object(trace: Trace) -> dict[str, Any]:
    """The trace in types that JSON has.

    ``steps`` are the lookups only, in order; ``depth`` says how many others each is nested in.
    ``resumed``, if there are any, are the copies that go on after connection tracking; their
    lookups are among the steps.
    Cookies and tunnel IDs are strings in hexadecimal, since JSON's numbers may lose their low bits.
    """
    resumed = {"resumed": [_resumed(copy) for copy in trace.resumed]} if trace.resumed else {}
    return {
        "flow": trace.flow,
        "steps": [_lookup(step) for step in trace.lookups()],
        "outputs": [emission_object(output) for output in trace.outputs],
        "verdict": trace.verdict,
        "reason": trace.reason,
        "learned": [learned_text(flow) for flow in trace.learned],
        "final_flow": trace.final_flow,
        **resumed,
    }


def format_trace_json(trace: Trace) -> str:
    """The object as text, over several lines."""
    return json.dumps(trace_object(trace), indent=2, ensure_ascii=False)


def _resumed(copy: Resumed) -> dict[str, Any]:
    return {
        "recirc_id": copy.recirc_id,
        "table": copy.table,
        "ct_state": copy.ct_state,
        "flow": copy.flow,
        "final_flow": copy.final_flow,
    }


def _lookup(step: Step) -> dict[str, Any]:
    where: dict[str, Any] = {"depth": step.depth, "table": step.table}
    if step.flow is None:
        return where | {"miss": True}
    return where | {
        "priority": step.flow.priority,
        "cookie": f"{step.flow.cookie or 0:#x}",
        "match": step.match,
        "actions": format_actions(step.flow.actions),
    }


def emission_object(output: Emission) -> dict[str, Any]:
    """One output: port, name (null if not known), frame in hexadecimal, tunnel metadata.

    ``tunnel`` is there if there is more of that than ``tun_id``, ``tun_src`` and ``tun_dst``. One
    that waits at the controller has ``paused`` besides.
    """
    tunnel = further_tunnel(output.tunnel)
    return {
        "port": output.port,
        "name": output.name,
        "frame": output.frame.hex(),
        "tun_id": f"{output.tun_id:#x}",
        "tun_src": output.tun_src,
        "tun_dst": output.tun_dst,
        **({"paused": True} if output.paused else {}),
        **({"tunnel": tunnel} if tunnel else {}),
    }


def learned_text(flow: Flow) -> str:
    """A learned flow as ``dump-flows`` prints it, but for the statistics."""
    return format_flow(flow.replace(cookie=flow.cookie or None)).lstrip()
