"""``flowvm reach``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowvm.cli.inputs import InputError, syntax_errors
from flowvm.cli.options import Lenient, Links, Nodes

if TYPE_CHECKING:
    from flowvm.network.reach import Search

NOT_FOUND = 1


def reach(
    br_flow: Annotated[
        str,
        typer.Argument(
            metavar="BR_FLOW",
            help="What the packet must have: tcp,tp_dst=22. By default anything goes.",
            show_default=False,
        ),
    ] = "",
    nodes: Nodes = None,
    links: Links = None,
    sender: Annotated[
        str, typer.Option("--from", metavar="NODE:PORT", help="The port where it comes in.")
    ] = "",
    receiver: Annotated[
        str, typer.Option("--to", metavar="NODE:PORT", help="The port where it is to leave.")
    ] = "",
    tries: Annotated[
        int | None,
        typer.Option(
            "--tries", metavar="N", min=1, help="How many packets to try. [default: 1000]"
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", metavar="S", min=0, help="Another seed, other packets.")
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    lenient: Lenient = False,
) -> None:
    """Look for a packet that gets from one port of a network to another.

    Prints the packet and its way, or says that none was found, with exit status 1: that is no
    proof that there is none.
    """
    if not nodes or not sender or not receiver:
        raise InputError("flowvm: reach needs --node, --from NODE:PORT and --to NODE:PORT")
    from flowvm.cli.nodes import read_network
    from flowvm.cli.trace_network import place_of
    from flowvm.network.reach import TRIES, search
    from flowvm.text.br_flow import parse_br_flow

    network = read_network(nodes, links or (), lenient=lenient)
    source = place_of(network, "--from", sender)
    target = place_of(network, "--to", receiver)
    state = network.state(source.spot)
    assert state is not None
    with syntax_errors("BR_FLOW"):
        constraints = parse_br_flow(br_flow, state.program.names.ports) if br_flow else None
    try:
        result = search(network, source, target, constraints, tries=tries or TRIES, seed=seed)
    except ValueError as error:
        raise InputError(f"flowvm: {error}") from None
    if as_json:
        import json

        print(json.dumps(_object(result), indent=2, ensure_ascii=False))
    else:
        _tell(result, sender, receiver)
    if result.found is None:
        sys.stdout.flush()
        sys.exit(NOT_FOUND)


def _tell(result: Search, sender: str, receiver: str) -> None:
    found = result.found
    if found is None:
        print(f"No packet from {sender} to {receiver} found among {result.tries} tried.")
        return
    print(f"This packet gets from {sender} to {receiver} (the {_th(result.tries)} tried):")
    print(f"  --frame {found.frame.hex()}" if found.br_flow is None else f"  {found.br_flow}")
    print()
    print(found.journey)


def _th(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10 if number % 100 // 10 != 1 else 0, "th")
    return f"{number}{ending}"


def _object(result: Search) -> dict[str, Any]:
    from flowvm.report.network_json import journey_object

    found = result.found
    if found is None:
        return {"reached": False, "tries": result.tries, "witness": None, "journey": None}
    witness = {"br_flow": found.br_flow, "frame": found.frame.hex()}
    journey = journey_object(found.journey)
    return {"reached": True, "tries": result.tries, "witness": witness, "journey": journey}
