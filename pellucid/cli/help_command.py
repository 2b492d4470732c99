"""The command that explains the others: help."""

from typing import Annotated

import typer

from pellucid.cli.parser import visible_commands
from pellucid.errors import UsageError, did_you_mean

EXAMPLES = """\
Examples:
  pellucid help
  pellucid help train
"""


def _begun(context: typer.Context, incomplete: str) -> list[str]:
    assert context.parent is not None
    names = (name for name, _ in visible_commands(context.parent.command))
    return [name for name in names if name.startswith(incomplete)]


def help_(
    context: typer.Context,
    command: Annotated[
        str | None,
        typer.Argument(
            metavar="COMMAND", help="The command; all of them unless given.", autocompletion=_begun
        ),
    ] = None,
) -> None:
    """Show the help of a command, as `pellucid COMMAND --help` does."""
    parent = context.parent
    assert parent is not None
    if command is None:
        print(parent.get_help())
        return
    commands = dict(visible_commands(parent.command))
    if command not in commands:
        raise UsageError(f"Unknown command '{command}'. {did_you_mean(command, commands)}")
    chosen = commands[command]
    with chosen.make_context(command, [], parent=parent, resilient_parsing=True) as chosen_context:
        print(chosen.get_help(chosen_context))
