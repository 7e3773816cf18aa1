"""Nodes: from the files that an operator gathers to bridges, ports and flows."""

from __future__ import annotations

import io
import lzma
import os
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from flowvm.network.model import Endpoint, Interface, MacEntry, Node
from flowvm.network.read import NodeError, read_node
from flowvm.port_settings import PortSettings, VlanMode
from flowvm.text.errors import FlowSyntaxError

from .network_files import FDB, FLOWS_BR_INT, FLOWS_BR_TUN, NODE, VSCTL_SHOW, write


def missing(node: Node) -> list[str]:
    return [found.what for found in node.missing]


def test_a_folder_of_outputs_is_a_node(tmp_path: Path) -> None:
    """Bridges have their ports with numbers and settings, their flows, and what they learned."""
    node = read_node(write(tmp_path / "compute", NODE))
    assert node.name == "compute"
    integration, tunnels = node.bridges
    assert (integration.name, integration.fail_mode) == ("br-int", "secure")
    assert integration.datapath_id == 0x7E292F58A94E
    assert [port.settings for port in integration.ports] == [
        PortSettings("tap1", (1,), VlanMode.ACCESS, 2),
        PortSettings("patch-tun", (2,)),
        PortSettings("br-int", (0xFFFE,)),
    ]
    assert integration.macs == (
        MacEntry(1, 2, 0x525400000001, 17),
        MacEntry(0xFFFE, 0, 0x525400000002, None),
    )
    assert integration.program is not None
    assert [str(flow) for flow in integration.program.flows] == FLOWS_BR_INT.splitlines()[1:]
    assert integration.program.names.no_flood == {2}
    assert integration.program.names.down == {0xFFFE}
    assert tunnels.ports[1].interfaces == (
        Interface(
            "gre-1",
            "gre",
            2,
            {"in_key": "flow", "out_key": "flow", "local_ip": "10.0.0.1", "remote_ip": "10.0.0.2"},
            0x324EAFE0041C,
        ),
    )
    assert tunnels.ports[2].interfaces == (Interface("lost"),)
    assert node.errors == ()


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    """With what follows from it; what nothing makes use of is not missed."""
    files = {name: text for name, text in NODE.items() if "br-tun" not in name}
    node = read_node(write(tmp_path, files))
    assert [(found.bridge, str(found)) for found in node.missing] == [
        (
            "",
            "ovs-vsctl list Port is not there: a port with a tag is taken for an access port, one"
            " without for a trunk, and none for protected",
        ),
        (
            "",
            "ovs-vsctl list Bridge is not there: MAC addresses are taken to age as by default, and"
            " spanning trees, multicast snooping and flood_vlans to be off",
        ),
        (
            "br-tun",
            "ovs-ofctl show br-tun is not there: FLOOD and ALL are unsupported, and every port is"
            " taken to be up",
        ),
        (
            "br-tun",
            "ovs-ofctl dump-flows br-tun is not there: packets that come there stop as unsupported",
        ),
        (
            "",
            "ip addr is not there: the node's own addresses are not known but from local_ip of its"
            " tunnels",
        ),
    ]
    assert node.bridges[1].program is None


@pytest.mark.parametrize(
    ("actions", "command"),
    [
        ("NORMAL", "ovs-appctl fdb/show br-int"),
        ("group:7", "ovs-ofctl dump-groups br-int"),
        ("meter:1,output:1", "ovs-ofctl dump-meters br-int"),
        ("ct(table=1)", "ovs-appctl dpctl/dump-conntrack"),
        ("set_field:1->tun_metadata0", "ovs-ofctl dump-tlv-map br-int"),
    ],
)
def test_what_flows_make_use_of_is_missed(tmp_path: Path, actions: str, command: str) -> None:
    """What ``actions`` need and other flows do not."""
    files = dict(NODE) | {"ovs-ofctl dump-flows br-int": f" actions={actions}\n"}
    del files["ovs-appctl fdb-show br-int"]
    others = {
        *("NORMAL", "group:7", "meter:1,output:1", "ct(table=1)", "set_field:1->tun_metadata0"),
    } - {actions}
    assert f"{command} is not there" in missing(read_node(write(tmp_path, files)))
    for number, other in enumerate(sorted(others)):
        files["ovs-ofctl dump-flows br-int"] = f" actions={other}\n"
        node = read_node(write(tmp_path / str(number), files))
        assert f"{command} is not there" not in missing(node)


def test_groups_and_meters_belong_to_the_flows(tmp_path: Path) -> None:
    """They are compiled into the program; of none there are none."""
    files = dict(NODE) | {
        "ovs-ofctl -O OpenFlow15 dump-groups br-int": (
            "OFPST_GROUP_DESC reply (OF1.5) (xid=0x2):\n"
            " group_id=7,type=all,bucket=bucket_id:0,actions=output:1\n"
        ),
        "ovs-ofctl -O OpenFlow15 dump-meters br-int": (
            "OFPST_METER_CONFIG reply (OF1.5) (xid=0x2):\nmeter=1 pktps bands=\ntype=drop rate=10\n"
        ),
        "ovs-ofctl -O OpenFlow15 dump-meters br-tun": (
            "OFPST_METER_CONFIG reply (OF1.5) (xid=0x2):\n"
        ),
    }
    integration, tunnels = (bridge.program for bridge in read_node(write(tmp_path, files)).bridges)
    assert integration is not None
    assert tunnels is not None
    assert integration.groups is not None
    assert [group.group_id for group in integration.groups.groups] == [7]
    assert [meter.meter_id for meter in integration.meters or ()] == [1]
    assert (tunnels.groups, tunnels.meters) == (None, ())


def test_the_tlv_map_belongs_to_the_flows(tmp_path: Path) -> None:
    """It says what option a ``tun_metadata`` field is."""
    files = dict(NODE) | {
        "ovs-ofctl dump-flows br-int": " tun_metadata0=0x5 actions=output:1\n",
        "ovs-ofctl dump-tlv-map br-int": (
            "NXT_TLV_TABLE_REPLY (xid=0x2):\n max option space=256 max fields=64\n\n"
            " mapping table:\n  class  type  length  match field\n"
            "  0x102  0x80       8  tun_metadata0\n"
        ),
    }
    program = read_node(write(tmp_path, files)).bridges[0].program
    assert program is not None
    assert str(program.names.tlv_map) == "{class=0x102,type=0x80,len=8}->tun_metadata0"


def test_of_several_dumps_the_highest_version_counts(tmp_path: Path) -> None:
    """Unless its command failed: what it said on standard error is no flow."""
    refused = (
        "2026-01-02T03:04:05Z|00001|vconn|WARN|unix:/run/openvswitch/br-int.mgmt: version"
        " negotiation failed (we support version 0x06, peer supports version 0x01)\n"
        "ovs-ofctl: br-int: failed to connect to socket (Broken pipe)\n"
    )
    files = dict(NODE) | {
        "ovs-ofctl -O OpenFlow13 dump-flows br-int": " table=0, actions=output:1\n",
        "ovs-ofctl -O OpenFlow14 dump-flows br-int": " table=0, actions=output:2\n",
        "ovs-ofctl -O OpenFlow15 dump-flows br-int": refused,
    }
    program = read_node(write(tmp_path, files)).bridges[0].program
    assert program is not None
    assert [str(flow) for flow in program.flows] == [" table=0, actions=output:2"]


def test_a_command_that_failed_is_told_of(tmp_path: Path) -> None:
    """With what it said."""
    files = dict(NODE) | {
        "ovs-ofctl dump-flows br-int": "ovs-ofctl: br-int is not a bridge or a socket\n",
        "ovs-ofctl dump-flows br-tun": "",
    }
    told = missing(read_node(write(tmp_path, files)))
    assert (
        "ovs-ofctl dump-flows br-int failed (ovs-ofctl: br-int is not a bridge or a socket)" in told
    )
    assert "ovs-ofctl dump-flows br-tun failed (the file is empty)" in told


def test_messages_among_the_flows_are_no_flows(tmp_path: Path) -> None:
    """And the lines after them keep their numbers."""
    warning = "2026-01-02T03:04:05Z|00001|ofp_util|WARN|something\n"
    files = dict(NODE) | {"ovs-ofctl dump-flows br-int": f"{warning}{FLOWS_BR_INT} oops\n"}
    with pytest.raises(FlowSyntaxError) as caught:
        read_node(write(tmp_path, files))
    assert caught.value.line == 4


def test_without_a_database_ports_have_names_and_numbers_only(tmp_path: Path) -> None:
    """Their settings are not known, which is said."""
    files = {name: text for name, text in NODE.items() if "vsctl" not in name}
    node = read_node(write(tmp_path, files))
    assert [(bridge.name, bridge.settings_known) for bridge in node.bridges] == [
        ("br-int", False),
        ("br-tun", False),
    ]
    assert [port.settings for port in node.bridges[1].ports] == [
        PortSettings("patch-int", (1,)),
        PortSettings("gre-1", (2,)),
    ]
    assert "ovs-vsctl show is not there" in missing(node)


DPIF_SHOW = """\
system@ovs-system: hit:1 missed:2
  br-tun:
    gre-1 8/3: (gre: key=flow, remote_ip=10.0.0.2)
    patch-int 7/none: (patch: peer=patch-tun)
"""


def test_the_datapath_tells_numbers_as_well(tmp_path: Path) -> None:
    """Where ``ovs-ofctl show`` does not, with or without a database."""
    files = {name: text for name, text in NODE.items() if name != "ovs-ofctl show br-tun"}
    files["ovs-appctl_dpif.show"] = DPIF_SHOW
    tunnels = read_node(write(tmp_path / "a", files)).bridges[1]
    assert [port.settings.interfaces for port in tunnels.ports] == [(7,), (8,), ()]
    del files["ovs-vsctl show"]
    tunnels = read_node(write(tmp_path / "b", files)).bridges[1]
    assert [port.settings for port in tunnels.ports] == [
        PortSettings("gre-1", (8,)),
        PortSettings("patch-int", (7,)),
    ]
    with pytest.raises(FlowSyntaxError, match="no bridge is described here"):
        read_node(write(tmp_path / "c", files | {"ovs-appctl_dpif.show": "what?\n"}))


def test_files_of_two_nodes_are_no_node(tmp_path: Path) -> None:
    """They would be mixed up."""
    other = {name: text.replace("ec1c2d1d", "fc1c2d1d") for name, text in NODE.items()}
    directory = write(tmp_path, {f"a/{name}": text for name, text in NODE.items()})
    write(tmp_path, {f"b/{name}": text for name, text in other.items()})
    with pytest.raises(NodeError, match="files of several nodes"):
        read_node(directory)
    assert read_node(directory / "a").name == "a"


def test_names_without_numbers_stand_for_ports(tmp_path: Path) -> None:
    """A ``--names`` dump without ``ovs-ofctl show``: the ports have the numbers of its names."""
    files = {
        "ovs-vsctl show": VSCTL_SHOW,
        "ovs-ofctl --names dump-flows br-tun": ' in_port="patch-int" actions=output:"gre-1"\n',
    }
    tunnels = read_node(write(tmp_path, files)).bridges[1]
    assert tunnels.program is not None
    names = tunnels.program.names
    assert [port.settings.interfaces for port in tunnels.ports] == [
        (names.ports["patch-int"],),
        (names.ports["gre-1"],),
        (),
    ]
    assert not names.known_ports


@pytest.mark.parametrize(
    ("name", "text", "line", "column"),
    [
        ("ovs-vsctl show", VSCTL_SHOW.replace("tag: 2", "tag: x"), 5, 18),
        ("ovs-ofctl dump-flows br-tun", FLOWS_BR_TUN + " table=0 actions=outpt:1\n", 4, 18),
        ("ovs-appctl fdb-show br-int", FDB + "nonsense\n", 4, 1),
        ("ovs-appctl dpctl-dump-conntrack", "\ntcp,orig=?\n", 2, 1),
    ],
)
def test_lines_that_cannot_be_read_are_shown(
    tmp_path: Path, name: str, text: str, line: int, column: int
) -> None:
    """With file, line and column; a lenient reading goes on without them, and lists them."""
    directory = write(tmp_path / "n", dict(NODE) | {name: text})
    with pytest.raises(FlowSyntaxError) as caught:
        read_node(directory)
    error = caught.value
    assert (error.file, error.line, error.column) == (str(directory / name), line, column)
    lenient = read_node(directory, lenient=True)
    assert [str(found) for found in lenient.errors] == [str(error)]
    assert len(lenient.bridges) == 2


def test_what_is_no_node_is_refused(tmp_path: Path) -> None:
    """A folder with nothing that flowvm reads, and a file that is no archive."""
    write(tmp_path / "empty", {"README": "hello"})
    with pytest.raises(NodeError, match="no file here is named after the command"):
        read_node(tmp_path / "empty")
    (tmp_path / "flows.txt").write_text(FLOWS_BR_INT)
    with pytest.raises(OSError, match="is no archive that can be read"):
        read_node(tmp_path / "flows.txt")
    with pytest.raises(FileNotFoundError):
        read_node(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="neither a directory nor an archive"):
        read_node(tmp_path / "fifo")
    (tmp_path / "n.zip").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(OSError, match="is no archive that can be read"):
        read_node(tmp_path / "n.zip")


def test_connections_of_all_datapaths_count(tmp_path: Path) -> None:
    """Unless one command told of all that there is."""
    lines = [
        f"udp,orig=(src=10.0.0.{n},dst=10.0.0.9,sport=1,dport=2),"
        f"reply=(src=10.0.0.9,dst=10.0.0.{n},sport=2,dport=1)\n"
        for n in (1, 2, 3)
    ]
    command = "ovs-appctl_dpctl.dump-conntrack_-m"
    files = dict(NODE) | {f"{command}_netdev_x": lines[0], f"{command}_system_y": lines[1]}
    assert read_node(write(tmp_path, files)).conntrack == lines[0] + lines[1]
    assert read_node(write(tmp_path, {command: lines[2]})).conntrack == lines[2]


# -- the database ---------------------------------------------------------------------------------


def test_rows_add_to_what_is_shown(tmp_path: Path) -> None:
    """Modes, numbers, addresses: where a table is there its columns count."""
    files = dict(NODE) | {
        "ovs-vsctl list port": "name : tap1\ntag : 3\nvlan_mode : native-tagged\nprotected : true\n"
        "other_config : {priority-tags=always, qinq-ethtype=802.1q}\n",
        "ovs-vsctl_--format_csv_list_Interface": (
            'name,ofport,mac_in_use,external_ids\ngre-1,9,"""aa:55:aa:55:00:99""",{a=b}\n'
        ),
        "ovs-vsctl_list_Bridge": "name : br-int\nflood_vlans : [4, 5]\nstp_enable : true\n"
        "other_config : {mac-aging-time=60}\n",
        "ovs-vsctl_list_Mirror": "name : m0\n",
    }
    del files["ovs-ofctl show br-tun"]
    node = read_node(write(tmp_path, files))
    integration, tunnels = node.bridges
    assert integration.ports[0].settings == PortSettings(
        "tap1",
        (1,),
        VlanMode.NATIVE_TAGGED,
        3,
        qinq_ethtype=0x8100,
        priority_tags="always",
        protected=True,
    )
    assert integration.ports[1].settings == PortSettings("patch-tun", (2,))
    settings = integration.settings
    assert settings.flood_vlans == {4, 5}
    assert settings.mac_aging_time == 60
    assert settings.unsupported == "spanning tree (stp_enable)"
    gre = tunnels.ports[1].interfaces[0]
    assert (gre.ofport, gre.mac, gre.external_ids) == (9, 0xAA55AA550099, {"a": "b"})
    assert tunnels.program is not None
    assert not tunnels.program.names.known_ports
    told = missing(node)
    assert "the mirror m0" in told
    assert "ovs-vsctl list Port lacks some of the rows" in told


def test_nothing_is_done_by_settings_that_are_not_known(tmp_path: Path) -> None:
    """NORMAL is then unsupported."""
    files = {name: text for name, text in NODE.items() if "vsctl" not in name}
    node = read_node(write(tmp_path, files))
    assert node.bridges[0].settings.unsupported == "ports of unknown settings"


# -- Linux ----------------------------------------------------------------------------------------

IP_ADDR = """\
2: eth0: <BROADCAST,UP> mtu 1500 qdisc fq_codel state UP
    link/ether 52:54:00:12:34:56 brd ff:ff:ff:ff:ff:ff
    inet 10.0.0.1/24 scope global eth0
3: br-tun: <BROADCAST,UP> mtu 1500 qdisc noqueue state UP
    inet 192.0.2.1/24 scope global br-tun
"""
PAIR = """\
7: tap1@inner1: <BROADCAST,UP> mtu 1500 master ovs-system state UP
8: inner1@tap1: <BROADCAST,UP> mtu 1500 master qbr1 state UP
9: vm1: <BROADCAST,UP> mtu 1500 master qbr1 state UP
"""
NETNS = """\
5: tap1: <BROADCAST,UP> mtu 1500 qdisc noqueue state UP
    inet 10.1.0.2/24 scope global tap1
"""


def test_namespaces_stand_behind_interfaces(tmp_path: Path) -> None:
    """With the addresses there; a namespace that was not looked into is named."""
    files = dict(NODE) | {
        "ip_addr": IP_ADDR,
        "ip_netns": "q+dhcp\nqrouter-2\n",
        "ip_netns_exec_q_dhcp_ip_addr": NETNS,
    }
    node = read_node(write(tmp_path, files))
    assert node.addresses == ("10.0.0.1/24", "192.0.2.1/24")
    assert node.endpoints == {"tap1": Endpoint("tap1", "q+dhcp", None, ("10.1.0.2/24",))}
    assert str(node.endpoints["tap1"]) == "q+dhcp, 10.1.0.2/24"
    assert "ip netns exec qrouter-2 ip addr is not there" in missing(node)


def test_a_pair_leads_to_a_linux_bridge(tmp_path: Path) -> None:
    """And to what else is in that."""
    node = read_node(write(tmp_path, dict(NODE) | {"ip addr": PAIR}))
    assert node.endpoints == {"tap1": Endpoint("tap1", None, "qbr1", (), ("vm1",))}
    assert str(node.endpoints["tap1"]) == "qbr1: vm1"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("brctl show", "qbr1\t\t8000.1\tno\t\tqvb1\n\t\t\t\t\t\t\ttap7\n"),
        ("bridge link", "8: qvb1: <UP> master qbr1 state\n9: tap7: <UP> master qbr1 state\n"),
    ],
)
def test_names_tell_a_pair_where_nothing_else_does(tmp_path: Path, name: str, text: str) -> None:
    """OpenStack's ``qvo`` and ``qvb``."""
    files = dict(NODE) | {name: text, "ovs-vsctl show": VSCTL_SHOW.replace("tap1", "qvo1")}
    node = read_node(write(tmp_path, files))
    assert node.endpoints == {"qvo1": Endpoint("qvo1", None, "qbr1", (), ("tap7",))}
    assert "ip addr is not there" in missing(node)


# -- archives -------------------------------------------------------------------------------------


def tarred(path: Path, files: Mapping[str, str], mode: str) -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


@pytest.mark.parametrize("ending", ["tar", "tar.gz", "tar.xz", "tar.bz2", "zip"])
def test_archives_are_read_as_folders_are(tmp_path: Path, ending: str) -> None:
    """Whatever packs them; errors name the archive and the file in it."""
    path = tmp_path / f"compute.{ending}"
    files = {f"compute/{name}": text for name, text in NODE.items()}
    if ending == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, text in files.items():
                archive.writestr(name, text)
    else:
        tarred(path, files, "w:" + ending.removeprefix("tar").removeprefix("."))
    node = read_node(path)
    folder = read_node(write(tmp_path / "compute", NODE))
    assert node.name == "compute"
    assert node.missing == folder.missing
    for packed, plain in zip(node.bridges, folder.bridges, strict=True):
        assert packed.ports == plain.ports
        assert packed.macs == plain.macs
        assert packed.program is not None
        assert plain.program is not None
        assert list(packed.program.flows) == list(plain.program.flows)


def test_an_archive_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    """As one that cannot be read, not as a node with less in it."""
    path = tarred(tmp_path / "n.tar.xz", NODE, "w:xz")
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(OSError, match="cannot be"):
        read_node(path)


def test_paths_that_lead_out_lead_nowhere(tmp_path: Path) -> None:
    """An archive's ``..`` and ``/`` are only names, its links are passed over."""
    path = tmp_path / "in" / "n.tar"
    path.parent.mkdir()
    secret = write(tmp_path / "out", {"secret": FLOWS_BR_INT}) / "secret"
    with tarfile.open(path, "w") as archive:
        link = tarfile.TarInfo("ovs-ofctl dump-flows br-int")
        link.type, link.linkname = tarfile.SYMTYPE, str(secret)
        archive.addfile(link)
        for name in ("../../ovs-ofctl dump-flows br-tun", "/ovs-ofctl dump-flows br-ex"):
            member = tarfile.TarInfo(name)
            member.size = len(FLOWS_BR_TUN)
            archive.addfile(member, io.BytesIO(FLOWS_BR_TUN.encode()))
    before = sorted(tmp_path.rglob("*"))
    assert [bridge.name for bridge in read_node(path).bridges] == ["br-ex", "br-tun"]
    assert sorted(tmp_path.rglob("*")) == before


def test_links_out_of_a_folder_are_not_followed(tmp_path: Path) -> None:
    """Those within it are, if they are links to files; circles do no harm."""
    secret = write(tmp_path / "out", {"secret": FLOWS_BR_INT}) / "secret"
    node = write(tmp_path / "n", {"a/flows": FLOWS_BR_TUN})
    (node / "ovs-ofctl dump-flows br-int").symlink_to(secret)
    (node / "ovs-ofctl dump-flows br-tun").symlink_to("a/flows")
    (node / "a" / "circle").symlink_to(node)
    (node / "ovs-ofctl dump-flows br-ex").symlink_to("nothing")
    os.mkfifo(node / "ovs-ofctl dump-flows br-fifo")
    assert [bridge.name for bridge in read_node(node).bridges] == ["br-tun"]


def test_an_archive_is_not_taken_into_memory_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small file can unpack to a huge one."""
    monkeypatch.setattr("flowvm.network.files.MOST", 1 << 20)
    path = tmp_path / "n.tar.xz"
    member = tarfile.TarInfo("ovs-ofctl dump-flows br-int")
    member.size = 2 << 20
    with lzma.open(path, "wb") as file, tarfile.open(fileobj=file, mode="w|") as archive:
        archive.addfile(member, io.BytesIO(bytes(member.size)))
    with pytest.raises(OSError, match="holds more than 1 MiB"):
        read_node(path)
