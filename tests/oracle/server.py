"""Start and stop a private Open vSwitch with a dummy datapath.

It needs no kernel module, no root and no configuration of the host: everything lives in one
temporary directory, so several can run side by side (one per pytest-xdist worker).
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from .bridge import MTU, Bridge
from .dumps import Printer
from .unixctl import Unixctl, UnixctlError

_PROGRAMS = ("ovsdb-tool", "ovsdb-server", "ovs-vswitchd", "ovs-vsctl", "ovs-ofctl")
_SCHEMA = "vswitch.ovsschema"

# To explain a packet that went too deep in its log, Open vSwitch, at most once a second, traces it
# as if it came again, and what that does counts: flows that it taught, meters, packets-in.
_NO_TRACES = "-vofproto_dpif_upcall:off"


class OracleUnavailableError(RuntimeError):
    """Open vSwitch is not installed, or did not start."""


def _search_path() -> str:
    # An ordinary user's PATH often lacks the sbin directories, where ovs-vswitchd is.
    path = os.environ.get("PATH", os.defpath).split(os.pathsep)
    siblings = [str(Path(entry).parent / "sbin") for entry in path if entry]
    return os.pathsep.join([*path, *siblings])


def _program(name: str) -> str:
    found = shutil.which(name, path=_search_path())
    if found is None:
        raise OracleUnavailableError(f"{name} is not installed")
    return found


def _schema() -> Path:
    candidates = [Path(_program("ovsdb-tool")).parent.parent / "share" / "openvswitch" / _SCHEMA]
    if "OVS_PKGDATADIR" in os.environ:
        candidates.insert(0, Path(os.environ["OVS_PKGDATADIR"]) / _SCHEMA)
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise OracleUnavailableError(f"{_SCHEMA} is not installed")


def why_unavailable() -> str | None:
    """What is missing to run Open vSwitch here, or None when nothing is."""
    try:
        for name in _PROGRAMS:
            _program(name)
        _schema()
    except OracleUnavailableError as error:
        return str(error)
    return None


class OpenVSwitch:
    """A running ovsdb-server and ovs-vswitchd; a context manager that ends them.

    The clock of the switch is stopped from the start and moves only by `Bridge.warp`. So are its
    revalidators, the threads that otherwise work over the datapath flows whenever they see fit:
    they would change or delete the flows of a packet that has just learned something, before those
    can be read. `revalidate` lets them do one round. `bridge` is a bridge `br0` with ports `p1` to
    `p8`, numbered 1 to 8; `add_bridge` makes others. `printer` tells what dumps of bridges say.
    With `tunnels` ports can be tunnels, which else are dummies like all the rest.
    """

    def __init__(self, ports: int = 8, *, tunnels: bool = False) -> None:
        self._n_ports = ports
        self._dummies = "--enable-dummy" if tunnels else "--enable-dummy=override"
        self._owner = os.getpid()
        self._launch()

    def restart(self) -> None:
        """Start anew, for after a crash: Open vSwitch has bugs of its own."""
        self.stop()
        self._launch()

    def _launch(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="flowvm-ovs-"))
        self._programs = {name: _program(name) for name in _PROGRAMS}
        self._environment = {
            **os.environ,
            **dict.fromkeys(
                ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"), str(self.directory)
            ),
        }
        self._bridges: dict[str, Bridge] = {}
        self._ctl: Unixctl | None = None
        self.printer = Printer(self._programs["ovs-ofctl"], self._environment)
        self._paused = False
        atexit.register(self.stop)
        try:
            self._start()
            ports = {f"p{n}": n for n in range(1, self._n_ports + 1)}
            self.bridge = self.add_bridge("br0", ports)
            self.ctl.call("time/stop")
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> OpenVSwitch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def ctl(self) -> Unixctl:
        """The connection to ovs-vswitchd's unixctl socket."""
        if self._ctl is None:
            raise OracleUnavailableError("Open vSwitch is stopped")
        return self._ctl

    def vsctl(self, *arguments: str) -> str:
        """Run ovs-vsctl on this database and return what it prints."""
        # A change of configuration may wait for the revalidators to end.
        self._resume()
        try:
            return self.run("ovs-vsctl", (f"--db=unix:{self.directory / 'db.sock'}", *arguments))
        finally:
            self._pause()

    def revalidate(self) -> None:
        """Let the revalidators do one whole round; flows that are due expire after it."""
        self._resume()
        self._pause()

    def keep_connected(self) -> None:
        """Keep up the OpenFlow connections of all bridges while the clock jumps."""
        for bridge in self._bridges.values():
            bridge.keep_connected()

    def add_bridge(self, name: str, ports: Mapping[str, int]) -> Bridge:
        """Make a bridge with `ports`, dummy interfaces by name with their OpenFlow number.

        Interface names are unique in the whole switch, not only in the bridge.
        """
        captures = {name: self.directory / f"{name}.local.pcap"}
        command = ["--", "add-br", name, "--", "set", "bridge", name]
        command += ["datapath-type=dummy", "fail-mode=secure"]
        command += [f"other-config:datapath-id={len(self._bridges) + 1:016x}"]
        command += [f"other-config:hwaddr=aa:55:aa:55:00:{len(self._bridges):02x}"]
        command += ["--", "set", "interface", name, f"options:tx_pcap={captures[name]}"]
        command += [f"mtu_request={MTU}"]
        for port, number in ports.items():
            captures[port] = self.directory / f"{name}.{number}.pcap"
            command += ["--", "add-port", name, port, "--", "set", "interface", port]
            command += ["type=dummy", f"ofport_request={number}", f"mtu_request={MTU}"]
            command += [f"options:tx_pcap={captures[port]}"]
        self.vsctl(*command)
        for port, number in ports.items():
            given = self.vsctl("get", "interface", port, "ofport").strip()
            if given != str(number):
                raise OracleUnavailableError(f"port {port} got the number {given}, not {number}")
        bridge = Bridge(self, name, ports, captures)
        self._bridges[name] = bridge
        return bridge

    def remove_bridge(self, name: str) -> None:
        self._bridges.pop(name).close()
        self.vsctl("del-br", name)

    def run(self, program: str, arguments: Sequence[str], text: str | None = None) -> str:
        """Run one of the programs of Open vSwitch; raise CalledProcessError if it fails."""
        return subprocess.run(
            [self._programs[program], *arguments],
            input=text,
            env=self._environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=120,
        ).stdout

    def _pause(self) -> None:
        # A second pause would be taken for the end of the first.
        if self._ctl is not None and not self._paused:
            self._ctl.call("revalidator/pause")
            self._paused = True

    def _resume(self) -> None:
        if self._ctl is not None and self._paused:
            self._ctl.call("revalidator/resume")
            self._paused = False

    def stop(self) -> None:
        """End the daemons and delete the directory; does nothing the second time.

        A forked child of the process that started them leaves them alone.
        """
        atexit.unregister(self.stop)
        if os.getpid() != self._owner:
            return
        for bridge in self._bridges.values():
            bridge.close()
        self._bridges.clear()
        self.printer.close()
        if self._ctl is not None:
            # The daemon waits for its threads as it ends.
            with contextlib.suppress(UnixctlError, OSError):
                self._resume()
            self._ctl.close()
            self._ctl = None
        for name in ("vswitchd", "ovsdb"):
            self._end(self.directory / f"{name}.pid")
        shutil.rmtree(self.directory, ignore_errors=True)

    def _start(self) -> None:
        files = {name: str(self.directory / name) for name in ("conf.db", "db.sock", "vs.ctl")}
        try:
            self.run("ovsdb-tool", ("create", files["conf.db"], str(_schema())))
            self._daemon(
                "ovsdb-server",
                "ovsdb",
                (
                    files["conf.db"],
                    f"--remote=punix:{files['db.sock']}",
                    f"--unixctl={self.directory / 'db.ctl'}",
                ),
            )
            # One thread of each kind: with less to wake, a purge is quicker.
            self.vsctl("--no-wait", "init")
            self.vsctl(
                "--no-wait", "set", "open_vswitch", ".",
                "other_config:n-handler-threads=1", "other_config:n-revalidator-threads=1",
            )  # fmt: skip
            self._daemon(
                "ovs-vswitchd",
                "vswitchd",
                (
                    f"unix:{files['db.sock']}",
                    self._dummies,
                    "--disable-system",
                    f"--unixctl={files['vs.ctl']}",
                    _NO_TRACES,
                ),
            )
        except subprocess.CalledProcessError as error:
            raise OracleUnavailableError(f"{error}\n{error.stderr}") from error
        self._ctl = Unixctl(Path(files["vs.ctl"]))

    def _daemon(self, program: str, name: str, arguments: tuple[str, ...]) -> None:
        # --detach returns when the daemon is ready to serve.
        self.run(
            program,
            (
                "--detach",
                "--no-chdir",
                f"--pidfile={self.directory / name}.pid",
                f"--log-file={self.directory / name}.log",
                "-vconsole:off",
                "-vsyslog:off",
                "-vfile:warn",
                *arguments,
            ),
        )

    @staticmethod
    def _end(pidfile: Path) -> None:
        """Ask the process of `pidfile` to end, and make it after five seconds."""
        try:
            pid = int(pidfile.read_text())
        except (OSError, ValueError):
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + 5
            # A daemon removes its pid file as it ends.
            while pidfile.exists() and time.monotonic() < deadline:
                time.sleep(0.005)
            if pidfile.exists():
                os.kill(pid, signal.SIGKILL)
