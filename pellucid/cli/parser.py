"""The parser's manners: usage lines and help a person can read, and errors that name the nearest option.

typer parses; what it prints is worded here, so that every error has one style and help is the same whatever
typer's version.
"""

import difflib
import re
import shlex
import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from pellucid.errors import Interrupted, UsageError, did_you_mean

# The parser's own errors: this class and those derived from it.
ParserError: type[Exception] = typer.BadParameter.__bases__[0]

KINDS = {int: "NUMBER", float: "NUMBER", Path: "PATH", str: "TEXT"}
EXPECTED = {int: "a whole number", float: "a number"}

# What other tools call it. An option is suggested only where the command has it.
HABITS = {
    "--lr": "--learning-rate", "--rate": "--learning-rate", "--alpha": "--learning-rate",
    "--bs": "--batch-size", "--batch": "--batch-size", "--batchsize": "--batch-size", "-b": "--batch-size",
    "--epoch": "--epochs", "--num-epochs": "--epochs", "--n-epochs": "--epochs", "--max-epochs": "--epochs",
    "-e": "--epochs", "--ep": "--epochs",
    "--wd": "--weight-decay", "--decay": "--weight-decay",
    "--opt": "--optimizer", "--optim": "--optimizer", "--optimiser": "--optimizer",
    "--scheduler": "--schedule", "--lr-scheduler": "--schedule", "--lr-schedule": "--schedule",
    "--arch": "--model", "--architecture": "--model", "--network": "--model", "--net": "--model",
    "--backbone": "--model", "-m": "--model", "--pretrained": "--model",
    "--workers": "--threads", "--num-workers": "--threads", "--jobs": "--threads", "-j": "--threads",
    "--num-threads": "--threads", "--n-jobs": "--threads",
    "--random-state": "--seed", "--random-seed": "--seed", "--manual-seed": "--seed",
    "--image-size": "--size", "--img-size": "--size", "--imgsz": "--size", "--input-size": "--size",
    "--target-size": "--size", "--resize": "--size", "--resolution": "--size",
    "--letterbox": "--fit", "--keep-aspect-ratio": "--fit", "--resize-mode": "--fit",
    "--output": "--out", "--output-dir": "--out", "--out-dir": "--out", "--outdir": "--out", "-o": "--out",
    "--save": "--out", "--save-dir": "--out", "--run-dir": "--out",
    "--val-split": "--validation", "--validation-split": "--validation", "--val": "--validation",
    "--valid": "--validation", "--val-size": "--validation",
    "--early-stopping": "--patience", "--smoothing": "--label-smoothing",
    "--class-weight": "--balance", "--class-weights": "--balance", "--sampler": "--balance",
    "--augmentation": "--augment", "--augmentations": "--augment", "--aug": "--augment",
    "--transform": "--augment", "--transforms": "--augment",
    "--dtype": "--precision", "--amp": "--precision", "--mixed-precision": "--precision",
    "--config": "--recipe", "--cfg": "--recipe", "-c": "--recipe", "--preset": "--recipe",
    "--continue": "--resume", "--checkpoint": "--resume", "--ckpt": "--resume",
    "--language": "--lang", "--locale": "--lang", "-l": "--lang",
    "--silent": "--quiet", "-q": "--quiet", "--data": "--data-dir", "--root": "--data-dir",
    "--class": "--target", "--label": "--target", "--topk": "--csv", "--top-k": "--csv",
    "--force": "--again", "--delete": "--clear", "--reset": "--clear", "--open": "--no-open",
}  # fmt: skip


COMMAND_HABITS = {
    "fit": "train", "learn": "train", "test": "evaluate", "eval": "evaluate", "score": "evaluate",
    "judge": "evaluate", "infer": "predict", "classify": "predict", "serve": "live", "draw": "live",
    "info": "doctor", "env": "doctor", "audit": "check", "diff": "compare", "resume": "train --resume RUN",
    "list": "datasets", "data": "datasets", "version": "--version", "clean": "cache --clear",
    "demo": "train digits", "completion": "--install-completion",
}  # fmt: skip


class Command(TyperCommand):
    """A command whose usage, help and errors are worded here; Ctrl-C ends it with a message."""

    def format_usage(self, ctx: Any, formatter: Any) -> None:
        """`Usage: pellucid predict RUN FILE... [OPTIONS]`."""
        formatter.write_usage(ctx.command_path, " ".join(usage_words(self)))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments, then options: what each takes and what it is for."""
        _format_parts(self, ctx, formatter)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """The examples, as they are typed."""
        if self.epilog:
            formatter.write(f"\n{self.epilog.rstrip()}\n")

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """What was given; an error of the parser knows which command it is about."""
        with _errors_of(ctx):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; Ctrl-C becomes an error with words, which the parser would swallow."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interruption:
            # A training that stopped says what it saved, and with which code to leave.
            text = str(interruption) or "Stopped by Ctrl-C. Run the command again to start over."
            raise Interrupted(text, getattr(interruption, "exit_code", 130)) from None


class Commands(TyperGroup):
    """`pellucid` itself: the list of commands, each with its whole first sentence."""

    def format_usage(self, ctx: Any, formatter: Any) -> None:
        """`Usage: pellucid COMMAND [OPTIONS]`."""
        formatter.write_usage(ctx.command_path, "COMMAND [OPTIONS]")

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """The commands, then the options."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, first_sentence(each)) for name, each in visible_commands(self)])
        _format_parts(self, ctx, formatter)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Where to go on."""
        if self.epilog:
            formatter.write(f"\n{self.epilog.rstrip()}\n")

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """What was given; an error of the parser knows which command it is about."""
        with _errors_of(ctx):
            return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command of that name. Raises UsageError with the nearest one."""
        if args[0] not in self.commands and not ctx.resilient_parsing:
            names = [name for name, _ in visible_commands(self)]
            raise UsageError(f"Unknown command '{args[0]}'. {_nearest_command(args[0], names)}")
        return super().resolve_command(ctx, args)


@contextmanager
def _errors_of(context: Any) -> Iterator[None]:
    try:
        yield
    except ParserError as error:
        if getattr(error, "ctx", None) is None:
            error.ctx = context  # type: ignore[attr-defined]
        raise


def message_of(error: Any, words: Sequence[str]) -> str:
    """The parser's error about these words of the command line, in our style."""
    command, path = error.ctx.command, error.ctx.command_path
    words_of = ["COMMAND", "[OPTIONS]"] if hasattr(command, "commands") else usage_words(command)
    usage = " ".join([path, *words_of])
    kind = type(error).__name__
    if kind == "NoSuchOption":
        option, value = error.option_name, _value_after(words, [error.option_name])
        if hasattr(command, "commands"):  # such as `pellucid --json`
            return f"Unknown option '{option}'. Options follow a command: {usage}. See: pellucid --help"
        return f"Unknown option '{option}'. {_nearest_option(option, value, command)} See: {path} --help"
    if kind == "MissingParameter":
        return f"{usage_word(error.param)} is missing. Expected: {usage}{_example(command)}"
    if kind == "BadOptionUsage":
        option = str(error.option_name)
        part = next((each for each in options_of(command) if option in each.opts), None)
        takes = f": {option} {value_word(part, command)}" if part is not None and not part.is_flag else ""
        return f"{str(error.message).rstrip('.')}{takes}. See: {path} --help"
    if kind == "BadParameter" and error.param is not None:
        return f"{_expectation(error.param, command)}{_received(error.param, words)}"
    extra = re.match(r"Got unexpected extra argument\S* \((.*)\)$", str(error.message), flags=re.DOTALL)
    if extra:
        return f"Too many words: '{extra[1]}'. Expected: {usage}. Put a name that has spaces in quotes."
    return f"{error.format_message()} See: {path} --help"


def usage_words(command: Any) -> list[str]:
    """What follows a command's name: RUN FILE... [OPTIONS]."""
    words = [usage_word(part) for part in arguments_of(command)]
    return [*words, *(["[OPTIONS]"] if options_of(command) else [])]


def usage_word(part: Any) -> str:
    """An argument in a usage line: FILE..., [DATA]; of an option its first name."""
    if part.param_type_name == "option":
        return str(part.opts[0])
    word = str(part.metavar or part.name.upper()).strip("[]").removesuffix("...").rstrip("]")
    word += "..." if part.nargs == -1 else ""
    return word if part.required else f"[{word}]"


def value_word(part: Any, command: Any) -> str:
    """What an option takes: NUMBER, PATH, adam|adamw|muon; nothing for a flag."""
    if part.is_flag or part.count:
        return ""
    return part.metavar or kind_of(_hints(command).get(part.name, str))


def kind_of(hint: Any) -> str:
    """`int | None` is NUMBER, `list[Path]` is PATH, an enumeration or a Literal its choices."""
    if isinstance(hint, type) and not isinstance(hint, types.GenericAlias) and issubclass(hint, Enum):
        return "|".join(str(choice.value) for choice in hint)
    if get_origin(hint) is Literal:
        return "|".join(map(str, get_args(hint)))
    inner = [part for part in get_args(hint) if part is not type(None)]
    return kind_of(inner[0]) if inner else KINDS.get(hint, "TEXT")


def meaning(part: Any) -> str:
    """An option's help with the value taken when it is left out."""
    text = " ".join(str(part.help or "").split())
    value = getattr(part.default, "value", part.default)  # an enumeration's member, as it is typed
    if part.param_type_name == "argument" or part.is_flag or not part.show_default:
        return text
    return f"{text} Default: {value}." if isinstance(value, str | int | float) and value != "" else text


def arguments_of(command: Any) -> list[Any]:
    """What a command takes without a flag, in order."""
    return [part for part in command.params if part.param_type_name == "argument" and not _hidden(part)]


def options_of(command: Any) -> list[Any]:
    """The options of a command, `--help` left out: every command has it."""
    return [part for part in command.params if part.param_type_name == "option" and not _hidden(part)]


def visible_commands(group: Any) -> list[tuple[str, Any]]:
    """The subcommands by name, in the order `--help` shows them, hidden ones left out."""
    return [(name, command) for name, command in group.commands.items() if not command.hidden]


def first_sentence(command: Any) -> str:
    """The first sentence of what a command does."""
    return re.split(r"(?<=\.)\s", " ".join((command.help or "").split()), maxsplit=1)[0]


def _hidden(part: Any) -> bool:
    return bool(getattr(part, "hidden", False)) or part.name == "help"


def _hints(command: Any) -> Mapping[str, Any]:
    return get_type_hints(command.callback) if command.callback else {}


def _format_parts(command: Any, context: Any, formatter: Any) -> None:
    arguments = [(usage_word(part), meaning(part)) for part in arguments_of(command)]
    options = [
        (f"{', '.join(sorted(part.opts, key=len))} {value_word(part, command)}".strip(), meaning(part))
        for part in options_of(command)
    ]
    options.append((", ".join(context.help_option_names), "Show this message and exit."))
    for title, rows in (("Arguments", arguments), ("Options", options)):
        if rows:
            with formatter.section(title):
                formatter.write_dl(rows)


def _nearest_command(word: str, names: Sequence[str]) -> str:
    first = word.split(maxsplit=1)[0] if word.strip() else ""
    if first != word and first in names:
        return f"Write it without quotes: pellucid {word}"
    if word.lower() in COMMAND_HABITS:
        return f"Did you mean: pellucid {COMMAND_HABITS[word.lower()]}?"
    if re.search(r"[/\\.]", word):
        return f"To train on pictures: pellucid train {shlex.quote(word)}"
    return did_you_mean(word, names)


def _nearest_option(option: str, value: str | None, command: Any) -> str:
    known = [name for part in options_of(command) for name in part.opts]
    written = option.replace("_", "-").lower()
    found = next((name for name in (written, HABITS.get(written, "")) if name in known), None)
    if found is None:
        found = next(iter(difflib.get_close_matches(written, known, n=1, cutoff=0.6)), None)
    if found is None:
        return f"Known: {', '.join(known)}."
    taken = value is not None and not value.startswith("-") and bool(_takes_value(found, command))
    return f"Did you mean {found} {value}?" if taken else f"Did you mean {found}?"


def _takes_value(option: str, command: Any) -> bool:
    return any(option in part.opts and not part.is_flag for part in options_of(command))


def _expectation(part: Any, command: Any) -> str:
    hint = _hints(command).get(part.name, str)
    inner = next((each for each in get_args(hint) if each in EXPECTED), hint)
    lowest, highest = (_limit(part, name) for name in ("min", "max"))
    expected = EXPECTED.get(inner, f"one of {value_word(part, command).replace('|', ', ')}")
    if lowest is not None and highest is not None:
        expected += f" from {lowest:,} to {highest:,}"
    elif lowest is not None:
        expected += f" of at least {lowest:,}"
    return f"Expected {expected} for {usage_word(part)}"


def _limit(part: Any, name: str) -> Any:
    return getattr(part, name, getattr(getattr(part, "type", None), name, None))


def _received(part: Any, words: Sequence[str]) -> str:
    value = _value_after(words, part.opts)
    return "." if value is None else f"; got '{value}'."


def _value_after(words: Sequence[str], options: Sequence[str]) -> str | None:
    """The word given for an option: the next one, or what follows its equals sign."""
    for word, following in zip(words, [*words[1:], None], strict=True):
        name, equals, value = word.partition("=")
        if name in options:
            return value if equals else following
    return None


def _example(command: Any) -> str:
    example = next(_examples(command), None)
    return f". For example: {example}" if example else "."


def _examples(command: Any) -> Iterator[str]:
    for line in (command.epilog or "").splitlines():
        if line.startswith("  pellucid "):
            yield re.split(r"\s{2,}", line.strip())[0]
