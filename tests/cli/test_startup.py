"""The command is there at once: what it does not need it does not import."""

from __future__ import annotations

import subprocess
import sys

import pytest

import flowvm

from .conftest import Run

HEAVY = ("hypothesis", "numpy", "lark", "scapy", "pydantic")
TRACE = ("trace", "example:br-tun", "in_port=2,tun_id=0x1,icmp")


def imported(*command: str) -> set[str]:
    """The top-level modules that a command imports, in a process of its own."""
    program = (
        "import sys\n"
        "from flowvm.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "finally:\n    print(*sorted({name.partition('.')[0] for name in sys.modules}),"
        " file=sys.stderr)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, *command], capture_output=True, text=True, check=True
    )
    return set(ended.stderr.split())


@pytest.mark.parametrize("command", [("--help",), ("--version",), ("trace", "--help")])
def test_help_imports_next_to_nothing(command: tuple[str, ...]) -> None:
    """Neither numpy nor the grammar is needed to say what there is."""
    assert imported(*command).isdisjoint(HEAVY[:-1])


def test_a_trace_imports_no_scapy() -> None:
    """Frames for headers are made without it; it is for packets that come as Scapy's."""
    assert imported(*TRACE).isdisjoint({"hypothesis", "scapy"})


def test_the_package_alone_imports_nothing() -> None:
    """``import flowvm`` costs next to nothing; its names are imported when they are used."""
    program = "import sys, flowvm; print(*{name.partition('.')[0] for name in sys.modules})"
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert set(ended.stdout.split()).isdisjoint(HEAVY)


def test_the_module_can_be_run(spawn: Run) -> None:
    """``python -m flowvm`` is the command."""
    assert spawn("--version").out == f"flowvm {flowvm.__version__}\n"
    ended = spawn(*TRACE)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.endswith("Verdict: output to 1\n")


def test_every_command_is_explained(spawn: Run) -> None:
    """The help names all commands, and each command's help all its options."""
    assert all(name in spawn("--help").out for name in ("trace", "replay", "show", "example"))
    wanted = {
        "trace": ("--frame", "--in-port", "--ports", "--at", "--json", "--lenient"),
        "replay": ("--events", "--out-events", "--dump-after", "--ports", "--lenient"),
        "show": ("--table", "--cookie", "--match", "--color", "--lenient"),
    }
    for command, options in wanted.items():
        out = spawn(command, "--help").out
        assert [option for option in options if option not in out] == []
