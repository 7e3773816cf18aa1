"""Bridges and ports from "ovs-vsctl show"."""

from __future__ import annotations

import pytest

from flowvm.network.model import Bridge, Interface, Port
from flowvm.port_settings import PortSettings, VlanMode
from flowvm.text.errors import FlowSyntaxError
from flowvm.text.vsctl_show import parse_vsctl_show

SHOW = """\
0088f0c8-55f9-467a-b249-f27cefc8c0ca
    Manager "ptcp:6640:127.0.0.1"
    Bridge br-int
        fail_mode: secure
        datapath_type: dummy
        Port "we ird"
            Interface "we ird"
                type: patch
                options: {peer="x \\"y"}
        Port br-int
            Interface br-int
                type: internal
        Port p2
            tag: 7
            trunks: [1, 2, 3]
            Interface p2
                error: "could not open network device p2 (No such device)"
        Port bond0
            trunks: 12
            Interface b2
            Interface b1
    Bridge "br-x"
        Controller "tcp:127.0.0.1:6633"
            is_connected: true
        Port "gre-0a"
            Interface "gre-0a"
                type: gre
                options: {in_key=flow, remote_ip="10.0.0.1"}
        Port "br-x"
            Interface "br-x"
    ovs_version: "3.1.0"
"""


def test_bridges_have_their_ports_in_order() -> None:
    """Ports keep the order of the text, quoted names lose their quotes, escapes are undone."""
    int_, x = parse_vsctl_show(SHOW)
    assert (int_.name, int_.fail_mode) == ("br-int", "secure")
    assert [port.name for port in int_.ports] == ["we ird", "br-int", "p2", "bond0"]
    assert int_.ports[0].interfaces == (Interface("we ird", "patch", options={"peer": 'x "y'}),)
    assert x == Bridge(
        "br-x",
        (
            Port(
                PortSettings("gre-0a", ()),
                (Interface("gre-0a", "gre", options={"in_key": "flow", "remote_ip": "10.0.0.1"}),),
            ),
            Port(PortSettings("br-x", ()), (Interface("br-x"),)),
        ),
    )


def test_a_tag_makes_an_access_port() -> None:
    """A port with a tag is an access port even if it has trunks; without one it is a trunk."""
    ports = {port.name: port.settings for port in parse_vsctl_show(SHOW)[0].ports}
    assert ports["p2"] == PortSettings("p2", (), VlanMode.ACCESS, 7, frozenset({1, 2, 3}))
    assert ports["bond0"] == PortSettings("bond0", (), trunks=frozenset({12}))


def test_numbers_come_from_elsewhere() -> None:
    """Interfaces get the numbers that ovs-ofctl show has for their names, those of a bond too."""
    bridge = parse_vsctl_show(SHOW)[0].numbered({"b1": 5, "b2": 4, "p2": 2, "br-int": 65534})
    assert [port.settings.interfaces for port in bridge.ports] == [(), (65534,), (2,), (4, 5)]
    assert bridge.ports[3].interfaces[1] == Interface("b1", ofport=5)


@pytest.mark.parametrize(
    ("line", "column", "problem"),
    [
        ("            tag: 4096", 18, "a VLAN ID from 0 to 4095"),
        ("            trunks: [1, x]", 25, "a VLAN ID from 0 to 4095"),
        ("            trunks: [1 2]", 24, "run together"),
        ('        Port "p', 14, "does not end"),
    ],
)
def test_what_cannot_be_read_is_shown(line: str, column: int, problem: str) -> None:
    """An error tells the file, the line and the column of the word that is wrong."""
    text = f"    Bridge b\n        Port p\n{line}\n"
    with pytest.raises(FlowSyntaxError) as caught:
        parse_vsctl_show(text, file="show.txt")
    assert (caught.value.line, caught.value.column) == (3, column)
    assert problem in str(caught.value)
    assert str(caught.value).startswith(f"show.txt:3:{column}: ")


@pytest.mark.parametrize(
    ("text", "problem"), [("cookie=0x0, actions=drop\n", "no bridge"), ("Port p\n", "comes before")]
)
def test_other_text_is_refused(text: str, problem: str) -> None:
    """What describes no bridge, or a port of none, is probably the wrong file."""
    with pytest.raises(FlowSyntaxError, match=problem):
        parse_vsctl_show(text)
