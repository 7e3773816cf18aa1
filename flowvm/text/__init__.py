"""The text of Open vSwitch's tools: flows, groups, ports, and the flows that traces take."""
