"""The same pictures and recipe give the same run, whether the command line or Python trained it."""

import contextlib
import itertools
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import pellucid
from pellucid.cli import application
from pellucid.models.kernels import build as kernels
from pellucid.runs import choose
from tests.data.folders import shapes
from tests.toys import economical, toy_splits


@pytest.fixture(autouse=True)
def frugal() -> Iterator[None]:
    kernels.prepare()
    with economical():
        yield


@contextlib.contextmanager
def same_time() -> Iterator[None]:
    """A clock that begins at 0 and ticks when it is read, by a power of two: differences are exact."""
    ticks = itertools.count()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "perf_counter", lambda: next(ticks) / 1024)
        patch.setattr(time, "gmtime", lambda *_: time.struct_time((2026, 1, 1, 0, 0, 0, 3, 1, 0)))
        yield


def folder_of_shapes(path: Path) -> str:
    """Pictures of several sizes, one folder per class."""
    shapes(path, count=20)
    Image.new("RGB", (60, 33), (10, 200, 30)).save(path / "dark" / "other.png")
    return str(path)


def table_of_shapes(path: Path) -> str:
    """A CSV file that names pictures and labels."""
    shapes(path, count=20)
    files = sorted(path.rglob("*.png"))
    rows = [f"{file.relative_to(path)},{file.parent.name}" for file in files]
    (path / "labels.csv").write_text("\n".join(["file,label", *rows]))
    return str(path / "labels.csv")


def archive_of_arrays(path: Path) -> str:
    """An .npz file with train and test arrays."""
    parts = toy_splits()
    arrays = {
        "x_train": parts.train.images[:, 0].numpy(), "y_train": parts.train.labels.numpy().astype(np.uint8),
        "x_test": parts.test.images[:, 0].numpy(), "y_test": parts.test.labels.numpy().astype(np.uint8),
    }  # fmt: skip
    path.mkdir()
    np.savez(path / "toys.npz", **arrays)
    return str(path / "toys.npz")


KINDS: dict[str, Callable[[Path], str]] = {
    "a known data set": lambda _: "digits",
    "a folder": folder_of_shapes,
    "a table": table_of_shapes,
    "arrays": archive_of_arrays,
}
NAMED: dict[str, Any] = {"model": "tutorial", "epochs": 1, "batch_size": 64, "threads": 1}


@pytest.mark.parametrize(
    ("kind", "settings"), [*((kind, NAMED) for kind in KINDS), ("a folder", {"threads": 1})]
)
def test_both_leave_the_same_run(
    kind: str, settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = KINDS[kind](tmp_path / "pictures")
    monkeypatch.setenv("PELLUCID_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(
        choose,
        "candidate_recipes",
        lambda train_set: [pellucid.Recipe(epochs=1, seed=1), pellucid.Recipe(epochs=3)],
    )
    flags = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    by_command, by_python = tmp_path / "command" / "run", tmp_path / "python" / "run"

    monkeypatch.setattr(sys, "argv", ["pellucid", "train", data])
    with same_time(), contextlib.redirect_stdout(None):
        words = ["train", data, "--out", str(by_command), "--lang", "en", *flags]
        application()(words, standalone_mode=False)

    monkeypatch.setattr(sys, "argv", ["python", "train.py"])
    with same_time():
        splits = pellucid.load(data)
        run = pellucid.fit(splits, pellucid.Recipe.named("fast", **settings), folder=by_python)
        run.evaluate(splits.test)
        run.report(splits)

    names = sorted(path.name for path in by_command.iterdir())
    assert names == sorted(path.name for path in by_python.iterdir())
    for name in names:
        first, second = (without_command(folder / name) for folder in (by_command, by_python))
        if first != second:
            at = next(i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
            raise AssertionError(
                f"{name} differs: {first[at - 80 : at + 60]!r} and {second[at - 80 : at + 60]!r}"
            )


def without_command(path: Path) -> bytes:
    """What a file of a run holds but for the command that began it."""
    if path.name == "environment.json":
        facts = {**json.loads(path.read_text(encoding="utf-8")), "command": ""}
        return json.dumps(facts).encode()
    if path.name == "manifest.json":
        facts = json.loads(path.read_text(encoding="utf-8"))
        for name in ("environment.json", "report.html"):  # which hold the command
            facts["files"].pop(name, None)
        return json.dumps(facts["files"]).encode()
    if path.name == "report.html":
        return re.sub(rb"<code>(pellucid train|python train\.py)[^<]*</code>", b"", path.read_bytes())
    return path.read_bytes()


def test_anything_load_takes_can_be_given_to_fit(tmp_path: Path) -> None:
    recipe = pellucid.Recipe.named("fast", epochs=1, threads=1, validation=0.3, seed=7)
    run = pellucid.fit("digits", recipe, folder=str(tmp_path / "one"))
    assert (run.origin.choices.validation, run.origin.choices.seed, run.recipe.validation) == (0.3, 7, 0.3)
    splits = pellucid.load("digits", validation=0.3, seed=7)
    other = pellucid.fit(splits, recipe, folder=str(tmp_path / "other"))
    weights = [(folder / "model.safetensors").read_bytes() for folder in (run.folder, other.folder)]
    assert weights[0] == weights[1]


def test_a_run_finds_its_pictures_and_reports_without_being_handed_them(tmp_path: Path) -> None:
    data = folder_of_shapes(tmp_path / "pictures")
    recipe = pellucid.Recipe.named("fast", model="tutorial", epochs=1, threads=1)
    pellucid.fit(data, recipe, folder=tmp_path / "run")
    run = pellucid.Run.open(str(tmp_path / "run"))
    assert run.splits().origin.headers
    assert run.evaluate().count == len(run.splits().test)
    page = run.report(language="ko").read_text(encoding="utf-8")
    assert f"pellucid train {data}" in page
    assert "pellucid train &#39;&#39;" not in page
    # Of another size, as the command line's classifier reads it.
    assert run.classifier.predict(Image.new("L", (100, 70))).shape == (1, 2)
