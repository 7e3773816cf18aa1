"""Which of a node's files tells what, and what is in it apart from messages of errors.

A collector keeps what a command said on standard error with what it printed: a file that holds
nothing else is one whose command failed, and counts as missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from flowvm.bulk.scan import whole_lines
from flowvm.network.commands import Kind, Output, recognise, same_name
from flowvm.network.files import StoredFile
from flowvm.text.errors import FlowSyntaxError

_T = TypeVar("_T")
_MESSAGE = re.compile(
    rb"^(?:\d{4}-\d\d-\d\dT[\d:.]+Z\|\d+\|[^\n]*|(?:ovs-\w+ctl|ip|brctl|timeout): [^\n]*)$",
    re.MULTILINE,
)
_HINT = re.compile(rb"Z\||ctl: |^ip: |^timeout: ", re.MULTILINE)
_MAY_BE_EMPTY = frozenset({Kind.CONNTRACK, Kind.NAMESPACES, Kind.ADDRESSES, Kind.LIST})


@dataclass(frozen=True)
class Source:
    """A file that tells something of the node."""

    output: Output
    file: StoredFile

    @property
    def label(self) -> str:
        """What messages call it."""
        return self.file.label

    def blocks(self) -> Iterator[bytes]:
        """What the command printed; a line that is a message of an error is left empty."""
        for block in whole_lines(self.file.blocks()):
            yield _MESSAGE.sub(b"", block) if _HINT.search(block) else block

    def data(self) -> bytes:
        """The file as it is."""
        return self.file.data()

    def text(self) -> str:
        """All that the command printed; what is not UTF-8 comes out as replacement characters."""
        return _MESSAGE.sub(b"", self.data()).decode("utf-8", "replace")

    def failure(self) -> str | None:
        """Why there is nothing in it, or ``None`` if there is something."""
        message = b""
        for block in whole_lines(self.file.blocks()):
            if _MESSAGE.sub(b"", block).strip():
                return None
            message = message or block.strip().split(b"\n")[-1]
        if message:
            return message.decode("utf-8", "replace")
        return None if self.output.kind in _MAY_BE_EMPTY else "the file is empty"


class Sources:
    """The files of a node by what they tell."""

    def __init__(self, files: Iterable[StoredFile]) -> None:
        found = ((recognise(file.path), file) for file in files)
        self._all = [Source(output, file) for output, file in found if output is not None]

    def subjects(self, kinds: Iterable[Kind]) -> list[str]:
        """The bridges, tables or namespaces that files of ``kinds`` are named after, sorted."""
        wanted = set(kinds)
        return sorted({s.output.subject for s in self._all if s.output.kind in wanted})

    def all(self, kind: Kind) -> list[Source]:
        """All files of a kind that are no failure, whatever they are about."""
        return [s for s in self._all if s.output.kind is kind and s.failure() is None]

    def find(self, kind: Kind, subject: str = "") -> tuple[Source | None, str]:
        """The best file of a kind about ``subject``; if there is none, what is the matter."""
        why = "is not there"
        for source in self._candidates(kind, subject):
            failure = source.failure()
            if failure is None:
                return source, ""
            why = f"failed ({failure})"
        return None, why

    def _candidates(self, kind: Kind, subject: str) -> list[Source]:
        if kind is Kind.LIST:
            # Names of tables are the same in any case.
            subject = subject.lower()
        fitting = [
            source
            for source in self._all
            if source.output.kind is kind and same_name(source.output.subject, subject)
        ]
        return sorted(fitting, key=lambda source: -source.output.openflow)


def parsed(
    parse: Callable[[str], _T], text: str, errors: list[FlowSyntaxError] | None
) -> _T | None:
    """What ``parse`` makes of a text.

    With ``errors``, a line that it cannot read is left out and its error put there; ``None`` if
    that does not help. Without, raises FlowSyntaxError.
    """
    lines = text.split("\n")
    while True:
        try:
            return parse("\n".join(lines))
        except FlowSyntaxError as error:
            if errors is None:
                raise
            errors.append(error)
            if not 1 <= error.line <= len(lines) or not lines[error.line - 1].strip():
                return None
            lines[error.line - 1] = ""
