"""The command line: words become calls, events become progress, errors become exit codes.

0 done, 1 failure, 2 usage, 3 a check failed, 130 stopped with Ctrl-C after a clean save (143: SIGTERM).
`live` runs until Ctrl-C, which is its ordinary end: 0.
Whatever needs torch is imported inside the command that needs it, so that --help answers at once.
"""

import io
import os
import re
import sys
import warnings
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from pellucid.cli import (
    cache,
    check,
    compare,
    datasets,
    doctor,
    evaluate,
    explain,
    export,
    live,
    models,
    predict,
    report,
    train,
)
from pellucid.cli.output import with_flags
from pellucid.errors import PellucidError, UsageError
from pellucid.formatting import plain

# The commands in the order --help shows them, each under its function's name.
COMMANDS: tuple[Callable[..., Any], ...] = (
    train.train,
    check.check,
    evaluate.evaluate,
    predict.predict,
    explain.explain,
    compare.compare,
    report.report,
    export.export,
    live.live,
    datasets.datasets,
    models.models,
    cache.cache,
    doctor.doctor,
)


def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    """Image learning you can see through."""
    if version:
        from pellucid import __version__

        print(f"pellucid {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit


def application() -> typer.Typer:
    """The command line as one object, its commands in the order of COMMANDS."""
    app = typer.Typer(
        name="pellucid",
        help="Image learning you can see through: train a classifier, judge it, see what it learned.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
        rich_markup_mode=None,
    )
    app.callback(invoke_without_command=True)(root)
    for command in COMMANDS:
        app.command()(_interruptible(command))
    return app


class Interrupted(PellucidError):
    """Ctrl-C, or a Stopped training that says what was saved and how to go on."""

    def __init__(self, interrupt: KeyboardInterrupt) -> None:
        super().__init__(str(interrupt) or "Stopped before the end. Run the command again to do it anew.")
        self.exit_code = getattr(interrupt, "exit_code", 130)


def _interruptible(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command, whose interruption is an error with words and an exit code, not a traceback."""

    @wraps(command)
    def run(*args: Any, **options: Any) -> Any:
        try:
            return command(*args, **options)
        except KeyboardInterrupt as interrupt:
            raise Interrupted(interrupt) from None

    return run


def main() -> NoReturn:
    """The entry point: runs the command, prints any error as one message, exits with the documented code."""
    # Before torch is loaded: a thread that waits for the others soon goes to sleep. Spinning on, as is the
    # default, costs ten times the time as soon as another program wants a core.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file's name may hold what the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    warnings.showwarning = _show_warning
    try:
        _refuse_assignments(sys.argv[1:])
        application()()
    except PellucidError as error:
        print(plain(with_flags(f"pellucid: {error}")), file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # the reader of our output has left, as in `pellucid datasets | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:  # a folder that may not be looked into, a name that is too long
        print(plain(f"pellucid: '{error.filename}': {error.strerror or error}."), file=sys.stderr)
        sys.exit(1)
    sys.exit(0)


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(plain(f"pellucid: {message}"), file=sys.stderr)


def _refuse_assignments(words: list[str]) -> None:
    for word in words:
        found = re.fullmatch(r"([a-z][a-z_-]*)=(.*)", word)
        if found and not Path(word).exists():
            flag = found[1].replace("_", "-")
            raise UsageError(
                f"'{word}' is not how options are written here: did you mean --{flag} {found[2]}?"
            )
