"""The command that lists the networks: models."""

from pellucid.cli.options import AsJson, Quiet
from pellucid.cli.output import Output

EXAMPLES = """\
Examples:
  pellucid models
  pellucid train mnist --model compact
"""
PUBLISHED = (
    "hf:NAME_OR_FOLDER",
    "a network pretrained by others, with a new last layer; needs: pip install transformers",
)


def models(quiet: Quiet = False, as_json: AsJson = False) -> None:
    """List the networks that can be trained."""
    from pellucid.models import MODELS, PRETRAINED

    output = Output(quiet, as_json)
    built_in = ((name, model.phrase) for name, model in (MODELS | PRETRAINED).items())
    for name, phrase in [*built_in, PUBLISHED]:
        output.object({"name": name, "description": phrase})
        output.line(f"{name}: {phrase}")
