"""Every command and every program of the README runs, and does what the README says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.utils import wrpcap

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS: list[tuple[str, str, str]] = re.findall(
    r"(?:<!-- (.*?) -->\n)?^```(\w+)\n(.*?)^```$", README, re.S | re.M
)
COMMANDS = [text for label, kind, text in BLOCKS if kind == "sh" and not label]
PROGRAMS = [text for _, kind, text in BLOCKS if kind == "python"]
SCRIPTS = sysconfig.get_path("scripts")


def block(label: str) -> str:
    (found,) = [text for given, _, text in BLOCKS if given == label]
    return found.strip()


def run(command: str, directory: Path, **environment: str) -> str:
    """What a shell prints for ``command``, run in ``directory``; it must succeed."""
    path = os.pathsep.join([SCRIPTS, os.environ["PATH"]])
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=directory,
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_readme_has_what_is_tested_here() -> None:
    assert len(COMMANDS) >= 3
    assert len(PROGRAMS) == 2


def test_one_command_installs_it_and_answers(tmp_path: Path) -> None:
    """In an environment of its own, which borrows the dependencies: tests need no network."""
    venv.create(tmp_path / "venv", with_pip=True)
    (borrowed,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (borrowed / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
    printed = run(
        block("try"),
        ROOT,
        PATH=os.pathsep.join([str(tmp_path / "venv" / "bin"), os.environ["PATH"]]),
        PIP_NO_INDEX="1",
        PIP_NO_DEPS="1",
        PIP_NO_BUILD_ISOLATION="0",  # which is how pip spells that there is to be none
        PIP_IGNORE_INSTALLED="1",
        PYTHONSAFEPATH="1",
    )
    assert "Successfully installed flowvm" in printed
    assert printed.endswith("Verdict: output to 1\n")
    assert (borrowed / "flowvm").is_dir()


def test_the_output_shown_is_the_output(tmp_path: Path) -> None:
    labels = [label for label, kind, _ in BLOCKS if kind == "text"]
    assert labels
    for label in labels:
        assert label.startswith("output: flowvm ")
        assert run(label.removeprefix("output: "), tmp_path).strip() == block(label)


@pytest.mark.parametrize("commands", COMMANDS)
def test_commands_run(commands: str, tmp_path: Path) -> None:
    packet = Ether(src="52:54:00:aa:00:01", dst="52:54:00:5e:10:01") / IP() / UDP()
    wrpcap(str(tmp_path / "tunnel.pcap"), [packet] * 3)
    run(commands, tmp_path)


def test_the_guard_of_a_change_passes(tmp_path: Path) -> None:
    (guard,) = [text for text in PROGRAMS if "def test_" in text]
    (tmp_path / "test_guard.py").write_text(guard)
    printed = run(f"{sys.executable} -m pytest -q -p no:cacheprovider test_guard.py", tmp_path)
    assert " passed" in printed


def test_the_library_does_as_shown(tmp_path: Path) -> None:
    (program,) = [text for text in PROGRAMS if "def test_" not in text]
    (tmp_path / "program.py").write_text(program)
    assert run(f"{sys.executable} program.py", tmp_path).startswith("output [2]\n")


def test_ci_runs_the_readmes_test_command() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    (extract,) = re.findall(r"command=\$\((sed .*README\.md)\)", script)
    assert run(extract, ROOT).strip() == block("test")
    assert "pytest" in block("test")
