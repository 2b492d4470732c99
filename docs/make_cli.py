"""Write docs/cli.md from the command line itself: what `--help` says of every command, argument and option.

Read from the commands, not from what a terminal shows, so the width of a window changes nothing.
`python docs/make_cli.py` writes the file, `python docs/make_cli.py --print` shows it.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from pellucid import cli
from pellucid.cli.parser import (
    arguments_of,
    first_sentence,
    meaning,
    options_of,
    usage_word,
    usage_words,
    value_word,
    visible_commands,
)

PAGE = Path(__file__).with_name("cli.md")

HEAD = """\
# The command line

Made by `make docs` from the commands themselves; a test compares. `pellucid help COMMAND` shows the same.
`pellucid --install-completion` lets your shell complete commands, options, names and runs with the Tab key.

Exit codes: 0 done, 1 failure, 2 the command cannot be done as written, 3 a check failed, 130 stopped with
Ctrl-C after a clean save (143: by SIGTERM, or because nobody reads the output; 129: the terminal was closed).
"""


def page() -> str:
    """The whole of docs/cli.md."""
    root = root_command()
    sections = [section(f"pellucid {name}", command) for name, command in visible_commands(root)]
    return "\n".join([HEAD, section("pellucid", root), *sections])


def root_command() -> Any:
    """The command `pellucid` with its subcommands."""
    return typer.main.get_command(cli.application())


def section(title: str, command: Any) -> str:
    """One command: usage, what it does, its arguments and options, examples."""
    is_group = hasattr(command, "commands")
    usage = ["COMMAND", "[OPTIONS]"] if is_group else usage_words(command)
    lines = [
        f"## {title}",
        "",
        "```text",
        " ".join([title, *usage]),
        "```",
        "",
        plain(command.help or ""),
        "",
    ]
    arguments = [(f"`{usage_word(part)}`", plain(meaning(part))) for part in arguments_of(command)]
    options = [(option_cell(part, command), plain(meaning(part))) for part in options_of(command)]
    commands = [
        (f"[`{name}`](#pellucid-{name})", plain(first_sentence(each)))
        for name, each in (visible_commands(command) if is_group else ())
    ]
    for kind, rows in (("argument", arguments), ("option", options), ("command", commands)):
        lines += [*table(kind, rows), ""] if rows else []
    if command.epilog:
        lines += ["```text", *command.epilog.splitlines()[1:], "```", ""]
    return "\n".join(lines)


def table(kind: str, rows: list[tuple[str, str]]) -> Iterator[str]:
    """A table of two columns."""
    yield f"| {kind} | meaning |"
    yield "|---|---|"
    yield from (f"| {left} | {right} |" for left, right in rows)


def option_cell(part: Any, command: Any) -> str:
    """`--epochs` NUMBER"""
    names = ", ".join(f"`{name}`" for name in [*part.opts, *part.secondary_opts])
    return f"{names} {plain(value_word(part, command))}".strip()


def plain(text: str) -> str:
    """One line, fit for a table."""
    return " ".join(text.replace("\b", "").replace("|", r"\|").replace("<", "&lt;").split())


if __name__ == "__main__":
    if "--print" in sys.argv[1:]:
        sys.stdout.write(page())
    else:
        PAGE.write_text(page(), encoding="utf-8")
