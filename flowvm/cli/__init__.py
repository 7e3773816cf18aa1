"""The command line: ``flowvm trace``, ``replay``, ``reach``, ``show``, ``network`` and the others.

Each command has a module of its own, which imports what it works with only when it runs: the help
text is there at once. Exit status: 0 for an answer, whatever it says; 2 for input that cannot be
used; 70 for a bug of flowvm itself.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from io import TextIOWrapper
from typing import Annotated, Any, NoReturn

import typer

from flowvm.cli.inputs import InputError

BAD_INPUT = 2
INTERNAL_ERROR = 70  # EX_SOFTWARE of sysexits.h
INTERRUPTED = 130  # what a shell reports for SIGINT


def make_app() -> typer.Typer:
    """The commands and their options."""
    from flowvm.cli import bench, collect, compile, example, network, reach, replay, show, trace

    # Rich would make the help prettier and half again as slow.
    app = typer.Typer(
        name="flowvm",
        help="Predict what Open vSwitch does with packets, from what ovs-ofctl dump-flows printed.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    commands = (
        trace.trace,
        replay.replay,
        reach.reach,
        show.show,
        network.network,
        collect.collect,
        compile.compile,
        bench.bench,
        example.example,
    )
    for command in commands:
        app.command()(_ending_well(command))
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        from flowvm import __version__

        print(f"flowvm {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """What all commands have in common: nothing but the version."""


def _ending_well(command: Callable[..., None]) -> Callable[..., None]:
    """``command``, which whatever happens ends with a message and an exit status of ours."""

    @wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
            sys.stdout.flush()
        except InputError as error:
            print(error, file=sys.stderr)
            sys.exit(BAD_INPUT)
        except typer.BadParameter:
            raise
        except BrokenPipeError:
            # Whoever read the output has read enough.
            _drop_output()
            sys.exit(0)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            print(f"flowvm: {where}{error.strerror}", file=sys.stderr)
            _drop_output()
            sys.exit(BAD_INPUT)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
        except Exception as error:
            what = f"{type(error).__name__}: {error}".splitlines()[0]
            print(f"flowvm: internal error: {what}; please report", file=sys.stderr)
            sys.exit(INTERNAL_ERROR)

    return run


def _drop_output() -> None:
    """Keep Python from writing, at its end, what standard output does not take."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command that ``arguments`` say (by default those of the process), and exit."""
    if isinstance(sys.stdout, TextIOWrapper):
        # A name that the terminal's encoding lacks is no reason to stop.
        sys.stdout.reconfigure(errors="backslashreplace")
    # A command lasts too short for numpy to start threads for algebra that nobody does, and makes
    # many objects but few cycles of them.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    gc.set_threshold(100_000)
    make_app()(args=None if arguments is None else list(arguments), prog_name="flowvm")
    sys.exit(0)
