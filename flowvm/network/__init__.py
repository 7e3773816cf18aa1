"""Networks: nodes with bridges, patch ports and tunnels between them.

:func:`flowvm.network.read.read_node` reads a node from what an operator gathered;
:class:`flowvm.network.running.Network` runs packets through nodes; and from
:func:`flowvm.network.reach.search` comes a packet that gets from one port to another.

>>> from flowvm.arrival import arrive
>>> from flowvm.examples import node_source
>>> from flowvm.network.read import read_node
>>> from flowvm.network.running import Network
>>> names = ("compute", "network")
>>> network = Network([read_node(node_source(f"example:gre/{name}"), name) for name in names])
>>> tap = network.wiring.place("network:tapde5739e1-95")
>>> everyone = "arp,dl_src=fa:16:3e:de:57:39,dl_dst=ff:ff:ff:ff:ff:ff"
>>> packet = arrive(network.state(tap.spot), everyone, "", tap.port, None)
>>> network.trace(tap, packet).delivered()[0].text
'compute:qvo591d8cc4-df (qbr591d8cc4-df)'
"""
