"""What a real Open vSwitch says of its bridges, in all the ways it has of saying it."""

from __future__ import annotations

import os
import subprocess
import sys
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
    for name, told in shown.items():
        assert told.fail_mode == tables[name].fail_mode
        assert told.datapath_id == tables[name].datapath_id
        for port, whole in zip(told.ports, tables[name].ports, strict=True):
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


def test_the_script_gathers_a_node(tmp_path: Path) -> None:
    """Run where Open vSwitch runs it makes a directory and an archive, and nothing is missing."""
    with OpenVSwitch(ports=3) as ovs:
        ovs.vsctl("set", "port", "p1", "tag=2", "vlan_mode=native-tagged")
        made = ["--", "set", "bridge", "old", "datapath-type=dummy", "protocols=OpenFlow10"]
        ovs.vsctl("add-br", "old", *made)
        masked = "set_field:12:00:00:00:00:00/ff:00:00:00:00:00->eth_src"
        group = f"group_id=1,type=all,bucket=actions={masked},output:2"
        flow = (
            "table=0,priority=5,in_port=1,actions=meter:1,learn(table=20,hard_timeout=300,"
            "NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[]),NORMAL"
        )
        for command in (
            ("add-group", "br0", group),
            ("add-meter", "br0", "meter=1,pktps,band=type=drop,rate=10"),
            ("add-flow", "br0", flow),
            ("add-flow", "br0", "table=1,ip,actions=ct(commit),group:1"),
        ):
            ovs.run("ovs-ofctl", ["-O", "OpenFlow15", *command])
        ovs.run("ovs-ofctl", ["add-flow", "old", "in_port=LOCAL,actions=strip_vlan,resubmit(,1)"])
        frame = "ffffffffffff525400000001" + "0800" + "45000014" + "00" * 42
        ovs.ctl.call("netdev-dummy/receive", "p1", frame)
        for _ in range(24):
            ovs.ctl.call("version")
        ovs.ctl.call("revalidator/purge")
        _as_installed(ovs)
        script = subprocess.run(
            [sys.executable, "-m", "flowvm", "collect"], check=True, capture_output=True
        ).stdout
        ended = subprocess.run(
            ["sh", "-s", "--", "node"],
            input=script,
            cwd=tmp_path,
            env={**os.environ, "OVS_RUNDIR": str(ovs.directory)},
            capture_output=True,
            check=True,
        )
    assert ended.stdout == b"node.tar.gz\n"
    assert not (tmp_path / "node" / "ovs-ofctl_-O_OpenFlow14_dump-flows_br0").exists()
    packed, plain = read_node(tmp_path / "node.tar.gz"), read_node(tmp_path / "node")
    assert packed.name == "node"
    for node in (packed, plain):
        bridges = {bridge.name: bridge for bridge in node.bridges}
        assert [str(found) for found in node.missing] == []
        assert node.conntrack == ""
        br0, old = bridges["br0"], bridges["old"]
        settings = {port.name: port.settings for port in br0.ports}
        assert settings["p1"] == PortSettings("p1", (1,), VlanMode.NATIVE_TAGGED, 2)
        macs = [(found.port, found.vlan, found.mac) for found in br0.macs]
        assert macs == [(1, 2, 0x525400000001)]
        assert br0.program is not None
        assert old.program is not None
        learned = [flow for flow in br0.program.flows if flow.table == 20]
        assert [flow.hard_timeout for flow in learned] == [300]
        assert br0.program.groups is not None
        assert [str(found).strip() for found in br0.program.groups.groups] == [
            f"group_id=1,type=all,bucket=bucket_id:0,actions={masked},output:2"
        ]
        assert [meter.meter_id for meter in br0.program.meters or ()] == [1]
        assert len(old.program.flows) == 2


def _as_installed(ovs: OpenVSwitch) -> None:
    """Let the daemon be found where ``ovs-appctl`` looks for it."""
    pid = (ovs.directory / "vswitchd.pid").read_text().strip()
    (ovs.directory / "ovs-vswitchd.pid").symlink_to("vswitchd.pid")
    (ovs.directory / f"ovs-vswitchd.{pid}.ctl").symlink_to("vs.ctl")


def test_the_datapath_tells_the_same_numbers(switch: OpenVSwitch, tmp_path: Path) -> None:
    """``dpif/show`` in place of ``ovs-ofctl show``."""
    shown = {"ovs-vsctl show": switch.vsctl("show")}
    datapath = write(tmp_path / "a", shown | {"ovs-appctl_dpif.show": switch.ctl.call("dpif/show")})
    tables = plain(read_node(write(tmp_path / "list", listed(switch, "list"))).bridges)
    for bridge in plain(read_node(datapath).bridges).values():
        for port, whole in zip(bridge.ports, tables[bridge.name].ports, strict=True):
            assert port.settings.interfaces == whole.settings.interfaces
            assert port.settings.interfaces
