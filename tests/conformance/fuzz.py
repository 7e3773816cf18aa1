"""The differential fuzzer: random tables and packets, put to flowvm and to a real Open vSwitch.

A case is a table, loaded in one dialect of OpenFlow, and packets aimed at it. What Open vSwitch
dumps right after loading is what flowvm is given; from then on both must agree on everything: the
frames that leave, where and in which order, packets-in, the path through the tables, and the
dump afterwards, to the character.

`python -m tests.conformance.fuzz --cases 200000 --seed 1` runs for as long as it takes;
`--seed S --cases 1` repeats the block of a seed that a test has printed, `--case FILE` one case
that stands in a file as they are printed (`tests/fixtures/cases`).
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from flowvm.actions.base import Action, format_actions
from flowvm.pipeline.result import Result, Verdict
from flowvm.text.parse import parse_actions
from tests.oracle import Bridge, OpenVSwitch, OracleRefusedError, UnixctlError

from .cases import BLOCK, Case, parse_case, random_case
from .exercise import Exercised
from .predicted import N_PORTS, predict
from .seen import DifferenceError, Seen, differences, observe

Item = TypeVar("Item")


class Fuzzer:
    """Runs cases against one Open vSwitch and counts what became of them.

    If that is ``owned`` it is started again should a case end it.
    """

    def __init__(self, switch: OpenVSwitch, *, owned: bool = False) -> None:
        self.switch = switch
        self.counts: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.verdicts: Counter[str] = Counter()
        self.exercised: Counter[str] = Counter()
        self.unsupported: Counter[str] = Counter()
        self._blank = blank_bridge(switch)
        self._owned = owned

    @property
    def bridge(self) -> Bridge:
        return self.switch.bridge

    def check(self, case: Case) -> None:
        """Raise DifferenceError if the two disagree on ``case``."""
        self.counts["cases"] += 1
        theirs = self._ask(case)
        if theirs is not None:
            self._compare(case, theirs)

    def _ask(self, case: Case) -> Seen | None:
        try:
            return observe(self.bridge, self._blank, case)
        except OracleRefusedError as error:
            self.counts["refused"] += 1
            message = str(error).splitlines()[0]
            self.refusals[re.sub(r"^[-:.TZ0-9]+\|\d+\|", "", message)] += 1
            return None
        except (UnixctlError, OSError) as error:
            self.counts["crashed"] += 1
            print(f"Open vSwitch ended ({error}) on\n{case}", file=sys.stderr)
            if not self._owned:
                raise
            self.switch.restart()
            self._blank = blank_bridge(self.switch)
            return None

    def _compare(self, case: Case, theirs: Seen) -> None:
        exercised = Exercised()
        ours, result = predict(theirs.loaded, case, exercised)
        reasons = unsupported(result)
        if reasons:
            # What flowvm says that it cannot tell is not compared, nor what comes after it.
            self.counts["unsupported"] += 1
            self.unsupported.update(reasons)
            return
        for complaint in differences(case, ours, theirs):
            raise DifferenceError(f"{complaint}\n{case}\n--- as loaded\n{theirs.loaded}")
        self.verdicts.update(str(result.verdict(packet)) for packet in range(len(result)))
        self.counts["packets"] += len(case.packets)
        self.counts["compared"] += 1
        self.exercised.update(("compared", *exercised.rows()))


def unsupported(result: Result) -> list[str]:
    """Why packets ended unsupported, as far as any did."""
    verdicts = (result.verdict(packet) for packet in range(len(result)))
    return [
        result.reason(packet)
        for packet, verdict in enumerate(verdicts)
        if verdict is Verdict.UNSUPPORTED
    ]


def blank_bridge(switch: OpenVSwitch) -> Bridge:
    """A bridge without flows: its traces tell how Open vSwitch reads a frame, and no more."""
    return switch.add_bridge("blank", {f"q{n}": n for n in range(1, N_PORTS + 1)})


# -- running ----------------------------------------------------------------------------------


def run_block(fuzzer: Fuzzer, seed: int, count: int = BLOCK) -> Counter[str]:
    """Check the cases of one seed; return what they have exercised, and how many were compared.

    Raises DifferenceError with the first that differs, made smaller.
    """
    before = fuzzer.exercised.copy()
    for number in range(count):
        case = random_case(seed, number)
        try:
            fuzzer.check(case)
        except DifferenceError:
            fuzzer.check(smaller(fuzzer, case))
            raise
    return fuzzer.exercised - before


def run_file(fuzzer: Fuzzer, file: Path) -> Counter[str]:
    """Check the case in a file; return as :func:`run_block` does. Raises DifferenceError."""
    before = fuzzer.exercised.copy()
    fuzzer.check(parse_case(file.read_text()))
    return fuzzer.exercised - before


def smaller(fuzzer: Fuzzer, case: Case) -> Case:
    """``case`` without the flows, packets and actions that the difference does not need."""

    def differs(case: Case) -> bool:
        try:
            fuzzer.check(case)
        except DifferenceError:
            return True
        return False

    def without(items: tuple[Item, ...], rest: Callable[[tuple[Item, ...]], Case]) -> Case:
        for item in items:
            fewer = tuple(other for other in items if other is not item)
            if differs(rest(fewer)):
                items = fewer
        return rest(items)

    case = without(case.packets, lambda packets: replace(case, packets=packets))
    case = without(case.flows, lambda flows: replace(case, flows=flows))
    for at, flow in enumerate(case.flows):
        actions = parse_actions(flow.partition("actions=")[2])
        case = without(actions, partial(_with_actions, case, at))
    return case


def _with_actions(case: Case, at: int, actions: tuple[Action, ...]) -> Case:
    flow = case.flows[at].partition("actions=")[0] + "actions=" + format_actions(actions)
    return replace(case, flows=(*case.flows[:at], flow, *case.flows[at + 1 :]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run blocks of cases from a seed on, and report every block that differs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--stop-after", type=int, default=10, help="differences, then stop")
    parser.add_argument("--case", type=Path, help="check the case in this file instead")
    options = parser.parse_args(arguments)
    if options.case is not None:
        with OpenVSwitch(N_PORTS) as switch:
            fuzzer = Fuzzer(switch)
            case = parse_case(options.case.read_text())
            try:
                fuzzer.check(case)
            except DifferenceError as error:
                print(error)
                return 1
            print(f"{dict(fuzzer.counts)} {dict(fuzzer.refusals)}")
        return 0
    failures = 0
    began = time.monotonic()
    with OpenVSwitch(N_PORTS) as switch:
        fuzzer = Fuzzer(switch, owned=True)
        block = options.seed
        while fuzzer.counts["cases"] < options.cases and failures < options.stop_after:
            try:
                run_block(fuzzer, block)
            except DifferenceError as error:
                failures += 1
                print(f"=== seed {block}\n{error}\n", flush=True)
            block += 1
            if (block - options.seed) % 20 == 0:
                rate = fuzzer.counts["cases"] / (time.monotonic() - began)
                print(f"{dict(fuzzer.counts)} {rate:.0f} cases/s", file=sys.stderr, flush=True)
        fuzzer.switch.stop()
    print(f"seeds {options.seed} to {block - 1}: {dict(fuzzer.counts)}, {failures} differ")
    print(f"verdicts: {dict(fuzzer.verdicts)}")
    for reason, count in fuzzer.unsupported.most_common(10):
        print(f"unsupported {count} times: {reason}")
    for message, count in fuzzer.refusals.most_common(10):
        print(f"refused {count} times: {message}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
