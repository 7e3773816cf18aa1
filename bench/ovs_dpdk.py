"""A private OVS-DPDK: one PMD core, a port that replays a capture without end, one that is a sink.

It needs root, Debian's ``openvswitch-switch-dpdk`` with ``librte-net-pcap23`` and
``librte-mempool-ring23``, and hugepages. The ordinary ``ovs-vswitchd`` and the system's Open
vSwitch, if one runs, are left alone; hugepages that had to be reserved are given back.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.oracle import Unixctl, UnixctlError

VSWITCHD = Path("/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk")
SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
DRIVERS = ("librte_net_pcap.so.23", "librte_mempool_ring.so.23")

MEMORY = 1000
"""MB of hugepages."""

BRIDGE = "flowvm-bench"
"""Also the name of its tap device, which the host should not have yet."""

MAIN_CORE, PMD_CORE = 0, 1
IN_PORT, OUT_PORT = 2, 1

_RESERVED = Path("/proc/sys/vm/nr_hugepages")
_PAGE_MB = 2
_EMPTY_CAPTURE = bytes.fromhex("d4c3b2a1 0200 0400 00000000 00000000 ffff0000 01000000")
_RECEIVED = re.compile(r"^  packets received: (\d+)", re.MULTILINE)


class DpdkUnavailableError(RuntimeError):
    """OVS-DPDK is not installed, or does not run here."""


def why_unavailable() -> str | None:
    """What is missing, or None when nothing is."""
    if not VSWITCHD.exists():
        return f"{VSWITCHD} is missing: apt-get install openvswitch-switch-dpdk"
    missing = [name for name in DRIVERS if _driver(name) is None]
    if missing:
        return f"DPDK's {', '.join(missing)} missing: apt-get install librte-net-pcap23"
    if os.geteuid() != 0:
        return "hugepages need root"
    if (os.cpu_count() or 1) <= PMD_CORE:
        return "a machine with two cores is needed"
    return None


def _driver(name: str) -> Path | None:
    return next(iter(Path("/usr/lib").glob(f"*/dpdk/pmds-23.0/{name}")), None)


@dataclass(frozen=True)
class Measured:
    """Packets that a PMD thread handled in some seconds of CPU time."""

    packets: int
    seconds: float

    @property
    def rate(self) -> float:
        """Packets a second."""
        return self.packets / self.seconds


class OvsDpdk:
    """A running OVS-DPDK with ``flows``; made by :func:`running`."""

    def __init__(self, directory: Path) -> None:
        self.ctl = Unixctl(directory / "vs.ctl")
        tasks = Path(f"/proc/{(directory / 'vs.pid').read_text().strip()}/task")
        names = {task.name: (task / "comm").read_text() for task in tasks.iterdir()}
        self._pmd = tasks / next(task for task, name in names.items() if name.startswith("pmd"))

    def measure(self, seconds: float) -> Measured:
        """Let it run for some seconds."""
        before, began = self._received(), cpu_seconds(self._pmd)
        time.sleep(seconds)
        after, ended = self._received(), cpu_seconds(self._pmd)
        return Measured(after - before, ended - began)

    def _received(self) -> int:
        text = self.ctl.call("dpif-netdev/pmd-stats-show", "-pmd", str(PMD_CORE))
        found = _RECEIVED.search(text)
        if found is None:
            raise DpdkUnavailableError(f"no PMD counts packets:\n{text}")
        return int(found[1])


def cpu_seconds(task: Path) -> float:
    """The CPU time that a thread has had; ``task`` is its directory in /proc."""
    return int((task / "schedstat").read_text().split()[0]) / 1e9


@contextlib.contextmanager
def running(capture: Path, flows: str, sink: Path | None = None) -> Iterator[OvsDpdk]:
    """An OVS-DPDK that gets the packets of ``capture``, again and again, on :data:`IN_PORT`.

    What leaves by :data:`OUT_PORT` is counted, and written to the pcap file ``sink`` if there is
    one. Raises DpdkUnavailableError.
    """
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="flowvm-dpdk-")))
        huge = stack.enter_context(_hugepages(directory))
        programs = _Programs(directory)
        stack.callback(programs.stop)
        try:
            programs.start(huge)
            empty = directory / "empty.pcap"
            empty.write_bytes(_EMPTY_CAPTURE)
            output = f"net_pcap{OUT_PORT},rx_pcap={empty}"
            output += f",tx_pcap={sink}" if sink is not None else ""
            programs.add_port(OUT_PORT, output)
            programs.ofctl("add-flows", "-", text=flows)
            programs.add_port(IN_PORT, f"net_pcap{IN_PORT},rx_pcap={capture},infinite_rx=1")
        except subprocess.SubprocessError as error:
            said = getattr(error, "stderr", "") or ""
            raise DpdkUnavailableError(f"{error}\n{said}\n{programs.log()}") from error
        switch = OvsDpdk(directory)
        stack.callback(switch.ctl.close)
        yield switch


class _Programs:
    """The daemons, and the programs that talk to them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        variables = ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR")
        self._environment = {**os.environ, **dict.fromkeys(variables, str(directory))}

    def start(self, huge: Path) -> None:
        where = self._directory
        database = where / "conf.db"
        self._run("ovsdb-tool", "create", str(database), str(SCHEMA))
        self._daemon("ovsdb-server", "ovsdb", str(database), f"--remote=punix:{where}/db.sock")
        drivers = " ".join(f"-d {_driver(name)}" for name in DRIVERS)
        settings = {
            "dpdk-init": "true",
            "dpdk-extra": f"{drivers} --no-pci --file-prefix={where.name}",
            "dpdk-hugepage-dir": str(huge),
            "dpdk-socket-mem": str(MEMORY),
            "dpdk-lcore-mask": hex(1 << MAIN_CORE),
            "pmd-cpu-mask": hex(1 << PMD_CORE),
        }
        self.vsctl("--no-wait", "init")
        self.vsctl(
            "--no-wait", "set", "open_vswitch", ".",
            *(f'other_config:{name}="{value}"' for name, value in settings.items()),
        )  # fmt: skip
        self._daemon(str(VSWITCHD), "vs", f"unix:{where}/db.sock", "--disable-system")
        self.vsctl(
            "add-br", BRIDGE, "--", "set", "bridge", BRIDGE,
            "datapath_type=netdev", "fail-mode=secure",
        )  # fmt: skip

    def add_port(self, number: int, device: str) -> None:
        name = f"p{number}"
        self.vsctl(
            "add-port", BRIDGE, name, "--", "set", "interface", name, "type=dpdk",
            f"ofport_request={number}", f'options:dpdk-devargs="{device}"',
        )  # fmt: skip
        error = self.vsctl("get", "interface", name, "error").strip()
        if error != "[]":
            raise DpdkUnavailableError(f"port {name}: {error}\n{self.log()}")

    def vsctl(self, *arguments: str) -> str:
        return self._run(
            "ovs-vsctl", "--timeout=30", f"--db=unix:{self._directory}/db.sock", *arguments
        )

    def ofctl(self, command: str, *arguments: str, text: str) -> str:
        target = f"unix:{self._directory}/{BRIDGE}.mgmt"
        return self._run("ovs-ofctl", command, target, *arguments, text=text)

    def log(self) -> str:
        """The end of the daemon's log."""
        with contextlib.suppress(OSError):
            return "\n".join((self._directory / "vs.log").read_text().splitlines()[-20:])
        return ""

    def stop(self) -> None:
        for name in ("vs", "ovsdb"):
            with contextlib.suppress(OSError, ValueError):
                pid = int((self._directory / f"{name}.pid").read_text())
                try:
                    # So that the datapath's tap devices go with it.
                    with Unixctl(self._directory / f"{name}.ctl") as ctl:
                        ctl.call("exit", *(["--cleanup"] if name == "vs" else []))
                except (UnixctlError, OSError):
                    os.kill(pid, signal.SIGTERM)
                _await_end(pid)

    def _daemon(self, program: str, name: str, *arguments: str) -> None:
        files = [f"--{kind}={self._directory}/{name}.{end}" for kind, end in _FILES.items()]
        self._run(program, *arguments, "--detach", "--no-chdir", "-vconsole:off", *files)

    def _run(self, program: str, *arguments: str, text: str | None = None) -> str:
        path = shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
        if path is None:
            raise DpdkUnavailableError(f"{program} is not installed")
        return subprocess.run(
            [path, *arguments],
            input=text,
            env=self._environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout


_FILES = {"pidfile": "pid", "log-file": "log", "unixctl": "ctl"}


def _await_end(pid: int) -> None:
    """Wait until a daemon is gone, and make it go after ten seconds."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def _hugepages(directory: Path) -> Iterator[Path]:
    """A hugetlbfs with enough pages, reserved for this purpose and given back."""
    before = int(_RESERVED.read_text())
    free = int(next(re.finditer(r"HugePages_Free: +(\d+)", Path("/proc/meminfo").read_text()))[1])
    wanted = before - free + MEMORY // _PAGE_MB + 64
    mount = directory / "huge"
    mount.mkdir()
    _RESERVED.write_text(str(max(before, wanted)))
    try:
        if int(_RESERVED.read_text()) < wanted:
            raise DpdkUnavailableError(f"no memory for {wanted} hugepages of {_PAGE_MB} MB")
        command = ["mount", "-t", "hugetlbfs", "-o", f"pagesize={_PAGE_MB}M", "none", str(mount)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise DpdkUnavailableError(f"hugepages cannot be used: {ended.stderr.strip()}")
        try:
            yield mount
        finally:
            subprocess.run(["umount", str(mount)], check=False)
    finally:
        _RESERVED.write_text(str(before))
