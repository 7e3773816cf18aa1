"""A small node, as the files that an operator gathers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

VSCTL_SHOW = """\
ec1c2d1d-6b1a-4d93-9f5c-c1d1e0b4a8c2
    Bridge br-int
        fail_mode: secure
        Port tap1
            tag: 2
            Interface tap1
        Port patch-tun
            Interface patch-tun
                type: patch
                options: {peer=patch-int}
        Port br-int
            Interface br-int
                type: internal
    Bridge br-tun
        Port patch-int
            Interface patch-int
                type: patch
                options: {peer=patch-tun}
        Port gre-1
            Interface gre-1
                type: gre
                options: {in_key=flow, local_ip="10.0.0.1", out_key=flow, remote_ip="10.0.0.2"}
        Port lost
            Interface lost
                error: "could not open network device lost (No such device)"
    ovs_version: "3.1.0"
"""
SHOW_BR_INT = """\
OFPT_FEATURES_REPLY (xid=0x2): dpid:00007e292f58a94e
n_tables:254, n_buffers:0
 1(tap1): addr:aa:55:aa:55:00:19
     config:     0
     state:      0
 2(patch-tun): addr:32:4e:af:e0:04:1a
     config:     NO_FLOOD
     state:      0
 LOCAL(br-int): addr:7e:29:2f:58:a9:4e
     config:     PORT_DOWN
     state:      LINK_DOWN
"""
SHOW_BR_TUN = """\
OFPT_FEATURES_REPLY (xid=0x2): dpid:00007e292f58a94f
 1(patch-int): addr:32:4e:af:e0:04:1b
 2(gre-1): addr:32:4e:af:e0:04:1c
"""
FLOWS_BR_INT = """\
NXST_FLOW reply (xid=0x4):
 cookie=0x0, duration=5.1s, table=0, n_packets=0, n_bytes=0, priority=1 actions=NORMAL
"""
FLOWS_BR_TUN = """\
NXST_FLOW reply (xid=0x4):
 cookie=0x0, duration=5.1s, table=0, n_packets=0, n_bytes=0, in_port=1 actions=output:2
 cookie=0x0, duration=5.1s, table=0, n_packets=0, n_bytes=0, in_port=2 actions=output:1
"""
FDB = """\
 port  VLAN  MAC                Age
    1     2  52:54:00:00:00:01   17
LOCAL     0  52:54:00:00:00:02  static
"""

NODE: Mapping[str, str] = {
    "ovs-vsctl show": VSCTL_SHOW,
    "ovs-ofctl show br-int": SHOW_BR_INT,
    "ovs-ofctl show br-tun": SHOW_BR_TUN,
    "ovs-ofctl dump-flows br-int": FLOWS_BR_INT,
    "ovs-ofctl dump-flows br-tun": FLOWS_BR_TUN,
    "ovs-appctl fdb-show br-int": FDB,
}


def write(directory: Path, files: Mapping[str, str | bytes]) -> Path:
    """``directory`` with ``files`` in it, whose names are paths."""
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    directory.mkdir(exist_ok=True)
    return directory
