"""How fast dumps are read, next to what else reads them, in the same run.

``pytest bench/test_parse.py`` prints tables, in whose parentheses are the ratios. ``python -m
bench.test_parse`` prints the ratios alone, of processor time, and memory; those that are compared
take turns, so that a busy machine slows all alike.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.dumps import ovn_like
from bench.sizes import sized
from flowvm.bulk.files import read_file
from flowvm.bulk.read import BulkDump, read_bulk
from flowvm.bulk.saved import save
from flowvm.pipeline.compile import compile_flows, flow_names
from flowvm.switch import Switch
from flowvm.text.dump import parse_dump
from flowvm.text.flow_mods import parse_flow_mods

FLOWS = sized((500, 2000), (100_000, 400_000), (100_000, 400_000))
SOME = sized(200, 4000, 4000)  # as many lines as the slow readers are given


def with_flowvm(path: Path) -> BulkDump:
    """From the file to a program that is ready to look packets up."""
    with path.open("rb") as file:
        return read_file(file)


def with_ovs_ofctl(path: Path) -> None:
    """What C takes to read and check the flows."""
    subprocess.run(
        ["ovs-ofctl", "parse-flows", path], check=True, stdout=subprocess.DEVNULL, text=True
    )


def in_bulk(lines: list[str]) -> None:
    """As with_flowvm, from memory."""
    read_bulk(["".join(f"{line}\n" for line in lines).encode()])


def line_by_line(lines: list[str]) -> None:
    """The same, each line parsed by Lark."""
    flows = parse_dump("\n".join(lines)).flows
    compile_flows(flows, flow_names(flows, None))


def with_ovs_flow(lines: list[str]) -> None:
    """Python's ovs.flow, which makes dictionaries of strings and numbers."""
    from ovs.flow.ofp import OFPFlow

    for line in lines:
        OFPFlow(line.strip())


def all_different(n: int) -> Iterator[str]:
    """Lines of which each is a new shape: nothing can be taken over from another."""
    for i, line in enumerate(ovn_like(n)):
        pushed = f"push:NXM_NX_REG1[{i % 32}],push:NXM_NX_REG2[{i // 32 % 32}]"
        head, _, actions = line.partition("actions=")
        kept = "" if actions == "drop" else f",{actions}"
        yield f"{head}actions={pushed},push:NXM_NX_REG3[{i // 1024 % 32}]{kept}"


def written(directory: Path, flows: int) -> Path:
    """A file with that many OVN-like flows."""
    path = directory / f"{flows}.txt"
    with path.open("w", encoding="ascii") as file:
        file.writelines(f"{line}\n" for line in ovn_like(flows))
    return path


# What is not installed is not compared with.
OF_FILES: dict[str, Callable[[Path], object]] = {"flowvm": with_flowvm}
if shutil.which("ovs-ofctl"):
    OF_FILES["ovs-ofctl"] = with_ovs_ofctl
OF_LINES: dict[str, Callable[[list[str]], object]] = {"flowvm": in_bulk, "Lark": line_by_line}
if find_spec("ovs"):
    OF_LINES["ovs.flow"] = with_ovs_flow

# -- pytest-benchmark -----------------------------------------------------------------------------


@pytest.mark.parametrize("reader", OF_FILES)
@pytest.mark.parametrize("flows", FLOWS)
def test_whole_dumps(
    benchmark: BenchmarkFixture, synthetic: dict[int, Path], flows: int, reader: str
) -> None:
    """Files of OVN-like flows, to a program that is ready, and by C."""
    benchmark.group = f"{flows} flows"
    benchmark.pedantic(OF_FILES[reader], (synthetic[flows],), rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("flows", FLOWS)
def test_compiled_dumps(
    benchmark: BenchmarkFixture, synthetic: dict[int, Path], flows: int, tmp_path: Path
) -> None:
    """The same, compiled before."""
    benchmark.group = f"{flows} flows"
    path = tmp_path / "compiled"
    with path.open("wb") as file:
        save(with_flowvm(synthetic[flows]), file)
    benchmark.pedantic(with_flowvm, (path,), rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("reader", OF_LINES)
def test_lines_alike(benchmark: BenchmarkFixture, reader: str) -> None:
    """So few lines that slow readers can have them too."""
    benchmark.group = f"{SOME} flows"
    lines = list(ovn_like(SOME))
    benchmark.pedantic(OF_LINES[reader], (lines,), rounds=3, warmup_rounds=1)


@pytest.mark.parametrize("reader", ["flowvm", "Lark"])
def test_lines_all_different(benchmark: BenchmarkFixture, reader: str) -> None:
    """No line has the shape of another."""
    benchmark.group = f"{SOME} shapes"
    lines = list(all_different(SOME))
    benchmark.pedantic(OF_LINES[reader], (lines,), rounds=3, warmup_rounds=1)


@pytest.mark.parametrize(
    "change",
    [
        "table=8,priority={n},reg14=0x5,metadata=0x99999,actions=resubmit(,9)",
        "modify_strict table=65,priority=100,reg15=0x{n:x},metadata=0x1,actions=output:7",
        "delete_strict table=65,priority=100,reg15=0x1,metadata=0x{n:x}",
        "delete table=9,metadata=0x{n:x}",
        "delete cookie={n}/-1",
    ],
)
def test_one_change(benchmark: BenchmarkFixture, big_switch: Switch, change: str) -> None:
    """One flow mod on the largest of the dumps."""
    benchmark.group = f"one change of {FLOWS[-1]} flows"
    numbers = count(100)

    def next_change() -> tuple[tuple[object], dict[str, object]]:
        return (parse_flow_mods(change.format(n=next(numbers))),), {}

    benchmark.pedantic(big_switch.apply, setup=next_change, rounds=sized(2, 50, 200))


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The dumps, by their numbers of flows."""
    directory = tmp_path_factory.mktemp("dumps")
    return {flows: written(directory, flows) for flows in FLOWS}


@pytest.fixture(scope="module")
def big_switch(synthetic: dict[int, Path]) -> Switch:
    """A switch with the largest of the dumps."""
    return Switch.of(with_flowvm(synthetic[FLOWS[-1]]).program)


# -- the ratios alone -----------------------------------------------------------------------------


def best_of(rounds: int, *functions: Callable[[], object]) -> list[float]:
    """The least processor time of each, children's included, in seconds; they take turns."""
    best = [float("inf")] * len(functions)
    for _ in range(rounds):
        for number, function in enumerate(functions):
            before = _processor_time()
            function()
            best[number] = min(best[number], _processor_time() - before)
    return best


def _processor_time() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def memory_of(path: Path) -> tuple[float, float]:
    """Bytes a flow takes in the end, and at the peak of reading, in a process of its own."""
    code = (
        "import gc, resource, sys\n"
        "from pathlib import Path\n"
        "from bench.test_parse import with_flowvm\n"
        "def now(): return int(open('/proc/self/statm').read().split()[1]) * 4096\n"
        "before = now()\n"
        "dump = with_flowvm(Path(sys.argv[1]))\n"
        "gc.collect()\n"
        "peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        "n = len(dump.program.flows)\n"
        "print((now() - before) / n, (peak - before) / n)\n"
    )
    output = subprocess.run(
        [sys.executable, "-c", code, path], check=True, capture_output=True, text=True
    ).stdout
    end, peak = map(float, output.split())
    return end, peak


def _print_rate(what: str, seconds: float, rate: float) -> None:
    of_it = SOME / seconds
    print(f"{what:26} {of_it:8.0f} flows/s, flowvm {rate / of_it:.0f} times that")


def main() -> None:
    """Print what each way of reading takes, and how it stands to the others."""
    rate = 1.0
    with tempfile.TemporaryDirectory() as directory:
        for n in FLOWS:
            path = written(Path(directory), n)
            readers = [partial(reader, path) for reader in OF_FILES.values()]
            print(f"{n} flows, {path.stat().st_size / 1e6:.0f} MB:")
            best = best_of(5, *readers)
            for name, seconds in zip(OF_FILES, best, strict=True):
                ratio = seconds / best[0]
                print(f"  {name:24} {seconds:8.2f} s  {n / seconds:8.0f} flows/s  {ratio:6.2f}")
            end, peak = memory_of(path)
            print(f"  memory a flow            {end:8.0f} bytes, {peak:.0f} at the peak")
            rate = n / best[0]
    lines = list(ovn_like(SOME))
    for name, reader in OF_LINES.items():
        (seconds,) = best_of(3, partial(reader, lines))
        _print_rate(name, seconds, rate)
    different = list(all_different(SOME))
    lark, bulk = best_of(5, partial(line_by_line, different), partial(in_bulk, different))
    print(f"every line a new shape: {lark / bulk:.2f} times as fast as line by line")


if __name__ == "__main__":
    main()
