"""What goes wrong in reading text, and where.

The functions that read single words raise :class:`WordError`, which knows the word, not the line.
The reader of the whole line turns it into a :class:`FlowSyntaxError`, which shows the line with a
caret under the spot.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class WordError(ValueError):
    """A word that cannot be read: the word itself, and what is the matter with it."""

    def __init__(self, word: str, problem: str, expected: str = "") -> None:
        super().__init__(problem)
        self.word = word
        self.problem = problem
        self.expected = expected


class FlowSyntaxError(ValueError):
    """A line that cannot be read.

    ``str()`` shows ``file:line:column: problem``, the line itself, a caret under the spot and what
    was expected there. ``line`` and ``column`` count from 1.
    """

    def __init__(
        self,
        problem: str,
        *,
        text: str,
        column: int,
        expected: str = "",
        line: int = 1,
        file: str | None = None,
    ) -> None:
        super().__init__(problem, text, column, expected, line, file)
        self.problem = problem
        self.text = text
        self.column = column
        self.expected = expected
        self.line = line
        self.file = file

    def at(self, line: int, file: str | None) -> FlowSyntaxError:
        """The same error, said of a line of a file."""
        return FlowSyntaxError(
            self.problem,
            text=self.text,
            column=self.column,
            expected=self.expected,
            line=line,
            file=file,
        )

    def __str__(self) -> str:
        # Tabs keep their width above the caret.
        margin = "".join("\t" if c == "\t" else " " for c in self.text[: self.column - 1])
        shown = [
            f"{self.file or '<flows>'}:{self.line}:{self.column}: {self.problem}",
            f"  {self.text}",
            f"  {margin}^",
        ]
        if self.expected:
            shown.append(f"  expected {self.expected}")
        return "\n".join(map(_visible, shown))


def _visible(text: str) -> str:
    """Without control characters, which a terminal would obey, of a file that is no text."""
    return "".join(c if c.isprintable() or c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def nothing_described(what: str, text: str, *, expected: str, file: str | None) -> FlowSyntaxError:
    """That a whole text describes no ``what``, said of its first line that is not blank."""
    lines = text.splitlines() or [""]
    first = next((at for at, line in enumerate(lines) if line.strip()), 0)
    return FlowSyntaxError(
        f"no {what} is described here",
        text=lines[first],
        column=1,
        expected=expected,
        line=first + 1,
        file=file,
    )


def suggestion(word: str, known: Iterable[str]) -> str:
    """``; did you mean "resubmit"?`` if a known word is near, else nothing."""
    near = get_close_matches(word.lower(), list(known), n=1)
    if not near:
        return ""
    # The names of NXM and OXM fields are capitals, but known in lower case like the rest.
    return f'; did you mean "{near[0].upper() if word.isupper() else near[0]}"?'
