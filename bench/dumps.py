"""Synthetic dumps of the size that production hypervisors have.

No switch printed these. Every row is a template of the kind that ``ovs-ofctl dump-flows br-int``
shows on a hypervisor that runs OVN (admission, port security, ACLs with connection tracking, ARP
responders, load balancers, routes, delivery), filled in for made-up logical switches, ports and
addresses; the templates are the ``.txt`` files beside this one. All flows of a dump are distinct,
and ``ovs-ofctl parse-flows`` reads them.

``python -m bench.dumps 100000 > flows.txt`` writes one.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

PORTS_PER_SWITCH = 24

# {dp} is the key of the logical switch; {port} that of a port, {of} its OpenFlow port, and so on.
_SWITCH_ROWS = Path(__file__).with_name("ovn_switch_rows.txt")
_PORT_ROWS = Path(__file__).with_name("ovn_port_rows.txt")


def _mac(number: int) -> str:
    return (0xFA163E000000 + number).to_bytes(6, "big").hex(":")


def _ip(number: int) -> str:
    return ".".join(map(str, (0x0A000000 + number).to_bytes(4, "big")))


def _rows() -> Iterator[str]:
    """Match and actions of one flow after the other, all different, without end."""
    switch_rows = _SWITCH_ROWS.read_text(encoding="ascii").splitlines()
    port_rows = _PORT_ROWS.read_text(encoding="ascii").splitlines()
    number = 0
    datapath = 0
    while True:
        datapath += 1
        for row in switch_rows:
            yield row.format(dp=hex(datapath))
        for port in range(1, PORTS_PER_SWITCH + 1):
            number += 1
            address = datapath << 8 | port
            values = {
                "dp": hex(datapath),
                "port": hex(port),
                "of": number % 60000 + 1,
                "of_hex": hex(number % 60000 + 1),
                "of2": datapath % 500 + 1,
                "zone": hex(number % 65535 + 1),
                "zone2": hex(datapath % 65535 + 1),
                "zone3": hex(datapath * 7 % 65535 + 1),
                "mac": _mac(number),
                "mac_hex": hex(0xFA163E000000 + number),
                "ip": _ip(address),
                "ip_hex": hex(0x0A000000 + address),
                "ip6": f"fd00::{datapath:x}:f816:3eff:fe00:{port:x}",
                "net": f"{_ip(datapath << 8)}/{24 + datapath % 5}",
                "tunnel": _ip(0x100000 + datapath % 500),
                "vip": hex(0x0AFE0000 + number),
                "l4": 1024 + number % 30000,
                "l4_hex": hex(1024 + number % 30000),
                "group": number % 900 + 1,
                "route": 49 + number % 48,
            }
            for row in port_rows:
                yield row.format_map(values)


def ovn_like(n: int, seed: int = 0) -> Iterator[str]:
    """``n`` lines in the form of dump-flows, with statistics; the same for the same seed."""
    dice = random.Random(seed)
    for row in islice(_rows(), n):
        table, rest = row.split(" ", 1)
        cookie = dice.getrandbits(32)
        duration = f"{dice.randrange(10**6)}.{dice.randrange(1000):03d}"
        packets = int(dice.paretovariate(0.3)) % 10**7 - 1
        octets = packets * dice.randrange(42, 1500)
        idle_age = dice.randrange(65535)
        yield (
            f" cookie={cookie:#x}, duration={duration}s, {table} n_packets={packets}, "
            f"n_bytes={octets}, idle_age={idle_age}, {rest}"
        )


def ovn_like_text(n: int, seed: int = 0) -> str:
    """The whole dump, one flow a line."""
    return "".join(f"{line}\n" for line in ovn_like(n, seed))


if __name__ == "__main__":
    for line in ovn_like(int(sys.argv[1])):
        print(line)
