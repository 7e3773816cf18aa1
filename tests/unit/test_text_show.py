"""Port names from "ovs-ofctl show"."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowvm.names import Configuration, FragmentHandling
from flowvm.text.errors import FlowSyntaxError
from flowvm.text.show import parse_show

SHOW = """\
OFPT_FEATURES_REPLY (xid=0x2): dpid:00008272c483d847
n_tables:254, n_buffers:0
capabilities: FLOW_STATS TABLE_STATS PORT_STATS QUEUE_STATS ARP_MATCH_IP
actions: output enqueue set_vlan_vid
 1(patch-int): addr:fe:d2:9d:1a:7f:11
     config:     0
     state:      0
     speed: 0 Mbps now, 0 Mbps max
 12("a(b) c"): addr:06:c5:64:0e:a6:c2
     config:     NO_FLOOD PORT_DOWN
 LOCAL(br-tun): addr:82:72:c4:83:d8:47
     config:     PORT_DOWN
OFPT_GET_CONFIG_REPLY (xid=0x4): frags=normal miss_send_len=0
"""


def test_ports_have_names_and_numbers() -> None:
    """Each port's line gives its name and number, the local port's as well."""
    assert parse_show(SHOW) == {"patch-int": 1, "a(b) c": 12, "br-tun": 65534}


def test_addresses_are_known() -> None:
    """The Ethernet address of each port, and the bridge's datapath ID."""
    ports = parse_show(SHOW)
    assert ports.macs == {1: 0xFED29D1A7F11, 12: 0x06C5640EA6C2, 65534: 0x8272C483D847}
    assert ports.datapath_id == 0x8272C483D847


def test_ports_that_are_not_flooded_to_are_known() -> None:
    """FLOOD leaves out the ports configured so, and no others."""
    assert parse_show(SHOW).no_flood == {12}


def test_the_configuration_is_known() -> None:
    """What mod-port forbade, port by port, and what becomes of fragments."""
    text = SHOW.replace("config:     0", "config:     NO_RECV NO_FWD").replace("=normal", "=drop")
    config = parse_show(text).config
    assert config == Configuration(
        no_recv=frozenset({1}), no_fwd=frozenset({1}), fragments=FragmentHandling.DROP
    )
    assert parse_show(SHOW).config == Configuration()
    assert parse_show(SHOW.replace("=normal", "=reassemble")).config == Configuration()


def test_text_without_ports_is_refused() -> None:
    """What describes no port is probably the wrong file."""
    with pytest.raises(FlowSyntaxError, match="no port"):
        parse_show(" cookie=0x0, actions=drop\n", file="show.txt")


@pytest.mark.captures
def test_a_captured_show_is_read(captures: Path) -> None:
    """The ports of a real switch are found."""
    text = (captures / "hotsos-neutron-fw-br-tun.show.txt").read_text(encoding="utf-8")
    assert parse_show(text) == {
        "patch-int": 1,
        "vxlan-0a000072": 2,
        "vxlan-0a000085": 3,
        "br-tun": 65534,
    }
