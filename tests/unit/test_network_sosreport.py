"""An sosreport is a node as it is, extracted or not."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from flowvm.network.model import Endpoint
from flowvm.network.read import read_node
from flowvm.port_settings import VlanMode

from .network_files import FDB, FLOWS_BR_INT, FLOWS_BR_TUN, SHOW_BR_INT, SHOW_BR_TUN, VSCTL_SHOW
from .test_network_ovsdb import record

ROOT = "sosreport-compute1-2026-01-02-abcdefg"
OVS, NET = f"{ROOT}/sos_commands/openvswitch", f"{ROOT}/sos_commands/networking"
REFUSED = (
    "2026-01-02T03:04:05Z|00001|vconn|WARN|unix:/run/openvswitch/br-int.mgmt: version negotiation"
    " failed (we support versions 0x02, 0x03, peer supports version 0x01)\n"
    "ovs-ofctl: br-int: failed to connect to socket (Broken pipe)\n"
)
LIST_INTERFACE = """\
_uuid               : 8f1c0a5e-0c2f-4b0e-9d53-0d5b8e7d1a11
external_ids        : {attached-mac="fa:16:3e:59:1d:01", iface-id="591d8cc4-df00"}
mac_in_use          : "aa:55:aa:55:00:19"
name                : tap1
ofport              : 1
options             : {}
statistics          : {rx_bytes=0, rx_packets=0}
type                : ""
"""
IP_ADDR = "2: eth0    inet 10.0.0.1/24 brd 10.0.0.255 scope global eth0\\       valid_lft forever\n"
IP_D_ADDRESS = """\
2: eth0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc mq state UP group default qlen 1000
    link/ether 52:54:00:12:34:56 brd ff:ff:ff:ff:ff:ff promiscuity 0 minmtu 68 maxmtu 65535
    inet 10.0.0.1/24 brd 10.0.0.255 scope global eth0
       valid_lft forever preferred_lft forever
"""
NETNS = """\
5: tap1: <BROADCAST,UP> mtu 1500 qdisc noqueue state UP
    link/ether fa:16:3e:de:57:39 brd ff:ff:ff:ff:ff:ff promiscuity 1
    inet 10.1.0.2/24 scope global tap1
"""
CONNTRACK = (
    "udp,orig=(src=10.1.0.2,dst=10.1.0.1,sport=4321,dport=53),"
    "reply=(src=10.1.0.1,dst=10.1.0.2,sport=53,dport=4321),id=1,zone=5,status=CONFIRMED,"
    "start=1970-01-01T00:00:00.000,timeout=29\n"
)
DATABASE = record(
    {
        "name": "Open_vSwitch",
        "tables": {
            "Bridge": {"columns": {"ports": {"type": {"key": "uuid", "max": "unlimited"}}}},
            "Port": {"columns": {"interfaces": {"type": {"key": "uuid", "max": "unlimited"}}}},
            "Interface": {"columns": {}},
        },
    }
) + record(
    {
        "Bridge": {
            "b1": {"name": "br-int", "fail_mode": "secure", "ports": ["uuid", "p1"]},
            "b2": {"name": "br-tun", "ports": ["set", [["uuid", "p2"], ["uuid", "p3"]]]},
        },
        "Port": {
            "p1": {
                "name": "tap1",
                "interfaces": ["uuid", "i1"],
                "tag": 2,
                "vlan_mode": "native-tagged",
            },
            "p2": {"name": "gre-1", "interfaces": ["uuid", "i2"]},
            "p3": {"name": "patch-int", "interfaces": ["uuid", "i3"]},
        },
        "Interface": {
            "i1": {"name": "tap1", "ofport": 1},
            "i2": {"name": "gre-1", "type": "gre", "ofport": 2},
            "i3": {"name": "patch-int", "type": "patch", "ofport": 1},
        },
    }
)

FILES: dict[str, str | bytes] = {
    f"{ROOT}/version.txt": "sosreport: 4.7\n",
    f"{ROOT}/var/lib/openvswitch/conf.db": DATABASE,
    f"{ROOT}/var/log/openvswitch/ovs-vswitchd.log": "noise\n",
    f"{OVS}/ovs-vsctl_-t_5_show": VSCTL_SHOW,
    f"{OVS}/ovs-vsctl_-t_5_list_interface": LIST_INTERFACE,
    f"{OVS}/ovs-vsctl_-t_5_list_Open_vSwitch": "_uuid : 1\n",
    f"{OVS}/ovs-vsctl_-t_5_get_Open_vSwitch_._other_config": "{}\n",
    f"{OVS}/ovs-ofctl_show_br-int": SHOW_BR_INT,
    f"{OVS}/ovs-ofctl_-O_OpenFlow14_show_br-int": REFUSED,
    f"{OVS}/ovs-ofctl_dump-flows_br-int": FLOWS_BR_INT,
    f"{OVS}/ovs-ofctl_-O_OpenFlow13_dump-flows_br-int": FLOWS_BR_INT.replace("NORMAL", "output:1"),
    f"{OVS}/ovs-ofctl_-O_OpenFlow14_dump-flows_br-int": REFUSED,
    f"{OVS}/ovs-ofctl_dump-groups_br-int": REFUSED,
    f"{OVS}/ovs-ofctl_-O_OpenFlow13_dump-groups_br-int": "OFPST_GROUP_DESC reply (OF1.3):\n",
    f"{OVS}/ovs-ofctl_dump-ports_br-int": "OFPST_PORT reply (xid=0x2): 1 ports\n",
    f"{OVS}/ovs-ofctl_dump-ports-desc_br-tun": SHOW_BR_TUN,
    f"{OVS}/ovs-ofctl_dump-flows_br-tun": FLOWS_BR_TUN,
    f"{OVS}/ovs-appctl_fdb.show_br-int": FDB.replace("LOCAL", "    1"),
    f"{OVS}/ovs-appctl_fdb.stats-show_br-int": "Statistics for bridge\n",
    f"{OVS}/ovs-appctl_bridge.dump-flows_--offload-stats_br-int": "duration=1s, hidden\n",
    f"{OVS}/ovs-appctl_dpctl.dump-conntrack_-m_system_ovs-system": CONNTRACK,
    f"{ROOT}/sos_commands/ovn_host/ovs-vsctl_list-br": "br-int\n",
    f"{NET}/ip_-o_addr": IP_ADDR,
    f"{NET}/ip_-d_address": IP_D_ADDRESS,
    f"{NET}/ip_netns": "qdhcp-1 (id: 0)\n",
    f"{NET}/namespaces/qdhcp-1/ip_netns_exec_qdhcp-1_ip_-d_address_show": NETNS,
    f"{NET}/namespaces/qdhcp-1/ip_netns_exec_qdhcp-1_ip_route_show_table_all": "default via x\n",
    f"{NET}/bridge_-s_-s_-d_link_show": "",
}


def packed(path: Path) -> Path:
    """The report as sos packs it: with links at its root."""
    with tarfile.open(path, "w:xz") as archive:
        for name, content in FILES.items():
            data = content if isinstance(content, bytes) else content.encode()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo(f"{ROOT}/ip_addr")
        link.type, link.linkname = tarfile.SYMTYPE, "sos_commands/networking/ip_-o_addr"
        archive.addfile(link)
    return path


@pytest.mark.parametrize("extracted", [False, True])
def test_an_sosreport_is_a_node(tmp_path: Path, extracted: bool) -> None:
    """The database's file is there for the settings of ports, and everything else by its name."""
    source = packed(tmp_path / f"{ROOT}.tar.xz")
    if extracted:
        with tarfile.open(source) as archive:
            archive.extractall(tmp_path, filter="data")
        source = tmp_path / ROOT
    node = read_node(source)
    assert node.name == ROOT
    integration, tunnels = node.bridges
    assert [(bridge.name, bridge.fail_mode) for bridge in node.bridges] == [
        ("br-int", "secure"),
        ("br-tun", None),
    ]
    (tap,) = integration.ports
    assert (tap.settings.vlan_mode, tap.settings.tag) == (VlanMode.NATIVE_TAGGED, 2)
    assert tap.interfaces[0].external_ids["iface-id"] == "591d8cc4-df00"
    assert integration.program is not None
    assert str(integration.program.flows[0]).endswith("actions=output:1")
    assert integration.program.names.no_flood == {2}
    assert len(integration.macs) == 2
    assert [port.settings.interfaces for port in tunnels.ports] == [(2,), (1,)]
    assert node.addresses == ("10.0.0.1/24",)
    assert node.endpoints == {"tap1": Endpoint("tap1", "qdhcp-1", None, ("10.1.0.2/24",))}
    assert node.conntrack == CONNTRACK
    assert node.missing == ()
