"""What is built and shipped: the wheel, and the source it can be built from again."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARSE = "import flowvm; print(len(flowvm.load('example:br-tun').flows()), flowvm.__file__)"


def parsed_by(installed: Path, directory: Path) -> list[str]:
    """What flowvm of ``installed`` makes of an example, and where it is, without any cache."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "XDG_CACHE_HOME": str(directory)}
    return subprocess.run(
        [sys.executable, "-c", PARSE],
        cwd=directory,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the sdist, which was built from this checkout."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    assert list(out.glob("flowvm-*.tar.gz"))
    (built,) = out.glob("flowvm-*.whl")
    return built


def test_the_wheel_has_all_it_needs(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    needed = {"py.typed", "grammar/openflow.lark", "examples/br-tun.txt", "testing/__init__.py"}
    needed |= {"network/collect.sh", "examples/gre/compute/ovs-vsctl_show"}
    assert {f"flowvm/{name}" for name in needed} <= names
    assert not any(name.startswith(("tests", "bench")) for name in names)
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "flowvm").rglob("*.py")}
    assert modules <= names


def test_installed_from_the_wheel_it_finds_its_grammar(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target"]
    subprocess.run([*pip, str(target), str(wheel)], check=True, capture_output=True)
    assert parsed_by(target, tmp_path) == ["13", str(target / "flowvm" / "__init__.py")]


def test_from_the_checkout_it_finds_its_grammar(tmp_path: Path) -> None:
    """As an editable install does."""
    assert parsed_by(ROOT, tmp_path) == ["13", str(ROOT / "flowvm" / "__init__.py")]
