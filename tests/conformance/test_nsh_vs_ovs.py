"""The network service header: matched, changed and counted down as in Open vSwitch."""

from __future__ import annotations

import pytest

from flowvm.switch import Switch
from flowvm.text.dump import parse_dump

from ..oracle import Bridge
from .ct_pair import Pair
from .nsh_cases import FRAMES, MALFORMED
from .test_trace_text import common_part

pytestmark = pytest.mark.oracle

LISTS = {
    "flags": "dl_type=0x894f,nsh_flags=0 actions=output:2\n"
    "priority=1,dl_type=0x894f,nsh_flags=1/1 actions=output:3",
    "type of metadata": "dl_type=0x894f,nsh_mdtype=1 actions=output:2\n"
    "dl_type=0x894f,nsh_mdtype=2 actions=output:3",
    "next protocol": "dl_type=0x894f,nsh_np=3 actions=output:2\n"
    "dl_type=0x894f,nsh_np=1 actions=output:3\ndl_type=0x894f,nsh_np=0 actions=output:4",
    "path": "dl_type=0x894f,nsh_spi=0x1234,nsh_si=255 actions=output:2\n"
    "priority=1,dl_type=0x894f,nsh_spi=0 actions=output:3",
    "ttl": "dl_type=0x894f,nsh_ttl=63 actions=output:2\ndl_type=0x894f,nsh_ttl=0 actions=output:3",
    "context": "dl_type=0x894f,nsh_mdtype=1,nsh_c1=0x10203,nsh_c4=0x0c0d0e0f/0xffff "
    "actions=output:2\npriority=1,dl_type=0x894f,nsh_c2=0 actions=output:3",
    "set all": "dl_type=0x894f,nsh_mdtype=1 actions=set_field:2->nsh_flags,set_field:9->nsh_ttl,"
    "set_field:0x555555->nsh_spi,set_field:3->nsh_si,set_field:0x11->nsh_c1,"
    "set_field:0x22->nsh_c2,set_field:0x33/0xff->nsh_c3,set_field:0x44->nsh_c4,output:2",
    "set type 2": "dl_type=0x894f,nsh_mdtype=2 actions=set_field:2->nsh_flags,set_field:9->nsh_ttl,"
    "set_field:0x555555->nsh_spi,set_field:3->nsh_si,output:2,set_field:0x11->nsh_c1,output:3",
    "set too much": "dl_type=0x894f,nsh_np=3 actions=load:0xff->NXOXM_NSH_FLAGS[],"
    "move:NXOXM_NSH_SI[]->NXOXM_NSH_TTL[],output:2,resubmit(,1)\n"
    "table=1,dl_type=0x894f,nsh_flags=255 actions=dec_nsh_ttl,output:3",
    "load and move": "dl_type=0x894f,nsh_mdtype=1 actions=load:5->NXOXM_NSH_SI[0..3],"
    "move:NXOXM_NSH_C1[]->NXOXM_NSH_C2[],move:NXOXM_NSH_SPI[0..7]->NXOXM_NSH_TTL[],"
    "move:NXOXM_NSH_NP[]->NXM_NX_REG0[0..7],output:2,resubmit(,1)\n"
    "table=1,reg0=3 actions=output:3",
    "count down": "dl_type=0x894f actions=output:3,dec_nsh_ttl,output:2",
    "count down below": "dl_type=0x894f actions=resubmit(,1),output:3\n"
    "table=1,dl_type=0x894f,nsh_mdtype=1 actions=dec_nsh_ttl,dec_nsh_ttl,output:2",
    "count down in the set": "dl_type=0x894f actions=write_actions(dec_nsh_ttl,output:2)",
    "count down in a clone": "dl_type=0x894f actions=clone(dec_nsh_ttl,output:2),output:3",
    "to the controller": "dl_type=0x894f,nsh_np=3,cookie=5 actions=set_field:1->nsh_si,"
    "CONTROLLER:65535",
    "pop a tag": "dl_vlan=5,dl_type=0x894f actions=strip_vlan,set_field:8->nsh_spi,output:2",
}


@pytest.mark.parametrize("name", LISTS)
def test_network_service_headers_are_handled_as_in_open_vswitch(bridge: Bridge, name: str) -> None:
    """Frames, packets-in and counters, with well-formed headers of all types of metadata."""
    pair = Pair(bridge, LISTS[name])
    for frame in FRAMES.values():
        pair.send(1, frame)
    pair.compare_counters("OpenFlow15")


@pytest.mark.parametrize("name", LISTS)
def test_traces_are_those_of_open_vswitch(bridge: Bridge, name: str) -> None:
    """Headers, steps and headers in the end, malformed headers included."""
    bridge.add_flows(LISTS[name])
    ports = {name: number for number, name in bridge.ports.items()}
    switch = Switch(parse_dump(bridge.dump_flows("OpenFlow15")).flows, ports)
    for frame in (*FRAMES.values(), *MALFORMED.values()):
        ours = str(switch.trace(frame, br_flow="in_port=1")).replace("pop_vlan", "strip_vlan")
        theirs = common_part(bridge.trace("in_port=1", frame).replace("pop_vlan", "strip_vlan"))
        if "unsupported" not in ours:
            assert common_part(ours) == theirs, frame.hex()


@pytest.mark.parametrize("name", LISTS)
def test_malformed_headers_have_no_fields(bridge: Bridge, name: str) -> None:
    """What is cut short or says a wrong length reads as zeros, and is not written to.

    What Open vSwitch writes there depends on what the rules on the way match.
    """
    pair = Pair(bridge, LISTS[name])
    for frame in MALFORMED.values():
        trace = pair.switch.trace(frame, br_flow="in_port=1")
        if trace.verdict == "unsupported":
            assert trace.reason == "setting a field of a malformed network service header"
        else:
            pair.send(1, frame)
    pair.compare_counters("OpenFlow15")
