"""A real Open vSwitch to compare with.

`OpenVSwitch` runs one; its `bridge` loads flows, takes frames and tells what left. Tests get it
from the fixture `ovs` and carry the mark `oracle`.
"""

from .bridge import LOCAL, Bridge, Emission, OracleRefusedError, Outcome
from .fabric import Fabric, Left
from .openflow import PacketIn, Reason
from .server import OpenVSwitch, OracleUnavailableError, why_unavailable
from .unixctl import Unixctl, UnixctlError

__all__ = [
    "LOCAL",
    "Bridge",
    "Emission",
    "Fabric",
    "Left",
    "OpenVSwitch",
    "OracleRefusedError",
    "OracleUnavailableError",
    "Outcome",
    "PacketIn",
    "Reason",
    "Unixctl",
    "UnixctlError",
    "why_unavailable",
]
