"""Names of files, and the commands that they stand for."""

from __future__ import annotations

import pytest

from flowvm.network.commands import Kind, Output, recognise, same_name


@pytest.mark.parametrize(
    ("path", "output"),
    [
        # As one types them.
        ("ovs-vsctl show", Output(Kind.VSCTL_SHOW, "")),
        ("ovs-vsctl show.txt", Output(Kind.VSCTL_SHOW, "")),
        ("ovs-ofctl dump-flows br-int", Output(Kind.FLOWS, "br-int")),
        ("ovs-ofctl -O OpenFlow13 dump-flows br-tun", Output(Kind.FLOWS, "br-tun", 13)),
        ("ovs-ofctl -OOpenFlow15 dump-flows br-int.xz", Output(Kind.FLOWS, "br-int", 15)),
        ("ovs-ofctl --names dump-flows br_int", Output(Kind.FLOWS, "br_int")),
        ("ovs-ofctl dump-flows --names br-int.txt.gz", Output(Kind.FLOWS, "br-int")),
        ("ovs-ofctl.dump-flows.br-int.100", Output(Kind.FLOWS, "br-int.100")),
        ("dump-flows br-int", Output(Kind.FLOWS, "br-int")),
        ("br-int/dump-flows.txt", Output(Kind.FLOWS, "br-int")),
        ("br-int/ovs-ofctl show", Output(Kind.SHOW, "br-int")),
        ("ovs-appctl fdb-show br-int", Output(Kind.FDB, "br-int")),
        ("ovs-appctl dpctl-dump-conntrack -s", Output(Kind.CONNTRACK, "")),
        ("ip addr", Output(Kind.ADDRESSES, "")),
        ("ip netns exec qdhcp-12 ip addr", Output(Kind.ADDRESSES, "qdhcp-12")),
        ("ovs-vsctl --format=json list Port", Output(Kind.LIST, "port")),
        # As sosreport names them.
        ("r/sos_commands/openvswitch/ovs-vsctl_-t_5_show", Output(Kind.VSCTL_SHOW, "")),
        ("ovs-vsctl_-t_5_list_interface", Output(Kind.LIST, "interface")),
        ("ovs-ofctl_-O_OpenFlow14_dump-groups_br-int", Output(Kind.GROUPS, "br-int", 14)),
        ("ovs-ofctl_-O_OpenFlow14_dump-tlv-map_br-int", Output(Kind.TLV_MAP, "br-int", 14)),
        ("ovs-ofctl_-O_OpenFlow14_dump-meters_br-int", Output(Kind.METERS, "br-int", 14)),
        ("ovs-ofctl_dump-ports-desc_br-int", Output(Kind.PORTS_DESC, "br-int")),
        ("openstack-hypervisor.ovs-ofctl_show_br-int", Output(Kind.SHOW, "br-int")),
        ("ovs-appctl_fdb.show_br-int", Output(Kind.FDB, "br-int")),
        ("ovs-appctl_dpif.show", Output(Kind.DPIF_SHOW, "")),
        ("ovs-appctl_dpctl.dump-conntrack_-m_system_a", Output(Kind.CONNTRACK, "system_a")),
        ("var/lib/openvswitch/conf.db", Output(Kind.DATABASE, "")),
        ("ip_-o_addr", Output(Kind.ADDRESSES, "")),
        ("ip_-d_address", Output(Kind.ADDRESSES, "")),
        ("ip_netns", Output(Kind.NAMESPACES, "")),
        (
            "namespaces/qdhcp-1/ip_netns_exec_qdhcp-1_ip_-d_address_show",
            Output(Kind.ADDRESSES, "qdhcp-1"),
        ),
        ("brctl_show", Output(Kind.BRCTL, "")),
        ("bridge_-s_-s_-d_link_show", Output(Kind.BRIDGE_LINK, "")),
    ],
)
def test_a_name_tells_the_command(path: str, output: Output) -> None:
    """Blanks, underscores and dots part words; options and endings do not matter."""
    assert recognise(path) == output


@pytest.mark.parametrize(
    "path",
    [
        "README.txt",
        "ovs-ofctl_dump-ports_br-int",
        "ovs-appctl_fdb.stats-show_br-int",
        "ovs-appctl_bridge.dump-flows_br-int",
        "ovs-vsctl_-t_5_list-br",
        "ovs-appctl_dpif.show-dp-features_br-int",
        "ovs-vsctl_-t_5_get_Open_vSwitch_._other_config",
        "ip_route_show_table_all",
        "ip_netns_exec_qdhcp-1_ip_route_show_table_all",
        "bridge_-d_vlan_show",
        "show br-int",
    ],
)
def test_other_names_tell_nothing(path: str) -> None:
    """Commands that flowvm has no use for, and files that are none."""
    assert recognise(path) is None


def test_a_bridge_is_known_by_what_a_file_name_leaves_of_it() -> None:
    """Characters that a name cannot have are all the same."""
    assert same_name("br_int", "br int")
    assert not same_name("br_int", "br-int")
