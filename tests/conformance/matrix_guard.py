"""Fails a run of the tests whose cases, all of them run, say other than the conformance matrix."""

from __future__ import annotations

from collections import Counter

import pytest

from .matrix import DOCUMENT, FILES, ROOT, SEEDS, UncoveredError, render


class MatrixGuard:
    """A plugin of pytest: adds up what the blocks of the fuzzer report, also from workers."""

    def __init__(self) -> None:
        self._blocks: dict[int | str, Counter[str]] = {}
        self._problem = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" or not report.passed:
            return
        for name, block in report.user_properties:
            if name == "exercised" and isinstance(block, dict):
                self._blocks[block["block"]] = Counter(block["counts"])

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if set(self._blocks) != {*SEEDS, *(file.stem for file in FILES)}:
            return
        self._problem = problem_with(sum(self._blocks.values(), Counter()))
        if self._problem:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._problem:
            terminalreporter.section("conformance matrix", red=True)
            terminalreporter.write_line(self._problem)


def problem_with(exercised: Counter[str]) -> str:
    """What is wrong with the document after a run that exercised this; "" if it is right."""
    try:
        text = render(exercised)
    except UncoveredError as error:
        return str(error)
    if DOCUMENT.exists() and DOCUMENT.read_text() == text:
        return ""
    where = DOCUMENT.relative_to(ROOT)
    return f"{where} is stale: python -m tests.conformance.matrix --write"
