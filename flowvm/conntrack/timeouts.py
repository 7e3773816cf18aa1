"""How long a connection lives after a packet, in milliseconds: OVS's default timeout policy.

Semantics: ovs-vswitchd.conf.db(5), "CT_Timeout_Policy"; lib/conntrack-tp.c.
"""

TCP_FIRST_PACKET = 30_000
TCP_OPENING = 30_000
TCP_ESTABLISHED = 24 * 60 * 60_000
TCP_CLOSING = 15 * 60_000
TCP_FIN_WAIT = 45_000
TCP_CLOSED = 30_000
OTHER_FIRST = 60_000
OTHER_MULTIPLE = 60_000
OTHER_BIDIRECTIONAL = 30_000
ICMP_FIRST = 60_000
ICMP_REPLY = 30_000
