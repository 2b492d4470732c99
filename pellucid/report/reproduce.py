"""The section on how to train this network again."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from pellucid.files import read_json
from pellucid.formatting import ordinal
from pellucid.language import Message, translate
from pellucid.plots.images import Atlas
from pellucid.report.context import ReportContext
from pellucid.runs.environment import not_repeatable
from pellucid.runs.tables import EXCLUDED, RELABELLED
from pellucid.runs.warm_start import WarmStart

FILES = (
    ("recipe.json", "every choice that decides the training"),
    ("seen.csv", "hashes of the pictures that the run it began from learned from or was chosen by"),
    ("environment.json", "versions, machine, threads, fingerprints, command"),
    ("findings.json", "what the audit found, and test pictures that are almost training pictures"),
    ("split.csv", "every picture with its part and a hash of its pixels"),
    ("excluded.csv", "the pictures that were left out, as --exclude takes them"),
    ("relabelled.csv", "the labels that were changed, as --relabel takes them"),
    ("metrics.csv", "loss and accuracy by epoch"),
    ("metrics_all.csv", "the same of the second training, on all pictures, with nothing held out"),
    ("diagnostics.csv", "each layer's gradient norm and update ratio halfway through every epoch"),
    (
        "margins.csv",
        "how far the label of every training picture was ahead of other classes, over the epochs",
    ),
    ("model.safetensors", "the weights of the best epoch"),
    ("snapshots.safetensors", "the weights along the way, up to 16 times"),
    ("model.json", "classes, preprocessing, the SHA-256 of the weights"),
    ("reference.safetensors", "what tells whether new pictures are unlike those it was taught on"),
    ("held_out.csv", "of each picture held out of training, whether it was right, and how confidently"),
    ("evaluation.json", "every figure of this page's verdict"),
    ("predictions.csv", "all probabilities of every test picture"),
    ("suspects.csv", "labels that look wrong, as --exclude and --relabel take them"),
    ("causes.csv", "every mistake examined, with its cause"),
    ("manifest.json", "the size and SHA-256 of each of these files, compared whenever one is read"),
)


@dataclass(frozen=True)
class RunFile:
    """A file of the run's folder, and what it holds."""

    name: str
    description: str


@dataclass(frozen=True)
class ReproduceSection:
    """All that is needed to train this network again.

    command  that trains it again from the run's folder; "" for pictures from memory
    original  the command it was trained by
    judged   the how-manieth network it is of those judged on the test pictures; "" where it is not known
    folds    the number of folds that judged in its place; 0 for none
    warm_start  the run whose weights training began from; None for published or new weights
    changed  why its bytes cannot be repeated; None where they can
    """

    command: str
    original: str
    begun: str
    machine: Mapping[str, object]
    versions: Mapping[str, object]
    recipe: Mapping[str, object]
    fingerprints: Mapping[str, str]
    weights: str
    judged: Message | str
    folds: int
    warm_start: WarmStart | None
    changed: Message | None
    files: list[RunFile]
    atlases: Mapping[str, Atlas] = field(default_factory=dict)


def gather(context: ReportContext) -> ReproduceSection:
    """All that is needed to train this network again."""
    run = context.run
    facts = run.environment
    taken = WarmStart.from_json(facts["warm_start"]) if "warm_start" in facts else None
    assert run.recipe is not None  # of a network that was trained elsewhere this is left out
    command = f"pellucid train {shlex.quote(run.origin.data)} --recipe recipe.json"
    corrections = run.origin.choices.corrections
    command += f" --exclude {EXCLUDED}" if corrections.exclude else ""
    command += f" --relabel {RELABELLED}" if corrections.relabel else ""
    if taken:
        command += f" --warm-start {shlex.quote(taken.run)}"
    return ReproduceSection(
        command=command if run.origin.data else "",
        original=facts.get("command", ""),
        begun=facts.get("begun", ""),
        machine=facts.get("machine", {}),
        versions=facts.get("versions", {}),
        recipe=run.recipe.to_json(),
        fingerprints={name: part.fingerprint for name, part in context.all_splits.items()},
        weights=read_json(run.folder / "model.json")["sha256"],
        judged=ordinal(context.basis.number) if context.basis.number else "",
        folds=run.recipe.folds,
        warm_start=taken,
        changed=not_repeatable(facts),
        files=[
            RunFile(name, translate(description))
            for name, description in FILES
            if (run.folder / name).is_file()
        ],
    )
