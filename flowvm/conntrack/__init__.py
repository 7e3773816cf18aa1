"""Connection tracking as Open vSwitch's userspace datapath does it (lib/conntrack.c of OVS 3.1).

The package knows nothing of pipelines: it takes what a packet's bytes say
(:mod:`~flowvm.conntrack.extract`), what was found out about the packet before
(:class:`~flowvm.conntrack.table.Tracking`), and what a ``ct`` action asks for
(:class:`~flowvm.conntrack.table.Request`), and keeps a table of connections.
"""
