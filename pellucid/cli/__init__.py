"""The command line: words become calls, events become progress, errors become exit codes.

0 done, 1 failure, 2 usage, 3 a check failed, 130 stopped with Ctrl-C after a clean save (143: by SIGTERM, or
because the reader of the output has left; 129: the terminal was closed).
`live` runs until Ctrl-C, which is its ordinary end: 0.
Whatever needs torch is imported inside the command that needs it, so that --help answers at once.
"""

import io
import os
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn, TextIO

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
    forecast,
    help_command,
    labels,
    live,
    models,
    parser,
    predict,
    repeat,
    report,
    samples,
    train,
)
from pellucid.cli.output import problem
from pellucid.errors import PellucidError, UsageError, plain_error

# The commands in the order --help shows them, each with the examples at the end of its help.
COMMANDS: tuple[tuple[Callable[..., Any], str], ...] = (
    (train.train, train.EXAMPLES),
    (check.check, check.EXAMPLES),
    (evaluate.evaluate, evaluate.EXAMPLES),
    (predict.predict, predict.EXAMPLES),
    (explain.explain, explain.EXAMPLES),
    (labels.labels, labels.EXAMPLES),
    (compare.compare, compare.EXAMPLES),
    (repeat.repeat, repeat.EXAMPLES),
    (forecast.forecast, forecast.EXAMPLES),
    (report.report, report.EXAMPLES),
    (export.export, export.EXAMPLES),
    (live.live, live.EXAMPLES),
    (samples.samples, samples.EXAMPLES),
    (datasets.datasets, datasets.EXAMPLES),
    (models.models, models.EXAMPLES),
    (cache.cache, cache.EXAMPLES),
    (doctor.doctor, doctor.EXAMPLES),
    (help_command.help_, help_command.EXAMPLES),
)

BEGIN = """\
To begin:
  pellucid train digits           train on 1,797 small digits that come along: seconds
  pellucid help train             every option of a command, with examples
"""


def root(
    version: Annotated[bool, typer.Option("--version", "-V", help="Print the version and exit.")] = False,
) -> None:
    """Image learning you can see through: train a classifier, judge it, see what it learned."""
    if version:
        from pellucid import __version__

        print(f"pellucid {__version__}")
        raise typer.Exit


def application() -> typer.Typer:
    """The command line as one object, its commands in the order of COMMANDS."""
    app = typer.Typer(
        name="pellucid",
        cls=parser.Commands,
        epilog=BEGIN,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(cls=parser.Commands, invoke_without_command=True, epilog=BEGIN)(root)
    for command, examples in COMMANDS:
        app.command(command.__name__.rstrip("_"), cls=parser.Command, epilog=examples)(command)
    return app


def main() -> NoReturn:
    """The entry point: runs the command, prints any error as one message, exits with the documented code."""
    # Before torch is loaded: a thread that waits for the others soon goes to sleep. Spinning on, as is the
    # default, costs ten times the time as soon as another program wants a core.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    # A stream that was closed, as some schedulers start commands, is None: what is said then goes nowhere.
    sys.stdout = sys.stdout or _nowhere()
    sys.stderr = sys.stderr or _nowhere()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file's name may hold what the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    warnings.showwarning = _show_warning
    words = sys.argv[1:]
    try:
        _refuse_assignments(words)
        code = application()(prog_name="pellucid", standalone_mode=False)
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)
    except PellucidError as error:
        _fail(_as_typed(str(error), words), error.exit_code)
    except parser.ParserError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error, file=sys.stderr)
            sys.exit(2)
        _fail(parser.message_of(error, words), 2)
    except (KeyboardInterrupt, typer.Abort):  # while modules are still being loaded
        _fail("Stopped by Ctrl-C.", 130)
    except BrokenPipeError:  # the reader of our output has left, as in `pellucid datasets | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:  # a folder that may not be looked into, a name that is too long
        _fail(plain_error(error), 1)


def _nowhere() -> TextIO:
    return os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")


def _fail(message: str, code: int) -> NoReturn:
    problem(message)
    sys.exit(code)


def _as_typed(message: str, words: list[str]) -> str:
    """A setting of a recipe by its flag, as it was typed: the library speaks of `learning_rate`."""
    for word in words:
        flag = word.partition("=")[0]
        name = re.escape(flag.removeprefix("--").replace("-", "_"))
        if flag.startswith("--") and name:
            message = re.sub(rf"^Expected {name}(?= )", f"Expected {flag}", message)
    return message


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    problem(message)


def _refuse_assignments(words: list[str]) -> None:
    for word in words:
        found = re.fullmatch(r"([a-z][a-z_-]*)=(.*)", word)
        if found and not Path(word).exists():
            flag = found[1].replace("_", "-")
            raise UsageError(
                f"'{word}' is not how options are written here: did you mean --{flag} {found[2]}?"
            )
