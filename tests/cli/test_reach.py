"""``flowvm reach``: does any packet get from one port of a network to another."""

from __future__ import annotations

import json

import pytest

from .conftest import Run

NODES = [f"--node={name}=example:gre/{name}" for name in ("compute", "network")]
VM, STRANGER = "compute:qvo591d8cc4-df", "compute:qvo3b07f2a9-14"
TAP = "network:tapde5739e1-95"


def test_witness_and_its_way(flowvm: Run) -> None:
    """The packet is told as for trace, with its way; given to trace, it gets there."""
    ended = flowvm("reach", *NODES, "--from", VM, "--to", TAP, "udp,tp_dst=67")
    assert (ended.status, ended.err) == (0, "")
    first, witness, *_ = ended.out.splitlines()
    assert first == f"This packet gets from {VM} to {TAP} (the 1st tried):"
    assert f"\nDelivered to {TAP} (" in ended.out
    traced = flowvm("trace", *NODES, "--from", VM, witness.strip())
    assert f"\nDelivered to {TAP} (" in traced.out


def test_none_is_found(flowvm: Run) -> None:
    """Exit status 1, and how many were tried: it is no proof."""
    ended = flowvm("reach", *NODES, "--from", STRANGER, "--to", TAP, "--tries", "40")
    message = f"No packet from {STRANGER} to {TAP} found among 40 tried.\n"
    assert (ended.status, ended.out, ended.err) == (1, message, "")


def test_json(flowvm: Run) -> None:
    """One object, whether or not a packet was found."""
    found = json.loads(flowvm("reach", *NODES, "--from", VM, "--to", TAP, "--json").out)
    assert (found["reached"], found["tries"]) == (True, 1)
    assert found["journey"]["hops"][0]["frame"] == found["witness"]["frame"]
    ended = flowvm("reach", *NODES, "--from", STRANGER, "--to", TAP, "--tries=5", "--json")
    nothing = {"reached": False, "tries": 5, "witness": None, "journey": None}
    assert (ended.status, json.loads(ended.out)) == (1, nothing)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from", VM], "reach needs --node, --from NODE:PORT and --to NODE:PORT"),
        (["--from", VM, "--to", "network:tap"], '--to: there is no interface "tap" on a bridge'),
        (["--from", VM, "--to", TAP, "nw_scr=1"], 'BR_FLOW:1:1: unknown field "nw_scr"'),
    ],
)
def test_what_cannot_be_asked(flowvm: Run, arguments: list[str], message: str) -> None:
    """Missing and unknown ends, and constraints that cannot be read, are told."""
    ended = flowvm("reach", *NODES, *arguments)
    assert (ended.status, ended.out) == (2, "")
    assert message in ended.err
