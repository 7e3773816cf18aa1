"""Arguments and options that several commands have."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Color(StrEnum):
    """When to print in colours."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


Colors = Annotated[Color, typer.Option("--color", help="Colours: on a terminal, always or never.")]

Flows = Annotated[
    str,
    typer.Argument(
        metavar="FLOWS",
        help="What ovs-ofctl dump-flows printed: a file, - for standard input, or example:br-tun.",
        show_default=False,
    ),
]

Ports = Annotated[
    str | None,
    typer.Option(
        "--ports",
        metavar="SHOW",
        help="What ovs-ofctl show printed: the bridge's ports and their names.",
    ),
]

Meters = Annotated[
    str | None,
    typer.Option(
        "--meters",
        metavar="METERS",
        help="What ovs-ofctl -O OpenFlow13 dump-meters printed.",
    ),
]

Groups = Annotated[
    str | None,
    typer.Option(
        "--groups",
        metavar="FILE",
        help="What ovs-ofctl -O OpenFlow15 dump-groups printed, unless FLOWS has it already.",
    ),
]

TlvMap = Annotated[
    str | None,
    typer.Option(
        "--tlv-map",
        metavar="FILE",
        help="What ovs-ofctl dump-tlv-map printed: the options that tun_metadata fields are. "
        "By default inferred from the flows.",
    ),
]

Connections = Annotated[
    str | None,
    typer.Option(
        "--conntrack",
        metavar="FILE",
        help="The connections to begin with: what ovs-appctl dpctl/dump-conntrack printed.",
    ),
]

NatBasis = Annotated[
    str | None,
    typer.Option(
        "--nat-basis",
        metavar="NUMBER",
        help="The secret number by which the switch picks from ranges of ct(nat). "
        "By default such a choice is not made, but unsupported.",
    ),
]

Vsctl = Annotated[
    str | None,
    typer.Option(
        "--vsctl",
        metavar="SHOW",
        help="What ovs-vsctl show printed: the VLANs of the ports, for NORMAL. Needs --ports.",
    ),
]

Fdb = Annotated[
    str | None,
    typer.Option(
        "--fdb",
        metavar="FILE",
        help="What NORMAL has learned already: what ovs-appctl fdb/show printed. Needs --vsctl.",
    ),
]

Lenient = Annotated[
    bool,
    typer.Option("--lenient", help="Tell of lines that cannot be read, and go on without them."),
]

NetworkFlows = Annotated[
    str | None,
    typer.Argument(
        metavar="FLOWS",
        help="What ovs-ofctl dump-flows printed: a file, - for standard input, or example:br-tun. "
        "Not with --node.",
        show_default=False,
    ),
]

Nodes = Annotated[
    list[str] | None,
    typer.Option(
        "--node",
        metavar="[NAME=]DIR",
        help="Instead of FLOWS: a node, the directory or archive of what was gathered there, or "
        "example:gre/compute. Once for each node.",
    ),
]

Links = Annotated[
    list[str] | None,
    typer.Option(
        "--link",
        metavar="NODE:DEVICE,NODE:DEVICE",
        help="Devices of nodes that are on one wire, such as compute:eth1,network:eth1.",
    ),
]
