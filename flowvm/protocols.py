"""The numbers of the protocols that IP carries, as far as Open vSwitch looks into them."""

ICMP, IGMP, TCP, UDP, ICMPV6, SCTP = 1, 2, 6, 17, 58, 132
