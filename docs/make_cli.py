"""Write docs/cli.md from the command line itself: what `--help` says of every command, argument and flag.

Read from the commands, not from what a terminal shows, so the width of a window changes nothing.
`python docs/make_cli.py` writes the file, `python docs/make_cli.py --print` shows it.
"""

import re
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import typer

from pellucid import cli

PAGE = Path(__file__).with_name("cli.md")
KINDS = {int: "INTEGER", float: "NUMBER", Path: "PATH"}

HEAD = """\
# The command line

Made by `make docs` from the commands themselves; a test compares. `pellucid COMMAND --help` says the same.

Exit codes: 0 done, 1 failure, 2 the command cannot be done as written, 3 a check failed, 130 stopped with
Ctrl-C after a clean save (143 by SIGTERM).
"""


def page() -> str:
    """The whole of docs/cli.md."""
    root = root_command()
    sections = [section(f"pellucid {name}", command) for name, command in commands(root)]
    return "\n".join([HEAD, section("pellucid", root), *sections])


def root_command() -> Any:
    """The command `pellucid` with its subcommands."""
    return typer.main.get_command(cli.application())


def commands(root: Any) -> list[tuple[str, Any]]:
    """The subcommands by name, in the order `--help` shows them, hidden ones left out."""
    return [(name, command) for name, command in root.commands.items() if not command.hidden]


def flags(command: Any) -> list[Any]:
    """The options of a command a person may see, `--help` left out: every command has it."""
    return [part for part in command.params if part.param_type_name == "option" and shown(part)]


def arguments(command: Any) -> list[Any]:
    """What a command takes without a flag, in order."""
    return [part for part in command.params if part.param_type_name == "argument" and shown(part)]


def shown(part: Any) -> bool:
    """Whether `--help` shows this argument or option."""
    return not getattr(part, "hidden", False) and part.name != "help"


def section(title: str, command: Any) -> str:
    """One command: usage, what it does, a table of its arguments and a table of its flags."""
    words = [title, *(usage_word(part) for part in arguments(command))]
    words += ["[OPTIONS]"] if flags(command) else []
    words += ["COMMAND [ARGS]..."] if hasattr(command, "commands") else []
    lines = [f"## {title}", "", "```", " ".join(words), "```", "", plain(command.help or ""), ""]
    if arguments(command):
        rows = [(f"`{usage_word(part)}`", plain(part.help or "")) for part in arguments(command)]
        lines += [*table("argument", rows), ""]
    if flags(command):
        kinds = kinds_of(command)
        rows = [(flag_cell(part, kinds.get(part.name, "")), meaning(part)) for part in flags(command)]
        lines += [*table("flag", rows), ""]
    if hasattr(command, "commands"):
        rows = [(f"[`{name}`](#pellucid-{name})", first_sentence(each)) for name, each in commands(command)]
        lines += [*table("command", rows), ""]
    return "\n".join(lines)


def table(kind: str, rows: list[tuple[str, str]]) -> Iterator[str]:
    """A table of two columns."""
    yield f"| {kind} | meaning |"
    yield "|---|---|"
    yield from (f"| {left} | {right} |" for left, right in rows)


def usage_word(part: Any) -> str:
    """FILE..., [FILE]"""
    word = str(part.metavar or part.name.upper()).strip("[]").removesuffix("...")
    word += "..." if part.nargs == -1 else ""
    return word if part.required else f"[{word}]"


def flag_cell(part: Any, kind: str) -> str:
    """`--epochs`, `-e` INTEGER"""
    names = ", ".join(f"`{name}`" for name in [*part.opts, *part.secondary_opts])
    return names if part.is_flag or part.count else f"{names} {part.metavar or kind}".strip()


def kinds_of(command: Any) -> dict[str, str]:
    """What each argument and flag takes, by name: INTEGER, FLOAT, PATH, TEXT, or its choices."""
    hints = get_type_hints(command.callback) if command.callback else {}
    return {name: kind_of(hint) for name, hint in hints.items()}


def kind_of(hint: Any) -> str:
    """`int | None` -> INTEGER, `list[Path]` -> PATH, an enumeration or Literal -> its choices."""
    if isinstance(hint, type) and issubclass(hint, Enum):
        return " or ".join(f"`{choice.value}`" for choice in hint)
    if get_origin(hint) is Literal:
        return " or ".join(f"`{choice}`" for choice in get_args(hint))
    inner = [part for part in get_args(hint) if part is not type(None)]
    return kind_of(inner[0]) if inner else KINDS.get(hint, "TEXT")


def meaning(part: Any) -> str:
    """The help text with the value taken when the flag is left out."""
    text = plain(part.help or "")
    value = getattr(part.default, "value", part.default)  # an enumeration's member, as it is typed
    said = part.show_default and not part.is_flag and isinstance(value, str | int | float) and value != ""
    return f"{text} Default: {value}." if said else text


def first_sentence(command: Any) -> str:
    """The first sentence of what a command does."""
    return re.split(r"(?<=\.)\s", plain(command.help or ""), maxsplit=1)[0]


def plain(text: str) -> str:
    """One line without terminal markup, fit for a table."""
    text = re.sub(r"\[/?(bold|dim|italic|cyan|green|yellow|red)\]", "", text)
    return " ".join(text.replace("\b", "").replace("|", r"\|").replace("<", "&lt;").split())


if __name__ == "__main__":
    if "--print" in sys.argv[1:]:
        sys.stdout.write(page())
    else:
        PAGE.write_text(page(), encoding="utf-8")
