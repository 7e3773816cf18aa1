"""Connection tracking against a running Open vSwitch: frames, order, counters, connections."""

from __future__ import annotations

import random
import re

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoReply, ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from flowvm.switch import Switch
from flowvm.text.dump import parse_dump

from ..oracle import Bridge
from .ct_pair import Pair
from .ct_traffic import MACS, Traffic

pytestmark = pytest.mark.oracle

CLIENT, SERVER = "10.0.0.1", "10.0.0.2"

FIREWALL = """
table=0,priority=10,ip actions=ct(table=1,zone=5)
table=0,priority=10,ipv6 actions=ct(table=1,zone=5)
table=0,priority=0 actions=output:8
table=1,priority=20,ct_state=+trk+inv actions=output:7
table=1,priority=20,ct_state=+trk+rel+rpl actions=output:6
table=1,priority=19,ct_state=+trk+rel actions=output:5
table=1,priority=10,in_port=1,ct_state=+trk+new,ip actions=ct(commit,zone=5),output:2
table=1,priority=10,in_port=1,ct_state=+trk+new,ipv6 actions=ct(commit,zone=5),output:2
table=1,priority=10,ct_state=+trk+est+rpl actions=output:1,output:3
table=1,priority=10,ct_state=+trk+est-rpl actions=output:2,output:4
table=1,priority=10,in_port=2,ct_state=+trk+new actions=output:8
"""


def there(payload: Packet, ip: type[Packet] = IP, **fields: object) -> bytes:
    """From the client, on port 1."""
    ends = (CLIENT, SERVER) if ip is IP else ("fd00::1", "fd00::2")
    addresses = {"src": ends[0], "dst": ends[1]} | fields
    return bytes(Ether(src=MACS[0], dst=MACS[1]) / ip(**addresses) / payload)


def back(payload: Packet, ip: type[Packet] = IP, **fields: object) -> bytes:
    """From the server, on port 2."""
    ends = (SERVER, CLIENT) if ip is IP else ("fd00::2", "fd00::1")
    addresses = {"src": ends[0], "dst": ends[1]} | fields
    return bytes(Ether(src=MACS[1], dst=MACS[0]) / ip(**addresses) / payload)


def ports(emitted: list[tuple[int, bytes]]) -> list[int]:
    return [port for port, _ in emitted]


def test_a_tcp_connection_lives_and_ends(bridge: Bridge) -> None:
    """Handshake, data, FIN from both sides, and a new connection on the same ports."""
    pair = Pair(bridge, FIREWALL)

    def client(flags: str, seq: int, ack: int = 0, data: bytes = b"") -> list[int]:
        tcp = TCP(sport=1000, dport=80, flags=flags, seq=seq, ack=ack)
        return ports(pair.send(1, there(tcp / Raw(data))))

    def server(flags: str, seq: int, ack: int, data: bytes = b"") -> list[int]:
        tcp = TCP(sport=80, dport=1000, flags=flags, seq=seq, ack=ack)
        return ports(pair.send(2, back(tcp / Raw(data))))

    assert client("S", 100) == [2]
    assert server("SA", 500, 101) == [1, 3]
    assert client("A", 101, 501) == [2, 4]
    assert client("PA", 101, 501, b"hello") == [2, 4]
    assert server("A", 501, 106) == [1, 3]
    assert server("A", 501 + 10**6, 106, b"too far") == [7]
    assert client("FA", 106, 501) == [2, 4]
    assert server("FA", 501, 107) == [1, 3]
    assert client("A", 107, 502) == [2, 4]
    assert client("S", 10**6) == [2]
    assert server("SA", 7, 10**6 + 1) == [1, 3]
    pair.compare_counters()


def test_a_reset_and_flags_that_no_tcp_sends(bridge: Bridge) -> None:
    """RST with the right and the wrong sequence number; SYN+FIN, no flags; SYN+ACK first."""
    pair = Pair(bridge, FIREWALL)
    for flags, seq in (
        ("SA", 1),
        ("SF", 1),
        ("", 1),
        ("F", 1),
        ("S", 1),
        ("S", 1),
        ("R", 5),
        ("R", 2),
    ):
        pair.send(1, there(TCP(sport=1000, dport=80, flags=flags, seq=seq)))
    pair.send(2, back(TCP(sport=80, dport=1000, flags="RA", seq=0, ack=2)))
    pair.send(1, there(TCP(sport=1000, dport=80, flags="S", seq=9)))


@pytest.mark.parametrize("ip", [IP, IPv6])
def test_udp_is_established_by_a_reply(bridge: Bridge, ip: type[Packet]) -> None:
    """Request, request, reply, and both ways after that."""
    pair = Pair(bridge, FIREWALL)
    request, reply = UDP(sport=1000, dport=53) / b"?", UDP(sport=53, dport=1000) / b"!"
    assert ports(pair.send(2, back(reply, ip))) == [8]
    assert ports(pair.send(1, there(request, ip))) == [2]
    assert ports(pair.send(1, there(request, ip))) == [2]
    assert ports(pair.send(2, back(reply, ip))) == [1, 3]
    assert ports(pair.send(1, there(request, ip))) == [2, 4]
    pair.compare_counters()


@pytest.mark.parametrize(
    ("request_type", "reply_type", "ip"),
    [
        (ICMP(type=8, id=7), ICMP(type=0, id=7), IP),
        (ICMP(type=13, id=7), ICMP(type=14, id=7), IP),
        (ICMPv6EchoRequest(id=7), ICMPv6EchoReply(id=7), IPv6),
    ],
    ids=["echo", "timestamp", "echo of IPv6"],
)
def test_icmp_requests_are_connections(
    bridge: Bridge, request_type: Packet, reply_type: Packet, ip: type[Packet]
) -> None:
    """A reply alone is invalid; after the request it is established."""
    pair = Pair(bridge, FIREWALL)
    assert ports(pair.send(2, back(reply_type, ip))) == [7]
    assert ports(pair.send(1, there(request_type, ip))) == [2]
    assert ports(pair.send(2, back(reply_type, ip))) == [1, 3]
    assert ports(pair.send(1, there(request_type, ip))) == [2, 4]


def test_icmp_errors_are_related(bridge: Bridge) -> None:
    """In both directions, from the other end and from a router; others are invalid."""
    pair = Pair(bridge, FIREWALL)
    request = there(UDP(sport=1000, dport=53) / b"?")
    quoted = Ether(request)[IP]
    assert ports(pair.send(2, back(ICMP(type=3, code=3) / quoted))) == [7]
    pair.send(1, request)
    assert ports(pair.send(2, back(ICMP(type=3, code=3) / quoted))) == [6]
    assert ports(pair.send(2, back(ICMP(type=11) / quoted, src="10.9.9.9"))) == [6]
    assert ports(pair.send(2, back(ICMP(type=11) / quoted, dst="10.9.9.9"))) == [7]
    reply = back(UDP(sport=53, dport=1000) / b"!")
    pair.send(2, reply)
    assert ports(pair.send(1, there(ICMP(type=3, code=3) / Ether(reply)[IP]))) == [5]


def test_icmpv6_errors_are_related(bridge: Bridge) -> None:
    """As those of IPv4."""
    pair = Pair(bridge, FIREWALL)
    request = there(UDP(sport=1000, dport=53) / b"?", IPv6)
    pair.send(1, request)
    error = ICMPv6DestUnreach() / Ether(request)[IPv6]
    assert ports(pair.send(2, back(error, IPv6))) == [6]


@pytest.mark.parametrize(
    "frame",
    [
        there(UDP(sport=1000, dport=53, chksum=1) / b"?"),
        there(UDP(sport=1000, dport=53, chksum=0) / b"?"),
        there(UDP(sport=0, dport=53) / b"?"),
        there(UDP(sport=1, dport=53, len=99) / b"?"),
        there(TCP(sport=1, dport=53, flags="S", chksum=1)),
        there(TCP(sport=1, dport=53, flags="S", dataofs=4)),
        there(TCP(sport=1, dport=53, flags="S"), chksum=1),
        there(ICMP(type=8, code=1)),
        there(ICMP(type=9)),
        there(UDP(sport=1, dport=53) / b"?", IPv6),
        there(UDP(sport=1000, dport=53, chksum=1) / b"?", IPv6),
        there(Raw(bytes(20)), proto=47),
        there(Raw(bytes(2)), proto=6),
        bytes(Ether(src=MACS[0], dst=MACS[1]) / ARP()),
        bytes(Ether(src=MACS[0], dst=MACS[1], type=0x800) / Raw(bytes(4))),
    ],
)
def test_what_is_malformed_is_invalid(bridge: Bridge, frame: bytes) -> None:
    """Checksums, lengths, ports of zero."""
    pair = Pair(bridge, FIREWALL)
    pair.send(1, frame)
    pair.send(1, frame)


def test_connections_expire(bridge: Bridge) -> None:
    """Each kind after its own time, to the millisecond."""
    pair = Pair(bridge, FIREWALL)
    packets = {
        "udp": there(UDP(sport=1000, dport=53) / b"?"),
        "icmp": there(ICMP(type=8, id=7)),
        "tcp": there(TCP(sport=1000, dport=80, flags="S", seq=1)),
    }
    for frame in packets.values():
        pair.send(1, frame)
    pair.wait(29_000)
    pair.compare_connections()
    pair.wait(1_000)
    pair.compare_connections()
    assert sum(line.startswith("tcp") for line in pair.connections()) == 0
    pair.wait(29_999)
    pair.compare_connections()
    assert len(list(pair.connections())) == 2
    pair.wait(1)
    pair.compare_connections()
    assert list(pair.connections()) == []
    reply = back(UDP(sport=53, dport=1000) / b"!")
    assert ports(pair.send(2, reply)) == [8]
    pair.send(1, packets["udp"])
    assert ports(pair.send(2, reply)) == [1, 3]
    pair.wait(29_999)
    pair.compare_connections()
    pair.wait(1)
    pair.compare_connections()
    assert list(pair.connections()) == []


MARKS = """
table=0,in_port=1,ip actions=load:0x17->NXM_NX_REG0[0..15],load:0xabc->NXM_NX_REG1[],ct(table=1,\
zone=NXM_NX_REG0[0..15])
table=0,in_port=2,ip actions=load:5->NXM_NX_REG5[],push:NXM_NX_REG5[],ct(table=2,zone=0x17)
table=1,ct_state=+new,ip actions=ct(commit,zone=NXM_NX_REG0[0..15],\
exec(move:NXM_NX_REG1[0..15]->NXM_NX_CT_MARK[8..23],load:0x5->NXM_NX_CT_LABEL[64..67],\
set_field:0x3/0x3->ct_mark)),output:2
table=1,ct_state=+est,ip,ct_mark=0xabc03,ct_zone=0x17 actions=ct(commit,zone=0x17,\
exec(load:0x1->NXM_NX_CT_LABEL[0..3])),output:3
table=2,ip,ct_label=0x50000000000000000/0xf0000000000000000 actions=pop:NXM_NX_REG3[],\
output:NXM_NX_REG3[],move:NXM_NX_CT_MARK[]->NXM_NX_REG7[],\
move:NXM_NX_CT_MARK[0..15]->NXM_OF_ETH_DST[0..15],output:6
table=2,priority=1,ip actions=output:8
"""


def test_marks_labels_and_zones_from_registers(bridge: Bridge) -> None:
    """What exec() sets, which bits of it, and the zone that a register holds."""
    pair = Pair(bridge, MARKS)
    request, reply = there(UDP(sport=1, dport=2) / b"?"), back(UDP(sport=2, dport=1) / b"!")
    pair.send(2, reply)
    pair.send(1, request)
    assert ports(pair.send(2, reply)) == [5, 6]
    assert ports(pair.send(1, request)) == [3]
    pair.send(2, reply)
    pair.compare_counters()


LISTS = {
    "no table": """
ip actions=ct(zone=3),output:2,ct(commit,zone=3),output:3
""",
    "untracked after": """
ip actions=ct(table=1),output:2
table=1,ct_state=+trk,ip actions=ct(zone=2),resubmit(,2)
table=2,ct_state=-trk actions=output:3
table=2,ct_state=+trk actions=output:4
""",
    "cleared": """
ip actions=ct(commit,table=1)
table=1,ip actions=ct_clear,resubmit(,2)
table=2,ct_state=-trk,ip actions=ct(table=3),output:3
table=3,ct_state=+est actions=output:4
table=3,ct_state=+new actions=output:5
""",
    "clear of nothing": """
ip actions=ct_clear,output:2
""",
    "clear after ct": """
ip actions=ct(commit,zone=1),ct_clear,ct(table=1,zone=1)
table=1,ip actions=ct(zone=2),ct_clear,ct_clear,output:2,ct(table=2,zone=1)
table=2,ct_state=+new actions=output:3
table=2,ct_state=+est actions=output:4
""",
    "two copies": """
ip actions=load:1->NXM_NX_REG0[],ct(table=1),load:2->NXM_NX_REG0[],ct(table=1),output:4
table=1,reg0=1 actions=output:2,IN_PORT
table=1,reg0=2 actions=mod_dl_src:00:00:00:00:00:01,output:3
""",
    "in a clone": """
ip actions=clone(ct(commit,table=1),output:2),output:3
table=1,ip actions=dec_ttl,output:4
""",
    "NAT in a clone": """
udp actions=mod_dl_src:00:00:00:00:00:02,clone(ct(commit,nat(src=10.1.1.1),table=1),output:2),\
mod_nw_tos:4,output:3,ct(table=1)
table=1 actions=output:4
""",
    "NAT before and after a clone": """
udp actions=ct(commit,zone=1,nat(src=10.1.1.1)),clone(mod_nw_tos:8,ct(commit,zone=2,\
nat(dst=10.2.2.2)),output:2),mod_nw_tos:4,output:3,ct(table=1,zone=1)
table=1 actions=output:4
""",
    "NAT in the middle": """
udp actions=output:1,ct(commit,nat(dst=10.1.1.1:99)),output:2,dec_ttl,output(port=3,max_len=20),\
mod_tp_src:7,output:4,ct(table=1,zone=4)
table=1,nw_dst=10.1.1.1,udp,tp_dst=99 actions=output:5
table=1,priority=1 actions=output:6
""",
    "after rewriting": """
udp actions=mod_nw_dst:10.7.7.7,mod_tp_dst:88,mod_vlan_vid:5,ct(commit,table=1)
table=1,ip,nw_dst=10.7.7.7 actions=output:2
""",
    "between rewritings": """
ip actions=ct(commit,zone=1),mod_nw_dst:10.7.7.7,ct(commit,zone=1),mod_nw_dst:10.8.8.8,ct(table=1,\
zone=1)
table=1,ct_state=+new actions=output:2
table=1,priority=1 actions=output:3
""",
    "forced": """
ip,in_port=1 actions=ct(commit,force),output:2
ip,in_port=2 actions=ct(commit,force),output:1
""",
    "action set": """
ip actions=write_actions(ct(commit,table=2)),goto_table:1
table=1 actions=drop
table=2 actions=output:3
""",
    "kept stack and tag": """
ip actions=mod_vlan_vid:9,load:5->NXM_NX_REG0[],push:NXM_NX_REG0[],load:6->NXM_NX_REG0[],\
push:NXM_OF_ETH_SRC[],push:NXM_NX_REG0[],ct(table=2)
table=2,dl_vlan=9 actions=pop:NXM_NX_REG1[],pop:NXM_OF_ETH_DST[],pop:NXM_NX_REG2[],\
output:NXM_NX_REG2[],strip_vlan,output:NXM_NX_REG1[]
""",
    "resubmit by the original tuple": """
udp,in_port=1 actions=ct(commit,nat(dst=10.1.1.1:99),table=1)
ip,in_port=2 actions=ct(nat,table=1)
table=1,ct_state=+new,ip actions=resubmit(,2,ct),resubmit(,3)
table=1,ct_state=+est,ip actions=resubmit(,2,ct),resubmit(,3),resubmit(2,2,ct),output:6
table=2,udp,nw_dst=10.0.0.2,tp_dst=53 actions=output:2,resubmit(,3)
table=3,udp,nw_dst=10.1.1.1 actions=output:4
table=3,priority=1 actions=output:5
""",
    "original tuple": """
ip,in_port=1 actions=ct(commit,table=1)
ip,in_port=2 actions=ct(table=1)
table=1,ct_state=+new,ct_nw_src=10.0.0.1,ct_nw_proto=17,ip,ct_tp_dst=53 actions=output:2
table=1,ct_state=+est,ct_nw_src=10.0.0.1,ct_nw_proto=17,ip,ct_tp_dst=53 actions=output:4
table=1,priority=1 actions=output:3
""",
    "deep": """
ip actions=ct(table=0),output:2
""",
    "learned": """
ip,in_port=1 actions=ct(commit,table=1),output:3
table=1,ip actions=learn(table=2,eth_type=0x800,NXM_OF_IP_SRC[]=NXM_OF_IP_DST[],\
load:4->NXM_NX_REG0[]),resubmit(,2)
ip,in_port=2 actions=ct(table=2)
table=2,priority=1 actions=output:5
""",
    "to the controller": """
ip actions=controller(max_len=100),ct(commit,table=1),CONTROLLER
table=1 actions=CONTROLLER,output:2
""",
    "port 21": """
tcp actions=ct(table=1)
table=1,ip actions=ct(commit),output:2
""",
    "in port changed": """
ip actions=load:3->NXM_OF_IN_PORT[],set_tunnel:5,ct(table=1)
table=1,in_port=3,tun_id=5 actions=output:3,output:1
""",
}


@pytest.mark.parametrize("name", LISTS)
def test_lists_with_ct_in_them(bridge: Bridge, name: str) -> None:
    """Where the copy leaves among the outputs, what it keeps, what the rest of the list sees."""
    pair = Pair(bridge, LISTS[name])
    request, reply = there(UDP(sport=1000, dport=53) / b"?"), back(UDP(sport=53, dport=1000) / b"!")
    control = there(TCP(sport=1000, dport=21, flags="S", seq=1))
    for port, frame in ((1, request), (2, reply), (1, request), (1, request), (2, reply)):
        pair.send(port, frame)
    pair.send(1, control)
    pair.send(1, control)
    pair.compare_counters()


NAT = """
table=0,priority=9,in_port=1,{ip} actions=ct(zone=9,nat,table=1)
table=0,priority=9,in_port=2,{ip} actions=ct(zone=9,nat,table=2)
table=1,ct_state=+inv actions=output:7
table=1,priority=5,ct_state=+new,{ip} actions=ct(commit,zone=9,nat({nat}),table=3)
table=1,priority=3,ct_state=+trk,{ip} actions=output:2,resubmit(,3)
table=2,ct_state=+inv actions=output:8
table=2,priority=3,ct_state=+trk+new,{ip} actions=output:5
table=2,priority=3,ct_state=+trk-new,{ip} actions=output:1,resubmit(,3)
table=3,ct_state=+snat actions=output:3
table=3,ct_state=+dnat actions=output:4
table=3,priority=1 actions=output:6
"""

NATS = {
    "source": ("src=10.1.1.1", IP),
    "source and port": ("src=10.1.1.1:5000", IP),
    "destination": ("dst=10.1.1.2", IP),
    "destination and port": ("dst=10.1.1.2:8080", IP),
    "own address": ("src=0.0.0.0", IP),
    "same address": ("src=10.0.0.1", IP),
    "flags": ("src=10.1.1.1,persistent,hash", IP),
    "source of IPv6": ("src=fd01::1", IPv6),
    "destination of IPv6": ("dst=[fd01::2]:8080", IPv6),
}


@pytest.mark.parametrize("name", NATS)
def test_nat_and_back(bridge: Bridge, name: str) -> None:
    """Requests are translated and replies translated back; so are the packets in ICMP errors."""
    what, ip = NATS[name]
    pair = Pair(bridge, NAT.format(nat=what, ip="ip" if ip is IP else "ipv6"))
    wire = {"src": 3, "own": 3, "fla": 3, "dst": 4}.get(what[:3], 3)
    for client in (TCP(sport=1000, dport=80, flags="S", seq=1), UDP(sport=1000, dport=80) / b"?"):
        sent = dict(pair.send(1, there(client, ip)))
        seen = Ether(sent[wire if wire in sent else 6])
        layer = seen[client.__class__]
        answer = layer.__class__(sport=layer.dport, dport=layer.sport)
        if isinstance(layer, TCP):
            answer = TCP(sport=layer.dport, dport=layer.sport, flags="SA", seq=9, ack=2)
        ends = {"src": seen[ip].dst, "dst": seen[ip].src}
        assert 1 in ports(pair.send(2, back(answer, ip, **ends)))
        error = ICMP(type=3, code=1) if ip is IP else ICMPv6DestUnreach()
        for source in (ends["src"], "10.9.9.9" if ip is IP else "fd09::9"):
            frame = back(error / seen[ip].copy(), ip, src=source, dst=ends["dst"])
            pair.send(2, frame)
            pair.send(2, back(error / Raw(bytes(seen[ip])[:48]), ip, src=source, dst=ends["dst"]))
        pair.send(1, there(client, ip))
    pair.compare_counters()


def test_source_ports_are_found_that_are_free(bridge: Bridge) -> None:
    """Clients with the same port behind one address: the next ports in turn."""
    flows = "udp,in_port=1 actions=ct(commit,nat(src=10.1.1.1)),output:2"
    pair = Pair(bridge, flows)
    for client in range(1, 6):
        for port in (1000, 65535, 511, 600, 1023, 80):
            frame = there(UDP(sport=port, dport=53) / b"?", src=f"10.0.0.{client}")
            pair.send(1, frame)
            pair.send(1, frame)


def test_destination_ports_that_collide_change_the_source_port(bridge: Bridge) -> None:
    """One server behind two addresses, reached from the same client port."""
    flows = "udp,in_port=1 actions=ct(commit,nat(dst=10.1.1.1:99)),output:2"
    pair = Pair(bridge, flows)
    for server in range(2, 6):
        frame = there(UDP(sport=1000, dport=53) / b"?", dst=f"10.0.0.{server}")
        pair.send(1, frame)
        pair.send(1, frame)


def random_action(rng: random.Random, depth: int) -> str:
    """Something to do with an IPv4 packet."""
    zone = rng.choice(("", "zone=1", "zone=2", "zone=NXM_NX_REG0[0..15]"))
    after = rng.choice(("", f"table={rng.randint(1, 3)}"))
    exec_ = rng.choice(
        (
            "",
            "",
            "exec(load:0x5->NXM_NX_CT_MARK[0..3])",
            "exec(move:NXM_NX_REG0[]->NXM_NX_CT_LABEL[32..63],load:1->NXM_NX_CT_MARK[])",
        )
    )
    nat = rng.choice(("", "", "nat", "nat(src=10.5.5.5)", "nat(dst=10.5.5.6)"))
    commit = rng.choice(("", "commit", "commit", "commit,force"))
    if not commit:
        exec_, nat = "", nat[:3]
    if commit and nat == "nat":
        nat = ""
    ct = ",".join(filter(None, (commit, zone, after, nat, exec_)))
    choices = [
        f"ct({ct})",
        f"ct({ct})",
        f"ct({ct})",
        "ct_clear",
        f"output:{rng.randint(2, 8)}",
        f"output(port={rng.randint(2, 8)},max_len={rng.choice((20, 60))})",
        f"load:{rng.randint(0, 3)}->NXM_NX_REG0[]",
        "dec_ttl",
        f"mod_nw_tos:{4 * rng.randint(0, 9)}",
        f"mod_nw_src:10.0.0.{rng.randint(1, 3)}",
        f"mod_nw_dst:10.0.0.{rng.randint(1, 3)}",
        "mod_dl_src:00:00:00:00:00:01",
        "mod_vlan_vid:5",
        "strip_vlan",
        "IN_PORT",
        f"resubmit(,{rng.randint(2, 3)})",
    ]
    if depth:
        inner = ",".join(random_action(rng, depth - 1) for _ in range(rng.randint(1, 3)))
        choices += [f"clone({inner})"] * 2
    return rng.choice(choices)


def random_flows(rng: random.Random) -> str:
    """Four tables that go on from one to the next, with ct wherever it may be."""
    lines = []
    for table in range(4):
        states = ("", "ct_state=+new,", "ct_state=+est,", "ct_state=+rpl,", "ct_state=+snat,")
        matches = rng.sample(states, 2) if table else ["in_port=1,", "in_port=2,"]
        for priority, match in enumerate(["", *matches]):
            actions = ",".join(random_action(rng, 2) for _ in range(rng.randint(1, 4)))
            later = re.sub(
                r"(table=|resubmit\(,)(\d)",
                lambda found: f"{found[1]}{max(int(found[2]), table + 1)}",  # noqa: B023
                actions,
            )
            if table == 3:
                later = re.sub(r",?table=\d|,?resubmit\(,\d\)", "", later).strip(",")
                later = later.replace("(,", "(").replace(",,", ",")
            lines.append(f"table={table},priority={priority},{match}ip actions={later or 'drop'}")
    return "\n".join(lines)


@pytest.mark.parametrize("seed", range(25))
def test_random_lists_with_ct_in_them(bridge: Bridge, seed: int) -> None:
    """Any order of ct, ct_clear, clones, outputs and rewriting, nested and in several tables."""
    rng = random.Random(f"lists {seed}")
    pair = Pair(bridge, random_flows(rng))
    traffic = Traffic(rng, protocols=("udp", "tcp"), oddities=0.05, quoted=(20, 64))
    for _ in range(12):
        end, frame = traffic.next()
        pair.send(1 + end, frame)
    pair.compare_counters()


RANDOM_TABLES = {
    "firewall": FIREWALL,
    "marks": MARKS,
    "zones": """
table=0,priority=10,in_port=1,ip actions=ct(table=1,zone=1)
table=0,priority=10,in_port=2,ip actions=ct(table=1,zone=2)
table=0,priority=1 actions=output:8
table=1,priority=9,ct_state=+inv,ip actions=output:7,ct(table=2,zone=3)
table=1,priority=5,ct_state=+new,udp actions=ct(commit,zone=1,exec(load:1->NXM_NX_CT_MARK[])),\
ct(commit,zone=2),output:3
table=1,priority=5,ct_state=+new,tcp actions=ct(commit,table=2,zone=2),output:3
table=1,priority=5,ct_state=+est,ip actions=ct(table=2,zone=2),output:4
table=1,priority=5,ct_state=+rel actions=output:5
table=1,priority=1 actions=output:6
table=2,ct_state=+est,ip actions=ct(commit,force,zone=1),output:1
table=2,ct_state=+new+trk,ip actions=ct(commit,zone=1),output:2
table=2,ct_state=+inv,ip actions=output:3
""",
}


@pytest.mark.parametrize("table", RANDOM_TABLES)
@pytest.mark.parametrize("ipv6", [False, True], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("seed", range(6))
def test_random_conversations(bridge: Bridge, table: str, ipv6: bool, seed: int) -> None:
    """Sound and unsound packets of several conversations, with time between them."""
    rng = random.Random(f"{table} {ipv6} {seed}")
    flows = RANDOM_TABLES[table]
    if ipv6:
        flows = flows.replace("udp", "udp6").replace("tcp", "tcp6")
        flows = flows.replace(",ip ", ",ipv6 ").replace(",ip,", ",ipv6,")
    pair = Pair(bridge, flows)
    traffic = Traffic(rng, ipv6=ipv6, tagged=rng.random() < 0.2)
    for _ in range(40):
        end, frame = traffic.next()
        pair.send(1 + end, frame)
        if rng.random() < 0.2:
            pair.wait(rng.choice((1, 500, 5_000, 29_999, 31_000, 61_000)))
            pair.compare_connections()
    pair.compare_counters()


@pytest.mark.parametrize("name", NATS)
@pytest.mark.parametrize("seed", range(3))
def test_random_conversations_with_nat(bridge: Bridge, name: str, seed: int) -> None:
    """The other end answers what it sees."""
    what, ip = NATS[name]
    rng = random.Random(f"{name} {seed}")
    pair = Pair(bridge, NAT.format(nat=what, ip="ip" if ip is IP else "ipv6"))
    # Of a header that is cut short Open vSwitch writes a checksum behind the packet's end.
    # Nor does it survive the end of a TCP connection that was translated to its own addresses.
    tcp = () if name in ("own address", "same address") else ("tcp",)
    protocols = (*tcp, "udp", "icmp", "gre")
    traffic = Traffic(rng, protocols=protocols, ipv6=ip is IPv6, quoted=(20, 64))
    for _ in range(40):
        end, frame = traffic.next()
        if end == 1 and rng.random() < 0.9:
            frame = as_seen(frame, what, ip)
        pair.send(1 + end, frame)
    pair.compare_counters()


def as_seen(frame: bytes, nat: str, ip: type[Packet]) -> bytes:
    """A reply of the other end, which knows translated addresses only."""
    packet = Ether(frame)
    if ip not in packet:
        return frame
    which, _, address = nat.split(",")[0].partition("=")
    address, _, port = address.rpartition(":") if address.count(":") in (1,) else (address, "", "")
    if address.startswith("["):
        address, _, port = address[1:].partition("]:")
    if address == "0.0.0.0":
        return frame
    setattr(packet[ip], "dst" if which == "src" else "src", address)
    for layer in (TCP, UDP):
        if layer in packet and ICMP not in packet:
            if port:
                setattr(packet[layer], "dport" if which == "src" else "sport", int(port))
            del packet[layer].chksum
    if ip is IP:
        del packet[IP].chksum
    return bytes(packet)


@pytest.mark.parametrize("seed", range(6))
def test_a_dump_of_connections_is_where_a_conversation_goes_on(bridge: Bridge, seed: int) -> None:
    """A switch that read the connections of Open vSwitch agrees with it from then on."""
    rng = random.Random(f"dump {seed}")
    pair = Pair(bridge, FIREWALL)
    traffic = Traffic(rng, oddities=0)
    for _ in range(20):
        end, frame = traffic.next()
        pair.send(1 + end, frame)
    dump = bridge.conntrack("-m", "-s")
    fresh = Switch(parse_dump(FIREWALL).flows, pair.switch.names)
    fresh.track(dump)
    pair.switch = fresh
    for _ in range(20):
        end, frame = traffic.next()
        # What is out of its window is known by those only who saw all.
        if TCP not in Ether(frame):
            pair.send(1 + end, frame)
