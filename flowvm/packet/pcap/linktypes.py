"""Link types of capture files: which one is read, and the names of those that are not.

Numbers and names are from https://www.tcpdump.org/linktypes.html.
"""

from __future__ import annotations

ETHERNET = 1

NAMES = {
    0: "NULL",
    1: "ETHERNET",
    6: "IEEE802_5",
    9: "PPP",
    12: "RAW",
    101: "RAW",
    105: "IEEE802_11",
    108: "LOOP",
    113: "LINUX_SLL",
    127: "IEEE802_11_RADIOTAP",
    192: "PPI",
    195: "IEEE802_15_4_WITHFCS",
    220: "USB_LINUX_MMAPPED",
    228: "IPV4",
    229: "IPV6",
    247: "INFINIBAND",
    253: "NETLINK",
    271: "VSOCK",
    276: "LINUX_SLL2",
}


def not_ethernet(linktype: int) -> str:
    """What is the matter with a capture of ``linktype``, a number other than Ethernet's."""
    name = NAMES.get(linktype)
    shown = f"{linktype} ({name})" if name else str(linktype)
    return f"link type {shown}; only Ethernet (1) can be read"
