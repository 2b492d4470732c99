"""What a person needs to train the network again is there: command, recipe, fingerprints, files."""

import hashlib
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pellucid.data.dataset import Origin
from pellucid.errors import PellucidError
from pellucid.files import read_json, write_json
from pellucid.report import reproduce
from pellucid.report.context import ReportContext
from tests.report.sections import rendered, words


@pytest.fixture
def copy(context: ReportContext, tmp_path: Path) -> ReportContext:
    """The same run in a folder of its own, to be changed."""
    folder = Path(shutil.copytree(context.run.folder, tmp_path / "run"))
    return replace(context, run=replace(context.run, folder=folder))


def test_fingerprints_are_those_of_the_pictures_and_of_the_weights(context: ReportContext) -> None:
    section = reproduce.gather(context)
    weights = (context.run.folder / "model.safetensors").read_bytes()
    assert section.weights == hashlib.sha256(weights).hexdigest()
    assert section.fingerprints == {name: part.fingerprint for name, part in context.splits.items()}
    assert section.fingerprints["train"] == context.run.environment["fingerprints"]["train"]
    body = str(rendered(context, "reproduce").body)
    assert section.weights in body
    assert all(fingerprint in body for fingerprint in section.fingerprints.values())


def test_the_recipe_shown_is_the_one_that_decided_the_training(context: ReportContext) -> None:
    section = reproduce.gather(context)
    assert section.recipe == read_json(context.run.folder / "recipe.json")
    assert (section.recipe["epochs"], section.recipe["seed"]) == (2, 42)


@pytest.mark.parametrize("location", ["/pictures of mine", "/it's", "/a;b", "/한글"])
def test_the_command_names_the_pictures_whatever_they_are_called(
    context: ReportContext, location: str
) -> None:
    run = replace(context.run, origin=Origin("mine", location))
    section = reproduce.gather(replace(context, run=run))
    assert shlex.split(section.command) == ["pellucid", "train", location, "--recipe", "recipe.json"]


def test_a_known_data_set_is_named_and_pictures_from_memory_have_no_command(context: ReportContext) -> None:
    known = replace(context.run, origin=Origin("digits", "/somewhere", known=True))
    assert reproduce.gather(replace(context, run=known)).command == (
        "pellucid train digits --recipe recipe.json"
    )
    memory = replace(context, run=replace(context.run, origin=Origin("values")))
    assert reproduce.gather(memory).command == ""
    body = words(rendered(memory, "reproduce").body)
    assert "The pictures came from memory" in body
    assert "pellucid train" not in body


def test_the_files_are_those_of_the_run(copy: ReportContext) -> None:
    (copy.run.folder / "causes.csv").unlink(missing_ok=True)  # of a report, if another test wrote one
    names = [file.name for file in reproduce.gather(copy).files]
    # Of a second training, of one that began from a run, of corrections, and what a report or a command adds.
    some = ("metrics_all.csv", "seen.csv", "excluded.csv", "relabelled.csv", "suspects.csv", "causes.csv")
    assert names == [name for name, _ in reproduce.FILES if name not in some]
    there = {path.name for path in copy.run.folder.iterdir()}
    assert set(names) == there - {"report.html", "faithfulness.json"}
    (copy.run.folder / "snapshots.safetensors").unlink()
    assert "snapshots.safetensors" not in [file.name for file in reproduce.gather(copy).files]


@pytest.mark.parametrize(("number", "said"), [(1, "1st"), (2, "2nd"), (13, "13th"), (20, "20th")])
def test_the_how_manieth_network_it_is_on_its_test_pictures_is_told(
    copy: ReportContext, number: int, said: str
) -> None:
    path = copy.run.folder / "evaluation.json"
    write_json(path, {**read_json(path), "network_number": number})
    assert str(reproduce.gather(copy).judged) == said
    assert f"it is the {said} network judged on its test pictures." in words(rendered(copy, "reproduce").body)


def test_where_nothing_is_known_of_other_networks_the_number_is_left_out(copy: ReportContext) -> None:
    path = copy.run.folder / "evaluation.json"
    write_json(path, {**read_json(path), "network_number": None})
    assert "network judged" not in words(rendered(copy, "reproduce").body)


def test_a_run_whose_model_cannot_be_read_is_an_error_in_its_place(copy: ReportContext) -> None:
    (copy.run.folder / "model.json").write_text("{")
    with pytest.raises(PellucidError, match=r"model\.json"):
        reproduce.gather(copy)
    shown = rendered(copy, "reproduce")
    assert shown.record is None
    assert "model.json" in shown.body
