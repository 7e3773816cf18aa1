"""Replaying captures: what goes into which file, what the clock is, and what is counted."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet

from flowvm.arrival import Seconds
from flowvm.captures.replay import CaptureInput, Progress, Replayed, ReplayError, replay_captures
from flowvm.clock import SECOND
from flowvm.interrupts import held_interrupts
from flowvm.packet.pcap.read import CaptureError, read_capture
from flowvm.switch import Switch
from flowvm.text.dump import parse_dump
from tests.unit.captures import MICRO, NANO, Captured, classic, listed

EPOCH = 1_700_000_000 * 10**9

A, B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
MULTICAST = "01:00:5e:00:00:01"


def frame(dst: str = B, src: str = A, payload: int = 18, port: int = 53) -> Packet:
    """A UDP packet of 42 bytes and ``payload``."""
    return (
        Ether(dst=dst, src=src)
        / IP(src="10.0.0.1", dst="10.0.0.2")
        / UDP(dport=port)
        / bytes(payload)
    )


def at(seconds: float, packet: Packet | bytes, snaplen: int = 65535) -> Captured:
    data = bytes(packet)
    return Captured(EPOCH + round(seconds * SECOND), data[:snaplen], len(data))


class Bench:
    """A switch, captures to replay, and the directory where it all goes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.out = directory / "out"
        self.switch = Switch(())
        self.inputs: list[CaptureInput] = []

    def flows(self, *lines: str, ports: dict[str, int] | None = None) -> None:
        self.switch = Switch(parse_dump("\n".join(lines)).flows, ports)

    def capture(
        self,
        port: int | str,
        *packets: Captured,
        metadata: str = "",
        magic: int = MICRO,
        cut: int = 0,
    ) -> Path:
        path = self.directory / f"in{len(self.inputs)}.pcap"
        data = classic(packets, magic=magic)
        path.write_bytes(data[: len(data) - cut])
        self.inputs.append(CaptureInput(port, path, metadata))
        return path

    def replay(
        self,
        *,
        start: Seconds | None = None,
        until: Seconds | None = None,
        progress: Progress | None = None,
    ) -> Replayed:
        return replay_captures(
            self.switch, self.inputs, self.out, start=start, until=until, progress=progress
        )

    def read(self, name: str) -> list[Captured]:
        return listed(list(read_capture(self.out / f"{name}.pcap")))

    @property
    def summary(self) -> dict[str, Any]:
        found = json.loads((self.out / "summary.json").read_text())
        assert isinstance(found, dict)
        return found

    @property
    def after(self) -> str:
        return (self.out / "flows.txt").read_text()

    def files(self) -> list[str]:
        return sorted(path.name for path in self.out.iterdir())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Tests that run in the background ignore Ctrl-C otherwise."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


# -- files ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ports", "names"), [({"vm1": 1, "vm2": 2, "vm7": 7}, ("vm2", "vm7")), (None, ("2", "7"))]
)
def test_what_leaves_goes_into_a_capture_for_each_port(
    bench: Bench, ports: dict[str, int] | None, names: tuple[str, str]
) -> None:
    """Named ports by their names, others by number; frames, times and lengths as they came."""
    bench.flows("in_port=1 actions=output:2,output:7", ports=ports)
    packets = [at(0, frame(payload=n)) for n in (0, 100, 1400)]
    bench.capture(1, *packets)
    bench.replay()
    captures = [f"{name}.pcap" for name in names]
    assert bench.files() == sorted([*captures, "drops.pcap", "flows.txt", "summary.json"])
    assert [bench.read(name) for name in names] == [packets, packets]
    assert bench.read("drops") == []


def test_inputs_may_be_named_by_the_port(bench: Bench) -> None:
    """A port has its number and its name."""
    bench.flows("in_port=1 actions=output:2", ports={"vm1": 1, "vm2": 2})
    bench.capture("vm1", at(0, frame()))
    bench.replay()
    assert bench.read("vm2") == [at(0, frame())]


def test_a_truncated_packet_is_as_short_on_the_wire(bench: Bench) -> None:
    """Where an action cuts a packet, that is its original length."""
    bench.flows("in_port=1 actions=output(port=2,max_len=64)")
    bench.capture(1, at(0, frame(payload=500)))
    bench.replay()
    assert bench.read("2") == [Captured.whole(EPOCH, bytes(frame(payload=500))[:64])]


def test_a_tag_changes_the_original_length(bench: Bench) -> None:
    """A pushed tag makes a packet longer, a popped one shorter; on the wire as well."""
    bench.flows(
        "in_port=1 actions=mod_vlan_vid:5,output:2", "in_port=2 actions=strip_vlan,output:1"
    )
    plain, tagged = frame(), Ether(src=A, dst=B) / Dot1Q(vlan=5) / frame()[IP]
    bench.capture(1, at(0, plain))
    bench.capture(2, at(1, tagged))
    bench.replay()
    assert bench.read("2") == [at(0, tagged)]
    assert bench.read("1") == [at(1, plain)]


@pytest.mark.parametrize(("magic", "first_bytes"), [(MICRO, "d4c3b2a1"), (NANO, "4d3cb2a1")])
def test_nanoseconds_stay_nanoseconds(bench: Bench, magic: int, first_bytes: str) -> None:
    """Captures are written in the resolution of the finest input."""
    bench.flows("actions=output:2")
    bench.capture(1, Captured.whole(EPOCH, bytes(60)))
    bench.capture(1, Captured.whole(EPOCH + 1, bytes(60)), magic=magic)
    bench.replay()
    assert (bench.out / "2.pcap").read_bytes()[:4].hex() == first_bytes
    fine = 1 if magic == NANO else 0
    assert [packet.time for packet in bench.read("2")] == [EPOCH, EPOCH + fine]


def test_local_and_the_controller_have_captures(bench: Bench) -> None:
    """Reserved ports that packets leave by are called what OpenFlow calls them."""
    bench.flows("in_port=1 actions=LOCAL,CONTROLLER:65535")
    bench.capture(1, at(0, frame()))
    bench.replay()
    assert bench.read("LOCAL") == bench.read("CONTROLLER") == [at(0, frame())]


def test_names_that_are_no_file_names_are_made_some(bench: Bench) -> None:
    """A port may be called like another file, or like a path."""
    ports = {"drops": 2, "../x": 3, "DROPS": 4}
    bench.flows("in_port=1 actions=2,3,4", ports=ports)
    bench.capture(1, at(0, frame()))
    bench.replay()
    captures = [name for name in bench.files() if name.endswith(".pcap")]
    assert captures == [".._x.pcap", "DROPS-4.pcap", "drops-2.pcap", "drops.pcap"]
    assert bench.read("drops") == []
    files = {entry["name"]: entry["file"] for entry in bench.summary["ports"]}
    assert files == {
        None: None,
        "drops": "drops-2.pcap",
        "../x": ".._x.pcap",
        "DROPS": "DROPS-4.pcap",
    }


def test_inputs_are_not_written_over(bench: Bench) -> None:
    """A capture in the directory, under the name of a port, stops the replay and stays."""
    bench.out = bench.directory
    bench.flows("actions=output:2")
    path = bench.capture(1, at(0, frame()))
    path = path.rename(bench.directory / "2.pcap")
    bench.inputs = [CaptureInput(1, path)]
    with pytest.raises(FileExistsError):
        bench.replay()
    assert bench.read("2") == [at(0, frame())]


def test_files_of_an_earlier_replay_are_replaced(bench: Bench) -> None:
    """Replaying twice gives what replaying once does."""
    bench.flows("actions=output:2")
    bench.capture(1, at(0, frame()), at(1, frame()))
    bench.replay()
    bench.flows("actions=output:2")
    bench.replay()
    assert len(bench.read("2")) == 2
    assert bench.files() == ["2.pcap", "drops.pcap", "flows.txt", "summary.json"]


# -- cut frames -------------------------------------------------------------------------------


def test_frames_cut_by_the_snap_length_count_as_whole(bench: Bench) -> None:
    """Headers that are there match although the rest is not, and bytes count as on the wire."""
    bench.flows("udp,tp_dst=53 actions=mod_vlan_vid:5,output:2", "priority=1 actions=drop")
    whole = frame(payload=1400)
    bench.capture(1, at(0, whole, snaplen=60), at(1, frame()), at(2, whole, snaplen=50))
    bench.replay()
    tagged = Ether(src=A, dst=B) / Dot1Q(vlan=5) / whole[IP]
    short = Ether(src=A, dst=B) / Dot1Q(vlan=5) / frame()[IP]
    assert bench.read("2") == [at(0, tagged, snaplen=64), at(1, short), at(2, tagged, snaplen=54)]
    assert "n_packets=3, n_bytes=2944," in bench.after
    assert bench.summary["bytes"] == 1442 + 60 + 1442
    assert bench.summary["ports"][1]["sent"] == {"packets": 3, "bytes": 1446 + 64 + 1446}


def test_what_a_cut_frame_lacks_is_zero(bench: Bench) -> None:
    """A header beyond the snap length reads as zeros, whatever lies behind it in the file."""
    bench.flows("udp,tp_dst=0 actions=output:2", "udp actions=output:3")
    bench.capture(1, *(at(n, frame(port=0xFFFF), snaplen=34) for n in range(3)))
    bench.replay()
    assert bench.read("2") == [at(n, frame(port=0xFFFF), snaplen=34) for n in range(3)]


def test_dropped_frames_are_written_as_they_came(bench: Bench) -> None:
    """drops.pcap has the captured bytes, and the original lengths."""
    bench.flows("actions=drop")
    bench.capture(1, at(0, frame(payload=900), snaplen=64))
    bench.replay()
    assert bench.read("drops") == [at(0, frame(payload=900), snaplen=64)]


def test_an_absurd_original_length_is_harmless(bench: Bench) -> None:
    """A damaged length of 4 GB takes no memory, and is handed on."""
    bench.flows("actions=output:2")
    packet = Captured(EPOCH, bytes(frame()), 0xFFFF_FFFF)
    bench.capture(1, packet)
    bench.replay()
    assert bench.read("2") == [packet]


# -- time -------------------------------------------------------------------------------------

LEARNING = (
    "table=0, in_port=1 actions=learn(table=1,hard_timeout=10,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],"
    "output:NXM_OF_IN_PORT[]),output:9",
    "table=0, in_port=2 actions=resubmit(,1)",
)


def test_inputs_are_merged_by_time(bench: Bench) -> None:
    """Packets of all inputs come in the order of their times, and see what the others taught."""
    bench.flows(*LEARNING)
    bench.capture(1, at(1, frame(src=B)))
    bench.capture(2, *(at(n, frame(dst=B)) for n in (0.5, 1.5)))
    bench.replay()
    assert bench.read("1") == [at(1.5, frame(dst=B))]
    assert bench.read("drops") == [at(0.5, frame(dst=B))]


def test_packets_of_one_time_come_in_the_order_of_the_inputs(bench: Bench) -> None:
    """What is first on the command line is first on the wire."""
    bench.flows(*LEARNING)
    bench.capture(1, at(1, frame(src=B)))
    bench.capture(2, at(1, frame(dst=B)))
    bench.replay()
    assert bench.read("1") == [at(1, frame(dst=B))]


@pytest.mark.parametrize(("start", "place"), [(0, "2"), ("1.5", "2"), (2.5, "drops")])
def test_the_first_packet_arrives_at_start(bench: Bench, start: float | str, place: str) -> None:
    """Rows of the dump live on from the dump: here 8 s of 10 have gone when it is taken."""
    row = "duration=8s, n_packets=0, n_bytes=0, hard_timeout=10"
    bench.flows(f"{row}, dl_dst={B} actions=output:2")
    bench.capture(1, at(0, frame()))
    assert bench.replay(start=start).summary["start"] == float(start)
    assert bench.read(place) == [at(0, frame())]


def test_until_is_when_the_replay_ends(bench: Bench) -> None:
    """Packets of that very time still count, later ones do not; the flows are as of then."""
    bench.flows(*LEARNING)
    bench.capture(1, *(at(n, frame()) for n in (0, 1, 1.000001)))
    bench.replay(start=5, until=6)
    assert len(bench.read("9")) == 2
    assert bench.summary["end"] == 6.0
    assert bench.summary["packets"] == 2
    assert "duration=1s, table=1" in bench.after


def test_until_can_be_after_the_last_packet(bench: Bench) -> None:
    """What runs out by then is gone: the row lasts 10 s from its last packet."""
    bench.flows(*LEARNING)
    bench.capture(1, at(0, frame()), at(1, frame()))
    bench.replay(until=11)
    assert "table=1" in bench.after.replace("resubmit(,1)", "").replace("learn(table=1", "")
    bench.flows(*LEARNING)
    bench.replay(until="11.5")
    assert "table=1" not in bench.after.replace("resubmit(,1)", "").replace("learn(table=1", "")
    assert bench.summary["learned"] == {"flows": 0, "removed": 1}


def test_the_switch_goes_on_where_the_replay_ended(bench: Bench) -> None:
    """A second replay finds the flows and the time that the first left."""
    bench.flows(*LEARNING)
    bench.capture(1, at(0, frame(src=B)))
    bench.capture(2, at(0.5, frame(dst=B)))
    bench.replay(until=9.5)
    assert bench.read("1") == [at(0.5, frame(dst=B))]
    del bench.inputs[0]
    bench.replay(until=20)
    assert bench.summary["start"] == 9.5
    assert bench.read("1") == [at(0.5, frame(dst=B))]
    bench.replay()
    assert bench.read("drops") == [at(0.5, frame(dst=B))]


@pytest.mark.parametrize("size", [1, 2, 7])
def test_batches_make_no_difference(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """However many packets are run at once, each sees what those before it taught."""
    addresses = [f"02:00:00:00:00:{n % 5:02x}" for n in range(40)]
    packets = [at(n, frame(dst=addresses[7 * n % 40], src=addresses[n])) for n in range(40)]
    bench.capture(1, *packets[::2])
    bench.capture(2, *packets[1::2])
    seen = []
    for most in (1 << 15, size):
        monkeypatch.setattr("flowvm.captures.replay.BATCH_PACKETS", most)
        bench.flows(*LEARNING)
        bench.replay()
        seen.append([bench.read("1"), bench.read("9"), bench.read("drops"), bench.after])
    assert seen[0] == seen[1]
    assert all(seen[0])


def test_a_packet_dated_before_the_one_before_it_arrives_with_that(bench: Bench) -> None:
    """Time does not go back for the switch; what is written keeps the capture's time."""
    bench.flows("actions=output:2")
    packets = [at(5, frame()), at(3, frame()), at(6, frame())]
    bench.capture(1, *packets)
    bench.replay()
    assert bench.read("2") == packets
    assert bench.summary["end"] == 1.0


def test_times_that_make_no_sense_are_refused(bench: Bench) -> None:
    """Before the dump nothing is known, and nothing ends before it begins."""
    bench.capture(1, at(0, frame()))
    for options, problem in (
        ({"start": -1}, "start: -1 s is before the switch's time"),
        ({"start": 5, "until": 4}, "until: 4 s is before the first packet arrives"),
        ({"start": "soon"}, 'start: "soon" is not a number of seconds'),
    ):
        with pytest.raises(ReplayError, match=problem):
            bench.replay(**options)
    assert not bench.out.exists()


# -- metadata ---------------------------------------------------------------------------------


def test_packets_of_a_tunnel_have_its_metadata(bench: Bench) -> None:
    """What no frame carries is the same for all packets of an input, and of that input only."""
    bench.flows(
        "tun_id=0x7,tun_src=192.0.2.1,reg3=5 actions=output:2", "priority=1 actions=output:3"
    )
    bench.capture(1, at(0, frame()), at(2, frame()), metadata="tun_id=0x7,tun_src=192.0.2.1,reg3=5")
    bench.capture(1, at(1, frame()))
    bench.replay()
    assert bench.read("2") == [at(0, frame()), at(2, frame())]
    assert bench.read("3") == [at(1, frame())]


@pytest.mark.parametrize(
    ("port", "metadata", "problem"),
    [
        ("vm9", "", 'there is no port "vm9"'),
        (1, "dl_vlan=5", "is not a field that comes besides the frame"),
        (1, "in_port=5", "is not a field that comes besides the frame"),
        (1, "tun_if=5", "tun_if"),
    ],
)
def test_inputs_that_make_no_sense_are_refused(
    bench: Bench, port: int | str, metadata: str, problem: str
) -> None:
    """Ports must be known, and metadata must be that."""
    bench.capture(port, at(0, frame()), metadata=metadata)
    with pytest.raises(ReplayError, match=problem):
        bench.replay()
    assert not bench.out.exists()


# -- counts -----------------------------------------------------------------------------------


def test_the_summary_counts(bench: Bench) -> None:
    """Packets and bytes by port, table, rule, and what became of them."""
    bench.flows(
        "table=0, priority=5, in_port=1 actions=resubmit(,1),resubmit(,1)",
        "cookie=0x9, table=1, udp actions=output:2",
        "table=0, priority=5, in_port=3 actions=load:1->NXM_NX_REG0[]",
        "table=0, priority=5, in_port=4 actions=resubmit(,7)",
        ports={"vm1": 1, "vm2": 2, "vm3": 3, "vm4": 4},
    )
    bench.capture(1, at(0, frame()), at(1, bytes(14)))
    bench.capture(3, at(2, frame()), at(3, bytes(10)))
    bench.capture(4, at(4, frame(payload=40)), at(5, frame()))
    replayed = bench.replay()
    summary = bench.summary
    assert summary == json.loads(json.dumps(replayed.summary))
    assert (summary["packets"], summary["bytes"]) == (6, 60 + 14 + 60 + 10 + 82 + 60)
    assert summary["verdicts"] == {
        "output": 1, "drop": 5, "controller": 0, "unsupported": 0, "error": 0, "held": 0
    }  # fmt: skip
    assert summary["ports"] == [
        {
            "port": number,
            "name": f"vm{number}",
            "received": {"packets": received, "bytes": n_bytes},
            "sent": {"packets": sent, "bytes": 60 * sent},
            "file": "vm2.pcap" if sent else None,
        }
        for number, received, n_bytes, sent in [
            (1, 2, 74, 0),
            (2, 0, 0, 2),
            (3, 2, 70, 0),
            (4, 2, 142, 0),
        ]
    ]
    assert summary["inputs"] == [
        {"port": 1, "capture": str(bench.inputs[0].capture), "packets": 2, "bytes": 74},
        {"port": 3, "capture": str(bench.inputs[1].capture), "packets": 2, "bytes": 70},
        {"port": 4, "capture": str(bench.inputs[2].capture), "packets": 2, "bytes": 142},
    ]
    assert summary["tables"] == [{"table": 0, "hits": 5}, {"table": 1, "hits": 2}]
    rules = {(rule["table"], rule["match"]): rule for rule in summary["rules"]}
    assert rules[1, "udp"] == {
        "table": 1, "priority": 32768, "cookie": "0x9", "match": "udp", "actions": "output:2",
        "packets": 2, "bytes": 120,
    }  # fmt: skip
    assert {key: rule["packets"] for key, rule in rules.items()} == {
        (0, "in_port=1"): 2, (1, "udp"): 2, (0, "in_port=3"): 1, (0, "in_port=4"): 2
    }  # fmt: skip
    assert summary["drops"] == {
        "packets": 5,
        "bytes": 14 + 60 + 10 + 142,
        "by_table": {
            "0": {"packets": 2, "bytes": 70},
            "1": {"packets": 1, "bytes": 14},
            "7": {"packets": 2, "bytes": 142},
        },
        "by_reason": {
            "shorter than an Ethernet header": {"packets": 1, "bytes": 10},
            "no output": {"packets": 1, "bytes": 60},
            "no match": {"packets": 3, "bytes": 156},
        },
    }
    assert len(bench.read("drops")) == 5
    assert (summary["interrupted"], summary["errors"]) == (False, [])


def test_counters_of_the_dump_are_not_counted_as_hits(bench: Bench) -> None:
    """The summary has what the replay added; flows.txt has the sum."""
    bench.flows(
        "n_packets=100, n_bytes=6400, in_port=1 actions=output:2",
        "n_packets=3, in_port=2 actions=drop",
    )
    bench.capture(1, at(0, frame()))
    bench.replay()
    (rule,) = bench.summary["rules"]
    assert (rule["packets"], rule["bytes"]) == (1, 60)
    assert "n_packets=101, n_bytes=6460," in bench.after


def test_packets_that_err_are_dropped_for_what_they_did(bench: Bench) -> None:
    """A packet that goes round in circles is dropped whole, outputs included, as OVS does."""
    bench.flows("actions=output:2,resubmit(,0)")
    bench.capture(1, at(0, frame()), at(1, frame()))
    bench.replay()
    assert bench.read("drops") == [at(0, frame()), at(1, frame())]
    assert not (bench.out / "2.pcap").exists()
    assert bench.summary["verdicts"]["error"] == 2
    (reason,) = bench.summary["drops"]["by_reason"]
    assert reason == "Recursion too deep"


def test_what_is_not_supported_is_told_by_action(bench: Bench) -> None:
    """Such packets are not taken for dropped; the first of each is named."""
    bench.flows("in_port=1 actions=FLOOD", "in_port=2 actions=output:1")
    bench.capture(1, at(1, frame()), at(2, frame()))
    bench.capture(2, at(0, frame()))
    bench.replay()
    unsupported = bench.summary["unsupported"]
    assert (unsupported["packets"], unsupported["bytes"]) == (2, 120)
    ((why, count),) = unsupported["by_action"].items()
    assert "FLOOD" in why
    assert count == {"packets": 2, "bytes": 120, "first": 1}
    assert bench.read("drops") == []


def test_progress_is_told(bench: Bench) -> None:
    """After each batch, in bytes of the captures, up to all of them."""
    bench.flows("actions=output:2")
    paths = [bench.capture(1, *(at(n, frame()) for n in range(300))) for _ in range(2)]
    told: list[tuple[int, int, int]] = []
    bench.replay(progress=lambda *entry: told.append(entry))
    size = sum(path.stat().st_size for path in paths)
    assert told[-1] == (size, size, 600)


# -- what goes wrong ----------------------------------------------------------------------------


def test_a_capture_that_is_cut_off_ends_there(bench: Bench) -> None:
    """All packets before that, and those of other inputs, are replayed; the error is told."""
    bench.flows("actions=output:2")
    bench.capture(1, at(0, frame()), at(2, frame()), at(4, frame()), cut=1)
    bench.capture(1, at(1, frame()), at(5, frame()))
    replayed = bench.replay()
    assert bench.read("2") == [at(n, frame()) for n in (0, 1, 2, 5)]
    (error,) = replayed.errors
    assert error.packet == 3
    assert bench.summary["errors"] == [str(error)]
    assert str(error).startswith(
        f"{bench.inputs[0].capture}: packet 3, byte 176: the file ends after"
    )


def test_what_is_no_capture_is_told_before_anything_is_done(bench: Bench) -> None:
    """Neither files nor the switch have changed."""
    bench.flows("actions=output:2")
    bench.capture(1, at(0, frame()))
    bench.capture(1).write_text("cookie=0x0 actions=drop")
    with pytest.raises(CaptureError, match="neither pcap nor pcapng"):
        bench.replay()
    assert not bench.out.exists()
    assert bench.switch.now == 0


def test_without_packets_there_are_flows_and_counts(bench: Bench) -> None:
    """An empty capture is fine."""
    bench.flows("actions=output:2")
    bench.capture(1)
    bench.replay(until=3)
    assert bench.files() == ["drops.pcap", "flows.txt", "summary.json"]
    assert bench.summary["packets"] == 0
    assert bench.after.startswith(" cookie=0x0, duration=3s,")


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_leaves_everything_valid(bench: Bench) -> None:
    """Between two batches the replay ends, with all its files, and says so."""
    bench.flows("actions=output:2")
    data = bytes(frame())
    bench.capture(1, *(at(n / 1000, data) for n in range(70_000)))

    def press(done: int, size: int, packets: int) -> None:
        assert done <= size
        if packets > 40_000:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        bench.replay(progress=press)
    packets = bench.summary["packets"]
    assert 40_000 < packets < 70_000
    assert bench.summary["interrupted"] is True
    assert len(bench.read("2")) == packets
    assert f"n_packets={packets}," in bench.after


def press_within(held: list[str], *steps: str) -> None:
    """Press Ctrl-C before each of ``steps``, interrupts being held."""
    with held_interrupts():
        for step in steps:
            os.kill(os.getpid(), signal.SIGINT)
            held.append(step)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_waits_for_the_end_of_a_block() -> None:
    """What is begun is ended; then Ctrl-C takes effect, and is what it was."""
    steps: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        press_within(steps, "only")
    assert steps == ["only"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("interruptible")
def test_a_second_interrupt_does_not_wait() -> None:
    """Pressed twice, Ctrl-C takes effect at once."""
    steps: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        press_within(steps, "first", "second")
    assert steps == ["first"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
