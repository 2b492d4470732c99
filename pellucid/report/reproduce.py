"""The section on how to train this network again."""

import shlex
from typing import Any

from pellucid.data.dataset import Origin
from pellucid.files import read_json
from pellucid.language import translate
from pellucid.report.context import Material

FILES = (
    ("recipe.json", "every choice that decides the training"),
    ("environment.json", "versions, machine, threads, fingerprints, command"),
    ("split.csv", "every picture with its part and a hash of its pixels"),
    ("metrics.csv", "loss and accuracy by epoch"),
    ("diagnostics.csv", "each layer's gradient and update halfway through every epoch"),
    ("model.safetensors", "the weights of the best epoch"),
    ("snapshots.safetensors", "the weights along the way, 16 times at most"),
    ("model.json", "classes, preprocessing, the SHA-256 of the weights"),
    ("evaluation.json", "every figure of this page's verdict"),
    ("predictions.csv", "all probabilities of every test picture"),
)


def reproduce(material: Material) -> dict[str, Any]:
    """All that is needed to train this network again."""
    run = material.run
    facts = run.environment
    return {
        "command": _command(run.origin),
        "given": facts.get("command", ""),
        "begun": facts.get("begun", ""),
        "machine": facts.get("machine", {}),
        "versions": facts.get("versions", {}),
        "recipe": run.recipe.to_json(),
        "fingerprints": {name: part.fingerprint for name, part in material.splits.items()},
        "weights": read_json(run.folder / "model.json")["sha256"],
        "opened": read_json(run.folder / "evaluation.json").get("opened", 1),
        "files": [
            {"name": name, "says": translate(says), "bytes": (run.folder / name).stat().st_size}
            for name, says in FILES
            if (run.folder / name).is_file()
        ],
    }


def _command(origin: Origin) -> str:
    """The command that trains on the same pictures again; "" where they came from memory."""
    return f"pellucid train {shlex.quote(origin.data)} --config recipe.json" if origin.data else ""
