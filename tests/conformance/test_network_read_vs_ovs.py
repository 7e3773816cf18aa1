"""What a real Open vSwitch says of its bridges, in all the ways it has of saying it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from flowvm.network.model import Bridge
from flowvm.network.read import read_node
from flowvm.port_settings import PortSettings, VlanMode
from tests.oracle import OpenVSwitch
from tests.unit.network_files import write

pytestmark = pytest.mark.oracle

PORTS = {
    "acc": ["tag=2"],
    "nat": ["tag=7", "trunks=5,6", "vlan_mode=native-untagged"],
    "trk": ["trunks=9", "protected=true"],
    "qinq": ["tag=8", "vlan_mode=dot1q-tunnel", "cvlans=1,2", "other-config:qinq-ethtype=802.1q"],
    "we ird": ["other-config:priority-tags=always"],
}
EXPECTED = {
    "acc": PortSettings("acc", (1,), VlanMode.ACCESS, 2),
    "nat": PortSettings("nat", (2,), VlanMode.NATIVE_UNTAGGED, 7, frozenset({5, 6})),
    "trk": PortSettings("trk", (3,), trunks=frozenset({9}), protected=True),
    "qinq": PortSettings(
        "qinq", (4,), VlanMode.DOT1Q_TUNNEL, 8, cvlans=frozenset({1, 2}), qinq_ethtype=0x8100
    ),
    "we ird": PortSettings("we ird", (5,), priority_tags="always"),
    "to-b": PortSettings("to-b", (6,)),
    "bond": PortSettings("bond", (7, 8)),
    "na": PortSettings("na", (0xFFFE,)),
}


@pytest.fixture(scope="module")
def switch() -> Iterator[OpenVSwitch]:
    with OpenVSwitch(ports=1) as ovs:
        ovs.remove_bridge("br0")
        for bridge in ("na", "nb"):
            ovs.vsctl("add-br", bridge, "--", "set", "bridge", bridge, "datapath-type=dummy")
        ovs.vsctl("set", "bridge", "na", "flood-vlans=3,4", "other-config:mac-aging-time=60")
        ovs.vsctl("set-fail-mode", "na", "secure")
        for number, (name, columns) in enumerate(PORTS.items(), start=1):
            made = ["--", "set", "interface", name, "type=dummy", f"ofport_request={number}"]
            ovs.vsctl("add-port", "na", name, *columns, *made)
        for name, peer, bridge in (("to-b", "to-a", "na"), ("to-a", "to-b", "nb")):
            made = ["--", "set", "interface", name, "type=patch", f"options:peer={peer}"]
            ovs.vsctl("add-port", bridge, name, *made, "ofport_request=6")
        made = []
        for number, name in enumerate(("m1", "m2"), start=7):
            made += ["--", "set", "interface", name, "type=dummy", f"ofport_request={number}"]
        ovs.vsctl("add-bond", "na", "bond", "m1", "m2", *made)
        # Changes of sets and maps are kept as differences.
        ovs.vsctl(
            "add", "port", "trk", "trunks", "10", "--", "remove", "port", "trk", "trunks", "10"
        )
        ovs.vsctl("set", "port", "acc", "tag=3", "--", "set", "port", "acc", "tag=2")
        ovs.vsctl("add-port", "na", "gone", "--", "del-port", "na", "gone")
        yield ovs


def plain(bridges: tuple[Bridge, ...]) -> Mapping[str, Bridge]:
    """Bridges by name, with ports and interfaces in an order of their own, and without MACs."""
    found = {}
    for bridge in bridges:
        ports = []
        for port in bridge.ports:
            interfaces = sorted(port.interfaces, key=lambda i: i.name)
            interfaces = [replace(interface, mac=None) for interface in interfaces]
            numbers = tuple(sorted(port.settings.interfaces))
            settings = replace(port.settings, interfaces=numbers)
            ports.append(replace(port, settings=settings, interfaces=tuple(interfaces)))
        ports.sort(key=lambda port: port.name)
        found[bridge.name] = replace(bridge, ports=tuple(ports), program=None)
    return found


def listed(switch: OpenVSwitch, form: str) -> dict[str, str | bytes]:
    return {
        f"ovs-vsctl --format={form} list {table}": switch.vsctl(f"--format={form}", "list", table)
        for table in ("Bridge", "Port", "Interface")
    }


def test_every_source_tells_the_same(switch: OpenVSwitch, tmp_path: Path) -> None:
    """Tables in every format, and the file of the database: ports, modes, numbers, peers."""
    bridges = {
        form: plain(read_node(write(tmp_path / form, listed(switch, form))).bridges)
        for form in ("list", "table", "csv", "json")
    }
    data = (switch.directory / "conf.db").read_bytes()
    stored = plain(read_node(write(tmp_path / "db", {"conf.db": data})).bridges)
    assert sorted(bridges["list"]) == ["na", "nb"]
    settings = {port.name: port.settings for port in bridges["list"]["na"].ports}
    assert settings == EXPECTED
    assert bridges["list"]["na"].fail_mode == "secure"
    assert bridges["list"]["na"].flood_vlans == {3, 4}
    for told in bridges.values():
        assert told == bridges["list"]
    # The datapath ID is not kept there.
    without = {name: replace(bridge, datapath_id=None) for name, bridge in bridges["list"].items()}
    assert stored == without


def test_show_tells_what_it_can(switch: OpenVSwitch, tmp_path: Path) -> None:
    """``ovs-vsctl show`` and ``ovs-ofctl show``: tags, trunks, peers and numbers, but no modes."""
    files: dict[str, str | bytes] = {"ovs-vsctl show": switch.vsctl("show")}
    for bridge in ("na", "nb"):
        files[f"ovs-ofctl show {bridge}"] = switch.run("ovs-ofctl", ["show", bridge])
    shown = plain(read_node(write(tmp_path / "show", files)).bridges)
    tables = plain(read_node(write(tmp_path / "list", listed(switch, "list"))).bridges)
    for name, bridge in shown.items():
        assert bridge.fail_mode == tables[name].fail_mode
        assert bridge.datapath_id == tables[name].datapath_id
        for port, whole in zip(bridge.ports, tables[name].ports, strict=True):
            assert port.interfaces == whole.interfaces
            known = replace(
                whole.settings,
                vlan_mode=VlanMode.ACCESS if whole.settings.tag else VlanMode.TRUNK,
                cvlans=frozenset(),
                qinq_ethtype=0x88A8,
                priority_tags="no",
                protected=False,
            )
            assert port.settings == known
