"""Random groups, and tables that send packets to them."""

from __future__ import annotations

import random

HASHED_FIELDS = (
    *("eth_src", "eth_dst", "eth_type", "vlan_tci", "vlan_vid", "dl_vlan_pcp", "ip_src", "ip_dst"),
    *("nw_proto", "ip_dscp", "nw_tos", "nw_ecn", "nw_ttl", "ipv6_src", "ipv6_dst", "ipv6_label"),
    *("tcp_src", "tcp_dst", "tcp_flags", "udp_src", "udp_dst", "sctp_src", "icmp_type"),
    *("icmpv6_type", "icmp_code", "arp_op", "arp_spa", "arp_sha", "nd_target", "nd_sll"),
    *("in_port", "metadata", "reg0", "reg3", "xreg1", "xxreg1", "tun_id", "mpls_label"),
    *("mpls_ttl", "nw_frag", "pkt_mark", "actset_output"),
)
MASKS = {
    "ip_src": "255.255.0.3",
    "tcp_src": "0xff",
    "eth_src": "00:00:00:00:ff:ff",
    "reg0": "7",
    "vlan_tci": "0xf00",
    "metadata": "0xf",
}
CHANGES = (
    *("set_field:5->reg0", "set_field:0x77->metadata", "mod_dl_src:00:00:00:00:00:01"),
    *("push_vlan:0x8100", "strip_vlan", "set_field:9->reg3"),
)
IP_CHANGES = ("mod_nw_src:1.2.3.4", "mod_tp_src:77", "dec_ttl", "mod_nw_tos:8")
DP_HASH_PARAMETERS = (1, 5, 1 << 32, (1 << 32) + 3, (5 << 32) + 1)


class Cases:
    """What `rng` makes up; `ids` are those of the groups of one case."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.ids = rng.sample(range(1, 1000), rng.randint(1, 4))

    def groups(self) -> str:
        """The groups, one a line."""
        return "\n".join(map(self._group, self.ids))

    def flows(self) -> str:
        """Tables 0 to 3, with rules of higher priority for TCP and UDP."""
        lines = []
        for table in range(4):
            for match, is_l4 in (("priority=5,tcp", True), ("priority=5,udp", True), ("", False)):
                if self.rng.random() < 0.7 or not (table or match):
                    port = "in_port=1" if self.rng.random() < 0.3 and table else ""
                    head = ",".join(filter(None, (match or "priority=1", port)))
                    actions = self._actions(is_l4=is_l4)
                    lines.append(f"table={table},importance=1,{head} actions={actions}")
        return "\n".join(lines)

    def _change(self, *, is_l4: bool) -> str:
        return self.rng.choice((*CHANGES, *IP_CHANGES) if is_l4 else CHANGES)

    def _actions(self, *, is_l4: bool) -> str:
        rng, found = self.rng, []
        for _ in range(rng.randint(1, 4)):
            group = f"group:{rng.choice(self.ids)}"
            kinds = {
                group: 8,
                self._change(is_l4=is_l4): 4,
                f"output:{rng.randint(1, 8)}": 4,
                f"resubmit(,{rng.randint(1, 3)})": 2,
                "exit": 1,
                f"clone({group})": 1,
                f"clone(set_field:9->reg3,{group},output:7)": 1,
            }
            found += rng.choices([*kinds], [*kinds.values()])
        if rng.random() < 0.25:
            group = f"group:{rng.choice(self.ids)}"
            final = rng.choice((group, "output:7", f"output:7,{group}"))
            found.append(f"write_actions({rng.choice(('', 'push_vlan:0x8100,'))}{final})")
        return ",".join(found)

    def _group(self, number: int) -> str:
        rng = self.rng
        kind = rng.choice(("all", "select", "select", "select", "indirect", "ff"))
        parts = [f"group_id={number}", f"type={kind}"]
        if kind == "select":
            parts += self._method()
        n_buckets = 1 if kind == "indirect" else rng.randint(0, 5)
        return ",".join([*parts, *(self._bucket(kind) for _ in range(n_buckets))])

    def _method(self) -> list[str]:
        rng = self.rng
        method = rng.choice((None, "hash", "hash", "dp_hash", "dp_hash"))
        if method is None:
            return []
        parts = [f"selection_method={method}"]
        if rng.random() < 0.5:
            by_datapath = rng.choice(DP_HASH_PARAMETERS)
            number = by_datapath if method == "dp_hash" else rng.randrange(1 << 64)
            parts.append(f"selection_method_param={number}")
        if method == "hash" and rng.random() < 0.8:
            fields = []
            for name in rng.sample(HASHED_FIELDS, rng.randint(1, 4)):
                masked = name in MASKS and rng.random() < 0.3
                fields.append(f"{name}={MASKS[name]}" if masked else name)
            parts.append(f"fields({','.join(fields)})")
        return parts

    def _bucket(self, kind: str) -> str:
        rng, parts = self.rng, []
        if kind == "select" and rng.random() < 0.7:
            parts.append(f"weight:{rng.choice((0, 1, 1, 2, 3, 10, 100, 65535))}")
        if kind in ("select", "ff"):
            watched = rng.random()
            if kind == "ff" or watched < 0.3:
                parts.append(f"watch_port:{rng.randint(1, 9)}")
            if kind == "ff" and watched < 0.2:
                parts.append(f"watch_group:{rng.choice(self.ids)}")
        parts.append(f"actions={self._bucket_actions()}")
        return f"bucket={','.join(parts)}"

    def _bucket_actions(self) -> str:
        rng = self.rng
        actions = [self._change(is_l4=False) for _ in range(rng.randint(0, 3))]
        finals = (
            *(f"output:{rng.randint(1, 9)}", f"output:{rng.randint(1, 9)}", "LOCAL", "IN_PORT"),
            *(f"resubmit(,{rng.randint(1, 3)})", f"group:{rng.choice(self.ids)}"),
            *("CONTROLLER:65535", "output:4,output:5", ""),
        )
        actions.append(rng.choice(finals))
        rng.shuffle(actions)
        return ",".join(filter(None, actions)) or "drop"
