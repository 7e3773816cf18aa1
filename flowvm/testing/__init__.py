"""Property-testing kit: Hypothesis strategies for flow tables and packets, and asserts over them.

    from flowvm.testing import assert_equivalent, assert_reaches

    def test_the_cleanup_changes_nothing():
        assert_equivalent("before.txt", "after.txt")

    def test_the_tunnel_leads_to_the_virtual_machines():
        assert_reaches("after.txt", "in_port=2,tun_id=0x1", port=1)

Asserts look for a packet that proves them wrong and fail with the smallest one, a
:class:`WitnessError`: :func:`assert_equivalent`, :func:`assert_reaches`, :func:`assert_dropped`.
They work in pytest and anywhere else.

Strategies make what Open vSwitch would accept: :func:`matches`, :func:`actions`, :func:`flows`,
:func:`tables`; and packets that a table has something to say about: :func:`frames`,
:func:`packets`, :func:`packet_sequences`, which :func:`batch_of` makes a batch for
:meth:`flowvm.Switch.run`. Where tables have ``tun_metadata``, that is what :data:`TLV_MAP` says.

It needs Hypothesis: ``pip install flowvm[test]``.
"""

try:
    import hypothesis as _hypothesis  # noqa: F401
except ImportError as error:
    raise ImportError(
        "flowvm.testing needs Hypothesis: pip install 'flowvm[test]' (or pip install hypothesis)"
    ) from error

from flowvm.testing.asserts import assert_dropped, assert_equivalent, assert_reaches
from flowvm.testing.frames import Packet, frames, packets
from flowvm.testing.sequences import batch_of, packet_sequences
from flowvm.testing.tables import actions, flows, matches, tables
from flowvm.testing.values import TLV_MAP
from flowvm.testing.witness import WitnessError

__all__ = [
    "TLV_MAP",
    "Packet",
    "WitnessError",
    "actions",
    "assert_dropped",
    "assert_equivalent",
    "assert_reaches",
    "batch_of",
    "flows",
    "frames",
    "matches",
    "packet_sequences",
    "packets",
    "tables",
]
