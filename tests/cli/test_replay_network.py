"""``flowvm replay --node``: requests and replies through a network, with state on all nodes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet
from scapy.utils import PcapReader, wrpcap

from .conftest import Run

VM_MAC, DHCP_MAC = "fa:16:3e:59:1d:01", "fa:16:3e:de:57:39"
VM_IP, DHCP_IP = "10.1.0.7", "10.1.0.2"
BROADCAST = "ff:ff:ff:ff:ff:ff"
QVO, TAP = "qvo591d8cc4-df", "tapde5739e1-95"


def nodes(cloud: str = "gre") -> list[str]:
    return [f"--node={name}=example:{cloud}/{name}" for name in ("compute", "network")]


def at(seconds: float, packet: Packet) -> Packet:
    packet.time = 1_700_000_000 + seconds
    return packet


def dhcp(kind: str, source: str, destination: str) -> Packet:
    to_server = kind in ("discover", "request")
    return (
        Ether(src=source, dst=destination)
        / IP(src="0.0.0.0" if to_server else DHCP_IP, dst="255.255.255.255")
        / UDP(sport=68 if to_server else 67, dport=67 if to_server else 68)
        / BOOTP(op=1 if to_server else 2, yiaddr="0.0.0.0" if to_server else VM_IP)
        / DHCP(options=[("message-type", kind), "end"])
    )


REQUESTS = [
    at(0, dhcp("discover", VM_MAC, BROADCAST)),
    at(2, Ether(src=VM_MAC, dst=BROADCAST) / ARP(op=1, psrc=VM_IP, pdst=DHCP_IP, hwsrc=VM_MAC)),
    at(4, Ether(src=VM_MAC, dst=DHCP_MAC) / IP(src=VM_IP, dst=DHCP_IP) / ICMP(type=8)),
]
REPLIES = [
    at(1, dhcp("offer", DHCP_MAC, VM_MAC)),
    at(3, Ether(src=DHCP_MAC, dst=VM_MAC) / ARP(op=2, psrc=DHCP_IP, pdst=VM_IP, hwsrc=DHCP_MAC)),
    at(5, Ether(src=DHCP_MAC, dst=VM_MAC) / IP(src=DHCP_IP, dst=VM_IP) / ICMP(type=0)),
]


@pytest.fixture
def captures(tmp_path: Path) -> list[str]:
    wrpcap(str(tmp_path / "vm.pcap"), REQUESTS)
    wrpcap(str(tmp_path / "dhcp.pcap"), REPLIES)
    return [
        "--in", f"compute:{QVO}={tmp_path}/vm.pcap",
        "--in", f"network:{TAP}={tmp_path}/dhcp.pcap",
    ]  # fmt: skip


def frames(path: Path) -> list[bytes]:
    with PcapReader(str(path)) as reader:
        return [bytes(packet) for packet in reader]


@pytest.mark.parametrize(
    ("cloud", "links"),
    [("gre", []), ("vxlan", []), ("vlan", ["--link=compute:eth1,network:eth1"])],
)
def test_requests_and_replies(
    flowvm: Run, tmp_path: Path, captures: list[str], cloud: str, links: list[str]
) -> None:
    """Requests arrive at the server's tap, replies at the virtual machine and nowhere else."""
    out = tmp_path / "out"
    ended = flowvm("replay", *nodes(cloud), *links, *captures, "--out", out)
    assert (ended.status, ended.err) == (0, "")
    assert frames(out / f"network.{TAP}.pcap") == [bytes(packet) for packet in REQUESTS]
    assert frames(out / f"compute.{QVO}.pcap") == [bytes(packet) for packet in REPLIES]
    # The router's port gets what is flooded, and not the ping to an address known by then.
    assert frames(out / "network.qr-6c21e0b7-48.pcap") == [bytes(p) for p in REQUESTS[:2]]
    assert not (out / "compute.qvo3b07f2a9-14.pcap").exists()
    assert not (out / "nowhere.pcap").exists()


def test_what_the_bridges_learned(flowvm: Run, tmp_path: Path, captures: list[str]) -> None:
    """Table 20 of both nodes and the MAC tables of br-int know who is where, by local tags."""
    out = tmp_path / "out"
    flowvm("replay", *nodes(), *captures, "--out", out)
    for node, tag, mac in (("network", 1, VM_MAC), ("compute", 2, DHCP_MAC)):
        (row,) = [
            line
            for line in (out / f"{node}.br-tun.flows.txt").read_text().splitlines()
            if " table=20, " in line and "hard_timeout=300" in line
        ]
        assert f"vlan_tci=0x000{tag}/0x0fff,dl_dst={mac}" in row
    macs = (out / "network.br-int.fdb.txt").read_text().splitlines()
    assert [line.split()[:3] for line in macs[1:]] == [["1", "1", VM_MAC], ["2", "1", DHCP_MAC]]


def test_summary(flowvm: Run, tmp_path: Path, captures: list[str]) -> None:
    """The summary counts copies by where they ended."""
    out = tmp_path / "out"
    ended = flowvm("replay", *nodes(), *captures, "--out", out, "--json")
    summary = json.loads(ended.out)
    assert summary == json.loads((out / "summary.json").read_text())
    assert (summary["packets"], summary["end"]) == (6, 5)
    assert summary["copies"]["delivered"] == 8
    files = {entry["file"]: entry["packets"] for entry in summary["ports"]}
    assert files[f"network.{TAP}.pcap"] == 3
    assert "copies: " in flowvm("replay", *nodes(), *captures, "--out", out).out


def test_times_are_kept_and_until_ends(flowvm: Run, tmp_path: Path, captures: list[str]) -> None:
    """What leaves has the times of the captures; --until leaves out what comes later."""
    out = tmp_path / "out"
    flowvm("replay", *nodes(), *captures, "--out", out, "--until", "2.5")
    with PcapReader(str(out / f"network.{TAP}.pcap")) as reader:
        assert [float(packet.time) for packet in reader] == [1_700_000_000, 1_700_000_002]


def test_lost_packets_are_kept(flowvm: Run, tmp_path: Path) -> None:
    """A packet of which no copy gets anywhere is in nowhere.pcap, as it came in."""
    stranger = Ether(src=VM_MAC, dst=BROADCAST, type=0x800) / bytes(46)
    wrpcap(str(tmp_path / "in.pcap"), [stranger])
    out = tmp_path / "out"
    name = "compute:qvo3b07f2a9-14"
    ended = flowvm("replay", *nodes(), "--in", f"{name}={tmp_path}/in.pcap", "--out", out)
    assert frames(out / "nowhere.pcap") == [bytes(stranger)]
    rule = "table=2, priority=0 actions=drop"
    assert f"  1 dropped: network, br-tun: dropped by {rule}\n" in ended.out


def test_events(flowvm: Run, tmp_path: Path) -> None:
    """Packets one a line say where they come in; each copy that gets somewhere is a line."""
    events = [
        {"time": 0.5, "in": f"compute:{QVO}", "frame": bytes(REQUESTS[0]).hex()},
        {"time": 1.5, "in": f"network:{TAP}", "frame": bytes(REPLIES[0]).hex()},
    ]
    file = tmp_path / "in.jsonl"
    file.write_text("".join(f"{json.dumps(event)}\n" for event in events))
    ended = flowvm("replay", *nodes(), "--events", file, "--out-events", "-")
    told = [json.loads(line) for line in ended.out.splitlines()]
    delivered = [
        (e["packet"], e["node"], e["name"], e["vlan"]) for e in told if e["fate"] == "delivered"
    ]
    assert delivered == [
        (0, "network", TAP, 1),
        (0, "network", "qr-6c21e0b7-48", 1),
        (1, "compute", QVO, 2),
    ]
    assert told[-1]["frame"] == bytes(REPLIES[0]).hex()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--in", f"compute:{QVO}", "--out", "x"],
            '"compute:qvo591d8cc4-df" is not NODE:PORT=FILE',
        ),
        (["--in", "compute:q=f", "--out", "x"], '--in: there is no interface "q" on a bridge of'),
        (["--in", f"compute:{QVO}=nofile", "--out", "x"], "nofile: No such file"),
        ([], "give --in and --out, or --events and --out-events"),
        (["--tunnel", "1:tun_id=1"], "--tunnel does not go with --node"),
        (["--tlv-map", "x"], "--tlv-map does not go with --node"),
        (
            ["--events", "x", "--out-events", "y", "--start", "1"],
            "--start does not go with --events",
        ),
    ],
)
def test_what_cannot_be_asked(flowvm: Run, arguments: list[str], message: str) -> None:
    """Unknown ports, missing files and options that do not go together are told."""
    ended = flowvm("replay", *nodes(), *arguments)
    assert (ended.status, ended.out) == (2, "")
    assert message in ended.err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"time": 0, "in": "compute:x", "frame": ""}', 'there is no interface "x"'),
        ('{"time": 0, "frame": ""}', '"in" is missing'),
        ('{"time": 0, "in": [], "frame": ""}', '"in" cannot be []'),
    ],
)
def test_bad_events(flowvm: Run, tmp_path: Path, line: str, message: str) -> None:
    """A line that cannot be used is told with its number, and what was expected."""
    file = tmp_path / "in.jsonl"
    file.write_text(line + "\n")
    ended = flowvm("replay", *nodes(), "--events", file, "--out-events", tmp_path / "out")
    assert ended.status == 2
    assert f"in.jsonl:1: {message}" in ended.err
    assert "expected" in ended.err
