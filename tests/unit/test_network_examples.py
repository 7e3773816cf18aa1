"""The nodes that come with flowvm: one cloud, joined in three ways."""

from __future__ import annotations

import pytest

from flowvm.examples import example_nodes, node_source
from flowvm.network.model import Node
from flowvm.network.read import read_node


def read(name: str) -> Node:
    return read_node(node_source(f"example:{name}"))


@pytest.mark.parametrize("name", example_nodes())
def test_every_example_is_a_node(name: str) -> None:
    """Named as its directory; each bridge has flows, and each port a number."""
    node = read(name)
    assert node.name == name.split("/")[1]
    for bridge in node.bridges:
        assert bridge.program is not None
        assert len(bridge.program.flows) >= 1
        assert all(i.ofport is not None for port in bridge.ports for i in port.interfaces)


@pytest.mark.parametrize("cloud", ["gre", "vlan", "vxlan"])
def test_tags_are_those_of_the_node(cloud: str) -> None:
    """The first tenant has tag 2 on the compute node and tag 1 on the network node."""
    tags = {
        port.name: port.settings.tag
        for name in ("compute", "network")
        for bridge in read(f"{cloud}/{name}").bridges
        for port in bridge.ports
        if port.settings.tag
    }
    assert tags == {
        "qvo591d8cc4-df": 2,
        "qvo3b07f2a9-14": 3,
        "tapde5739e1-95": 1,
        "qr-6c21e0b7-48": 1,
    }


def test_an_example_that_there_is_not_is_named() -> None:
    """With those that there are."""
    with pytest.raises(OSError, match="no such example; there is gre/compute"):
        node_source("example:gre/nowhere")
